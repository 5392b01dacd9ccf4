//! The value between layers: a tensor, a deferred operation into which later operations can be fused, a shape without
//! numbers, or the first error.

mod blocked;
mod chunks;
mod convolution;
mod deferred;
mod epilogue;
mod finite;
mod fuse;
mod fused_pair;
mod last_use;
mod launch_work;
mod layout;
mod linear;
mod meta;
mod methods;
mod normalization;
mod operation;
mod operators;
mod outcome;
mod recording;
mod value;

pub(crate) use blocked::should_concat_blocked;
pub use chunks::Chunks;
pub(crate) use convolution::{
    BlockedConvolution, BlockedParameters, Convolution, NchwConvolution, conv_label,
};
pub(crate) use deferred::Deferred;
pub(crate) use epilogue::EpilogueOp;
pub(crate) use finite::{Forbidden, INPUT, forbid};
pub(crate) use fuse::Fusion;
pub(crate) use fused_pair::FusedPair;
pub use last_use::Receiver;
pub(crate) use last_use::at_last_use;
pub(crate) use launch_work::{
    add_blocked, add_multiply_adds, add_operands, add_results, byte_size, convolution_products,
    matrix_products,
};
use layout::Layouts;
pub(crate) use linear::Product;
pub(crate) use meta::{
    Batch, Leading, LeadingOf, Meta, NeedsNumbers, OneExample, OptionalBatch, SameShape, ShapeFrom,
    ShapeRule, View, broadcast_metas, leading_meta, without_numbers,
};
pub use methods::{Operand, OperandValue, SplitSizes};
pub(crate) use normalization::Normalization;
pub use operators::Number;
pub use outcome::{IntoTensors, Outcome};
pub(crate) use recording::{Recording, product};
pub(crate) use value::Value;

use std::sync::Arc;

use candle_core::{DType, Device, Shape, Tensor};

use crate::dim::Dim;
use crate::graph::{self, Description};
pub(crate) use crate::kernels::internal::Layout;
use crate::kernels::internal::blocked::BlockedTensor;
use crate::kernels::internal::with_new_storage_if_empty;
use crate::scope::{self, Path};
use crate::{Error, Result};

/// The input and output of layers.
///
/// A signal is in one of five states:
///
/// - *ready*: a tensor.
/// - *deferred*: a convolution, linear layer or batch norm that has not run, with the operations that were fused into
///   it so far, such as a bias, batch norm, residual, activation or max pooling.
/// - *blocked*: a channel-blocked activation, which later layers read in this layout if their kernels support it.
/// - *meta*: a shape and a dtype, but no data ([`Signal::meta`]).
/// - *failed*: the first error, with the path of the layer that failed.
///
/// An operation is fused into a deferred signal if the kernel supports the operation and the signal holds the only
/// reference to the deferred operation. If there are several references, the deferred operation runs once and all
/// references share its result. A failed signal passes through every operation unchanged, so that a forward pass needs
/// no `?`.
///
/// ```
/// use sconce::prelude::*;
/// # fn main() -> Result<()> {
/// let conv = Conv2d::config(3, 8, 3).padding(1).init(&Device::Cpu)?;
/// let x = Signal::from(Tensor::ones((2, 3, 6, 6), DType::F32, &Device::Cpu)?);
///
/// // The shape, dtype and device are known before the convolution runs.
/// let y = relu(conv.call(x.clone(), Mode::Eval));
/// assert_eq!((y.dims()?, y.dim(-1)?, y.rank()?, y.dtype()?), (&[2, 8, 6, 6][..], 6, 4, DType::F32));
/// let (batch, channels, _, _) = y.dims4()?;
/// assert_eq!(y.reshape((batch, channels, ())).dims3()?, (2, 8, 36));
/// assert!(y.device()?.is_cpu());
///
/// // Operators broadcast, and combine signals with tensors and numbers.
/// let z = (y - 0.5) * Tensor::ones((8, 1, 1), DType::F32, &Device::Cpu)?;
/// assert_eq!(z.mean((-2, -1)).dims2()?, (2, 8));
///
/// // An error passes through all later operations to the end.
/// let failed = relu(conv.call(x.narrow(1, 0, 2), Mode::Eval)) + 1;
/// assert!(failed.error().is_some());
/// let error = failed.into_tensor().unwrap_err();
/// assert!(error.message().starts_with("expected 3 input channels, found 2"), "{error}");
/// # Ok(())
/// # }
/// ```
pub struct Signal(State);

/// The state of a signal. The enum is private, so that new states do not affect code outside of this directory.
#[derive(Clone)]
enum State {
    Ready(Tensor),
    Deferred(Arc<Deferred>),
    Blocked(Arc<BlockedTensor>),
    Meta(Box<Meta>),
    Failed(Error),
}

impl Signal {
    /// Returns a failed signal. Adds the current path to `error` unless it already has one.
    ///
    /// ```
    /// use sconce::prelude::*;
    /// # fn main() -> Result<()> {
    /// /// Returns the square root. Fails if an element is negative.
    /// fn checked_sqrt(x: Signal) -> Signal {
    ///     match x.tensor().and_then(|t| Ok(t.min_all()?.to_scalar::<f32>()?)) {
    ///         Ok(min) if min < 0. => Signal::fail(Error::msg(format!("expected no negative element, found {min}"))),
    ///         Ok(_) => x.sqrt(),
    ///         Err(error) => Signal::fail(error),
    ///     }
    /// }
    ///
    /// let x = Signal::from(Tensor::new(&[4f32, -1.], &Device::Cpu)?);
    /// assert_eq!(checked_sqrt(x).error().unwrap().message(), "expected no negative element, found -1");
    /// # Ok(())
    /// # }
    /// ```
    pub fn fail(error: impl Into<Error>) -> Self {
        let error = error.into();
        Self(State::Failed(match Path::current().to_string() {
            path if path.is_empty() => error,
            path => error.at(path),
        }))
    }

    /// Returns a signal of a deferred operation. If fusion is disabled, runs the operation immediately.
    pub(crate) fn deferred(deferred: Deferred) -> Self {
        if scope::is_fusion_enabled() {
            return Self(State::Deferred(Arc::new(deferred)));
        }
        deferred.run(Layout::Nchw).and_then(|value| Ok(value.tensor()?)).into()
    }

    /// Returns the error if the signal failed.
    ///
    /// ```
    /// use sconce::prelude::*;
    /// # fn main() -> Result<()> {
    /// let x = Signal::from(Tensor::ones((2, 3), DType::F32, &Device::Cpu)?);
    /// assert!(x.error().is_none());
    /// let error = x.transpose(0, 2).error().cloned();
    /// assert_eq!(error.unwrap().message(), "dimension 2 is out of range for a tensor with 2 dimensions");
    /// # Ok(())
    /// # }
    /// ```
    pub fn error(&self) -> Option<&Error> {
        match &self.0 {
            State::Failed(error) => Some(error),
            _ => None,
        }
    }

    /// Returns the tensor. If the signal is deferred, runs the operation.
    ///
    /// ```
    /// use sconce::prelude::*;
    /// # fn main() -> Result<()> {
    /// let linear = Linear::config(4, 2).init(&Device::Cpu)?;
    /// let x = Tensor::ones((5, 4), DType::F32, &Device::Cpu)?;
    /// let y: Tensor = relu(linear.call(x.into(), Mode::Eval)).into_tensor()?;
    /// assert_eq!(y.dims(), [5, 2]);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// Fails if the signal has failed or is a meta signal, or if its deferred operation fails.
    pub fn into_tensor(self) -> Result<Tensor> {
        Ok(self.into_value(Layout::Nchw)?.tensor()?)
    }

    /// Returns the tensor. Runs a deferred operation on the first call; later calls return the same tensor.
    ///
    /// ```
    /// use sconce::prelude::*;
    /// # fn main() -> Result<()> {
    /// let linear = Linear::config(4, 2).init(&Device::Cpu)?;
    /// let y = linear.call(Tensor::ones((5, 4), DType::F32, &Device::Cpu)?.into(), Mode::Eval);
    /// assert_eq!(y.tensor()?.id(), y.tensor()?.id()); // the layer ran once
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// Fails if the signal has failed or is a meta signal, or if its deferred operation fails.
    pub fn tensor(&self) -> Result<Tensor> {
        self.clone().into_tensor()
    }

    /// Returns the values. If the signal is deferred, runs the operation, in `layout` if it supports that layout.
    fn into_value(self, layout: Layout) -> Result<Value> {
        match self.0 {
            State::Ready(tensor) => Ok(Value::Tensor(tensor)),
            State::Blocked(blocked) => Ok(Value::Blocked(blocked)),
            State::Meta(_) => Err(without_numbers().at(Path::current())),
            State::Failed(error) => Err(error),
            State::Deferred(deferred) => match Arc::try_unwrap(deferred) {
                Ok(unique) => unique.run(layout),
                Err(shared) => shared.run_once(layout),
            },
        }
    }

    /// Returns the shape. Does not run a deferred operation.
    ///
    /// # Errors
    /// Fails if the signal has failed.
    pub fn shape(&self) -> Result<&Shape> {
        match &self.0 {
            State::Ready(tensor) => Ok(tensor.shape()),
            State::Deferred(deferred) => Ok(deferred.shape()),
            State::Blocked(blocked) => Ok(blocked.shape()),
            State::Meta(meta) => Ok(meta.current_shape()),
            State::Failed(error) => Err(error.clone()),
        }
    }

    /// Returns the size of every dimension.
    ///
    /// # Errors
    /// Fails if the signal has failed.
    pub fn dims(&self) -> Result<&[usize]> {
        self.shape().map(Shape::dims)
    }

    /// Returns the size of one dimension. A negative `dim` counts from the end.
    ///
    /// # Errors
    /// Fails if the signal has failed, or if `dim` is out of range.
    pub fn dim(&self, dim: impl Dim) -> Result<usize> {
        let dims = self.dims()?;
        Ok(dims[dim.index(dims.len())?])
    }

    /// Returns the size of every dimension of a matrix: `let (batch, features) = x.dims2()?`.
    ///
    /// # Errors
    /// Fails if the signal has failed, or if it does not have 2 dimensions.
    pub fn dims2(&self) -> Result<(usize, usize)> {
        Ok(self.shape()?.dims2()?)
    }

    /// Returns the size of every dimension of a signal such as `[batch, length, features]`.
    ///
    /// # Errors
    /// Fails if the signal has failed, or if it does not have 3 dimensions.
    pub fn dims3(&self) -> Result<(usize, usize, usize)> {
        Ok(self.shape()?.dims3()?)
    }

    /// Returns the size of every dimension of a signal such as `[batch, channels, height, width]`.
    ///
    /// # Errors
    /// Fails if the signal has failed, or if it does not have 4 dimensions.
    pub fn dims4(&self) -> Result<(usize, usize, usize, usize)> {
        Ok(self.shape()?.dims4()?)
    }

    /// Returns the number of dimensions.
    ///
    /// # Errors
    /// Fails if the signal has failed.
    pub fn rank(&self) -> Result<usize> {
        self.shape().map(Shape::rank)
    }

    /// Returns the element type.
    ///
    /// # Errors
    /// Fails if the signal has failed.
    pub fn dtype(&self) -> Result<DType> {
        match &self.0 {
            State::Ready(tensor) => Ok(tensor.dtype()),
            State::Deferred(deferred) => Ok(deferred.dtype()),
            State::Blocked(_) => Ok(DType::F32),
            State::Meta(meta) => Ok(meta.dtype),
            State::Failed(error) => Err(error.clone()),
        }
    }

    /// Returns the device.
    ///
    /// # Errors
    /// Fails if the signal has failed.
    pub fn device(&self) -> Result<Device> {
        match &self.0 {
            State::Ready(tensor) => Ok(tensor.device().clone()),
            State::Deferred(deferred) => Ok(deferred.device().clone()),
            State::Blocked(_) => Ok(Device::Cpu),
            State::Meta(meta) => Ok(meta.device.clone()),
            State::Failed(error) => Err(error.clone()),
        }
    }

    /// Runs `operation` on the tensor and records it as `description` says. Adds the current path to an error. `rule`
    /// computes the shape of the result if the signal has no numbers.
    pub(crate) fn apply<'a, E: Into<Error>, Op: FnOnce(Tensor) -> Result<Tensor, E>>(
        self,
        description: impl Into<Description<'a>>,
        rule: impl ShapeRule<Op>,
        operation: Op,
    ) -> Self {
        let recording = Recording::start(&self);
        let description = description.into();
        // While a graph is recorded, an embedding lookup runs without numbers even if its indices are constant.
        // Otherwise, the graph would contain the looked-up rows as a new constant instead of a lookup in the weight.
        let is_look_up = matches!(description.op, Some(graph::Op::Embedding))
            && !recording.is_part()
            && graph::is_recorded();
        let input = if is_look_up { self.without_numbers() } else { self };
        recording.finish(input.apply_unrecorded(description.name, rule, operation), description)
    }

    fn apply_unrecorded<E: Into<Error>, Op: FnOnce(Tensor) -> Result<Tensor, E>>(
        self,
        name: &'static str,
        rule: impl ShapeRule<Op>,
        operation: Op,
    ) -> Self {
        if let State::Meta(meta) = &self.0 {
            return rule.output(&meta.current(), operation).map_or_else(Self::fail, Self::from);
        }
        let tensor = match self.into_tensor() {
            Ok(tensor) => tensor,
            Err(error) => return Self(State::Failed(error)),
        };
        let launch = scope::begin_launch(tensor.device(), Path::current, || name.to_string());
        let operand = launch.is_traced().then(|| tensor.clone());
        let result = operation(tensor).map_err(Into::into);
        if let (Some(operand), Ok(result)) = (operand, &result) {
            launch_work::add_operand_and_result(&operand, result);
        }
        drop(launch);
        result.map_or_else(Self::fail, Self::from)
    }

    /// Runs a function on the tensor, such as a method of candle: `x.map(|t| t.cumsum(1))`.
    ///
    /// The result is a failed signal if `self` has failed or is a meta signal, or if `operation` returns an error.
    ///
    /// ```
    /// use sconce::prelude::*;
    /// # fn main() -> Result<()> {
    /// let x = Signal::from(Tensor::new(&[1f32, 2., 3.], &Device::Cpu)?);
    /// assert_eq!(x.map(|t| t.cumsum(0)).into_tensor()?.to_vec1::<f32>()?, [1., 3., 6.]);
    /// assert!(x.map(|t| t.cumsum(1)).error().is_some());
    /// # Ok(())
    /// # }
    /// ```
    pub fn map<E: Into<Error>>(&self, operation: impl FnOnce(Tensor) -> Result<Tensor, E>) -> Self {
        self.clone().apply("map", NeedsNumbers, operation)
    }
}

impl From<Tensor> for Signal {
    fn from(tensor: Tensor) -> Self {
        // candle's operations panic on some empty views, so give an empty tensor a new storage.
        let checked = with_new_storage_if_empty(tensor).map_err(Error::from).and_then(|tensor| {
            finite::check(&tensor)?;
            Ok(tensor)
        });
        checked.map_or_else(Self::fail, |tensor| Self(State::Ready(tensor)))
    }
}

impl From<Value> for Signal {
    fn from(value: Value) -> Self {
        Self(match value {
            Value::Tensor(tensor) => return tensor.into(),
            Value::Blocked(blocked) => State::Blocked(blocked),
        })
    }
}

impl From<&Tensor> for Signal {
    fn from(tensor: &Tensor) -> Self {
        tensor.clone().into()
    }
}

impl From<&Signal> for Signal {
    fn from(signal: &Signal) -> Self {
        signal.clone()
    }
}

impl<T: Into<Signal>, E: Into<Error>> From<Result<T, E>> for Signal {
    fn from(result: Result<T, E>) -> Self {
        result.map_or_else(Self::fail, Into::into)
    }
}

impl std::fmt::Debug for Signal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.0 {
            State::Ready(tensor) => write!(f, "Signal::Ready({:?})", tensor.dims()),
            State::Deferred(deferred) => {
                write!(f, "Signal::Deferred({:?}, {deferred})", deferred.shape().dims())
            }
            State::Blocked(blocked) => write!(f, "Signal::Blocked({:?})", blocked.dims()),
            State::Meta(meta) => match &meta.named {
                Some(named) => write!(f, "Signal::Meta({:?})", named.sizes()),
                None => write!(f, "Signal::Meta({:?})", meta.shape.dims()),
            },
            State::Failed(error) => write!(f, "Signal::Failed({error})"),
        }
    }
}
