//! The traits of layers and networks: a registry of named tensors and a forward pass.

mod containers;
mod foreign;
mod search;

pub use containers::ForwardContainer;

use std::borrow::Cow;
use std::fmt;

use candle_core::Tensor;

use crate::Result;
use crate::display::display;
use crate::layers::BatchNorm;
use crate::scope::{self, LayerIdentity};
use crate::signal::Signal;

/// Whether a forward pass is for training or evaluation. In training, dropout is active and batch norm uses
/// the statistics of the batch.
///
/// The mode is an argument of every call. [`Network::set_mode`](crate::Network::set_mode) pins layers to one mode,
/// which they then use instead of the argument.
///
/// ```
/// use sconce::prelude::*;
/// # fn main() -> Result<()> {
/// let dropout = Dropout::config(0.5).init(&Device::Cpu)?;
/// let x = Tensor::ones(100, DType::F32, &Device::Cpu)?;
/// let y = dropout.call((&x).into(), Mode::Eval).into_tensor()?;
/// assert_eq!(y.to_vec1::<f32>()?, x.to_vec1::<f32>()?);
/// let y = dropout.call((&x).into(), Mode::Train).into_tensor()?;
/// assert!(y.to_vec1::<f32>()?.contains(&0.));
/// assert!(Mode::from(true).is_train());
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mode {
    /// Training.
    Train,
    /// Evaluation.
    Eval,
}

impl Mode {
    /// Returns `true` for [`Mode::Train`].
    pub fn is_train(self) -> bool {
        self == Mode::Train
    }
}

impl From<bool> for Mode {
    /// Converts the `train` argument of candle's `forward_t`: `true` is [`Mode::Train`].
    fn from(train: bool) -> Self {
        if train { Mode::Train } else { Mode::Eval }
    }
}

/// The registry of a layer or network: its tensors and child modules, by name, in the order of the fields.
///
/// `#[derive(Module)]` implements this trait. [`Network`](crate::Network) builds its methods, such as `parameters` and
/// `state_dict`, on this trait.
///
#[doc = include_str!("../../docs/src/layers.md")]
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a layer",
    label = "this type does not implement `sconce::Module`",
    note = "if the field is plain data, mark it #[module(skip)]",
    note = "if it is a bare tensor, mark it #[param(shape)] or #[buffer(shape)]",
    note = "if it is a struct of layers, write #[derive(Module)] above it"
)]
pub trait Module {
    /// Returns the type's name as PyTorch prints it, such as `Conv2d` or `ReLU`. For a derived struct, returns the
    /// name of the struct.
    fn kind(&self) -> Cow<'static, str>;

    /// Returns the settings that are printed in parentheses after the type's name, like PyTorch's `extra_repr`.
    fn extra(&self) -> String {
        String::new()
    }

    /// Passes every parameter, buffer and child module to `visitor`, in the order of the fields.
    fn visit<'a>(&'a self, visitor: &mut dyn Visitor<'a>);

    /// Passes every parameter, buffer and child module to `visitor`, which may replace the tensors.
    fn visit_mut(&mut self, visitor: &mut dyn VisitorMut);

    /// Returns a copy that shares every tensor with `self`, including running statistics. For the layers of this crate,
    /// this is `clone`. [`Network::deep_clone`](crate::Network::deep_clone) copies the tensors.
    fn share(&self) -> Self
    where
        Self: Sized;

    /// Returns `false` for an `Option` that is `None`. Every list of modules leaves out an absent module.
    fn is_present(&self) -> bool {
        true
    }

    /// Passes every child module to `visitor`, with the name of its field. These names differ from those of
    /// [`visit`](Self::visit) in a derived network with `#[module(rename = …)]`.
    #[doc(hidden)]
    fn visit_fields<'a>(&'a self, visitor: &mut dyn Visitor<'a>) {
        self.visit(visitor);
    }

    /// Returns the identity of the module, by which its path is found. A pointer has the identity of its target.
    #[doc(hidden)]
    fn identity(&self) -> LayerIdentity {
        LayerIdentity::of(self)
    }
}

/// Visits the tensors and child modules of one module. [`Module`] has an example of a layer that passes its tensors to
/// a visitor.
///
/// ```
/// use sconce::prelude::*;
/// use std::collections::BTreeSet;
/// use sconce::Visitor;
/// # fn main() -> Result<()> {
///
/// /// Collects the names of the parameters, without those of the children.
/// #[derive(Default)]
/// struct Names(BTreeSet<String>);
///
/// impl<'a> Visitor<'a> for Names {
///     fn parameter(&mut self, name: &str, _: &'a Tensor) {
///         self.0.insert(name.to_string());
///     }
///     fn buffer(&mut self, _: &str, _: &'a Tensor) {}
///     fn child(&mut self, _: &str, _: &'a dyn Module) {}
/// }
///
/// let mut names = Names::default();
/// Linear::config(4, 2).init(&Device::Cpu)?.visit(&mut names);
/// assert_eq!(Vec::from_iter(names.0), ["bias", "weight"]);
/// # Ok(())
/// # }
/// ```
pub trait Visitor<'a> {
    /// Visits a parameter.
    fn parameter(&mut self, name: &str, tensor: &'a Tensor);

    /// Visits a buffer.
    fn buffer(&mut self, name: &str, tensor: &'a Tensor);

    /// Visits a child module.
    fn child(&mut self, name: &str, child: &'a dyn Module);

    /// Visits a buffer that may be missing from a checkpoint; the buffer then keeps its value.
    fn optional_buffer(&mut self, name: &str, tensor: &'a Tensor) {
        self.buffer(name, tensor);
    }
}

/// Visits the tensors and child modules of one module and may replace the tensors. [`Module`] has an example of a layer
/// that passes its tensors to a visitor.
///
/// ```
/// use sconce::prelude::*;
/// use sconce::VisitorMut;
/// # fn main() -> Result<()> {
///
/// /// Sets every parameter to zero.
/// struct Zero;
///
/// impl VisitorMut for Zero {
///     fn parameter(&mut self, _: &str, tensor: &mut Tensor) {
///         *tensor = tensor.zeros_like().expect("the device has enough memory");
///     }
///     fn buffer(&mut self, _: &str, _: &mut Tensor) {}
///     fn child(&mut self, _: &str, child: &mut dyn Module) {
///         child.visit_mut(self);
///     }
/// }
///
/// let mut net = vec![Linear::config(4, 2).init(&Device::Cpu)?];
/// net.visit_mut(&mut Zero);
/// assert_eq!(net[0].weight().abs()?.max_all()?.to_scalar::<f32>()?, 0.);
/// # Ok(())
/// # }
/// ```
pub trait VisitorMut {
    /// Visits a parameter.
    fn parameter(&mut self, name: &str, tensor: &mut Tensor);

    /// Visits a buffer.
    fn buffer(&mut self, name: &str, tensor: &mut Tensor);

    /// Visits a child module.
    fn child(&mut self, name: &str, child: &mut dyn Module);

    /// Visits the mode to which the module is pinned, or `None` if the module uses the mode of each call.
    ///
    /// A layer whose forward pass depends on the mode stores an `Option<Mode>`, passes it to this method, and runs with
    /// `self.pinned.unwrap_or(mode)`, as the example of [`Module`] does.
    fn pinned_mode(&mut self, pinned: &mut Option<Mode>) {
        let _ = pinned;
    }

    /// Reports that the forward pass of the module depends on the mode and that the module cannot store a mode, as for
    /// candle-nn's `Dropout` and `BatchNorm`.
    fn cannot_pin(&mut self) {}

    /// Visits a batch norm, after its tensors.
    #[doc(hidden)]
    fn batch_norm(&mut self, norm: &mut BatchNorm) {
        let _ = norm;
    }
}

/// A module with a forward pass. `Input` is one [`Signal`], or a tuple of several inputs.
///
/// `#[derive(Module)]` implements this trait. [`Module`] has an example of a layer that implements both traits by hand.
/// A layer implements [`forward_pass`](Self::forward_pass), as a PyTorch module implements `forward`. Code that uses
/// the layer calls [`call`](Self::call), as PyTorch code calls the module itself.
///
/// ```
/// use sconce::prelude::*;
/// # fn main() -> Result<()> {
/// let conv = Conv2d::config(3, 8, 3).init(&Device::Cpu)?;
/// let x = Tensor::zeros((1, 3, 8, 8), DType::F32, &Device::Cpu)?;
/// let y = relu(conv.call(x.into(), Mode::Eval)); // not run yet
/// assert_eq!(y.into_tensor()?.dims(), [1, 8, 6, 6]); // runs convolution and ReLU as one kernel
/// # Ok(())
/// # }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be called with `{Input}`",
    note = "to support this input, implement `sconce::Forward<{Input}>`"
)]
pub trait Forward<Input = Signal>: Module {
    /// The output: a [`Signal`], or a structure of signals.
    type Output;

    /// Computes the output. This method does not add the layer to the path in errors and traces; use
    /// [`call`](Self::call) to call a layer.
    fn forward_pass(&self, input: Input, mode: Mode) -> Self::Output;

    /// Calls the layer. If a forward pass calls this method for a layer of its network, errors and traces have the path
    /// of the layer, such as `Net.blocks[3].conv`. This also holds for a call in a helper function that has no access
    /// to the network.
    ///
    /// The path is unknown if another thread calls the layer, or if its type is your own and has no fields, and the
    /// network contains several layers of this type.
    fn call(&self, input: Input, mode: Mode) -> Self::Output {
        scope::run_reference(&self, || self.forward_pass(input, mode))
    }
}

/// A module that can be called with several inputs: `lstm(x, (h0, c0))`.
///
/// Every module that implements [`Forward`] for a tuple also implements this trait. A type that supports both one
/// and several inputs implements `Forward` for one input and this trait for several inputs. With two implementations
/// of `Forward`, a forward closure's `lstm(x)` would be ambiguous.
///
/// ```
/// use sconce::prelude::*;
/// # fn main() -> Result<()> {
/// let lstm = LSTM::config(8, 16).init(&Device::Cpu)?;
/// let x = Signal::from(Tensor::ones((5, 2, 8), DType::F32, &Device::Cpu)?); // [steps, batch, features]
/// let state = Signal::from(Tensor::zeros((1, 2, 16), DType::F32, &Device::Cpu)?);
/// let (outputs, _) = lstm.call_with((x, (state.clone(), state)), Mode::Eval);
/// assert_eq!(outputs.dims()?, [5, 2, 16]);
/// # Ok(())
/// # }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be called with these inputs",
    label = "called with several inputs here",
    note = "to support several inputs, implement `sconce::Forward` for their tuple"
)]
pub trait ForwardWith<Inputs>: Module {
    /// The output: a [`Signal`], or a structure of signals.
    type Output;

    /// Computes the output, like [`Forward::forward_pass`].
    fn forward_pass_with(&self, inputs: Inputs, mode: Mode) -> Self::Output;

    /// Calls the layer, like [`Forward::call`].
    fn call_with(&self, inputs: Inputs, mode: Mode) -> Self::Output {
        scope::run_reference(&self, || self.forward_pass_with(inputs, mode))
    }
}

macro_rules! several_inputs {
    ($($($input:ident)+;)*) => {$(
        #[diagnostic::do_not_recommend]
        impl<M: Forward<($($input,)+)>, $($input),+> ForwardWith<($($input,)+)> for M {
            type Output = M::Output;

            fn forward_pass_with(&self, inputs: ($($input,)+), mode: Mode) -> M::Output {
                self.forward_pass(inputs, mode)
            }
        }
    )*};
}

several_inputs! { A B; A B C; A B C D; A B C D E; A B C D E F; A B C D E F G; A B C D E F G H; }

/// A module with a forward pass from one signal to one signal. `Vec<_>`, `Box<dyn Layer>` and generic networks
/// hold such modules.
///
/// ```
/// use sconce::prelude::*;
/// # fn main() -> Result<()> {
/// let layers: Vec<Box<dyn Layer>> =
///     vec![Box::new(Linear::config(4, 8).init(&Device::Cpu)?), Box::new(Relu)];
/// let x = Tensor::ones((5, 4), DType::F32, &Device::Cpu)?;
/// assert_eq!(layers.forward(&x)?.dims(), [5, 8]);
/// assert_eq!(layers[0].forward(&x)?.dims(), [5, 8]);
/// # Ok(())
/// # }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a layer from one signal to one signal",
    note = "`Layer` is implemented for every `Forward<Signal, Output = Signal> + Send + Sync + 'static`"
)]
pub trait Layer: Forward<Signal, Output = Signal> + Send + Sync {
    /// Calls [`Module::share`] and boxes the result.
    fn share_boxed(&self) -> Box<dyn Layer>;
}

impl<T: Forward<Signal, Output = Signal> + Send + Sync + 'static> Layer for T {
    fn share_boxed(&self) -> Box<dyn Layer> {
        Box::new(self.share())
    }
}

impl dyn Layer {
    /// Runs the layer in evaluation mode.
    ///
    /// # Errors
    /// Fails if the layer fails.
    pub fn forward(&self, x: impl Into<Signal>) -> Result<Tensor> {
        self.forward_t(x, false)
    }

    /// Runs the layer in training mode if `train` is true, and in evaluation mode otherwise.
    ///
    /// # Errors
    /// Fails if the layer fails.
    pub fn forward_t(&self, x: impl Into<Signal>, train: bool) -> Result<Tensor> {
        self.call(x.into(), train.into()).into_tensor()
    }
}

impl Clone for Box<dyn Layer> {
    fn clone(&self) -> Self {
        (**self).share_boxed()
    }
}

impl fmt::Display for dyn Layer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        display(self, f)
    }
}

impl fmt::Debug for dyn Layer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        display(self, f)
    }
}
