//! Error messages for the driver's errors: what was expected, what was found, and on which device.

use candle_core::backend::BackendDevice;
use candle_core::cuda::CudaError;
use candle_core::cuda::cudarc::driver::{DriverError, sys::CUresult};
use candle_core::{CudaDevice, Error, Result};

use crate::cuda::{Buffer, Launch};
use crate::error::without_backtrace;

use super::modules;

/// Converts a driver error to candle's error, with the driver's own message.
pub fn driver(error: DriverError) -> Error {
    Error::Cuda(Box::new(error))
}

/// Returns the compute capability of `device`, `(major, minor)`.
pub fn capability(device: &CudaDevice) -> Result<(u32, u32)> {
    let (major, minor) = device.cuda_stream().context().compute_capability().map_err(driver)?;
    Ok((major.unsigned_abs(), minor.unsigned_abs()))
}

/// Returns the driver's error code from an error of candle, or `None` if it is not a driver error.
fn code(error: &Error) -> Option<CUresult> {
    match without_backtrace(error) {
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

/// Returns the error for a device that could not be opened.
pub fn opening(ordinal: usize, error: Error) -> Error {
    let reason = match code(&error) {
        Some(CUresult::CUDA_ERROR_NO_DEVICE) => "found no CUDA device or no driver",
        Some(CUresult::CUDA_ERROR_INVALID_DEVICE) => "no device has this ordinal",
        Some(CUresult::CUDA_ERROR_STUB_LIBRARY) => "found a stub instead of the driver's libcuda",
        Some(CUresult::CUDA_ERROR_SYSTEM_DRIVER_MISMATCH) => {
            "the components of the driver have different versions"
        }
        Some(CUresult::CUDA_ERROR_NOT_INITIALIZED | CUresult::CUDA_ERROR_UNKNOWN) => {
            "the driver did not start"
        }
        Some(CUresult::CUDA_ERROR_OUT_OF_MEMORY) => "the device's memory is full",
        _ => "it could not be opened",
    };
    Error::msg(format!(
        "expected the CUDA device {ordinal} and its driver, but {reason}: {}",
        without_backtrace(&error)
    ))
}

/// Returns the error for a failure of `op` before its launches, such as in the copy of an operand.
pub fn before_launch(op: &str, device: &CudaDevice, error: Error) -> Error {
    match code(&error) {
        Some(CUresult::CUDA_ERROR_OUT_OF_MEMORY) => Error::msg(format!(
            "{op}: out of memory on {:?} ({})",
            device.location(),
            describe_free_memory(device)
        )),
        _ => Error::msg(format!("{op}: {}", without_backtrace(&error))),
    }
}

/// Returns the error for a buffer that could not be allocated.
pub fn allocating(op: &str, device: &CudaDevice, buffer: Buffer, error: Error) -> Error {
    match code(&error) {
        Some(CUresult::CUDA_ERROR_OUT_OF_MEMORY) => {
            let bytes = buffer.elements.saturating_mul(buffer.dtype.size_in_bytes());
            let location = device.location();
            Error::msg(format!(
                "{op}: out of memory, needed {bytes} bytes on {location:?} ({})",
                describe_free_memory(device)
            ))
        }
        _ => Error::msg(format!("{op}: {}", without_backtrace(&error))),
    }
}

/// Returns a description of the free memory on `device`.
fn describe_free_memory(device: &CudaDevice) -> String {
    match device.cuda_stream().context().mem_get_info() {
        Ok((free, total)) => format!("{free} of {total} bytes are free"),
        Err(_) => "the driver does not report free memory".to_string(),
    }
}

/// Returns the error for a module that could not be loaded, or that lacks the kernel.
pub fn loading(op: &str, device: &CudaDevice, kernel: &str, error: Error) -> Error {
    let built_for = modules::capability();
    let location = device.location();
    let old = capability(device).ok().filter(|capability| *capability < built_for);
    if let Some((major, minor)) = old {
        let (built_major, built_minor) = built_for;
        return Error::msg(format!(
            "{op}: the kernels were compiled for compute capability {built_major}.{built_minor}, \
             but {location:?} has {major}.{minor}; compile with CUDA_COMPUTE_CAP={major}{minor}"
        ));
    }
    let meaning = match code(&error) {
        Some(CUresult::CUDA_ERROR_UNSUPPORTED_PTX_VERSION) => {
            "the driver is older than the toolkit that compiled the kernels: \
             update the driver, or compile with an older toolkit"
        }
        Some(CUresult::CUDA_ERROR_NO_BINARY_FOR_GPU | CUresult::CUDA_ERROR_INVALID_PTX) => {
            "the kernels were not compiled for this device"
        }
        Some(CUresult::CUDA_ERROR_NOT_FOUND) => "the compiled module does not contain this kernel",
        Some(CUresult::CUDA_ERROR_OUT_OF_MEMORY) => "the device's memory is full",
        Some(CUresult::CUDA_ERROR_INVALID_IMAGE) => "the compiled module is not GPU code",
        _ => "it could not be loaded",
    };
    Error::msg(format!("{op}: kernel {kernel} on {location:?}: {meaning} ({})", without_backtrace(&error)))
}

/// Returns the error for a kernel that needs more shared memory than a block can have.
pub fn shared_memory(op: &str, device: &CudaDevice, kernel: &str, bytes: u32, error: DriverError) -> Error {
    let location = device.location();
    Error::msg(format!(
        "{op}: kernel {kernel} needs {bytes} bytes of shared memory per block, more than {location:?} has ({error})"
    ))
}

/// Returns the error for a kernel that could not be launched.
pub fn launching(op: &str, launch: &Launch, error: DriverError) -> Error {
    let Launch { kernel, grid, block, shared, .. } = launch;
    Error::msg(format!(
        "{op}: could not launch kernel {kernel} with {grid:?} blocks of {block:?} threads and {shared} bytes of shared \
         memory: {error}"
    ))
}
