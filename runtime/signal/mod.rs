//! The value that flows through a network: a tensor, a convolution that waits for what follows it, or
//! the first error.

mod blocked;
mod convolution;
mod deferred;
mod epilogue;
mod fuse;
mod fused_pair;
mod layout;
mod linear;
mod methods;
mod normalization;
mod operators;
mod outcome;
mod value;
mod work;

pub(crate) use blocked::can_join_blocked;
pub(crate) use convolution::{
    BlockedConvolution, BlockedParameters, Convolution, NchwConvolution, conv_label,
};
pub(crate) use deferred::Deferred;
pub(crate) use epilogue::EpilogueOp;
pub(crate) use fuse::Fusion;
pub(crate) use fused_pair::FusedPair;
use layout::Layouts;
pub(crate) use linear::Product;
pub(crate) use normalization::Normalization;
pub use outcome::{Finish, Outcome};
pub(crate) use value::Value;

use std::sync::Arc;

use candle_core::{DType, Device, Shape, Tensor};

pub(crate) use crate::kernels::internal::Layout;
use crate::kernels::internal::blocked::Image;
use crate::kernels::internal::rebase_empty;
use crate::scope::{self, Path};
use crate::{Error, Result};

/// What layers take and return.
///
/// A signal is *ready* (a tensor), *deferred* (a convolution or linear layer that has not run, with the
/// bias, batch norm, residual and activation collected so far), *blocked* (a channel-blocked result, as long as
/// the next layer reads that) or *failed* (the first error, with the path of the layer it came from). An operation
/// that holds the only reference to a deferred signal is fused into it; if there are more references, the deferred
/// operation runs once and all share its result. A failed signal passes through every operation, so that a
/// forward pass needs no `?`.
#[derive(Clone)]
pub struct Signal(State);

/// One more state is to come: a symbolic one (a shape alone). Code outside this folder therefore asks a signal
/// for its shape, its tensor or its image only.
#[derive(Clone)]
enum State {
    Ready(Tensor),
    Deferred(Arc<Deferred>),
    Blocked(Arc<Image>),
    Failed(Error),
}

impl Signal {
    /// A signal that failed, with the current path as the place unless `error` names one.
    pub fn fail(error: impl Into<Error>) -> Self {
        let error = error.into();
        Self(State::Failed(match Path::current().to_string() {
            path if path.is_empty() => error,
            path => error.at(path),
        }))
    }

    pub(crate) fn deferred(deferred: Deferred) -> Self {
        if scope::fusion() {
            return Self(State::Deferred(Arc::new(deferred)));
        }
        deferred.run(Layout::Nchw).and_then(|value| Ok(value.tensor()?)).into()
    }

    /// The error, where the signal failed.
    pub fn error(&self) -> Option<&Error> {
        match &self.0 {
            State::Failed(error) => Some(error),
            _ => None,
        }
    }

    /// The tensor; runs what was deferred.
    pub fn into_tensor(self) -> Result<Tensor> {
        Ok(self.into_value(Layout::Nchw)?.tensor()?)
    }

    /// The tensor; what was deferred is run once, however many ask.
    pub fn tensor(&self) -> Result<Tensor> {
        self.clone().into_tensor()
    }

    /// Returns the values; runs a deferred operation, in the layout that is asked for if it can.
    fn into_value(self, layout: Layout) -> Result<Value> {
        match self.0 {
            State::Ready(tensor) => Ok(Value::Tensor(tensor)),
            State::Blocked(image) => Ok(Value::Blocked(image)),
            State::Failed(error) => Err(error),
            State::Deferred(deferred) => match Arc::try_unwrap(deferred) {
                Ok(alone) => alone.run(layout),
                Err(shared) => shared.run_once(layout),
            },
        }
    }

    /// The shape, known without running anything.
    pub fn shape(&self) -> Result<&Shape> {
        match &self.0 {
            State::Ready(tensor) => Ok(tensor.shape()),
            State::Deferred(deferred) => Ok(deferred.shape()),
            State::Blocked(image) => Ok(image.shape()),
            State::Failed(error) => Err(error.clone()),
        }
    }

    /// The size of every dimension.
    pub fn dims(&self) -> Result<&[usize]> {
        self.shape().map(Shape::dims)
    }

    /// The size of one dimension; `candle_core::D::Minus1` counts from the end.
    pub fn dim(&self, dim: impl candle_core::shape::Dim) -> Result<usize> {
        Ok(self.shape()?.dim(dim)?)
    }

    /// The number of dimensions.
    pub fn rank(&self) -> Result<usize> {
        self.shape().map(Shape::rank)
    }

    pub fn dtype(&self) -> Result<DType> {
        match &self.0 {
            State::Ready(tensor) => Ok(tensor.dtype()),
            State::Deferred(deferred) => Ok(deferred.dtype()),
            State::Blocked(_) => Ok(DType::F32),
            State::Failed(error) => Err(error.clone()),
        }
    }

    pub fn device(&self) -> Result<Device> {
        match &self.0 {
            State::Ready(tensor) => Ok(tensor.device().clone()),
            State::Deferred(deferred) => Ok(deferred.device().clone()),
            State::Blocked(_) => Ok(Device::Cpu),
            State::Failed(error) => Err(error.clone()),
        }
    }

    /// Runs `operation`, named in traces, on the tensor; an error gets the current path.
    pub(crate) fn apply<E: Into<Error>>(
        self,
        name: &'static str,
        operation: impl FnOnce(Tensor) -> Result<Tensor, E>,
    ) -> Self {
        let tensor = match self.into_tensor() {
            Ok(tensor) => tensor,
            Err(error) => return Self(State::Failed(error)),
        };
        scope::launched(Path::current, || name.to_string());
        operation(tensor).map_or_else(Self::fail, Self::from)
    }

    /// Runs any function of candle's on the tensor: `x.map(|t| t.cumsum(1))`.
    pub fn map<E: Into<Error>>(self, operation: impl FnOnce(Tensor) -> Result<Tensor, E>) -> Self {
        self.apply("map", operation)
    }
}

impl From<Tensor> for Signal {
    fn from(tensor: Tensor) -> Self {
        rebase_empty(tensor).map_or_else(Self::fail, |tensor| Self(State::Ready(tensor)))
    }
}

impl From<Value> for Signal {
    fn from(value: Value) -> Self {
        Self(match value {
            Value::Tensor(tensor) => State::Ready(tensor),
            Value::Blocked(image) => State::Blocked(image),
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
            State::Deferred(deferred) => write!(f, "Signal::Deferred({deferred})"),
            State::Blocked(image) => write!(f, "Signal::Blocked({:?})", image.dims()),
            State::Failed(error) => write!(f, "Signal::Failed({error})"),
        }
    }
}
