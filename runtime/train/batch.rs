//! The examples of one forward pass.

use candle_core::{Device, Tensor};

use crate::Result;
use crate::signal::Signal;

/// The examples of one forward pass: the network's input, the target of the loss, and the number of examples.
///
/// Implemented for `(Tensor, Tensor)`, an input and a target. `#[derive(Batch)]` implements it for a struct with any
/// number of inputs. Its target is the struct itself, so that the loss and the metrics can use every field:
///
/// ```
/// use sconce::prelude::*;
///
/// /// Two images and whether they show the same object.
/// #[derive(Batch, Clone)]
/// struct Pair {
///     #[batch(input)]
///     left: Tensor,
///     #[batch(input)]
///     right: Tensor,
///     same: Tensor,
/// }
///
/// #[derive(Module)]
/// #[module(forward = |left, right| embed(left) - embed(right))]
/// struct Siamese {
///     #[layer(4, 2)]
///     embed: Linear,
/// }
///
/// fn contrastive(difference: &Tensor, pair: &Pair) -> Result<Tensor> {
///     mse_loss(&difference.sqr()?.sum(1)?, &pair.same)
/// }
///
/// # fn main() -> Result<()> {
/// let net = Siamese::new(&Device::Cpu)?;
/// let images = Tensor::ones((8, 4), DType::F32, &Device::Cpu)?;
/// let same = Tensor::ones(8, DType::F32, &Device::Cpu)?;
/// let data = vec![Pair { left: images.clone(), right: images, same }];
/// let history = Trainer::new(&net, contrastive, Sgd::new(0.1)).quiet(true).fit(&data, &(), Epochs(1))?;
/// assert_eq!(history.epochs()[0].train.examples, 8);
/// # Ok(())
/// # }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a batch",
    label = "a network cannot be trained with this type",
    note = "a batch is a pair of tensors, or a struct with #[derive(Batch)] and #[batch(input)] on its inputs"
)]
pub trait Batch {
    /// The input of the network: one [`Signal`], or a tuple of several inputs.
    type Input;
    /// The target, with which the loss and the metrics compare the network's output.
    type Target: 'static;

    /// Returns the input of the network.
    fn input(&self) -> Self::Input;

    /// Returns what the loss and the metrics compare the network's output with.
    fn target(&self) -> &Self::Target;

    /// Returns the number of examples. A batch without examples is skipped.
    fn examples(&self) -> usize;

    /// Returns a copy in which `change(tensor)` replaces each tensor.
    ///
    /// # Errors
    /// Fails if `change` fails.
    fn map_tensors(&self, change: &dyn Fn(&Tensor) -> Result<Tensor>) -> Result<Self>
    where
        Self: Sized;

    /// Returns a copy on `device`. Tensors that are already on `device` are shared.
    ///
    /// # Errors
    /// Fails if a tensor cannot be copied to `device`.
    fn to_device(&self, device: &Device) -> Result<Self>
    where
        Self: Sized,
    {
        self.map_tensors(&|tensor| Ok(tensor.to_device(device)?))
    }
}

impl Batch for (Tensor, Tensor) {
    type Input = Signal;
    type Target = Tensor;

    fn input(&self) -> Signal {
        (&self.0).into()
    }

    fn target(&self) -> &Tensor {
        &self.1
    }

    fn examples(&self) -> usize {
        first_dimension(&self.0)
    }

    fn map_tensors(&self, change: &dyn Fn(&Tensor) -> Result<Tensor>) -> Result<Self> {
        BatchField::map_tensors(self, change)
    }
}

/// A field of a struct with `#[derive(Batch)]`: a tensor, or an `Option`, `Vec` or tuple of such fields.
///
/// ```
/// use sconce::prelude::*;
/// use sconce::train::BatchField;
/// # fn main() -> Result<()> {
/// let mask = Some(Tensor::ones((8, 4), DType::F32, &Device::Cpu)?);
/// let _input: Option<Signal> = mask.to_input();
/// assert_eq!(mask.examples(), Some(8));
/// # Ok(())
/// # }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` has no tensors that a batch could move to a device",
    note = "mark a field of plain data #[batch(skip)], to clone it instead"
)]
pub trait BatchField: Sized {
    /// The type with a [`Signal`] in place of each tensor.
    type Input;

    /// Returns the field as an input of a network.
    fn to_input(&self) -> Self::Input;

    /// Returns the first dimension of the first tensor, or `None` if there are no tensors.
    fn examples(&self) -> Option<usize>;

    /// Returns a copy in which `change(tensor)` replaces each tensor.
    ///
    /// # Errors
    /// Fails if `change` fails.
    fn map_tensors(&self, change: &dyn Fn(&Tensor) -> Result<Tensor>) -> Result<Self>;
}

impl BatchField for Tensor {
    type Input = Signal;

    fn to_input(&self) -> Signal {
        self.into()
    }

    fn examples(&self) -> Option<usize> {
        Some(first_dimension(self))
    }

    fn map_tensors(&self, change: &dyn Fn(&Tensor) -> Result<Tensor>) -> Result<Self> {
        change(self)
    }
}

/// Returns the first dimension of a tensor. A scalar is one example.
fn first_dimension(tensor: &Tensor) -> usize {
    tensor.dims().first().copied().unwrap_or(1)
}

impl<F: BatchField> BatchField for Option<F> {
    type Input = Option<F::Input>;

    fn to_input(&self) -> Self::Input {
        self.as_ref().map(F::to_input)
    }

    fn examples(&self) -> Option<usize> {
        self.as_ref().and_then(F::examples)
    }

    fn map_tensors(&self, change: &dyn Fn(&Tensor) -> Result<Tensor>) -> Result<Self> {
        self.as_ref().map(|field| field.map_tensors(change)).transpose()
    }
}

impl<F: BatchField> BatchField for Vec<F> {
    type Input = Vec<F::Input>;

    fn to_input(&self) -> Self::Input {
        self.iter().map(F::to_input).collect()
    }

    fn examples(&self) -> Option<usize> {
        self.iter().find_map(F::examples)
    }

    fn map_tensors(&self, change: &dyn Fn(&Tensor) -> Result<Tensor>) -> Result<Self> {
        self.iter().map(|field| field.map_tensors(change)).collect()
    }
}

macro_rules! tuples {
    ($($($name:ident)+;)*) => {$(
        #[allow(non_snake_case)]
        impl<$($name: BatchField),+> BatchField for ($($name,)+) {
            type Input = ($($name::Input,)+);

            fn to_input(&self) -> Self::Input {
                let ($($name,)+) = self;
                ($($name.to_input(),)+)
            }

            fn examples(&self) -> Option<usize> {
                let ($($name,)+) = self;
                None$(.or_else(|| $name.examples()))+
            }

            fn map_tensors(&self, change: &dyn Fn(&Tensor) -> Result<Tensor>) -> Result<Self> {
                let ($($name,)+) = self;
                Ok(($($name.map_tensors(change)?,)+))
            }
        }
    )*};
}

tuples! { A; A B; A B C; A B C D; A B C D E; A B C D E F; }
