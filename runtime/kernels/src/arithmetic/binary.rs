//! Arithmetic with broadcasting.

use std::mem::MaybeUninit;

use candle_core::{CpuStorage, Result, Shape, Tensor, bail};

use crate::element::not_a_float;
use crate::operation::{CpuOperand, Operation};
use crate::relay;
use crate::simd::{Kernel, Simd, dispatch_loops};
use crate::strided::{ComputeType, Formula, Identity, Run, map, map_tensors, sum_tensors};

use super::unary::Unary;
use super::{has_kernels, is_floating_point};

/// An arithmetic operation on two numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Binary {
    /// `a + b`
    Add,
    /// `a - b`
    Sub,
    /// `a · b`
    Mul,
    /// `a / b`
    Div,
}

impl Binary {
    /// Returns the operation's name, as in error messages: `add`, `subtract`, `multiply` or `divide`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Add => "add",
            Self::Sub => "subtract",
            Self::Mul => "multiply",
            Self::Div => "divide",
        }
    }

    /// Computes the operation with candle.
    fn composed(self, a: &Tensor, b: &Tensor) -> Result<Tensor> {
        match self {
            Self::Add => a.broadcast_add(b),
            Self::Sub => a.broadcast_sub(b),
            Self::Mul => a.broadcast_mul(b),
            Self::Div => a.broadcast_div(b),
        }
    }
}

/// Combines two tensors elementwise. Their shapes broadcast as in PyTorch: dimensions are compared from the last to the
/// first, and a dimension that is missing or has size 1 in one tensor is repeated to the size in the other.
///
/// Supports f32, f64, f16 and bf16. All operations except [`Binary::Div`] also support integers, with candle's
/// operations. Differentiable in both operands.
///
/// # Errors
/// Fails if the shapes do not broadcast, the dtypes differ, or integers are divided.
///
/// # Examples
/// ```
/// use candle_core::{Device, Result, Tensor};
/// use sconce_kernels::{Binary, binary};
///
/// # fn main() -> Result<()> {
/// let x = Tensor::new(&[[1f32, 2.], [3., 4.]], &Device::Cpu)?;
/// let scale = Tensor::new(&[10f32, 100.], &Device::Cpu)?;
/// assert_eq!(binary(Binary::Mul, &x, &scale)?.to_vec2::<f32>()?, [[10., 200.], [30., 400.]]);
///
/// let error = binary(Binary::Add, &x, &Tensor::new(&[1f32, 2., 3.], &Device::Cpu)?).unwrap_err();
/// assert!(error.to_string().starts_with("cannot add shapes [2, 2] and [3]"));
/// # Ok(())
/// # }
/// ```
pub fn binary(op: Binary, a: &Tensor, b: &Tensor) -> Result<Tensor> {
    let Ok(shape) = a.shape().broadcast_shape_binary_op(b.shape(), op.name()) else {
        bail!("cannot {} shapes {:?} and {:?}", op.name(), a.dims(), b.dims())
    };
    if a.dtype() != b.dtype() {
        bail!("cannot {} tensors of different dtypes, {:?} and {:?}", op.name(), a.dtype(), b.dtype());
    }
    if op == Binary::Div && !is_floating_point(a) {
        return Err(not_a_float(op.name(), a.dtype()));
    }
    if has_kernels(a) && b.device().is_cpu() {
        relay::apply([a, b], Broadcast { op, shape })
    } else {
        op.composed(a, b)
    }
}

/// An arithmetic operation on tensors that broadcast to `shape`.
struct Broadcast {
    op: Binary,
    shape: Shape,
}

impl Operation<2> for Broadcast {
    fn name(&self) -> &'static str {
        self.op.name()
    }

    fn forward(&self, operands: [CpuOperand; 2]) -> Result<(CpuStorage, Shape)> {
        Ok((map(self.name(), operands, &self.shape, &self.op)?, self.shape.clone()))
    }

    fn backward(&self, [a, b]: [&Tensor; 2], y: &Tensor, grad: &Tensor) -> Result<[Option<Tensor>; 2]> {
        Ok(match self.op {
            Binary::Add => [self.gradient_of_summand(a, grad)?, self.gradient_of_summand(b, grad)?],
            Binary::Sub => [self.gradient_of_summand(a, grad)?, self.gradient(b, [grad], &Unary::Neg)?],
            Binary::Mul => [self.gradient(a, [grad, b], &self.op)?, self.gradient(b, [grad, a], &self.op)?],
            Binary::Div => {
                // The derivative with respect to `b` is -a / b² = -y / b.
                let slope = || map_tensors(self.name(), [y, b], &self.shape, &Binary::Div);
                let slope = b.track_op().then(slope).transpose()?;
                let grad_b =
                    slope.map(|slope| self.gradient(b, [grad, &slope], &NegatedProduct)).transpose()?;
                [self.gradient(a, [grad, b], &Binary::Div)?, grad_b.flatten()]
            }
        })
    }
}

impl Broadcast {
    /// Returns the gradient of a summand or a minuend, for which the derivative is 1.
    fn gradient_of_summand(&self, operand: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        let same_shape = operand.track_op() && *operand.shape() == self.shape;
        if same_shape { Ok(Some(grad.clone())) } else { self.gradient(operand, [grad], &Identity) }
    }

    /// Returns the gradient of an operand: the values of the formula for `inputs`, summed over the dimensions along
    /// which the operand is repeated. Returns `None` if the operand needs no gradient.
    fn gradient<const N: usize>(
        &self,
        operand: &Tensor,
        inputs: [&Tensor; N],
        formula: &impl Formula<N>,
    ) -> Result<Option<Tensor>> {
        if !operand.track_op() {
            return Ok(None);
        }
        if *operand.shape() == self.shape {
            return map_tensors(self.name(), inputs, &self.shape, formula).map(Some);
        }
        sum_tensors(self.name(), inputs, [&self.shape, operand.shape()], 1., formula).map(Some)
    }
}

// SAFETY: `map_binary` initializes every element.
unsafe impl Formula<2> for Binary {
    fn run<E: ComputeType>(&self, inputs: [Run<'_, E>; 2], out: &mut [MaybeUninit<E>]) {
        match self {
            Self::Add => map_binary(inputs, out, |a, b| a + b),
            Self::Sub => map_binary(inputs, out, |a, b| a - b),
            Self::Mul => map_binary(inputs, out, |a, b| a * b),
            Self::Div => map_binary(inputs, out, |a, b| a / b),
        }
    }
}

/// `-(a · b)`
struct NegatedProduct;

// SAFETY: `map_binary` initializes every element.
unsafe impl Formula<2> for NegatedProduct {
    fn run<E: ComputeType>(&self, inputs: [Run<'_, E>; 2], out: &mut [MaybeUninit<E>]) {
        map_binary(inputs, out, |a, b| -(a * b));
    }
}

/// Writes `f(a, b)` for each pair of elements of the inputs. Initializes every element of `out`.
pub(crate) fn map_binary<E: ComputeType>(
    inputs: [Run<'_, E>; 2],
    out: &mut [MaybeUninit<E>],
    f: impl Fn(E, E) -> E + Copy,
) {
    dispatch_loops(MapBinary { inputs, out, f });
}

struct MapBinary<'a, E, F> {
    inputs: [Run<'a, E>; 2],
    out: &'a mut [MaybeUninit<E>],
    f: F,
}

impl<E: ComputeType, F: Fn(E, E) -> E + Copy> Kernel for MapBinary<'_, E, F> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let Self { inputs, out, f } = self;
        match inputs {
            [Run::Slice(a), Run::Slice(b)] => {
                assert!(a.len() == out.len() && b.len() == out.len());
                for ((out, a), b) in out.iter_mut().zip(a).zip(b) {
                    out.write(f(*a, *b));
                }
            }
            [Run::Slice(a), Run::Constant(b)] => {
                assert!(a.len() == out.len());
                for (out, a) in out.iter_mut().zip(a) {
                    out.write(f(*a, b));
                }
            }
            [Run::Constant(a), Run::Slice(b)] => {
                assert!(b.len() == out.len());
                for (out, b) in out.iter_mut().zip(b) {
                    out.write(f(a, *b));
                }
            }
            [Run::Constant(a), Run::Constant(b)] => out.fill(MaybeUninit::new(f(a, b))),
        }
    }
}
