//! Records the kernel launches of the current thread on request, with their times and their work.

use std::cell::RefCell;
use std::fmt;
use std::ops::AddAssign;
use std::time::{Duration, Instant};

use candle_core::Device;

thread_local! {
    static TRACE: RefCell<Option<Trace>> = const { RefCell::new(None) };
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

/// The multiply-adds of a launch, and the bytes that it reads and writes.
///
/// ```
/// use sconce_kernels::trace::Work;
///
/// let mut work = Work { multiply_adds: 6, ..Work::default() };
/// work += Work { multiply_adds: 1, bytes_read: 4, bytes_written: 8 };
/// assert_eq!(work, Work { multiply_adds: 7, bytes_read: 4, bytes_written: 8 });
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Work {
    /// The number of products that are added up. 0 for an operation that has none, or whose number is unknown.
    pub multiply_adds: u64,
    /// The size of the operands in bytes.
    pub bytes_read: u64,
    /// The size of the results in bytes.
    pub bytes_written: u64,
}

impl AddAssign for Work {
    fn add_assign(&mut self, other: Self) {
        self.multiply_adds = self.multiply_adds.saturating_add(other.multiply_adds);
        self.bytes_read = self.bytes_read.saturating_add(other.bytes_read);
        self.bytes_written = self.bytes_written.saturating_add(other.bytes_written);
    }
}

/// A launch with its time and its work. Returned by [`measure`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MeasuredLaunch {
    /// The path and the operations.
    pub launch: Launch,
    /// The time from the beginning of the measurement to that of the launch.
    pub start: Duration,
    /// The time from the beginning of the launch to its end.
    pub duration: Duration,
    /// The part of `duration` in which other launches ran.
    pub inner: Duration,
    /// The work of the launch, without that of the launches in it.
    pub work: Work,
}

/// The launches of a thread that is traced.
struct Trace {
    began: Instant,
    /// Whether a launch begins and ends when its device is idle.
    is_measured: bool,
    launches: Vec<MeasuredLaunch>,
    /// The indices of the launches that have not ended. A launch follows the launch around it.
    open: Vec<usize>,
}

/// Runs `f`. Returns its result and the launches on this thread, in the order in which they began.
///
/// ```
/// use candle_core::Device;
/// use sconce_kernels::trace;
///
/// let (sum, launches) = trace::trace(|| {
///     let _launch = trace::begin(&Device::Cpu, || "Model.sum".to_string(), || "add".to_string());
///     1 + 1
/// });
/// assert_eq!(sum, 2);
/// assert_eq!(launches[0].to_string(), "Model.sum: add");
/// ```
pub fn trace<T>(f: impl FnOnce() -> T) -> (T, Vec<Launch>) {
    let (result, launches) = record(false, f);
    (result, launches.into_iter().map(|measured| measured.launch).collect())
}

/// Runs `f`. Returns its result and the launches on this thread with their times and their work, in the order in which
/// they began. On devices other than the CPU, waits for the device before and after each launch.
///
/// # Examples
/// ```
/// use candle_core::Device;
/// use sconce_kernels::trace::{self, Work};
///
/// let ((), launches) = trace::measure(|| {
///     let _outer = trace::begin(&Device::Cpu, String::new, || "outer".to_string());
///     let _inner = trace::begin(&Device::Cpu, String::new, || "inner".to_string());
///     trace::add_work(|| Work { bytes_read: 4, ..Work::default() });
/// });
/// assert_eq!(launches[0].inner, launches[1].duration);
/// assert!(launches[0].duration >= launches[1].duration);
/// assert_eq!(launches.iter().map(|launch| launch.work.bytes_read).collect::<Vec<_>>(), [0, 4]);
/// ```
pub fn measure<T>(f: impl FnOnce() -> T) -> (T, Vec<MeasuredLaunch>) {
    record(true, f)
}

fn record<T>(is_measured: bool, f: impl FnOnce() -> T) -> (T, Vec<MeasuredLaunch>) {
    /// Restores the trace of the outer call on drop, even after a panic.
    struct Restore(Option<Trace>);
    impl Drop for Restore {
        fn drop(&mut self) {
            TRACE.set(self.0.take());
        }
    }
    let trace = Trace { began: Instant::now(), is_measured, launches: Vec::new(), open: Vec::new() };
    let _restore = Restore(TRACE.replace(Some(trace)));
    let result = f();
    let launches = TRACE.take().map_or_else(Vec::new, |trace| trace.launches);
    (result, launches)
}

/// Begins a launch on `device` and records it if the thread is being traced. Otherwise, does not call the closures.
/// The launch ends when the result is dropped.
///
/// # Examples
/// ```
/// use candle_core::Device;
/// use sconce_kernels::trace;
///
/// // The thread is not traced.
/// drop(trace::begin(&Device::Cpu, || unreachable!(), || unreachable!()));
/// let (_, launches) =
///     trace::trace(|| drop(trace::begin(&Device::Cpu, || "Model.fc".to_string(), || "linear".to_string())));
/// assert_eq!(launches[0].operations, "linear");
/// ```
pub fn begin(
    device: &Device,
    path: impl FnOnce() -> String,
    operations: impl FnOnce() -> String,
) -> OpenLaunch {
    let Some(is_measured) = TRACE.with_borrow(|trace| trace.as_ref().map(|trace| trace.is_measured)) else {
        return OpenLaunch(None);
    };
    // The closures run without a borrow of the trace, because they may call any code.
    let launch = Launch { path: path(), operations: operations() };
    let device = (is_measured && !device.is_cpu()).then(|| device.clone());
    wait_for(device.as_ref());
    with_trace(|trace| trace.push(launch));
    OpenLaunch(Some(device))
}

/// Adds to the work of the innermost launch that has not ended. Does not call the closure if the thread is not traced.
///
/// # Examples
/// ```
/// use sconce_kernels::trace;
///
/// trace::add_work(|| unreachable!()); // the thread is not traced
/// ```
pub fn add_work(work: impl FnOnce() -> Work) {
    if TRACE.with_borrow(Option::is_none) {
        return;
    }
    let work = work();
    with_trace(|Trace { launches, open, .. }| {
        if let Some(&innermost) = open.last() {
            launches[innermost].work += work;
        }
    });
}

/// A launch that has not ended. Dropping it ends the launch.
#[must_use]
pub struct OpenLaunch(
    /// The device to wait for, if it is not the CPU. The outer option is `None` if the thread was not traced.
    Option<Option<Device>>,
);

impl OpenLaunch {
    /// Returns `true` if the thread is being traced.
    ///
    /// # Examples
    /// ```
    /// use candle_core::Device;
    /// use sconce_kernels::trace;
    ///
    /// let is_recorded = || trace::begin(&Device::Cpu, String::new, String::new).is_recorded();
    /// assert_eq!((is_recorded(), trace::trace(is_recorded).0), (false, true));
    /// ```
    pub fn is_recorded(&self) -> bool {
        self.0.is_some()
    }

    /// Removes the launch from the trace, because nothing was computed. Launches in it remain.
    ///
    /// # Examples
    /// ```
    /// use candle_core::Device;
    /// use sconce_kernels::trace;
    ///
    /// let begin = |name: &'static str| trace::begin(&Device::Cpu, String::new, || name.to_string());
    /// let ((), launches) = trace::trace(|| {
    ///     let unsupported = begin("conv2d + max_pool2d");
    ///     drop(begin("to_nchwc"));
    ///     unsupported.cancel();
    /// });
    /// assert_eq!(launches.len(), 1);
    /// assert!(launches[0].changes_layout());
    /// ```
    pub fn cancel(mut self) {
        if self.0.take().is_some() {
            with_trace(Trace::cancel);
        }
    }
}

impl Drop for OpenLaunch {
    fn drop(&mut self) {
        if let Some(device) = self.0.take() {
            wait_for(device.as_ref());
            with_trace(Trace::end);
        }
    }
}

impl Trace {
    fn push(&mut self, launch: Launch) {
        self.open.push(self.launches.len());
        let start = self.began.elapsed();
        let zero = Duration::ZERO;
        self.launches.push(MeasuredLaunch {
            launch,
            start,
            duration: zero,
            inner: zero,
            work: Work::default(),
        });
    }

    /// Ends the innermost launch.
    fn end(&mut self) {
        if let Some(index) = self.open.pop() {
            let launch = &mut self.launches[index];
            launch.duration = self.began.elapsed().saturating_sub(launch.start);
            let duration = launch.duration;
            self.add_inner(duration);
        }
    }

    /// Removes the innermost launch. All launches after it have ended, so that no index in `open` changes.
    fn cancel(&mut self) {
        if let Some(index) = self.open.pop() {
            let inner = self.launches.remove(index).inner;
            self.add_inner(inner);
        }
    }

    /// Adds the time of a launch that has ended to the launch around it.
    fn add_inner(&mut self, duration: Duration) {
        if let Some(&outer) = self.open.last() {
            self.launches[outer].inner += duration;
        }
    }
}

fn with_trace(f: impl FnOnce(&mut Trace)) {
    TRACE.with_borrow_mut(|trace| trace.as_mut().map(f));
}

/// Waits until a device has run all of its kernels. The next operation on the device reports the error of a kernel.
fn wait_for(device: Option<&Device>) {
    if let Some(device) = device {
        device.synchronize().ok();
    }
}
