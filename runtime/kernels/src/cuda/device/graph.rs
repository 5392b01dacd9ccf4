//! CUDA graphs: work on a device that is recorded once and then submitted as a whole.

use std::sync::Arc;

use candle_core::backend::BackendDevice;
use candle_core::cuda::cudarc::driver::{
    CudaGraph, CudaStream,
    sys::{CUgraphInstantiate_flags, CUstreamCaptureMode},
};
use candle_core::{CudaDevice, Device, Result, bail};

use crate::error::without_backtrace;

use super::error;

/// A CUDA graph of recorded work.
///
/// # Examples
/// ```
/// use candle_core::Device;
/// use sconce_kernels::cuda::Graph;
///
/// let error = Graph::capture(&Device::Cpu, || Ok(())).err().unwrap();
/// assert!(error.to_string().contains("expected a CUDA device"), "{error}");
/// ```
pub struct Graph(CudaGraph);

impl Graph {
    /// Records the work that `work` submits to `device`. Calls `work` twice. The first call runs on the device, which
    /// loads the kernels and copies small host tensors to the device. The second call is recorded.
    ///
    /// # Errors
    /// Fails if `device` is not a CUDA device whose work can be captured, or if `work` fails or submits nothing.
    pub fn capture(device: &Device, mut work: impl FnMut() -> Result<()>) -> Result<Self> {
        let Device::Cuda(device) = device else {
            bail!("capture: expected a CUDA device, found {:?}", device.location())
        };
        let stream = device.cuda_stream();
        check(device, &stream)?;
        // Recorded kernels must not wait for events that precede the recording.
        let _untracked = Untracked::new(device);
        // A recorded copy of a host tensor would read freed memory at each replay. With this cache, candle copies small
        // host tensors to the device in the first run and keeps them there.
        let _constants = device.enable_cuda_graph_htod_cache();
        work()?;
        let recorded = Self::record(&stream, work);
        recorded.map_err(|error| candle_core::Error::msg(format!("capture: {}", without_backtrace(&error))))
    }

    /// Records the work that `work` submits to `stream`, without running it.
    fn record(stream: &Arc<CudaStream>, mut work: impl FnMut() -> Result<()>) -> Result<Self> {
        stream
            .begin_capture(CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL)
            .map_err(error::driver)?;
        let result = work();
        // Ends the capture even if `work` failed, because the stream executes nothing during a capture.
        let flags = CUgraphInstantiate_flags::CUDA_GRAPH_INSTANTIATE_FLAG_AUTO_FREE_ON_LAUNCH;
        let graph = stream.end_capture(flags);
        result?;
        match graph.map_err(error::driver)? {
            Some(graph) => Ok(Self(graph)),
            None => bail!("the closure submitted no work to the device"),
        }
    }

    /// Submits the recorded work, which runs after all work that was submitted earlier.
    ///
    /// # Errors
    /// Fails if the driver does not accept the graph.
    pub fn launch(&self) -> Result<()> {
        self.0.launch().map_err(error::driver)
    }
}

/// Checks that work on the device's stream can be captured.
fn check(device: &CudaDevice, stream: &CudaStream) -> Result<()> {
    if stream.cu_stream().is_null() {
        bail!(
            "capture: {:?} uses the legacy default stream, which cannot be captured; \
             open the device with `sconce::cuda` or `Device::new_cuda_with_stream`",
            device.location()
        )
    }
    if !stream.context().has_async_alloc() {
        bail!("capture: expected a device with stream-ordered allocation, found {:?}", device.location())
    }
    Ok(())
}

/// A guard that disables the tracking of memory with events, until the guard is dropped. Holds the device, or `None` if
/// tracking was disabled before.
struct Untracked<'a>(Option<&'a CudaDevice>);

impl<'a> Untracked<'a> {
    fn new(device: &'a CudaDevice) -> Self {
        let tracking = device.is_event_tracking();
        if tracking {
            // SAFETY: events order the uses of memory by different streams. All of candle's work on this device is on
            // one stream, on which every use follows the allocation and precedes the release.
            unsafe { device.disable_event_tracking() };
        }
        Self(tracking.then_some(device))
    }
}

impl Drop for Untracked<'_> {
    fn drop(&mut self) {
        if let Some(device) = self.0 {
            // SAFETY: as above, for memory that was allocated while tracking was disabled.
            unsafe { device.cuda_stream().context().enable_event_tracking() };
        }
    }
}
