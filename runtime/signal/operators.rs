//! Arithmetic between signals, tensors and numbers, with PyTorch's broadcasting.

use std::ops::{Add, Div, Mul, Neg, Sub};

use candle_core::Tensor;

use super::{Signal, Step, Value};
use crate::kernels::internal::blocked;
use crate::scope::{self, Path};
use crate::{Error, Result};

/// Adds; a convolution that waits takes the other operand as its residual.
fn add(a: Signal, b: Signal) -> Signal {
    let (waiting, other) = match (a.shape(), b.shape()) {
        (Ok(_), Ok(shape)) if a.takes_residual(shape) => (a, b),
        (Ok(shape), Ok(_)) if b.takes_residual(shape) => (b, a),
        _ => {
            return add_images(&a, &b).unwrap_or_else(|| broadcast("add", a, b, Tensor::broadcast_add));
        }
    };
    let residual = match waiting.is_blocked() {
        true => other.into_blocks(),
        false => other.into_tensor().map(Value::Tensor),
    };
    let residual = match residual {
        Ok(residual) => residual,
        Err(error) => return Signal::fail(error),
    };
    match waiting.fuse(Step::Residual(residual)) {
        Ok(fused) => fused,
        Err((signal, Step::Residual(residual))) => {
            broadcast("add", signal, residual.into(), Tensor::broadcast_add)
        }
        Err((signal, _)) => signal,
    }
}

/// The sum of two images of one shape; none where they are no such.
fn add_images(a: &Signal, b: &Signal) -> Option<Signal> {
    let alike = a.dims().ok()? == b.dims().ok()?;
    if !(alike && (a.is_blocked() && b.can_block() || b.is_blocked() && a.can_block())) {
        return None;
    }
    let (Value::Blocked(a), Value::Blocked(b)) =
        (a.clone().into_blocks().ok()?, b.clone().into_blocks().ok()?)
    else {
        return None;
    };
    scope::launched(Path::current, || "add".to_string());
    Some(blocked::add(&a, &b).map_or_else(Signal::fail, Signal::image))
}

/// A binary operation on tensors of shapes that broadcast to one another.
fn broadcast(
    name: &'static str,
    a: Signal,
    b: Signal,
    operation: impl FnOnce(&Tensor, &Tensor) -> candle_core::Result<Tensor>,
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
        Ok(operation(&a, &b)?)
    })
}

fn sub(a: Signal, b: Signal) -> Signal {
    broadcast("subtract", a, b, Tensor::broadcast_sub)
}

fn mul(a: Signal, b: Signal) -> Signal {
    broadcast("multiply", a, b, Tensor::broadcast_mul)
}

fn div(a: Signal, b: Signal) -> Signal {
    broadcast("divide", a, b, Tensor::broadcast_div)
}

/// `Signal ∘ operand` and, where the operand is a foreign type, `operand ∘ Signal`, owned and borrowed.
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

/// `signal ∘ number` and `number ∘ signal`: `$left` and `$right` say what they are of a tensor `t`.
macro_rules! scalar {
    ($($trait:ident $method:ident $name:literal |$t:ident, $n:ident| $left:expr, $right:expr;)*) => {$(
        impl $trait<f64> for Signal {
            type Output = Signal;
            fn $method(self, $n: f64) -> Signal {
                self.apply($name, |$t| $left)
            }
        }

        impl $trait<f64> for &Signal {
            type Output = Signal;
            fn $method(self, n: f64) -> Signal {
                self.clone().$method(n)
            }
        }

        impl $trait<Signal> for f64 {
            type Output = Signal;
            fn $method(self, signal: Signal) -> Signal {
                let $n = self;
                signal.apply($name, |$t| $right)
            }
        }

        impl $trait<&Signal> for f64 {
            type Output = Signal;
            fn $method(self, signal: &Signal) -> Signal {
                self.$method(signal.clone())
            }
        }
    )*};
}

scalar! {
    Add add "add" |t, n| t + n, t + n;
    Sub sub "subtract" |t, n| t - n, t.affine(-1., n);
    Mul mul "multiply" |t, n| t * n, t * n;
    Div div "divide" |t, n| t / n, t.recip()? * n;
}

impl Neg for Signal {
    type Output = Signal;
    fn neg(self) -> Signal {
        self.apply("negate", |t| t.neg())
    }
}

impl Neg for &Signal {
    type Output = Signal;
    fn neg(self) -> Signal {
        -self.clone()
    }
}
