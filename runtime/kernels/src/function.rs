//! A node of candle's graph with any number of operands, whose gradients a closure computes. Candle's own nodes have at
//! most three operands.
//!
//! In candle's graph, a chain of scalars represents the operands. Each [`Link`] is an operation on the previous link
//! and one operand, and the [`Output`] is an operation on the last link. A backward pass first reaches the [`Output`],
//! which calls the closure. The gradients of the operands then wait in [`Pending`] until the pass reaches the links.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::{Arc, Mutex};
use std::thread::{self, ThreadId};

use candle_core::backend::{BackendDevice, BackendStorage};
use candle_core::{CpuStorage, CudaStorage, DType, MetalStorage, Result, Shape, Storage, Tensor, bail};

use crate::cuda::Operand as CudaOperand;
use crate::element::not_a_float;
use crate::lock::locked;
use crate::operation::{self, CpuOperand, MetalOperand, Operation};

/// Returns a copy of `output` whose backward pass calls `gradients`.
///
/// - `operands`: the tensors on which the output depends. Each appears once and tracks gradients.
/// - `output`: the value of the function. The operations that computed it are not differentiated.
/// - `gradients`: returns the gradient of each operand, or `None` for zero, from the gradient of the output. Each
///   backward pass calls it once.
///
/// # Errors
/// Fails if an operand is on a different device from the output, or if the memory is exhausted.
pub fn function(
    operands: &[Tensor],
    output: Tensor,
    gradients: impl Fn(&Tensor) -> Result<Vec<Option<Tensor>>> + Send + Sync + 'static,
) -> Result<Tensor> {
    let pending = Arc::new(Pending::default());
    let mut chain = Tensor::zeros((), DType::F32, output.device())?;
    for (index, operand) in operands.iter().enumerate() {
        chain = operation::apply([&chain, operand], Link { index, pending: pending.clone() })?;
    }
    let value = Mutex::new(Some(output.detach()));
    drop(output);
    operation::apply([&chain], Output { value, count: operands.len(), gradients, pending })
}

/// For each thread that runs a backward pass, the gradients of the operands. A gradient is taken when the backward pass
/// reaches the [`Link`] of its operand.
#[derive(Default)]
struct Pending(Mutex<HashMap<ThreadId, Vec<Option<Tensor>>>>);

impl Pending {
    fn put(&self, gradients: Vec<Option<Tensor>>) {
        let mut pending = locked(&self.0);
        pending.insert(thread::current().id(), gradients);
    }

    /// Takes the gradient of operand `index`. A backward pass reaches the last operand first and operand 0 last.
    fn take(&self, index: usize) -> Option<Tensor> {
        let mut pending = locked(&self.0);
        let thread = thread::current().id();
        let gradients = pending.get_mut(&thread)?;
        let gradient = gradients.get_mut(index)?.take();
        if index == 0 || gradients.iter().all(Option::is_none) {
            pending.remove(&thread);
        }
        gradient
    }
}

/// The node of one operand in the chain. Its result is a scalar.
struct Link {
    index: usize,
    pending: Arc<Pending>,
}

/// Returns the scalar zero on the device of `chain`.
fn zero_on_device_of<S: BackendStorage<Device: BackendDevice<Storage = S>>>(chain: &S) -> Result<(S, Shape)> {
    let shape = Shape::from(());
    Ok((chain.device().zeros_impl(&shape, DType::F32)?, shape))
}

impl Operation<2> for Link {
    const ON_EVERY_DEVICE: bool = true;

    fn name(&self) -> &'static str {
        "operand"
    }

    fn forward(&self, _: [CpuOperand; 2]) -> Result<(CpuStorage, Shape)> {
        Ok((CpuStorage::F32(vec![0.]), Shape::from(())))
    }

    fn forward_on_cuda(&self, [(chain, _), _]: [CudaOperand; 2]) -> Result<(CudaStorage, Shape)> {
        zero_on_device_of(chain)
    }

    fn forward_on_metal(&self, [(chain, _), _]: [MetalOperand; 2]) -> Result<(MetalStorage, Shape)> {
        zero_on_device_of(chain)
    }

    fn backward(
        &self,
        [_, operand]: [&Tensor; 2],
        _: &Tensor,
        chain_gradient: &Tensor,
    ) -> Result<[Option<Tensor>; 2]> {
        let gradient = match self.pending.take(self.index) {
            // Candle needs a gradient for each node that is not a variable.
            None if !operand.is_variable() => Some(operand.zeros_like()?),
            gradient => gradient,
        };
        // The chain begins with a constant, which needs no gradient.
        let chain_gradient = (self.index > 0).then(|| chain_gradient.clone());
        Ok([chain_gradient, gradient])
    }
}

/// The node of the output.
struct Output<F> {
    /// The value; `None` after the forward pass.
    value: Mutex<Option<Tensor>>,
    /// The number of operands.
    count: usize,
    gradients: F,
    pending: Arc<Pending>,
}

impl<F> Output<F> {
    /// Takes the value. Its elements are contiguous.
    fn take(&self) -> Result<Tensor> {
        match locked(&self.value).take() {
            Some(value) => value.contiguous(),
            None => bail!("function: the output was already taken"),
        }
    }

    /// Takes the value. Its elements are contiguous, and its storage has no elements before them.
    fn take_from_start(&self) -> Result<Tensor> {
        let value = self.take()?;
        if value.layout().start_offset() > 0 { value.force_contiguous() } else { Ok(value) }
    }
}

/// Returns the error for an output on a device of a different kind from the operands.
fn device_error<T>(expected: &str, output: &Tensor) -> Result<T> {
    bail!("function: expected an output on {expected}, found one on {:?}", output.device().location())
}

/// Returns a copy of the elements in `range`. The storage of a view has more elements than the view.
fn copy_of(storage: &CpuStorage, range: Range<usize>) -> Result<CpuStorage> {
    Ok(match storage {
        CpuStorage::F32(elements) => CpuStorage::F32(elements[range].to_vec()),
        CpuStorage::F64(elements) => CpuStorage::F64(elements[range].to_vec()),
        CpuStorage::F16(elements) => CpuStorage::F16(elements[range].to_vec()),
        CpuStorage::BF16(elements) => CpuStorage::BF16(elements[range].to_vec()),
        other => return Err(not_a_float("function", other.dtype())),
    })
}

impl<F> Operation<1> for Output<F>
where
    F: Fn(&Tensor) -> Result<Vec<Option<Tensor>>> + Send + Sync + 'static,
{
    const ON_EVERY_DEVICE: bool = true;

    fn name(&self) -> &'static str {
        "function"
    }

    fn forward(&self, _: [CpuOperand; 1]) -> Result<(CpuStorage, Shape)> {
        let value = self.take()?;
        let (storage, layout) = value.storage_and_layout();
        let start = layout.start_offset();
        match &*storage {
            Storage::Cpu(storage) => {
                Ok((copy_of(storage, start..start + value.elem_count())?, value.shape().clone()))
            }
            _ => device_error("the CPU", &value),
        }
    }

    fn forward_on_cuda(&self, _: [CudaOperand; 1]) -> Result<(CudaStorage, Shape)> {
        let value = self.take_from_start()?;
        let (storage, layout) = value.storage_and_layout();
        match &*storage {
            Storage::Cuda(storage) => Ok((storage.try_clone(layout)?, value.shape().clone())),
            _ => device_error("a CUDA device", &value),
        }
    }

    fn forward_on_metal(&self, _: [MetalOperand; 1]) -> Result<(MetalStorage, Shape)> {
        let value = self.take_from_start()?;
        let (storage, layout) = value.storage_and_layout();
        match &*storage {
            Storage::Metal(storage) => Ok((storage.try_clone(layout)?, value.shape().clone())),
            _ => device_error("a Metal device", &value),
        }
    }

    fn backward(&self, [chain]: [&Tensor; 1], _: &Tensor, gradient: &Tensor) -> Result<[Option<Tensor>; 1]> {
        let gradients = (self.gradients)(gradient)?;
        if gradients.len() != self.count {
            bail!(
                "function: expected {} gradients, one for each operand, found {}",
                self.count,
                gradients.len()
            );
        }
        self.pending.put(gradients);
        Ok([Some(chain.ones_like()?)])
    }
}

/// Returns a scalar whose backward pass gives `x` the gradient `gradient`. The scalar serves to start a backward pass
/// in the middle of a graph, at `x`.
///
/// # Errors
/// Fails if the memory is exhausted.
pub fn with_gradient(x: &Tensor, gradient: &Tensor) -> Result<Tensor> {
    let zero = Tensor::zeros((), DType::F32, x.device())?;
    let gradient = gradient.detach();
    function(std::slice::from_ref(x), zero, move |_| Ok(vec![Some(gradient.clone())]))
}
