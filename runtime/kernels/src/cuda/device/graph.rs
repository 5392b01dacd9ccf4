//! Work on a device, recorded once and then submitted as a whole.

use super::error;
use crate::error::plain;
use candle_core::backend::BackendDevice;
use candle_core::cuda::cudarc::driver::{
    CudaGraph, CudaStream,
    sys::{CUgraphInstantiate_flags, CUstreamCaptureMode},
};
use candle_core::{CudaDevice, Device, Result, bail};
use std::sync::Arc;

/// Recorded work.
pub struct Graph(CudaGraph);

impl Graph {
    /// Records what `work` submits to `device`. It runs twice: first for real, so that kernels and whatever is
    /// made at a first use are there, and small host tensors have their place on the device; then recorded.
    pub fn capture(device: &Device, mut work: impl FnMut() -> Result<()>) -> Result<Self> {
        let Device::Cuda(device) = device else {
            bail!("capture: expected tensors on a CUDA device, got them on {:?}", device.location())
        };
        let stream = device.cuda_stream();
        check(device, &stream)?;
        // Recorded kernels must not wait for events from before the recording.
        let _untracked = Untracked::new(device);
        // A copy from the host would read, at each replay, memory that is long gone. With this, candle keeps
        // each such constant on the device from the first run on.
        let _constants = device.enable_cuda_graph_htod_cache();
        work()?;
        let recorded = Self::record(&stream, work);
        recorded.map_err(|error| candle_core::Error::msg(format!("capture: {}", plain(&error))))
    }

    fn record(stream: &Arc<CudaStream>, mut work: impl FnMut() -> Result<()>) -> Result<Self> {
        stream
            .begin_capture(CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL)
            .map_err(error::driver)?;
        let result = work();
        // In any case: until then the stream executes nothing.
        let flags = CUgraphInstantiate_flags::CUDA_GRAPH_INSTANTIATE_FLAG_AUTO_FREE_ON_LAUNCH;
        let graph = stream.end_capture(flags);
        result?;
        match graph.map_err(error::driver)? {
            Some(graph) => Ok(Self(graph)),
            None => bail!("the network submitted nothing to the device"),
        }
    }

    /// Submits the recorded work, behind what the device has to do already.
    pub fn launch(&self) -> Result<()> {
        self.0.launch().map_err(error::driver)
    }
}

fn check(device: &CudaDevice, stream: &CudaStream) -> Result<()> {
    if stream.cu_stream().is_null() {
        bail!(
            "capture: expected a device with a stream of its own, as `sconce::cuda` and `Device::new_cuda_with_stream` open it, got {:?} on the legacy default stream, which cannot be captured",
            device.location()
        )
    }
    if !stream.context().has_async_alloc() {
        bail!("capture: expected a device that allocates in stream order, got {:?}", device.location())
    }
    Ok(())
}

/// While it lives, memory is not tracked by events.
struct Untracked<'a>(Option<&'a CudaDevice>);

impl<'a> Untracked<'a> {
    fn new(device: &'a CudaDevice) -> Self {
        let tracking = device.is_event_tracking();
        if tracking {
            // SAFETY: events order the uses of memory by several streams; all of candle's work on this device is
            // on the one stream, in which every use follows the allocation and precedes the release.
            unsafe { device.disable_event_tracking() };
        }
        Self(tracking.then_some(device))
    }
}

impl Drop for Untracked<'_> {
    fn drop(&mut self) {
        if let Some(device) = self.0 {
            // SAFETY: as above, for what was allocated meanwhile.
            unsafe { device.cuda_stream().context().enable_event_tracking() };
        }
    }
}
