//! Operations with gradients. An [`Operation`] has an array of operands. Candle has a separate trait for each number of
//! operands (`CustomOp1` to `CustomOp3`); [`Node`] implements these traits.

use candle_core::{
    CpuStorage, CudaStorage, CustomOp1, CustomOp2, CustomOp3, Layout, MetalStorage, Result, Shape, Tensor,
    bail,
};

use crate::backward::take_gradient;
use crate::composed_path::check_kernel;
use crate::cuda::Operand as CudaOperand;
use crate::memory::keep_memory_in_training;

/// A tensor on the CPU: its storage and layout.
pub(crate) type CpuOperand<'a> = (&'a CpuStorage, &'a Layout);

/// A tensor on an Apple GPU: its storage and layout.
pub(crate) type MetalOperand<'a> = (&'a MetalStorage, &'a Layout);

/// A differentiable operation on `N` tensors, for some kinds of devices.
pub(crate) trait Operation<const N: usize>: Send + Sync + 'static {
    /// Whether the operation runs on every device, so that composed paths may use it. In tests, other operations fail
    /// on a composed path.
    const ON_EVERY_DEVICE: bool = false;

    fn name(&self) -> &'static str;

    fn forward(&self, operands: [CpuOperand; N]) -> Result<(CpuStorage, Shape)> {
        bail!("{}: expected tensors on a CUDA device, found {} on the CPU", self.name(), operands.len())
    }

    fn forward_on_cuda(&self, operands: [CudaOperand; N]) -> Result<(CudaStorage, Shape)> {
        bail!("{}: expected tensors on the CPU, found {} on a CUDA device", self.name(), operands.len())
    }

    fn forward_on_metal(&self, operands: [MetalOperand; N]) -> Result<(MetalStorage, Shape)> {
        bail!("{}: expected tensors on the CPU, found {} on a Metal device", self.name(), operands.len())
    }

    /// Returns the gradients of the operands from the gradient of the output; `None` for operands that need no
    /// gradient.
    fn backward(
        &self,
        operands: [&Tensor; N],
        output: &Tensor,
        gradient: &Tensor,
    ) -> Result<[Option<Tensor>; N]>;
}

/// Runs an operation. If an operand tracks gradients, the operation becomes a node of candle's graph.
pub(crate) fn apply<const N: usize>(operands: [&Tensor; N], operation: impl Operation<N>) -> Result<Tensor> {
    let node = Node(Box::new(Fixed(operation)));
    match operands.as_slice() {
        [x] => x.apply_op1(node),
        [x, second] => x.apply_op2(second, node),
        [x, second, third] => x.apply_op3(second, third, node),
        _ => bail!("{}: expected one to three operands, found {}", node.0.name(), operands.len()),
    }
}

/// An operation with any number of operands, for use as a trait object.
trait AnyOperation: Send + Sync {
    fn name(&self) -> &'static str;
    fn forward(&self, operands: &[CpuOperand]) -> Result<(CpuStorage, Shape)>;
    fn forward_on_cuda(&self, operands: &[CudaOperand]) -> Result<(CudaStorage, Shape)>;
    fn forward_on_metal(&self, operands: &[MetalOperand]) -> Result<(MetalStorage, Shape)>;
    fn backward(
        &self,
        operands: &[&Tensor],
        output: &Tensor,
        gradient: &Tensor,
    ) -> Result<Vec<Option<Tensor>>>;
}

/// Adapts an [`Operation`] with `N` operands to [`AnyOperation`].
struct Fixed<O, const N: usize>(O);

impl<const N: usize, O: Operation<N>> AnyOperation for Fixed<O, N> {
    fn name(&self) -> &'static str {
        self.0.name()
    }

    fn forward(&self, operands: &[CpuOperand]) -> Result<(CpuStorage, Shape)> {
        if !O::ON_EVERY_DEVICE {
            check_kernel(self.name())?;
        }
        self.0.forward(to_array(self.name(), operands)?)
    }

    fn forward_on_cuda(&self, operands: &[CudaOperand]) -> Result<(CudaStorage, Shape)> {
        self.0.forward_on_cuda(to_array(self.name(), operands)?)
    }

    fn forward_on_metal(&self, operands: &[MetalOperand]) -> Result<(MetalStorage, Shape)> {
        self.0.forward_on_metal(to_array(self.name(), operands)?)
    }

    fn backward(
        &self,
        operands: &[&Tensor],
        output: &Tensor,
        gradient: &Tensor,
    ) -> Result<Vec<Option<Tensor>>> {
        Ok(self.0.backward(to_array(self.name(), operands)?, output, gradient)?.into())
    }
}

/// Converts a slice of operands to an array. Fails if their number is not `N`.
pub(super) fn to_array<T: Copy, const N: usize>(name: &str, operands: &[T]) -> Result<[T; N]> {
    match operands.try_into() {
        Ok(operands) => Ok(operands),
        Err(_) => bail!("{name}: expected {N} tensors, found {}", operands.len()),
    }
}

/// An operation as a node of candle's graph.
struct Node(Box<dyn AnyOperation>);

impl Node {
    fn gradients<const N: usize>(
        &self,
        operands: [&Tensor; N],
        output: &Tensor,
        gradient: &Tensor,
    ) -> Result<[Option<Tensor>; N]> {
        keep_memory_in_training();
        let gradients = self.0.backward(&operands, output, gradient)?;
        let count = gradients.len();
        let Ok(mut gradients) = <[Option<Tensor>; N]>::try_from(gradients) else {
            bail!("{}: expected {N} gradients, found {count}", self.0.name());
        };
        // During `crate::backward`, the gradients of variables are added to the sums of that function, and candle
        // receives `None`.
        for (operand, slot) in operands.into_iter().zip(&mut gradients) {
            *slot = slot.take().map(|gradient| take_gradient(operand, gradient)).transpose()?.flatten();
        }
        Ok(gradients)
    }
}

impl CustomOp1 for Node {
    fn name(&self) -> &'static str {
        self.0.name()
    }

    fn cpu_fwd(&self, s1: &CpuStorage, l1: &Layout) -> Result<(CpuStorage, Shape)> {
        self.0.forward(&[(s1, l1)])
    }

    fn cuda_fwd(&self, s1: &CudaStorage, l1: &Layout) -> Result<(CudaStorage, Shape)> {
        self.0.forward_on_cuda(&[(s1, l1)])
    }

    fn metal_fwd(&self, s1: &MetalStorage, l1: &Layout) -> Result<(MetalStorage, Shape)> {
        self.0.forward_on_metal(&[(s1, l1)])
    }

    fn bwd(&self, x1: &Tensor, output: &Tensor, gradient: &Tensor) -> Result<Option<Tensor>> {
        let [grad_x1] = self.gradients([x1], output, gradient)?;
        Ok(grad_x1)
    }
}

impl CustomOp2 for Node {
    fn name(&self) -> &'static str {
        self.0.name()
    }

    fn cpu_fwd(
        &self,
        s1: &CpuStorage,
        l1: &Layout,
        s2: &CpuStorage,
        l2: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        self.0.forward(&[(s1, l1), (s2, l2)])
    }

    fn cuda_fwd(
        &self,
        s1: &CudaStorage,
        l1: &Layout,
        s2: &CudaStorage,
        l2: &Layout,
    ) -> Result<(CudaStorage, Shape)> {
        self.0.forward_on_cuda(&[(s1, l1), (s2, l2)])
    }

    fn metal_fwd(
        &self,
        s1: &MetalStorage,
        l1: &Layout,
        s2: &MetalStorage,
        l2: &Layout,
    ) -> Result<(MetalStorage, Shape)> {
        self.0.forward_on_metal(&[(s1, l1), (s2, l2)])
    }

    fn bwd(
        &self,
        x1: &Tensor,
        x2: &Tensor,
        output: &Tensor,
        gradient: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        Ok(self.gradients([x1, x2], output, gradient)?.into())
    }
}

impl CustomOp3 for Node {
    fn name(&self) -> &'static str {
        self.0.name()
    }

    fn cpu_fwd(
        &self,
        s1: &CpuStorage,
        l1: &Layout,
        s2: &CpuStorage,
        l2: &Layout,
        s3: &CpuStorage,
        l3: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        self.0.forward(&[(s1, l1), (s2, l2), (s3, l3)])
    }

    fn cuda_fwd(
        &self,
        s1: &CudaStorage,
        l1: &Layout,
        s2: &CudaStorage,
        l2: &Layout,
        s3: &CudaStorage,
        l3: &Layout,
    ) -> Result<(CudaStorage, Shape)> {
        self.0.forward_on_cuda(&[(s1, l1), (s2, l2), (s3, l3)])
    }

    fn metal_fwd(
        &self,
        s1: &MetalStorage,
        l1: &Layout,
        s2: &MetalStorage,
        l2: &Layout,
        s3: &MetalStorage,
        l3: &Layout,
    ) -> Result<(MetalStorage, Shape)> {
        self.0.forward_on_metal(&[(s1, l1), (s2, l2), (s3, l3)])
    }

    fn bwd(
        &self,
        x1: &Tensor,
        x2: &Tensor,
        x3: &Tensor,
        output: &Tensor,
        gradient: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        Ok(self.gradients([x1, x2, x3], output, gradient)?.into())
    }
}
