//! Opens each device once.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use candle_core::cuda::cudarc::driver::CudaContext;
use candle_core::{CudaDevice, Result};

use super::error;

static DEVICES: Mutex<BTreeMap<usize, CudaDevice>> = Mutex::new(BTreeMap::new());

/// Returns the device with this ordinal. Every call with this ordinal returns the same device.
pub(crate) fn open(ordinal: usize) -> Result<CudaDevice> {
    // The map is consistent even if a thread panicked while it held the lock.
    let mut devices = DEVICES.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(device) = devices.get(&ordinal) {
        return Ok(device.clone());
    }
    let device = CudaDevice::new_with_stream(ordinal).map_err(|error| error::opening(ordinal, error))?;
    if CudaContext::device_count().is_ok_and(|count| count == 1) {
        // At each launch, candle would record and await two events for each tensor, which takes as long as a small
        // kernel.
        // SAFETY: events order work on different streams. All work on this device is on its only stream, and there
        // is no other device.
        unsafe { device.disable_event_tracking() };
    }
    devices.insert(ordinal, device.clone());
    Ok(device)
}
