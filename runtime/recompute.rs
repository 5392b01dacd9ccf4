//! `#[module(recompute)]`: layers that keep their inputs instead of their intermediate results, and run again in the
//! backward pass.

use std::cell::Cell;

use candle_core::{Tensor, TensorId, Var};
use indexmap::IndexMap;

use crate::dispatch::{IndexOf, with_element};
use crate::kernels::internal::{function, with_gradient};
use crate::module::{Forward, ForwardWith, Mode, Module};
use crate::registry::{Network, Replacements, TensorKind, for_each_mut};
use crate::scope::{Path, ReplacedPath, Scope};
use crate::signal::Signal;
use crate::summary::SummaryInput;
use crate::thread_value::with_value;
use crate::{Result, kernels, random};

/// Calls the field `name`, which has `#[module(recompute)]`, like [`call`](crate::dispatch::call).
pub fn recompute<I, M>(layer: &M, name: &'static str, input: I, mode: Mode) -> Signal
where
    M: Forward<I, Output = Signal> + Send + Sync + 'static,
    I: RecomputeInput,
{
    let _call = Scope::enter(name).begin_call();
    RecomputedCall::run(layer, input, mode, M::forward_pass)
}

/// Calls the field `name` with several inputs, like [`call_with`](crate::dispatch::call_with).
pub fn recompute_with<I, M>(layer: &M, name: &'static str, inputs: I, mode: Mode) -> Signal
where
    M: ForwardWith<I, Output = Signal> + Send + Sync + 'static,
    I: RecomputeInput,
{
    let _call = Scope::enter(name).begin_call();
    RecomputedCall::run(layer, inputs, mode, M::forward_pass_with)
}

/// Calls an element of the field `name`, like [`call_element`](crate::dispatch::call_element).
pub fn recompute_element<I, N, L, M>(list: &L, name: &'static str, index: N, input: I, mode: Mode) -> Signal
where
    L: ?Sized,
    N: IndexOf<L, Layer = M>,
    M: Forward<I, Output = Signal> + Send + Sync + 'static,
    I: RecomputeInput,
{
    with_element(list, name, index, |layer| RecomputedCall::run(layer, input, mode, M::forward_pass))
}

/// Calls an element of the field `name` with several inputs, like
/// [`call_element_with`](crate::dispatch::call_element_with).
pub fn recompute_element_with<I, N, L, M>(
    list: &L,
    name: &'static str,
    index: N,
    inputs: I,
    mode: Mode,
) -> Signal
where
    L: ?Sized,
    N: IndexOf<L, Layer = M>,
    M: ForwardWith<I, Output = Signal> + Send + Sync + 'static,
    I: RecomputeInput,
{
    with_element(list, name, index, |layer| RecomputedCall::run(layer, inputs, mode, M::forward_pass_with))
}

/// An input of a layer with `#[module(recompute)]`.
#[diagnostic::on_unimplemented(
    message = "a layer with `recompute` cannot have an input of type `{Self}`",
    label = "has an input of type `{Self}`",
    note = "its inputs are signals, tensors, numbers, booleans, and options, lists and tuples of them"
)]
pub trait RecomputeInput: SummaryInput + Clone + Send + Sync + 'static {
    /// Returns a copy in which each signal and each tensor is replaced with the result of `change`.
    ///
    /// # Errors
    /// Fails if a signal has failed, or if a deferred operation or `change` fails.
    fn map_tensors(&self, change: &mut dyn FnMut(&Tensor) -> Result<Tensor>) -> Result<Self>;
}

impl RecomputeInput for Signal {
    fn map_tensors(&self, change: &mut dyn FnMut(&Tensor) -> Result<Tensor>) -> Result<Self> {
        Ok(change(&self.tensor()?)?.into())
    }
}

impl RecomputeInput for Tensor {
    fn map_tensors(&self, change: &mut dyn FnMut(&Tensor) -> Result<Tensor>) -> Result<Self> {
        change(self)
    }
}

impl<T: RecomputeInput> RecomputeInput for Option<T> {
    fn map_tensors(&self, change: &mut dyn FnMut(&Tensor) -> Result<Tensor>) -> Result<Self> {
        self.as_ref().map(|value| value.map_tensors(change)).transpose()
    }
}

impl<T: RecomputeInput> RecomputeInput for Vec<T> {
    fn map_tensors(&self, change: &mut dyn FnMut(&Tensor) -> Result<Tensor>) -> Result<Self> {
        self.iter().map(|value| value.map_tensors(change)).collect()
    }
}

macro_rules! plain_inputs {
    ($($ty:ty)*) => {$(
        impl RecomputeInput for $ty {
            fn map_tensors(&self, _: &mut dyn FnMut(&Tensor) -> Result<Tensor>) -> Result<Self> {
                Ok(*self)
            }
        }
    )*};
}

plain_inputs! { bool u8 u16 u32 u64 usize i8 i16 i32 i64 isize f32 f64 Mode }

macro_rules! tuple_inputs {
    ($(($($input:ident $index:tt),+))*) => {$(
        impl<$($input: RecomputeInput),+> RecomputeInput for ($($input,)+) {
            fn map_tensors(&self, change: &mut dyn FnMut(&Tensor) -> Result<Tensor>) -> Result<Self> {
                Ok(($(self.$index.map_tensors(change)?,)+))
            }
        }
    )*};
}

tuple_inputs! {
    (A 0, B 1)
    (A 0, B 1, C 2)
    (A 0, B 1, C 2, D 3)
    (A 0, B 1, C 2, D 3, E 4)
    (A 0, B 1, C 2, D 3, E 4, F 5)
}

/// Returns `true` if the input has a signal without numbers.
fn has_meta(input: &impl SummaryInput) -> bool {
    let mut has_meta = false;
    input.for_each_signal(&mut |signal| has_meta |= signal.is_meta());
    has_meta
}

/// One call of a layer, with all that is needed to repeat the call.
struct RecomputedCall<M, I> {
    /// Shares the tensors of the layer.
    layer: M,
    input: I,
    mode: Mode,
    forward: fn(&M, I, Mode) -> Signal,
    /// The seed of the random number generator in this call.
    seed: u64,
    path: Path,
}

impl<M, I> RecomputedCall<M, I>
where
    M: Module + Send + Sync + 'static,
    I: RecomputeInput,
{
    /// Runs the layer. If the output needs a gradient, drops the graph of this run: the backward pass runs the layer
    /// again.
    fn run(layer: &M, input: I, mode: Mode, forward: fn(&M, I, Mode) -> Signal) -> Signal {
        let parameters: Vec<Tensor> = layer.parameters().into_iter().filter(needs_gradient).collect();
        // In inference, the operations of this layer can be fused with those around it. Without numbers, there is
        // nothing to run again.
        if mode == Mode::Eval && parameters.is_empty() || has_meta(&input) {
            return forward(layer, input, mode);
        }
        Self::record(layer, parameters, input, mode, forward).into()
    }

    fn record(
        layer: &M,
        parameters: Vec<Tensor>,
        input: I,
        mode: Mode,
        forward: fn(&M, I, Mode) -> Signal,
    ) -> Result<Tensor> {
        let mut operands: IndexMap<TensorId, Tensor> = IndexMap::new();
        let tensors = input.map_tensors(&mut |tensor| {
            if needs_gradient(tensor) {
                operands.insert(tensor.id(), tensor.clone());
            }
            Ok(tensor.clone())
        })?;
        // Free the memory that only the deferred operations of the input use, before the layer runs.
        drop(input);
        operands.extend(parameters.into_iter().map(|parameter| (parameter.id(), parameter)));
        let (seed, path) = (random::draw_seed(), Path::current());
        let call = Self { layer: layer.share(), input: tensors, mode, forward, seed, path };
        let output = call.replay(layer, call.input.clone())?;
        if !needs_gradient(&output) {
            return Ok(output);
        }
        let operands: Vec<Tensor> = operands.into_values().collect();
        let sources = operands.clone();
        let gradients = move |gradient: &Tensor| Ok(call.gradients(&sources, gradient)?);
        // The result equals `output`, but gets the gradients of the operands from `gradients`.
        Ok(function(&operands, output, gradients)?)
    }

    /// Runs `layer` with the seed of this call, so that it draws the same random numbers each time.
    fn replay(&self, layer: &M, input: I) -> Result<Tensor> {
        random::with_seed(self.seed, || (self.forward)(layer, input, self.mode).into_tensor())
    }

    /// Runs the layer again, and computes the gradients of `operands` from the gradient of the output.
    fn gradients(&self, operands: &[Tensor], gradient: &Tensor) -> Result<Vec<Option<Tensor>>> {
        let _path = ReplacedPath::new(&self.path);
        let mut leaves = Replacements::default();
        let mut leaf = |tensor: &Tensor| leaves.get_or_make(tensor, leaf_of);
        let input = self.input.map_tensors(&mut leaf)?;
        let mut layer = self.layer.share();
        for_each_mut(&mut layer, &mut |_, kind, tensor| {
            if kind == TensorKind::Parameter {
                *tensor = leaf(tensor)?;
            }
            Ok(())
        })?;
        let gradients = with_value(&IS_RECOMPUTING, true, || -> Result<_> {
            let output = self.replay(&layer, input)?;
            Ok(kernels::backward(&with_gradient(&output, gradient)?)?)
        })?;
        let gradient = |operand| leaves.get(operand).and_then(|leaf| gradients.get(leaf).cloned());
        Ok(operands.iter().map(gradient).collect())
    }
}

/// Returns `true` if a backward pass computes the gradient of the tensor.
fn needs_gradient(tensor: &Tensor) -> bool {
    tensor.track_op() && tensor.dtype().is_float()
}

/// Returns a variable with a copy of the tensor, so that a backward pass ends there. Returns the tensor unchanged if it
/// is a variable or needs no gradient.
fn leaf_of(tensor: &Tensor) -> Result<Tensor> {
    if tensor.is_variable() || !needs_gradient(tensor) {
        return Ok(tensor.clone());
    }
    Ok(Var::from_tensor(&tensor.detach())?.into_inner())
}

thread_local! {
    static IS_RECOMPUTING: Cell<bool> = const { Cell::new(false) };
}

/// Returns `true` while a backward pass runs a layer with `#[module(recompute)]` again. A layer that updates its
/// buffers in training must not update them in this second run.
///
/// ```
/// use std::sync::atomic::{AtomicUsize, Ordering};
///
/// use sconce::prelude::*;
///
/// static CALLS: AtomicUsize = AtomicUsize::new(0);
///
/// #[derive(Module)]
/// #[module(forward = |x| {
///     if !sconce::is_recomputing() {
///         CALLS.fetch_add(1, Ordering::Relaxed);
///     }
///     relu(linear(x))
/// })]
/// struct Block {
///     #[layer(4, 4)]
///     linear: Linear,
/// }
///
/// #[derive(Module)]
/// struct Net {
///     #[module(recompute)]
///     block: Block,
///     #[layer(4, 2)]
///     head: Linear,
/// }
///
/// # fn main() -> Result<()> {
/// let net = Net::new(&Device::Cpu)?;
/// let output = net.forward_t(Tensor::ones((3, 4), DType::F32, &Device::Cpu)?, true)?;
/// let grads = sconce::backward(&output.sum_all()?)?;
/// assert!(grads.get(net.block.linear.weight()).is_some());
/// assert_eq!(CALLS.load(Ordering::Relaxed), 1);
/// # Ok(())
/// # }
/// ```
pub fn is_recomputing() -> bool {
    IS_RECOMPUTING.get()
}
