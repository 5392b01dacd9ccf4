//! What a forward pass may answer with: a signal, or a structure of them.

use candle_core::Tensor;

use super::Signal;
use crate::{Error, Result};

/// A type that can say «failed»: every answer of a forward pass.
pub trait Outcome {
    fn failed(error: Error) -> Self;
}

/// Turns an answer of signals into one of tensors, or into the first error.
pub trait Finish {
    type Finished;
    fn finish(self) -> Result<Self::Finished>;
}

impl Outcome for Signal {
    fn failed(error: Error) -> Self {
        Signal::fail(error)
    }
}

impl Finish for Signal {
    type Finished = Tensor;
    fn finish(self) -> Result<Tensor> {
        self.into_tensor()
    }
}

impl<T> Outcome for Result<T> {
    fn failed(error: Error) -> Self {
        Err(error)
    }
}

impl<T: Finish> Finish for Result<T> {
    type Finished = T::Finished;
    fn finish(self) -> Result<T::Finished> {
        self?.finish()
    }
}

impl<T: Outcome> Outcome for Option<T> {
    fn failed(error: Error) -> Self {
        Some(T::failed(error))
    }
}

impl<T: Finish> Finish for Option<T> {
    type Finished = Option<T::Finished>;
    fn finish(self) -> Result<Self::Finished> {
        self.map(T::finish).transpose()
    }
}

/// A failure is a list of one failed value.
impl<T: Outcome> Outcome for Vec<T> {
    fn failed(error: Error) -> Self {
        vec![T::failed(error)]
    }
}

impl<T: Finish> Finish for Vec<T> {
    type Finished = Vec<T::Finished>;
    fn finish(self) -> Result<Self::Finished> {
        self.into_iter().map(T::finish).collect()
    }
}

macro_rules! tuples {
    ($($($name:ident)+;)*) => {$(
        impl<$($name: Outcome),+> Outcome for ($($name,)+) {
            fn failed(error: Error) -> Self {
                ($($name::failed(error.clone()),)+)
            }
        }

        impl<$($name: Finish),+> Finish for ($($name,)+) {
            type Finished = ($($name::Finished,)+);
            #[allow(non_snake_case)]
            fn finish(self) -> Result<Self::Finished> {
                let ($($name,)+) = self;
                Ok(($($name.finish()?,)+))
            }
        }
    )*};
}

tuples! { A; A B; A B C; A B C D; A B C D E; A B C D E F; }
