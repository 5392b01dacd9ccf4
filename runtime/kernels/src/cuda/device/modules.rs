//! The compiled kernels, which a device loads at their first use.

use candle_core::cuda::cudarc::driver::{CudaFunction, sys::CUfunction_attribute};
use candle_core::{CudaDevice, Result, bail};

use super::error;

/// The PTX of one `.cu` file.
pub struct Module {
    /// The stem of the file's name.
    stem: &'static str,
    /// The unique name under which a device caches the loaded module.
    name: &'static str,
    /// The source code in PTX.
    ptx: &'static str,
}

mod compiled {
    use super::Module;
    include!(concat!(env!("OUT_DIR"), "/modules.rs"));
}

/// The number of bytes of dynamic shared memory that a kernel may use without opting in.
const DEFAULT_SHARED: u32 = 48 << 10;

/// Returns the compute capability for which the kernels were compiled, `(major, minor)`.
pub fn capability() -> (u32, u32) {
    (compiled::CAPABILITY / 10, compiled::CAPABILITY % 10)
}

/// Loads a kernel and prepares it for launches with `shared` bytes of dynamic shared memory.
pub fn function(
    op: &str,
    device: &CudaDevice,
    module: &str,
    kernel: &str,
    shared: u32,
) -> Result<CudaFunction> {
    let Some(module) = compiled::MODULES.iter().find(|compiled| compiled.stem == module) else {
        bail!("{op}: no compiled module is named {module:?}")
    };
    let function = device.get_or_load_custom_func(kernel, module.name, module.ptx);
    let function = function.map_err(|error| error::loading(op, device, kernel, error))?;
    if shared > DEFAULT_SHARED {
        let attribute = CUfunction_attribute::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES;
        let bytes = i32::try_from(shared).unwrap_or(i32::MAX);
        function
            .set_attribute(attribute, bytes)
            .map_err(|error| error::shared_memory(op, device, kernel, shared, error))?;
    }
    Ok(function.into_cuda_function())
}
