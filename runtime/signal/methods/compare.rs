//! Comparisons, and selections by a condition.

use candle_core::{DType, Shape, Tensor};

use crate::graph::{Comparison, Op};
use crate::signal::Number;
use crate::{Error, Result};

use super::{Meta, NeedsNumbers, Recording, Signal, add_operands, broadcast_metas};

/// An operand of a comparison or selection: a signal, a tensor or a number. A number is converted to the dtype of the
/// other operand.
///
/// ```
/// use sconce::prelude::*;
/// # fn main() -> Result<()> {
/// let x = Signal::from(Tensor::new(&[1f32, 2.], &Device::Cpu)?);
/// assert_eq!(x.gt(1).into_tensor()?.to_vec1::<u8>()?, [0, 1]);
/// assert_eq!(x.gt(&x - 1.).into_tensor()?.to_vec1::<u8>()?, [1, 1]);
/// # Ok(())
/// # }
/// ```
#[diagnostic::on_unimplemented(
    message = "a signal cannot be combined with `{Self}`",
    note = "the operand is a `Signal`, a `Tensor` or a number"
)]
pub trait Operand {
    /// Returns the signal or the number.
    fn into_value(self) -> OperandValue;
}

/// The value of an [`Operand`].
///
/// ```
/// use sconce::prelude::*;
/// use sconce::{Operand, OperandValue};
/// # fn main() -> Result<()> {
/// assert!(matches!(2.into_value(), OperandValue::Number(2.)));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub enum OperandValue {
    /// The elements of a signal.
    Elements(Signal),
    /// A number.
    Number(f64),
}

impl OperandValue {
    /// Returns the signal, or the number as a signal with the dtype and device of `other`.
    fn like(self, other: &Signal) -> Result<Signal> {
        let number = match self {
            Self::Elements(signal) => return Ok(signal),
            Self::Number(number) => number,
        };
        let dtype = other.dtype()?;
        if !is_representable(dtype, number) {
            return Err(Error::msg(format!(
                "a signal of the type {dtype:?} cannot be combined with {number}"
            )));
        }
        Ok(Tensor::new(number, &other.device()?)?.to_dtype(dtype)?.into())
    }
}

/// Returns `true` if an integer dtype has this number. A floating-point dtype rounds every number.
fn is_representable(dtype: DType, number: f64) -> bool {
    let (min, max) = match dtype {
        DType::U8 => (0., u8::MAX.into()),
        DType::U32 => (0., u32::MAX.into()),
        DType::I16 => (i16::MIN.into(), i16::MAX.into()),
        DType::I32 => (i32::MIN.into(), i32::MAX.into()),
        // From 2⁵³ on, an `f64` does not have every integer.
        DType::I64 => (-9007199254740992., 9007199254740992.),
        _ => return true,
    };
    number.fract() == 0. && (min..=max).contains(&number)
}

macro_rules! signals {
    ($($signal:ty)*) => {$(
        impl Operand for $signal {
            fn into_value(self) -> OperandValue {
                OperandValue::Elements(self.into())
            }
        }
    )*};
}

signals! { Signal &Signal Tensor &Tensor }

macro_rules! numbers {
    ($($number:ty)*) => {$(
        impl Operand for $number {
            fn into_value(self) -> OperandValue {
                OperandValue::Number(self.to_f64())
            }
        }
    )*};
}

numbers! { f32 f64 i8 i16 i32 i64 isize u8 u16 u32 u64 usize }

/// Fails unless two operands have the same dtype.
fn check_dtypes(a: &Tensor, b: &Tensor) -> Result<()> {
    if a.dtype() == b.dtype() {
        return Ok(());
    }
    Err(Error::msg(format!("expected operands of the same type, found {:?} and {:?}", a.dtype(), b.dtype())))
}

/// Defines comparisons: the symbol, the method of candle that broadcasts, and the results for 1, 2 and 3 against 2.
macro_rules! comparisons {
    ($($method:ident $op:ident $symbol:literal $candle:ident $results:literal;)*) => {
        impl Signal {$(
            #[doc = concat!("Compares each element with `other`: `x ", $symbol, " other`.")]
            ///
            /// The operands are broadcast. The result has the dtype `u8`: 1 where the comparison is true, and 0
            /// elsewhere. It is a failed signal if the shapes or dtypes do not match.
            ///
            /// ```
            /// use sconce::prelude::*;
            /// # fn main() -> Result<()> {
            /// let x = Signal::from(Tensor::new(&[1f32, 2., 3.], &Device::Cpu)?);
            #[doc = concat!(
                "assert_eq!(x.", stringify!($method), "(2).into_tensor()?.to_vec1::<u8>()?, ", $results, ");"
            )]
            /// # Ok(())
            /// # }
            /// ```
            pub fn $method(&self, other: impl Operand) -> Self {
                let name = stringify!($method);
                let compare = |x: &Tensor, other: &Tensor| {
                    check_dtypes(x, other)?;
                    Ok(x.$candle(other)?)
                };
                match other.into_value().like(self) {
                    Ok(other) => {
                        let op = Op::Compare(Comparison::$op);
                        let rule = |a: &Meta, b: &Meta| broadcast_metas(name, a, b, compare);
                        self.clone().combine((name, op), other, rule, compare)
                    }
                    Err(error) => Self::fail(error),
                }
            }
        )*}
    };
}

comparisons! {
    eq Eq "==" broadcast_eq "[0, 1, 0]";
    ne Ne "!=" broadcast_ne "[1, 0, 1]";
    lt Lt "<" broadcast_lt "[1, 0, 0]";
    le Le "<=" broadcast_le "[1, 1, 0]";
    gt Gt ">" broadcast_gt "[0, 0, 1]";
    ge Ge ">=" broadcast_ge "[0, 1, 1]";
}

impl Signal {
    /// Returns the elements of `on_true` where this signal is not 0, and the elements of `on_false` elsewhere, as
    /// PyTorch's `torch.where(condition, on_true, on_false)` does. The three operands are broadcast.
    ///
    /// The result is a failed signal if this signal has no integer dtype, if the shapes or dtypes do not match, or if
    /// both operands are numbers.
    ///
    /// ```
    /// use sconce::prelude::*;
    /// # fn main() -> Result<()> {
    /// let x = Signal::from(Tensor::new(&[-1f32, 2., -3.], &Device::Cpu)?);
    /// let y = x.lt(0).where_cond(0, &x);
    /// assert_eq!(y.into_tensor()?.to_vec1::<f32>()?, [0., 2., 0.]);
    /// # Ok(())
    /// # }
    /// ```
    #[doc(alias = "where")]
    pub fn where_cond(&self, on_true: impl Operand, on_false: impl Operand) -> Self {
        let (on_true, on_false) = match (on_true.into_value(), on_false.into_value()) {
            (OperandValue::Number(a), OperandValue::Number(b)) => {
                let error = format!("where: expected a signal or tensor, found {a} and {b}");
                return Self::fail(Error::msg(error));
            }
            (OperandValue::Elements(a), b) => (Ok(a.clone()), b.like(&a)),
            (a, OperandValue::Elements(b)) => (a.like(&b), Ok(b)),
        };
        let (on_true, on_false) = (Self::from(on_true), Self::from(on_false));
        if [self, &on_true, &on_false].into_iter().any(Self::is_meta) {
            let operands = [self, &on_true, &on_false];
            let recording = Recording::start_all(operands);
            return recording.finish(select_meta(operands).into(), ("where", Op::Where));
        }
        match (on_true.into_tensor(), on_false.into_tensor()) {
            (Ok(on_true), Ok(on_false)) => self.clone().apply("where", NeedsNumbers, |condition| {
                add_operands([&on_true, &on_false]);
                select(&condition, &on_true, &on_false)
            }),
            (Err(error), _) | (_, Err(error)) => Self::fail(error),
        }
    }

    /// Replaces the elements where `mask` is not 0 with `value`. The operands are broadcast.
    ///
    /// The result is a failed signal if the mask has no integer dtype, or if the shapes do not match.
    ///
    /// ```
    /// use sconce::prelude::*;
    /// # fn main() -> Result<()> {
    /// let x = Signal::from(Tensor::new(&[1f32, 2.], &Device::Cpu)?);
    /// let y = x.masked_fill(x.gt(1.5), f64::NEG_INFINITY);
    /// assert_eq!(y.into_tensor()?.to_vec1::<f32>()?, [1., f32::NEG_INFINITY]);
    /// # Ok(())
    /// # }
    /// ```
    pub fn masked_fill(&self, mask: impl Into<Signal>, value: f64) -> Self {
        mask.into().where_cond(value, self)
    }
}

/// Returns the elements of `on_true` where the condition is not 0, and those of `on_false` elsewhere.
fn select(condition: &Tensor, on_true: &Tensor, on_false: &Tensor) -> Result<Tensor> {
    check_dtypes(on_true, on_false)?;
    let shape = [on_true, on_false].into_iter().try_fold(condition.shape().clone(), |shape, x| {
        shape.broadcast_shape_binary_op(x.shape(), "where")
    })?;
    let [condition, on_true, on_false] = [condition, on_true, on_false].map(|x| x.broadcast_as(&shape));
    Ok(condition?.where_cond(&on_true?, &on_false?)?)
}

/// Like [`select`], for signals without numbers.
fn select_meta(operands: [&Signal; 3]) -> Result<Signal> {
    let shape = operands[1..].iter().try_fold(operands[0].shape()?.clone(), |shape, x| -> Result<Shape> {
        Ok(shape.broadcast_shape_binary_op(x.shape()?, "where")?)
    })?;
    let empty = |x: &Signal| x.to_meta()?.empty(0);
    let [condition, on_true, on_false] = operands.map(empty);
    let probe = select(&condition?, &on_true?, &on_false?)?;
    Ok(Meta::like(&probe, shape).into())
}
