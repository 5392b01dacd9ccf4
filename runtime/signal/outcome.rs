//! The output types of forward passes: a signal, or a `Result`, `Option`, `Vec` or tuple of output types.

use candle_core::Tensor;

use crate::{Error, Result};

use super::Signal;

/// An output type that can represent a failed forward pass.
///
/// ```
/// use sconce::prelude::*;
/// use sconce::Outcome;
/// # fn main() -> Result<()> {
/// let (a, b) = <(Signal, Vec<Signal>)>::failed(Error::msg("no input"));
/// assert_eq!(a.error().unwrap().message(), "no input");
/// assert_eq!(b[0].error().unwrap().message(), "no input");
/// # Ok(())
/// # }
/// ```
pub trait Outcome {
    /// Returns the output of a forward pass that failed with `error`.
    fn failed(error: Error) -> Self;
}

/// Converts the output of a forward pass to tensors: each signal in it is replaced with its tensor.
///
/// ```
/// use sconce::prelude::*;
/// use sconce::IntoTensors;
/// # fn main() -> Result<()> {
/// let x = Signal::from(Tensor::ones((2, 3), DType::F32, &Device::Cpu)?);
/// let (sum, halves): (Tensor, Option<Tensor>) = (x.sum(1), Some(&x / 2)).into_tensors()?;
/// assert_eq!((sum.dims(), halves.unwrap().dims()), (&[2][..], &[2, 3][..]));
/// assert!(vec![x.clone(), x.sum(7)].into_tensors().is_err());
/// # Ok(())
/// # }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be the output of a network",
    label = "expected a `Signal`, or a tuple, `Vec`, `Option` or `Result` of signals",
    note = "to return another type, implement `sconce::Outcome` and `sconce::IntoTensors` for it"
)]
pub trait IntoTensors: Outcome {
    /// The type of the output with a tensor in place of each signal.
    type Tensors;

    /// Returns the result of `change` for each tensor, or the first error.
    ///
    /// # Errors
    /// Fails if a signal has failed or is a meta signal, if a deferred operation or `change` fails, or if the output is
    /// or contains an `Err`.
    fn map_tensors(self, change: &dyn Fn(Tensor) -> Result<Tensor>) -> Result<Self::Tensors>;

    /// Calls `f` with each signal of the output. The default calls it with none, and a network with such an output
    /// cannot be exported.
    fn for_each_signal(&self, f: &mut dyn FnMut(&Signal)) {
        let _ = f;
    }

    /// Returns the tensors, or the first error.
    ///
    /// # Errors
    /// Fails if a signal has failed or is a meta signal, if a deferred operation fails, or if the output is or contains
    /// an `Err`.
    fn into_tensors(self) -> Result<Self::Tensors>
    where
        Self: Sized,
    {
        self.map_tensors(&Ok)
    }

    /// Returns the first error. For the output types of this crate, this method accepts signals without numbers
    /// ([`Signal::meta`]) and does not run deferred operations. The default calls
    /// [`into_tensors`](Self::into_tensors), which needs numbers.
    ///
    /// # Errors
    /// Fails if a signal has failed, or if the output is or contains an `Err`.
    fn check(self) -> Result<()>
    where
        Self: Sized,
    {
        self.into_tensors().map(drop)
    }
}

impl Outcome for Signal {
    fn failed(error: Error) -> Self {
        Signal::fail(error)
    }
}

impl IntoTensors for Signal {
    type Tensors = Tensor;

    fn map_tensors(self, change: &dyn Fn(Tensor) -> Result<Tensor>) -> Result<Tensor> {
        change(self.into_tensor()?)
    }

    fn for_each_signal(&self, f: &mut dyn FnMut(&Signal)) {
        f(self);
    }

    fn check(self) -> Result<()> {
        self.error().cloned().map_or(Ok(()), Err)
    }
}

impl<T> Outcome for Result<T> {
    fn failed(error: Error) -> Self {
        Err(error)
    }
}

impl<T: IntoTensors> IntoTensors for Result<T> {
    type Tensors = T::Tensors;

    fn map_tensors(self, change: &dyn Fn(Tensor) -> Result<Tensor>) -> Result<T::Tensors> {
        self?.map_tensors(change)
    }

    fn for_each_signal(&self, f: &mut dyn FnMut(&Signal)) {
        self.iter().for_each(|output| output.for_each_signal(f));
    }

    fn check(self) -> Result<()> {
        self?.check()
    }
}

impl<T: Outcome> Outcome for Option<T> {
    fn failed(error: Error) -> Self {
        Some(T::failed(error))
    }
}

impl<T: IntoTensors> IntoTensors for Option<T> {
    type Tensors = Option<T::Tensors>;

    fn map_tensors(self, change: &dyn Fn(Tensor) -> Result<Tensor>) -> Result<Self::Tensors> {
        self.map(|output| output.map_tensors(change)).transpose()
    }

    fn for_each_signal(&self, f: &mut dyn FnMut(&Signal)) {
        self.iter().for_each(|output| output.for_each_signal(f));
    }

    fn check(self) -> Result<()> {
        self.map_or(Ok(()), T::check)
    }
}

/// Returns a list with one failed element.
impl<T: Outcome> Outcome for Vec<T> {
    fn failed(error: Error) -> Self {
        vec![T::failed(error)]
    }
}

impl<T: IntoTensors> IntoTensors for Vec<T> {
    type Tensors = Vec<T::Tensors>;

    fn map_tensors(self, change: &dyn Fn(Tensor) -> Result<Tensor>) -> Result<Self::Tensors> {
        self.into_iter().map(|output| output.map_tensors(change)).collect()
    }

    fn for_each_signal(&self, f: &mut dyn FnMut(&Signal)) {
        self.iter().for_each(|output| output.for_each_signal(f));
    }

    fn check(self) -> Result<()> {
        self.into_iter().try_for_each(T::check)
    }
}

macro_rules! tuples {
    ($($($name:ident)+;)*) => {$(
        impl<$($name: Outcome),+> Outcome for ($($name,)+) {
            fn failed(error: Error) -> Self {
                ($($name::failed(error.clone()),)+)
            }
        }

        impl<$($name: IntoTensors),+> IntoTensors for ($($name,)+) {
            type Tensors = ($($name::Tensors,)+);

            #[allow(non_snake_case)]
            fn map_tensors(self, change: &dyn Fn(Tensor) -> Result<Tensor>) -> Result<Self::Tensors> {
                let ($($name,)+) = self;
                Ok(($($name.map_tensors(change)?,)+))
            }

            #[allow(non_snake_case)]
            fn for_each_signal(&self, f: &mut dyn FnMut(&Signal)) {
                let ($($name,)+) = self;
                $($name.for_each_signal(f);)+
            }

            #[allow(non_snake_case)]
            fn check(self) -> Result<()> {
                let ($($name,)+) = self;
                $($name.check()?;)+
                Ok(())
            }
        }
    )*};
}

tuples! { A; A B; A B C; A B C D; A B C D E; A B C D E F; }
