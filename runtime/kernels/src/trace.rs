//! The launches of kernels on the current thread, listed on request.

use std::cell::RefCell;
use std::fmt;

thread_local! {
    static TRACE: RefCell<Option<Vec<Launch>>> = const { RefCell::new(None) };
}

/// One kernel that ran.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Launch {
    /// The layer that began it, `Model.conv1`; empty in a backward pass.
    pub path: String,
    /// Its operations, `conv2d + bias + relu`.
    pub operations: String,
}

/// The operation of a launch that only converts an activation to the channel-blocked layout.
pub const TO_BLOCKS: &str = "to_blocks";
/// The operation of a launch that only converts an activation from the channel-blocked layout.
pub const TO_PLANES: &str = "to_planes";

impl Launch {
    /// Returns whether the launch only converted an activation to or from the channel-blocked layout.
    pub fn changes_layout(&self) -> bool {
        [TO_BLOCKS, TO_PLANES].contains(&self.operations.as_str())
    }
}

impl fmt::Display for Launch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path, self.operations)
    }
}

/// Runs `f` and lists the kernels that ran on this thread, in their order.
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

/// Records a launch if the thread is being traced; calls neither closure otherwise.
pub fn record(path: impl FnOnce() -> String, operations: impl FnOnce() -> String) {
    TRACE.with_borrow_mut(|trace| {
        if let Some(launches) = trace {
            launches.push(Launch { path: path(), operations: operations() });
        }
    });
}
