//! The devices, each opened once.

use super::error;
use candle_core::cuda::cudarc::driver::CudaContext;
use candle_core::{CudaDevice, Result};
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

static DEVICES: Mutex<BTreeMap<usize, CudaDevice>> = Mutex::new(BTreeMap::new());

/// The device of number `ordinal`: the same at each call.
pub(crate) fn open(ordinal: usize) -> Result<CudaDevice> {
    // A map is whole even if a thread that held it panicked.
    let mut devices = DEVICES.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(device) = devices.get(&ordinal) {
        return Ok(device.clone());
    }
    let device = CudaDevice::new_with_stream(ordinal).map_err(|error| error::opening(ordinal, error))?;
    if CudaContext::device_count().is_ok_and(|count| count == 1) {
        // Two events for each tensor, recorded and waited for at each launch, cost as much as a small kernel.
        // SAFETY: they order streams among one another. All work on this device is on its one stream, and there
        // is no other device that could take part.
        unsafe { device.disable_event_tracking() };
    }
    devices.insert(ordinal, device.clone());
    Ok(device)
}
