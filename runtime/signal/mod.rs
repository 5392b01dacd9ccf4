//! The value that flows through a network: a tensor, a convolution that waits for what follows it, or
//! the first error.

mod blocked;
mod convolution;
mod couple;
mod deferred;
mod linear;
mod methods;
mod normalization;
mod operators;
mod outcome;
mod value;
mod work;

pub(crate) use blocked::{alike, reads_planes, takes_blocks};
pub(crate) use convolution::{Convolution, conv_label, is_plain};
pub(crate) use couple::{Before, Couple, Depthwise, Tail};
pub(crate) use deferred::{Deferred, Step};
pub(crate) use linear::Product;
pub(crate) use normalization::Normalization;
pub use outcome::{Finish, Outcome};
pub(crate) use value::{Form, Value};

use std::sync::Arc;

use candle_core::{DType, Device, Shape, Tensor};

use crate::kernels::internal::blocked::Image;
use crate::kernels::internal::settled;
use crate::scope::{self, Path};
use crate::{Error, Result};

/// What layers take and return.
///
/// A signal is *ready* (a tensor), *deferred* (a convolution or linear layer that has not run, with the
/// bias, batch norm, residual and activation collected so far), *blocked* (the result of one in the kernels'
/// own layout, as long as the next layer reads that) or *failed* (the first error, with the path of the layer
/// it came from). An operation that holds the only reference to a deferred signal
/// extends it; where somebody else holds one too, it is run once and both share the result. A failed
/// signal passes through every operation, so that a forward pass needs no `?`.
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
        match scope::fusion() {
            true => Self(State::Deferred(Arc::new(deferred))),
            false => deferred.run(Form::Planes).and_then(|value| Ok(value.tensor()?)).into(),
        }
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
        Ok(self.into_value(Form::Planes)?.tensor()?)
    }

    /// The tensor; what was deferred is run once, however many ask.
    pub fn tensor(&self) -> Result<Tensor> {
        self.clone().into_tensor()
    }

    /// The numbers; runs what was deferred, into the form that is asked for if it can.
    fn into_value(self, form: Form) -> Result<Value> {
        match self.0 {
            State::Ready(tensor) => Ok(Value::Tensor(tensor)),
            State::Blocked(image) => Ok(Value::Blocked(image)),
            State::Failed(error) => Err(error),
            State::Deferred(deferred) => match Arc::try_unwrap(deferred) {
                Ok(alone) => alone.run(form),
                Err(shared) => shared.run_once(form),
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

    /// Adds `step` to a deferred operation that this signal alone holds; gives the signal back where it
    /// has to be run first.
    pub(crate) fn fuse(self, step: Step) -> Result<Self, (Self, Step)> {
        let State::Deferred(mut deferred) = self.0 else { return Err((self, step)) };
        let taken = match Arc::get_mut(&mut deferred) {
            Some(alone) => alone.extend(step),
            None => Err(step),
        };
        match taken {
            Ok(Ok(())) => Ok(Self(State::Deferred(deferred))),
            Ok(Err(error)) => Ok(Self::fail(error)),
            Err(step) => Err((Self(State::Deferred(deferred)), step)),
        }
    }

    /// Whether `fuse` would take a residual of this shape.
    pub(crate) fn takes_residual(&self, shape: &Shape) -> bool {
        match &self.0 {
            State::Deferred(deferred) => Arc::strong_count(deferred) == 1 && deferred.takes_residual(shape),
            _ => false,
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
        settled(tensor).map_or_else(Self::fail, |tensor| Self(State::Ready(tensor)))
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
