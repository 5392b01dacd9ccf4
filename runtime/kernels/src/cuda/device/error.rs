//! What the driver's errors mean: what was expected, what the machine has, and where.

use super::modules;
use crate::cuda::{Buffer, Launch};
use crate::error::plain;
use candle_core::backend::BackendDevice;
use candle_core::cuda::CudaError;
use candle_core::cuda::cudarc::driver::{DriverError, sys::CUresult};
use candle_core::{CudaDevice, Error, Result};

/// The driver's own words.
pub fn driver(error: DriverError) -> Error {
    Error::Cuda(Box::new(error))
}

/// The compute capability of `device`, `(major, minor)`.
pub fn capability(device: &CudaDevice) -> Result<(u32, u32)> {
    let (major, minor) = device.cuda_stream().context().compute_capability().map_err(driver)?;
    Ok((major.unsigned_abs(), minor.unsigned_abs()))
}

/// The driver's code in an error that candle made of it.
fn code(error: &Error) -> Option<CUresult> {
    match plain(error) {
        Error::Context { inner, .. } => code(inner),
        Error::Cuda(source) => match source.downcast_ref::<CudaError>() {
            Some(CudaError::Cuda(DriverError(code)) | CudaError::Load { cuda: DriverError(code), .. }) => {
                Some(*code)
            }
            _ => source.downcast_ref::<DriverError>().map(|DriverError(code)| *code),
        },
        _ => None,
    }
}

/// No device could be opened.
pub fn opening(ordinal: usize, error: Error) -> Error {
    let given = match code(&error) {
        Some(CUresult::CUDA_ERROR_NO_DEVICE) => "found no CUDA device, or no driver for one",
        Some(CUresult::CUDA_ERROR_INVALID_DEVICE) => "there is no device of that number",
        Some(CUresult::CUDA_ERROR_STUB_LIBRARY) => "found a stub in place of the driver's libcuda",
        Some(CUresult::CUDA_ERROR_SYSTEM_DRIVER_MISMATCH) => "the driver's parts are of different versions",
        Some(CUresult::CUDA_ERROR_NOT_INITIALIZED | CUresult::CUDA_ERROR_UNKNOWN) => {
            "the driver did not start"
        }
        Some(CUresult::CUDA_ERROR_OUT_OF_MEMORY) => "its memory is full",
        _ => "it could not be opened",
    };
    Error::msg(format!("expected the CUDA device {ordinal} and its driver, but {given}: {}", plain(&error)))
}

/// An error on the way of `op` to the device.
pub fn at(op: &str, device: &CudaDevice, error: Error) -> Error {
    match code(&error) {
        Some(CUresult::CUDA_ERROR_OUT_OF_MEMORY) => {
            Error::msg(format!("{op}: out of memory on {:?} ({})", device.location(), free(device)))
        }
        _ => Error::msg(format!("{op}: {}", plain(&error))),
    }
}

/// A buffer could not be allocated.
pub fn allocating(op: &str, device: &CudaDevice, buffer: Buffer, error: Error) -> Error {
    match code(&error) {
        Some(CUresult::CUDA_ERROR_OUT_OF_MEMORY) => {
            let bytes = buffer.elements.saturating_mul(buffer.dtype.size_in_bytes());
            let location = device.location();
            Error::msg(format!(
                "{op}: out of memory, expected {bytes} bytes on {location:?} ({})",
                free(device)
            ))
        }
        _ => Error::msg(format!("{op}: {}", plain(&error))),
    }
}

fn free(device: &CudaDevice) -> String {
    match device.cuda_stream().context().mem_get_info() {
        Ok((free, total)) => format!("{free} of {total} bytes are free"),
        Err(_) => "how much is free, the driver does not say".to_string(),
    }
}

/// A module could not be loaded, or has no such kernel.
pub fn loading(op: &str, device: &CudaDevice, kernel: &str, error: Error) -> Error {
    let (wanted, location) = (modules::capability(), device.location());
    let old = capability(device).ok().filter(|capability| *capability < wanted);
    if let Some((major, minor)) = old {
        let (wanted_major, wanted_minor) = wanted;
        return Error::msg(format!(
            "{op}: expected a device of compute capability {wanted_major}.{wanted_minor}, which the kernels were compiled for, got {location:?} of {major}.{minor}; compile with CUDA_COMPUTE_CAP={major}{minor}"
        ));
    }
    let meaning = match code(&error) {
        Some(CUresult::CUDA_ERROR_UNSUPPORTED_PTX_VERSION) => {
            "the driver is older than the toolkit that the kernels were compiled with: update the driver, or compile with a toolkit that it knows"
        }
        Some(CUresult::CUDA_ERROR_NO_BINARY_FOR_GPU | CUresult::CUDA_ERROR_INVALID_PTX) => {
            "the kernels were not compiled for this device"
        }
        Some(CUresult::CUDA_ERROR_NOT_FOUND) => "the compiled kernels lack it",
        Some(CUresult::CUDA_ERROR_OUT_OF_MEMORY) => "the device's memory is full",
        Some(CUresult::CUDA_ERROR_INVALID_IMAGE) => "what was compiled is no code for a GPU",
        _ => "it could not be loaded",
    };
    Error::msg(format!("{op}: kernel {kernel} on {location:?}: {meaning} ({})", plain(&error)))
}

/// A kernel asks for more shared memory than a block can have.
pub fn shared_memory(op: &str, device: &CudaDevice, kernel: &str, bytes: u32, error: DriverError) -> Error {
    let location = device.location();
    Error::msg(format!(
        "{op}: kernel {kernel}: expected {bytes} bytes of shared memory a block, more than {location:?} has ({error})"
    ))
}

/// A kernel could not be launched.
pub fn launching(op: &str, launch: &Launch, error: DriverError) -> Error {
    let Launch { kernel, grid, block, shared, .. } = launch;
    Error::msg(format!(
        "{op}: kernel {kernel}, {grid:?} blocks of {block:?} threads with {shared} bytes of shared memory: {error}"
    ))
}
