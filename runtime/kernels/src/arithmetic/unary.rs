//! Elementwise functions that are not activations.

use std::mem::MaybeUninit;

use candle_core::{CpuStorage, Result, Shape, Tensor};

use crate::element::{clamp, not_a_float};
use crate::operation::{CpuOperand, Operation};
use crate::parallel::cost;
use crate::relay;
use crate::simd::{Kernel, Simd, dispatch_loops};
use crate::strided::{ComputeType, Formula, Run, map, map_tensors};

use super::binary::map_binary;
use super::{has_kernels, is_floating_point};

/// An elementwise function of one operand. For activations, see [`Activation`](crate::Activation).
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Unary {
    /// `-x`
    Neg,
    /// `|x|`. With the CPU kernels, the gradient at 0 is 0, as in PyTorch.
    Abs,
    /// `x²`
    Sqr,
    /// `√x`
    Sqrt,
    /// `eˣ`
    Exp,
    /// `ln x`
    Log,
    /// `factor · x + offset`
    Affine {
        /// The factor.
        factor: f64,
        /// The summand.
        offset: f64,
    },
    /// `numerator / x`
    Quotient {
        /// The number that is divided.
        numerator: f64,
    },
    /// `x` to the power `exponent`
    Powf {
        /// The exponent.
        exponent: f64,
    },
    /// `min(max(x, min), max)`. The gradient is 0 outside of the bounds. With the CPU kernels, the gradient at the
    /// bounds is 1, as in PyTorch.
    Clamp {
        /// The lower bound.
        min: f64,
        /// The upper bound.
        max: f64,
    },
}

impl Unary {
    /// Returns the function's name, as in error messages: `neg`, `sqrt`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Neg => "neg",
            Self::Abs => "abs",
            Self::Sqr => "sqr",
            Self::Sqrt => "sqrt",
            Self::Exp => "exp",
            Self::Log => "log",
            Self::Affine { .. } => "affine",
            Self::Quotient { .. } => "quotient",
            Self::Powf { .. } => "powf",
            Self::Clamp { .. } => "clamp",
        }
    }

    /// Returns `true` if candle's operation supports integers.
    fn supports_integers(self) -> bool {
        matches!(self, Self::Abs | Self::Affine { .. } | Self::Clamp { .. })
    }

    /// Returns `true` if the gradient is computed from the output, and `false` if it is computed from the input.
    fn saves_output(self) -> bool {
        matches!(self, Self::Sqrt | Self::Exp)
    }

    /// Returns the value of the function at 0.
    pub(crate) fn at_zero(self) -> f32 {
        let mut value = [MaybeUninit::new(f32::NAN)];
        self.run([Run::Constant(0f32)], &mut value);
        // SAFETY: the element was initialized when it was created.
        unsafe { value[0].assume_init() }
    }

    /// Computes the function with candle's operations.
    fn composed(self, x: &Tensor) -> Result<Tensor> {
        match self {
            Self::Neg => x.neg(),
            Self::Abs => x.abs(),
            Self::Sqr => x.sqr(),
            Self::Sqrt => x.sqrt(),
            Self::Exp => x.exp(),
            Self::Log => x.log(),
            Self::Affine { factor, offset } => x.affine(factor, offset),
            Self::Quotient { numerator } => x.recip()? * numerator,
            Self::Powf { exponent } => x.powf(exponent),
            Self::Clamp { min, max } => clamp(x, min, max),
        }
    }
}

/// Applies a function to every element.
///
/// `x` has any shape. The result has the shape and dtype of `x`. Differentiable in `x`. Supports f32, f64, f16 and
/// bf16. [`Unary::Abs`], [`Unary::Affine`] and [`Unary::Clamp`] also support integers, with candle's operations.
///
/// # Errors
/// Fails if the dtype is not supported.
///
/// # Examples
/// ```
/// use candle_core::{Device, Result, Tensor};
/// use sconce_kernels::{Unary, unary};
///
/// # fn main() -> Result<()> {
/// let x = Tensor::new(&[1f32, 4.], &Device::Cpu)?;
/// assert_eq!(unary(Unary::Sqrt, &x)?.to_vec1::<f32>()?, [1., 2.]);
/// assert_eq!(unary(Unary::Affine { factor: 2., offset: -1. }, &x)?.to_vec1::<f32>()?, [1., 7.]);
/// # Ok(())
/// # }
/// ```
pub fn unary(op: Unary, x: &Tensor) -> Result<Tensor> {
    if !is_floating_point(x) && !op.supports_integers() {
        return Err(not_a_float(op.name(), x.dtype()));
    }
    if has_kernels(x) { relay::apply([x], op) } else { op.composed(x) }
}

impl Operation<1> for Unary {
    fn name(&self) -> &'static str {
        (*self).name()
    }

    fn forward(&self, [x]: [CpuOperand; 1]) -> Result<(CpuStorage, Shape)> {
        let shape = x.1.shape().clone();
        Ok((map((*self).name(), [x], &shape, self)?, shape))
    }

    fn backward(&self, [x]: [&Tensor; 1], y: &Tensor, grad: &Tensor) -> Result<[Option<Tensor>; 1]> {
        let saved = if self.saves_output() { y } else { x };
        Ok([Some(map_tensors((*self).name(), [grad, saved], x.shape(), &Gradient(*self))?)])
    }
}

// SAFETY: `map_unary` initializes every element.
unsafe impl Formula<1> for Unary {
    fn run<E: ComputeType>(&self, [x]: [Run<'_, E>; 1], out: &mut [MaybeUninit<E>]) {
        match *self {
            Self::Neg => map_unary(x, out, |x| -x),
            Self::Abs => map_unary(x, out, |x| x.abs()),
            Self::Sqr => map_unary(x, out, |x| x * x),
            Self::Sqrt => map_unary(x, out, |x| x.sqrt()),
            Self::Exp => map_unary(x, out, |x| x.exp()),
            Self::Log => map_unary(x, out, |x| x.ln()),
            Self::Affine { factor, offset } => {
                let [factor, offset] = [factor, offset].map(E::from_f64);
                map_unary(x, out, |x| x * factor + offset);
            }
            Self::Quotient { numerator } => {
                let numerator = E::from_f64(numerator);
                map_unary(x, out, |x| numerator / x);
            }
            Self::Powf { exponent } => {
                let exponent = E::from_f64(exponent);
                map_unary(x, out, |x| x.powf(exponent));
            }
            Self::Clamp { min, max } => {
                let [min, max] = [min, max].map(E::from_f64);
                map_unary(x, out, |x| x.at_least(min).at_most(max));
            }
        }
    }

    fn task_len(&self) -> usize {
        match self {
            Self::Log | Self::Powf { .. } => cost::MIN_LIBRARY_CALL_ELEMENTS,
            _ => cost::MIN_ELEMENTS,
        }
    }
}

/// The gradient of a function's input, from the gradient of the output and the saved input or output.
struct Gradient(Unary);

// SAFETY: `map_binary` initializes every element.
unsafe impl Formula<2> for Gradient {
    fn run<E: ComputeType>(&self, inputs: [Run<'_, E>; 2], out: &mut [MaybeUninit<E>]) {
        let zero = E::ZERO;
        match self.0 {
            Unary::Neg => map_binary(inputs, out, |grad, _| -grad),
            Unary::Abs => {
                map_binary(inputs, out, |grad, x| x.where_less(zero, -grad, zero.where_less(x, grad, zero)))
            }
            Unary::Sqr => map_binary(inputs, out, |grad, x| grad * (x + x)),
            Unary::Sqrt => map_binary(inputs, out, |grad, y| grad / (y + y)),
            Unary::Exp => map_binary(inputs, out, |grad, y| grad * y),
            Unary::Log => map_binary(inputs, out, |grad, x| grad / x),
            Unary::Affine { factor, .. } => {
                let factor = E::from_f64(factor);
                map_binary(inputs, out, |grad, _| grad * factor);
            }
            Unary::Quotient { numerator } => {
                let numerator = E::from_f64(-numerator);
                map_binary(inputs, out, |grad, x| grad * (numerator / x / x));
            }
            Unary::Powf { exponent } => {
                let [exponent, exponent_m1] = [exponent, exponent - 1.].map(E::from_f64);
                map_binary(inputs, out, |grad, x| grad * (exponent * x.powf(exponent_m1)));
            }
            Unary::Clamp { min, max } => {
                let [min, max] = [min, max].map(E::from_f64);
                map_binary(inputs, out, |grad, x| {
                    min.where_at_most(x, x.where_at_most(max, grad, zero), zero)
                });
            }
        }
    }

    fn task_len(&self) -> usize {
        if let Unary::Powf { .. } = self.0 { cost::MIN_LIBRARY_CALL_ELEMENTS } else { cost::MIN_ELEMENTS }
    }
}

/// Writes `f(x)` for each element of the input. Initializes every element of `out`.
pub(crate) fn map_unary<E: ComputeType>(
    x: Run<'_, E>,
    out: &mut [MaybeUninit<E>],
    f: impl Fn(E) -> E + Copy,
) {
    dispatch_loops(MapUnary { x, out, f });
}

struct MapUnary<'a, E, F> {
    x: Run<'a, E>,
    out: &'a mut [MaybeUninit<E>],
    f: F,
}

impl<E: ComputeType, F: Fn(E) -> E + Copy> Kernel for MapUnary<'_, E, F> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let Self { x, out, f } = self;
        match x {
            Run::Constant(x) => out.fill(MaybeUninit::new(f(x))),
            Run::Slice(x) => {
                assert!(x.len() == out.len());
                for (out, x) in out.iter_mut().zip(x) {
                    out.write(f(*x));
                }
            }
        }
    }
}
