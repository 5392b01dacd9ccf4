//! What a network is: a registry of named tensors, and a forward pass.

mod containers;
mod foreign;

use std::borrow::Cow;

use candle_core::Tensor;

use crate::signal::Signal;

/// Whether a forward pass trains: dropout drops, batch norm uses the batch's own statistics.
///
/// The mode is passed to every call and stored nowhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mode {
    Train,
    Eval,
}

impl Mode {
    pub fn is_train(self) -> bool {
        self == Mode::Train
    }
}

impl From<bool> for Mode {
    /// `true` trains, as in candle's `forward_t`.
    fn from(train: bool) -> Self {
        if train { Mode::Train } else { Mode::Eval }
    }
}

/// The registry of a layer or network: its tensors and its parts, by name, in the order of the fields.
///
/// `#[derive(Module)]` writes this; [`Network`](crate::Network) makes `parameters`, `state_dict` and the
/// rest out of it.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a layer",
    label = "this type does not implement `sconce::Module`",
    note = "a field that is plain data: mark it #[module(skip)]",
    note = "a bare tensor: mark it #[param(shape)] or #[buffer(shape)]",
    note = "a struct of layers: write #[derive(Module)] above it"
)]
pub trait Module {
    /// The type's name as PyTorch prints it: `Conv2d`, `ReLU`; a derived struct's own name.
    fn kind(&self) -> Cow<'static, str>;

    /// What stands between the parentheses when the network is printed.
    fn extra(&self) -> String {
        String::new()
    }

    /// Shows every parameter, buffer and child to `visitor`, in the order of the fields.
    fn visit<'a>(&'a self, visitor: &mut dyn Visitor<'a>);

    /// The same, with the right to replace each tensor.
    fn visit_mut(&mut self, visitor: &mut dyn VisitorMut);

    /// A copy that shares every tensor with this one.
    fn share(&self) -> Self
    where
        Self: Sized;

    /// Whether there is anything here; an empty `Option` says no and is left out of every list.
    fn is_present(&self) -> bool {
        true
    }
}

/// Sees the tensors and parts of one module.
pub trait Visitor<'a> {
    fn parameter(&mut self, name: &str, tensor: &'a Tensor);
    fn buffer(&mut self, name: &str, tensor: &'a Tensor);
    fn child(&mut self, name: &str, child: &'a dyn Module);

    /// Sees a buffer that checkpoints may lack; loading such a checkpoint keeps the buffer's value.
    fn optional_buffer(&mut self, name: &str, tensor: &'a Tensor) {
        self.buffer(name, tensor);
    }
}

/// Sees the tensors and parts of one module and may replace the tensors.
pub trait VisitorMut {
    fn parameter(&mut self, name: &str, tensor: &mut Tensor);
    fn buffer(&mut self, name: &str, tensor: &mut Tensor);
    fn child(&mut self, name: &str, child: &mut dyn Module);
}

/// A module with a forward pass from `Input`: one [`Signal`], or a tuple where there are several.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be called with `{Input}`",
    note = "`sconce::Forward<{Input}>` is its forward pass for that input"
)]
pub trait Forward<Input = Signal>: Module {
    type Output;
    fn call(&self, input: Input, mode: Mode) -> Self::Output;
}

/// A module that can also be called with more inputs than [`Forward`] takes: `lstm(x, (h0, c0))`.
///
/// Every `Forward` from a tuple is one. A type with a second way to be called implements this for it
/// rather than a second `Forward`: with two of those, a forward closure's `lstm(x)` could mean either.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be called with these inputs",
    label = "called with several inputs here",
    note = "`sconce::Forward` of their tuple is its forward pass for several inputs"
)]
pub trait ForwardWith<Inputs>: Module {
    type Output;
    fn call_with(&self, inputs: Inputs, mode: Mode) -> Self::Output;
}

macro_rules! several_inputs {
    ($($($input:ident)+;)*) => {$(
        #[diagnostic::do_not_recommend]
        impl<M: Forward<($($input,)+)>, $($input),+> ForwardWith<($($input,)+)> for M {
            type Output = M::Output;

            fn call_with(&self, inputs: ($($input,)+), mode: Mode) -> M::Output {
                self.call(inputs, mode)
            }
        }
    )*};
}

several_inputs! { A B; A B C; A B C D; A B C D E; A B C D E F; A B C D E F G; A B C D E F G H; }

/// A module from one signal to one signal: what `Vec<_>`, `Box<dyn Layer>` and generic networks hold.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a layer from one signal to one signal",
    note = "`Layer` is implemented for every `Forward<Signal, Output = Signal> + Send + Sync + 'static`"
)]
pub trait Layer: Forward<Signal, Output = Signal> + Send + Sync {
    /// Returns [`Module::share`] of the layer behind the box: a layer that holds the same tensors.
    fn share_boxed(&self) -> Box<dyn Layer>;
}

impl<T: Forward<Signal, Output = Signal> + Send + Sync + 'static> Layer for T {
    fn share_boxed(&self) -> Box<dyn Layer> {
        Box::new(self.share())
    }
}
