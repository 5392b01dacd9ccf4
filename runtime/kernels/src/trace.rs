//! Records the kernel launches of the current thread on request.

use std::cell::RefCell;
use std::fmt;

thread_local! {
    static TRACE: RefCell<Option<Vec<Launch>>> = const { RefCell::new(None) };
}

/// One execution of a kernel, or of a composed path.
///
/// # Examples
/// ```
/// use sconce_kernels::trace::{Launch, TO_NCHWC};
///
/// let launch = Launch { path: "Model.conv1".to_string(), operations: "conv2d + bias + relu".to_string() };
/// assert_eq!(launch.to_string(), "Model.conv1: conv2d + bias + relu");
/// assert!(!launch.changes_layout());
/// assert!(Launch { operations: TO_NCHWC.to_string(), ..launch }.changes_layout());
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Launch {
    /// The path of the layer that started the launch, such as `Model.conv1`; empty in a backward pass.
    pub path: String,
    /// The operations of the launch, such as `conv2d + bias + relu`.
    pub operations: String,
}

/// The operation of a launch that only converts an activation to the channel-blocked layout.
pub const TO_NCHWC: &str = "to_nchwc";
/// The operation of a launch that only converts an activation from the channel-blocked layout.
pub const TO_NCHW: &str = "to_nchw";

impl Launch {
    /// Returns `true` if the launch only converted an activation to or from the channel-blocked layout.
    pub fn changes_layout(&self) -> bool {
        [TO_NCHWC, TO_NCHW].contains(&self.operations.as_str())
    }
}

impl fmt::Display for Launch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path, self.operations)
    }
}

/// Runs `f`. Returns its result and the launches on this thread, in order.
///
/// ```
/// use sconce_kernels::trace;
///
/// let (sum, launches) = trace::trace(|| {
///     trace::record(|| "Model.sum".to_string(), || "add".to_string());
///     1 + 1
/// });
/// assert_eq!(sum, 2);
/// assert_eq!(launches[0].to_string(), "Model.sum: add");
/// ```
pub fn trace<T>(f: impl FnOnce() -> T) -> (T, Vec<Launch>) {
    /// Restores the trace of the outer call on drop, even after a panic.
    struct Restore(Option<Vec<Launch>>);
    impl Drop for Restore {
        fn drop(&mut self) {
            TRACE.set(self.0.take());
        }
    }
    let _restore = Restore(TRACE.replace(Some(Vec::new())));
    let result = f();
    let launches = TRACE.take().unwrap_or_default();
    (result, launches)
}

/// Records a launch if the thread is being traced. Otherwise, does not call the closures.
///
/// # Examples
/// ```
/// use sconce_kernels::trace;
///
/// trace::record(|| unreachable!(), || unreachable!()); // the thread is not traced
/// let (_, launches) = trace::trace(|| trace::record(|| "Model.fc".to_string(), || "linear".to_string()));
/// assert_eq!(launches[0].operations, "linear");
/// ```
pub fn record(path: impl FnOnce() -> String, operations: impl FnOnce() -> String) {
    TRACE.with_borrow_mut(|trace| {
        if let Some(launches) = trace {
            launches.push(Launch { path: path(), operations: operations() });
        }
    });
}
