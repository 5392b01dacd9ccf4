//! Runs forward passes and converts their outputs.

use candle_core::Tensor;

use crate::Result;
use crate::module::{Forward, Mode, Module};
use crate::scope::{self, Scope};
use crate::signal::{IntoTensors, Outcome, Signal};

/// Runs the body of the forward pass of a network. If the body calls a layer through a reference, the path of the layer
/// is found by searching `network`.
pub fn run_network<M: Module, T>(network: &M, body: impl FnOnce() -> T) -> T {
    scope::run_field(&network, body)
}

/// The body of a forward closure. If the body returns an error, the output represents this error.
pub struct ForwardBody<F>(pub F);

impl<T: Outcome, F: FnOnce() -> Result<T>> ForwardBody<F> {
    /// Runs the body and returns the output.
    pub fn output(self) -> T {
        (self.0)().unwrap_or_else(T::failed)
    }
}

/// The output of the inherent methods `forward` and `forward_t`, before it is converted to tensors.
pub struct ForwardOutput<T> {
    output: T,
    /// Keeps the network's name in the current path until the deferred operations of the output have run.
    _scope: Option<Scope>,
}

/// Runs the forward pass of `network`, whose type has the name `name`.
pub fn forward<I, M: Forward<I>>(
    network: &M,
    name: &'static str,
    input: I,
    mode: Mode,
) -> ForwardOutput<M::Output> {
    // Without a scope, `network` is a part of a network that runs, and `call` finds its path.
    let scope = Scope::root(name);
    let output = if scope.is_some() { network.forward_pass(input, mode) } else { network.call(input, mode) };
    ForwardOutput { output, _scope: scope }
}

impl<T: IntoTensors> ForwardOutput<T> {
    /// Returns the tensors of the output.
    pub fn tensors(self) -> Result<T::Tensors> {
        self.output.into_tensors()
    }
}

/// Fallback methods for an output type without [`IntoTensors`]. The signature of the inherent method `forward` already
/// requires that trait, so the compiler reports one error there. These methods prevent further errors; they never run.
pub trait UnsupportedOutput: Sized {
    /// Replaces [`ForwardBody::output`].
    fn output<T>(self) -> T {
        unreachable!("the output type of a network implements `Outcome`")
    }

    /// Replaces [`ForwardOutput::tensors`].
    fn tensors<T>(self) -> Result<T> {
        unreachable!("the output type of a network implements `IntoTensors`")
    }
}

impl<F> UnsupportedOutput for ForwardBody<F> {}
impl<T> UnsupportedOutput for ForwardOutput<T> {}

/// Implements `candle_nn::ModuleT::forward_t` for a network whose type has the name `name`.
pub fn module_forward_t<M: Forward<Signal, Output = Signal>>(
    network: &M,
    name: &'static str,
    xs: &Tensor,
    train: bool,
) -> candle_core::Result<Tensor> {
    Ok(forward(network, name, Signal::from(xs), Mode::from(train)).tensors()?)
}
