//! Replaces `device` in builds without the feature `cuda`. Every function returns an error.

use std::convert::Infallible;

use candle_core::{CudaDevice, CudaStorage, Device, Result, bail};

use super::{Operand, Program, Target};

pub(crate) fn open(ordinal: usize) -> Result<CudaDevice> {
    bail!("expected the CUDA device {ordinal}, but sconce was compiled without its feature `cuda`")
}

pub(crate) fn run(
    op: &'static str,
    _program: &dyn Fn(&Target) -> Result<Program>,
    _operands: &[Operand],
) -> Result<Vec<CudaStorage>> {
    bail!("{op}: sconce was compiled without its feature `cuda`")
}

#[cfg(any(test, feature = "testing"))]
pub(crate) fn target_of(device: &Device) -> Result<Target> {
    bail!(
        "expected a CUDA device, found {:?}; sconce was compiled without its feature `cuda`",
        device.location()
    )
}

pub(crate) fn run_in_place(
    op: &'static str,
    program: &dyn Fn(&Target) -> Result<Program>,
    operands: &[Operand],
    _updated: usize,
) -> Result<()> {
    run(op, program, operands).map(|_| ())
}

/// A CUDA graph. This build has no values of this type.
///
/// # Examples
/// ```
/// use candle_core::Device;
/// use sconce_kernels::cuda::Graph;
///
/// let error = Graph::capture(&Device::Cpu, || Ok(())).err().unwrap();
/// assert!(error.to_string().contains("expected a CUDA device"), "{error}");
/// ```
pub struct Graph(Infallible);

impl Graph {
    /// Returns an error: there is no CUDA device in this build.
    ///
    /// # Errors
    /// Always fails.
    pub fn capture(device: &Device, _work: impl FnMut() -> Result<()>) -> Result<Self> {
        let actual = device.location();
        bail!(
            "capture: expected a CUDA device, found {actual:?}; sconce was compiled without its feature `cuda`"
        )
    }

    /// Cannot be called, because there is no value of this type.
    ///
    /// # Errors
    /// Never fails, because it is never called.
    pub fn launch(&self) -> Result<()> {
        match self.0 {}
    }
}
