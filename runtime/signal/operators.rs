//! Arithmetic between signals, tensors and numbers, with PyTorch's broadcasting.

use std::ops::{Add, AddAssign, Div, DivAssign, Mul, MulAssign, Neg, Sub, SubAssign};

use candle_core::{DType, Tensor};

use crate::kernels::internal::blocked;
use crate::scope::{self, Path};
use crate::{Error, Result};

use super::methods::check_float;
use super::{EpilogueOp, Fusion, Signal, Value};

/// Adds two signals. If one is a deferred convolution or batch norm, fuses the other into it as a residual.
fn add(a: Signal, b: Signal) -> Signal {
    let fused = match (a.shape(), b.shape()) {
        (Ok(_), Ok(shape)) if a.supports_residual(shape) => add_residual(a, b),
        (Ok(shape), Ok(_)) if b.supports_residual(shape) => add_residual(b, a),
        _ => add_blocked(a, b),
    };
    fused.into()
}

fn add_residual(deferred: Signal, residual: Signal) -> Result<Signal> {
    let residual =
        if deferred.is_blocked() { residual.into_blocked()? } else { Value::Tensor(residual.into_tensor()?) };
    Ok(match deferred.fuse(EpilogueOp::Residual(residual.clone())) {
        Fusion::Fused(sum) => sum,
        Fusion::Separate(signal, _) => add_tensors(signal, residual.into()),
    })
}

/// Adds signals in the channel-blocked layout if their shapes are equal, one of them is channel-blocked, and the other
/// is also channel-blocked or can be computed in that layout. Otherwise adds the signals as tensors.
fn add_blocked(a: Signal, b: Signal) -> Result<Signal> {
    let same_shape = matches!((a.dims(), b.dims()), (Ok(a), Ok(b)) if a == b);
    if !(same_shape && (a.is_blocked() && b.can_be_blocked() || b.is_blocked() && a.can_be_blocked())) {
        return Ok(add_tensors(a, b));
    }
    Ok(match (a.into_blocked()?, b.into_blocked()?) {
        (Value::Blocked(a), Value::Blocked(b)) => {
            scope::record_launch(Path::current, || "add".to_string());
            Signal::blocked(blocked::add(&a, &b)?)
        }
        (a, b) => add_tensors(a.into(), b.into()),
    })
}

fn add_tensors(a: Signal, b: Signal) -> Signal {
    broadcast("add", a, b, Tensor::broadcast_add)
}

/// Runs a binary operation on tensors whose shapes broadcast together.
fn broadcast<E: Into<Error>>(
    name: &'static str,
    a: Signal,
    b: Signal,
    operation: impl FnOnce(&Tensor, &Tensor) -> Result<Tensor, E>,
) -> Signal {
    let b = match b.into_tensor() {
        Ok(b) => b,
        Err(error) if a.error().is_none() => return Signal::fail(error),
        Err(_) => return a,
    };
    a.apply(name, |a| -> Result<Tensor> {
        a.shape()
            .broadcast_shape_binary_op(b.shape(), name)
            .map_err(|_| Error::msg(format!("cannot {name} shapes {:?} and {:?}", a.dims(), b.dims())))?;
        operation(&a, &b).map_err(Into::into)
    })
}

fn sub(a: Signal, b: Signal) -> Signal {
    broadcast("subtract", a, b, Tensor::broadcast_sub)
}

fn mul(a: Signal, b: Signal) -> Signal {
    broadcast("multiply", a, b, Tensor::broadcast_mul)
}

/// Divides two signals. Integers are an error, because candle panics if it divides an integer by zero.
fn div(a: Signal, b: Signal) -> Signal {
    broadcast("divide", a, b, |a, b| -> Result<Tensor> {
        check_float(a)?;
        check_float(b)?;
        Ok(a.broadcast_div(b)?)
    })
}

/// Implements an operator for `Signal ∘ Signal`, `Signal ∘ Tensor` and `Tensor ∘ Signal`, owned and borrowed.
macro_rules! binary {
    ($($trait:ident $method:ident;)*) => {$(
        binary!(@pairs $trait $method: Signal, Signal; Signal, &Signal; &Signal, Signal; &Signal, &Signal;
            Signal, Tensor; Signal, &Tensor; &Signal, Tensor; &Signal, &Tensor;
            Tensor, Signal; &Tensor, Signal; Tensor, &Signal; &Tensor, &Signal;);
    )*};
    (@pairs $trait:ident $method:ident: $($a:ty, $b:ty;)*) => {$(
        impl $trait<$b> for $a {
            type Output = Signal;
            fn $method(self, other: $b) -> Signal {
                $method(self.into(), other.into())
            }
        }
    )*};
}

binary! { Add add; Sub sub; Mul mul; Div div; }

/// A number that is an operand of a signal. It is converted to `f64`.
///
/// `x * 2`, `x * 0.5` and `x * scale` work with a number of any type on the right side. On the left side, the number is
/// an `f64` or `i32`: `1.0 - x`, `2 * x`.
///
/// ```
/// use sconce::prelude::*;
/// # fn main() -> Result<()> {
/// let x = Signal::from(Tensor::new(&[1f32, 2.], &Device::Cpu)?);
/// let scale: usize = 4;
/// let y = 1.0 - &x * scale / 2;
/// assert_eq!(y.into_tensor()?.to_vec1::<f32>()?, [-1., -3.]);
/// # Ok(())
/// # }
/// ```
#[diagnostic::on_unimplemented(
    message = "a signal cannot be combined with `{Self}`",
    note = "the operand is a `Signal`, a `Tensor` or a number"
)]
pub trait Number: Copy {
    /// Returns the nearest `f64`.
    fn to_f64(self) -> f64;
}

macro_rules! numbers {
    ($($number:ty)*) => {$(
        impl Number for $number {
            fn to_f64(self) -> f64 {
                self as f64
            }
        }
    )*};
}

numbers! { f32 f64 i8 i16 i32 i64 isize u8 u16 u32 u64 usize }

/// Returns `x · factor + offset`. The element type must represent both numbers, because candle would truncate them.
fn affine(x: &Tensor, factor: f64, offset: f64) -> Result<Tensor> {
    let dtype = x.dtype();
    let is_unsigned = matches!(dtype, DType::U8 | DType::U32);
    let is_exact = |number: f64| dtype.is_float() || number.fract() == 0. && (number >= 0. || !is_unsigned);
    match [factor, offset].into_iter().find(|number| !is_exact(*number)) {
        Some(number) => {
            Err(Error::msg(format!("expected an operand that {dtype:?} represents, found {number}")))
        }
        None => Ok(x.affine(factor, offset)?),
    }
}

/// Divides each element by a number.
fn divide_by(x: &Tensor, number: f64) -> Result<Tensor> {
    check_float(x)?;
    Ok((x / number)?)
}

/// Divides a number by each element.
fn divide(number: f64, x: &Tensor) -> Result<Tensor> {
    check_float(x)?;
    Ok((x.recip()? * number)?)
}

/// Implements an operator for `signal ∘ number` as `$left` and for `number ∘ signal` as `$right`.
macro_rules! scalar {
    ($($trait:ident $method:ident $name:literal |$t:ident, $n:ident| $left:expr, $right:expr;)*) => {$(
        // One generic implementation, so that the type of `x * 2.0` is known before that of the literal.
        impl<N: Number> $trait<N> for Signal {
            type Output = Signal;
            fn $method(self, number: N) -> Signal {
                let $n = number.to_f64();
                self.apply($name, |$t| $left)
            }
        }

        impl<N: Number> $trait<N> for &Signal {
            type Output = Signal;
            fn $method(self, number: N) -> Signal {
                self.clone().$method(number)
            }
        }

        scalar!(@left $trait $method $name |$t, $n| $right; f64 i32);
    )*};
    (@left $trait:ident $method:ident $name:literal |$t:ident, $n:ident| $right:expr; $($number:ty)*) => {$(
        impl $trait<Signal> for $number {
            type Output = Signal;
            fn $method(self, signal: Signal) -> Signal {
                let $n = self.to_f64();
                signal.apply($name, |$t| $right)
            }
        }

        impl $trait<&Signal> for $number {
            type Output = Signal;
            fn $method(self, signal: &Signal) -> Signal {
                self.$method(signal.clone())
            }
        }
    )*};
}

scalar! {
    Add add "add" |t, n| affine(&t, 1., n), affine(&t, 1., n);
    Sub sub "subtract" |t, n| affine(&t, 1., -n), affine(&t, -1., n);
    Mul mul "multiply" |t, n| affine(&t, n, 0.), affine(&t, n, 0.);
    Div div "divide" |t, n| divide_by(&t, n), divide(n, &t);
}

/// Implements `x += y` as `x = x + y`.
macro_rules! assigning {
    ($($trait:ident $method:ident $operator:ident $operation:ident;)*) => {$(
        impl<T> $trait<T> for Signal
        where
            Signal: $operator<T, Output = Signal>,
        {
            fn $method(&mut self, operand: T) {
                // The operator takes the signal itself, because a copy would prevent fusion.
                let x = std::mem::replace(self, Signal::fail(Error::msg("the operator did not return")));
                *self = x.$operation(operand);
            }
        }
    )*};
}

assigning! {
    AddAssign add_assign Add add;
    SubAssign sub_assign Sub sub;
    MulAssign mul_assign Mul mul;
    DivAssign div_assign Div div;
}

/// The result is a failed signal if the dtype is not floating point.
impl Neg for Signal {
    type Output = Signal;
    fn neg(self) -> Signal {
        self.apply("negate", |t| -> Result<Tensor> {
            check_float(&t)?;
            Ok(t.neg()?)
        })
    }
}

impl Neg for &Signal {
    type Output = Signal;
    fn neg(self) -> Signal {
        -self.clone()
    }
}
