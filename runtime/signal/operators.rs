//! Arithmetic between signals, tensors and numbers, with PyTorch's broadcasting.

use std::ops::{Add, AddAssign, Div, DivAssign, Mul, MulAssign, Neg, Sub, SubAssign};

use candle_core::{DType, Device, Tensor};

use crate::graph::Op;
use crate::kernels::arithmetic::{self, Binary, Unary};
use crate::kernels::internal::blocked;
use crate::scope::{self, NotFusedKind, Path};
use crate::{Error, Result};

use super::methods::check_float;
use super::{EpilogueOp, Fusion, Recording, Signal, Value, broadcast_metas, launch_work};

/// Adds two signals. If one of them is a deferred convolution or batch norm, the other is fused into it as a residual.
fn add(a: Signal, b: Signal) -> Signal {
    let recording = Recording::start_all([&a, &b]);
    let fused = match (a.shape(), b.shape()) {
        _ if a.is_meta() || b.is_meta() => combine(Binary::Add, a, b),
        (Ok(a_shape), Ok(b_shape)) => match (a.check_residual(b_shape), b.check_residual(a_shape)) {
            (Ok(()), _) => add_residual(a, b),
            (_, Ok(())) => add_residual(b, a),
            (Err(a_reason), Err(b_reason)) => {
                if relevance(a_reason) >= relevance(b_reason) {
                    a.record_not_fused(a_reason)
                } else {
                    b.record_not_fused(b_reason)
                }
                combine(Binary::Add, a, b)
            }
        },
        _ => combine(Binary::Add, a, b),
    };
    recording.finish(fused.into(), describe(Binary::Add))
}

/// Returns how well a reason explains why an addition was not fused: the reason of the operand that was most likely to
/// be the producer is the highest. A shortcut is no producer, or has already run because the block read it.
fn relevance(reason: NotFusedKind) -> u8 {
    match reason {
        NotFusedKind::NoProducer => 0,
        NotFusedKind::AlreadyRun => 1,
        _ => 2,
    }
}

/// Fuses `residual` into `deferred`. Adds the two signals separately if that is not possible.
fn add_residual(deferred: Signal, residual: Signal) -> Result<Signal> {
    let residual =
        if deferred.is_blocked() { residual.into_blocked()? } else { Value::Tensor(residual.into_tensor()?) };
    Ok(match deferred.fuse(EpilogueOp::Residual(residual.clone())) {
        Fusion::Fused(sum) => sum,
        Fusion::Separate(signal, _) => combine_tensors(Binary::Add, signal, residual.into()),
    })
}

fn sub(a: Signal, b: Signal) -> Signal {
    separate(Binary::Sub, a, b)
}

fn mul(a: Signal, b: Signal) -> Signal {
    separate(Binary::Mul, a, b)
}

fn div(a: Signal, b: Signal) -> Signal {
    separate(Binary::Div, a, b)
}

/// Applies `op` to two signals, without fusion.
fn separate(op: Binary, a: Signal, b: Signal) -> Signal {
    let recording = Recording::start_all([&a, &b]);
    recording.finish(combine(op, a, b).into(), describe(op))
}

fn describe(op: Binary) -> (&'static str, Op) {
    (op.name(), Op::Binary(op))
}

/// Applies `op` to two signals. The result is channel-blocked if one signal is channel-blocked with several pixels, and
/// the other signal is channel-blocked, can be computed channel-blocked, or has one number for each channel.
fn combine(op: Binary, a: Signal, b: Signal) -> Result<Signal> {
    let (a, b) = match (a.has_multiple_pixels() && a.is_blocked(), b.has_multiple_pixels() && b.is_blocked())
    {
        (true, false) => (a, b.prepare_channel_operand()?),
        (false, true) => (a.prepare_channel_operand()?, b),
        (true, true) => (a, b),
        (false, false) => return Ok(combine_tensors(op, a, b)),
    };
    if !(can_broadcast_blocked(&a, &b) && a.can_be_blocked_operand() && b.can_be_blocked_operand()) {
        return Ok(combine_tensors(op, a, b));
    }
    let (a, b) = (a.into_blocked()?, b.into_blocked()?);
    let Some(arena) = a.arena().or(b.arena()) else {
        return Ok(combine_tensors(op, a.into(), b.into()));
    };
    let (a, b) = (a.blocked(&arena)?, b.blocked(&arena)?);
    let _launch = scope::begin_launch(&Device::Cpu, Path::current, || op.name().to_string());
    let result = blocked::binary(op, &a, &b)?;
    launch_work::add_blocked([&a, &b], &result);
    Ok(Signal::blocked(result))
}

/// Returns `true` if the channel-blocked kernels can broadcast the shapes of two signals.
fn can_broadcast_blocked(a: &Signal, b: &Signal) -> bool {
    let dims = |x: &Signal| x.dims().ok().and_then(|dims| <[usize; 4]>::try_from(dims).ok());
    dims(a).zip(dims(b)).is_some_and(|(a, b)| blocked::broadcast(a, b).is_some())
}

/// Applies `op` to the tensors of two signals, with broadcasting.
fn combine_tensors(op: Binary, a: Signal, b: Signal) -> Signal {
    let on_tensors = |a: &Tensor, b: &Tensor| {
        if op == Binary::Div {
            check_float(a.dtype())?;
            check_float(b.dtype())?;
        }
        Ok(arithmetic::binary(op, a, b)?)
    };
    a.combine(op.name(), b, |a, b| broadcast_metas(op.name(), a, b, on_tensors), on_tensors)
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

/// Computes `x · factor + offset`. The result is a failed signal if the dtype cannot represent `factor` or
/// `offset`, because candle would truncate the number.
fn affine(name: &'static str, x: Signal, factor: f64, offset: f64) -> Signal {
    x.map_elements(name, Unary::Affine { factor, offset }, |dtype| {
        let is_unsigned = matches!(dtype, DType::U8 | DType::U32);
        let represents =
            |number: f64| dtype.is_float() || number.fract() == 0. && (number >= 0. || !is_unsigned);
        match [factor, offset].into_iter().find(|number| !represents(*number)) {
            Some(number) => {
                Err(Error::msg(format!("expected an operand that {dtype:?} can represent, found {number}")))
            }
            None => Ok(()),
        }
    })
}

/// Divides each element by a number.
fn divide_by(name: &'static str, x: Signal, number: f64) -> Signal {
    x.map_elements(name, Unary::Affine { factor: 1. / number, offset: 0. }, check_float)
}

/// Divides a number by each element.
fn divide_number_by(name: &'static str, number: f64, x: Signal) -> Signal {
    x.map_elements(name, Unary::Quotient { numerator: number }, check_float)
}

/// Implements an operator. `$signal_first` computes `signal ∘ number`, and `$number_first` computes `number ∘ signal`.
macro_rules! scalar {
    ($($trait:ident $method:ident |$x:ident, $n:ident| $signal_first:expr, $number_first:expr;)*) => {$(
        // Generic over all numbers, so that the compiler knows the type of `x * 2.0` before it infers the type of
        // `2.0`.
        impl<N: Number> $trait<N> for Signal {
            type Output = Signal;
            fn $method(self, number: N) -> Signal {
                let $n = number.to_f64();
                let $x = self;
                $signal_first
            }
        }

        impl<N: Number> $trait<N> for &Signal {
            type Output = Signal;
            fn $method(self, number: N) -> Signal {
                self.clone().$method(number)
            }
        }

        scalar!(@number_first $trait $method |$x, $n| $number_first; f64 i32);
    )*};
    (@number_first $trait:ident $method:ident |$x:ident, $n:ident| $number_first:expr; $($number:ty)*) => {$(
        impl $trait<Signal> for $number {
            type Output = Signal;
            fn $method(self, $x: Signal) -> Signal {
                let $n = self.to_f64();
                $number_first
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
    Add add |x, n| affine("add", x, 1., n), affine("add", x, 1., n);
    Sub sub |x, n| affine("subtract", x, 1., -n), affine("subtract", x, -1., n);
    Mul mul |x, n| affine("multiply", x, n, 0.), affine("multiply", x, n, 0.);
    Div div |x, n| divide_by("divide", x, n), divide_number_by("divide", n, x);
}

/// Implements `x += y` as `x = x + y`.
macro_rules! assigning {
    ($($trait:ident $method:ident $operator:ident $operation:ident;)*) => {$(
        impl<T> $trait<T> for Signal
        where
            Signal: $operator<T, Output = Signal>,
        {
            fn $method(&mut self, operand: T) {
                // Pass the signal itself to the operator: a second reference would prevent fusion.
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
        self.map_elements("negate", Unary::Neg, check_float)
    }
}

impl Neg for &Signal {
    type Output = Signal;
    fn neg(self) -> Signal {
        -self.clone()
    }
}
