//! The compiled kernels, loaded into a device at their first use.

use super::error;
use candle_core::cuda::cudarc::driver::{CudaFunction, sys::CUfunction_attribute};
use candle_core::{CudaDevice, Result, bail};

/// The PTX of one `.cu` file.
pub struct Module {
    /// The stem of the file's name.
    stem: &'static str,
    /// What the device keeps it under: no other code has that name.
    name: &'static str,
    ptx: &'static str,
}

mod compiled {
    use super::Module;
    include!(concat!(env!("OUT_DIR"), "/modules.rs"));
}

/// Bytes of dynamic shared memory that a kernel gets without asking.
const PLAIN_SHARED: u32 = 48 << 10;

/// The compute capability that the kernels are compiled for, `(major, minor)`.
pub fn capability() -> (u32, u32) {
    (compiled::CAPABILITY / 10, compiled::CAPABILITY % 10)
}

/// A kernel that is ready to be launched with `shared` bytes of dynamic shared memory.
pub fn function(
    op: &str,
    device: &CudaDevice,
    module: &str,
    kernel: &str,
    shared: u32,
) -> Result<CudaFunction> {
    let Some(module) = compiled::MODULES.iter().find(|compiled| compiled.stem == module) else {
        bail!("{op}: there is no module {module:?} among the compiled kernels")
    };
    let function = device.get_or_load_custom_func(kernel, module.name, module.ptx);
    let function = function.map_err(|error| error::loading(op, device, kernel, error))?;
    if shared > PLAIN_SHARED {
        let attribute = CUfunction_attribute::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES;
        let bytes = i32::try_from(shared).unwrap_or(i32::MAX);
        function
            .set_attribute(attribute, bytes)
            .map_err(|error| error::shared_memory(op, device, kernel, shared, error))?;
    }
    Ok(function.into_cuda_function())
}
