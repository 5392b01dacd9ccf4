//! `#[module(recompute)]`: layers that keep their inputs instead of their intermediate results, and run again in the
//! backward pass.

use std::cell::Cell;

use candle_core::{Tensor, Var};

use crate::dispatch::IndexOf;
use crate::kernels::internal::{function, with_gradient};
use crate::module::{Forward, ForwardWith, Mode, Module};
use crate::registry::{Replacements, TensorKind, for_each_mut};
use crate::scope::{Path, Scope};
use crate::signal::{Outcome, Signal};
use crate::{Result, kernels, random};

/// Calls the field `name`, which has `#[module(recompute)]`, like [`call`](crate::dispatch::call).
pub fn recompute<I, M>(layer: &M, name: &'static str, input: I, mode: Mode) -> Signal
where
    M: Forward<I, Output = Signal> + Send + Sync + 'static,
    I: RecomputeInput,
{
    let _scope = Scope::enter(name);
    Segment::run(layer, input, mode, M::forward_pass).into()
}

/// Calls the field `name` with several inputs, like [`call_with`](crate::dispatch::call_with).
pub fn recompute_with<I, M>(layer: &M, name: &'static str, inputs: I, mode: Mode) -> Signal
where
    M: ForwardWith<I, Output = Signal> + Send + Sync + 'static,
    I: RecomputeInput,
{
    let _scope = Scope::enter(name);
    Segment::run(layer, inputs, mode, M::forward_pass_with).into()
}

/// Calls an element of the field `name`, like [`call_element`](crate::dispatch::call_element).
pub fn recompute_element<I, N, L, M>(list: &L, name: &'static str, index: N, input: I, mode: Mode) -> Signal
where
    L: ?Sized,
    N: IndexOf<L, Layer = M>,
    M: Forward<I, Output = Signal> + Send + Sync + 'static,
    I: RecomputeInput,
{
    let _field = Scope::enter(name);
    let run = |layer: &M| Segment::run(layer, input, mode, M::forward_pass).into();
    index.with_layer(list, run).unwrap_or_else(Outcome::failed)
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
    let _field = Scope::enter(name);
    let run = |layer: &M| Segment::run(layer, inputs, mode, M::forward_pass_with).into();
    index.with_layer(list, run).unwrap_or_else(Outcome::failed)
}

/// An input of a layer with `#[module(recompute)]`.
#[diagnostic::on_unimplemented(
    message = "a layer with `recompute` cannot have an input of type `{Self}`",
    label = "has an input of type `{Self}`",
    note = "its inputs are signals, tensors, numbers, booleans, and options, lists and tuples of them"
)]
pub trait RecomputeInput: Sized + Send + Sync + 'static {
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

plain_inputs! { bool u32 u64 usize i32 i64 isize f32 f64 Mode }

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

/// One call of a layer: all that is needed to repeat it.
struct Segment<M, I> {
    /// Shares the tensors of the layer.
    layer: M,
    input: I,
    mode: Mode,
    forward: fn(&M, I, Mode) -> Signal,
    /// The seed of the random numbers of this call.
    seed: u64,
    path: Path,
}

impl<M, I> Segment<M, I>
where
    M: Module + Send + Sync + 'static,
    I: RecomputeInput,
{
    /// Runs the layer. If its output has gradients, its graph is dropped, and the backward pass runs the layer again.
    fn run(original: &M, input: I, mode: Mode, forward: fn(&M, I, Mode) -> Signal) -> Result<Tensor> {
        let mut operands = Operands::default();
        let input = input.map_tensors(&mut |tensor| Ok(operands.add(tensor)))?;
        let mut layer = original.share();
        for_each_mut(&mut layer, &mut |_, _, tensor| {
            operands.add(tensor);
            Ok(())
        })?;
        if operands.0.is_empty() {
            return forward(original, input, mode).into_tensor();
        }
        let segment = Self { layer, input, mode, forward, seed: random::draw_seed(), path: Path::current() };
        let copy = segment.input.map_tensors(&mut |tensor| Ok(tensor.clone()))?;
        let output = random::with_seed(segment.seed, || forward(original, copy, mode).into_tensor())?;
        let sources = operands.0.clone();
        let gradients = move |gradient: &Tensor| Ok(segment.gradients(&sources, gradient)?);
        Ok(function(&operands.0, output, gradients)?)
    }

    /// Runs the layer again and returns the gradients of `operands` from the gradient of the output.
    fn gradients(&self, operands: &[Tensor], gradient: &Tensor) -> Result<Vec<Option<Tensor>>> {
        let _scope = Scope::root(self.path.to_string());
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
        let _repetition = Repetition::begin();
        let output = random::with_seed(self.seed, || (self.forward)(&layer, input, self.mode).into_tensor())?;
        if !output.track_op() {
            return Ok(vec![None; operands.len()]);
        }
        let gradients = kernels::backward(&with_gradient(&output, gradient)?)?;
        let gradient = |operand| leaves.get(operand).and_then(|leaf| gradients.get(leaf).cloned());
        Ok(operands.iter().map(gradient).collect())
    }
}

/// The tensors with gradients on which a call depends, without duplicates.
#[derive(Default)]
struct Operands(Vec<Tensor>);

impl Operands {
    /// Adds `tensor` if it has gradients, and returns it.
    fn add(&mut self, tensor: &Tensor) -> Tensor {
        let is_new = self.0.iter().all(|operand| operand.id() != tensor.id());
        if is_new && has_gradients(tensor) {
            self.0.push(tensor.clone());
        }
        tensor.clone()
    }
}

fn has_gradients(tensor: &Tensor) -> bool {
    tensor.track_op() && tensor.dtype().is_float()
}

/// Returns the tensor as a variable, at which a backward pass ends.
fn leaf_of(tensor: &Tensor) -> Result<Tensor> {
    if tensor.is_variable() || !has_gradients(tensor) {
        return Ok(tensor.clone());
    }
    Ok(Var::from_tensor(&tensor.detach())?.into_inner())
}

thread_local! {
    static IS_REPETITION: Cell<bool> = const { Cell::new(false) };
}

/// Returns `true` while a backward pass runs a layer with `#[module(recompute)]` again. A layer that updates its buffers
/// in training must not do so again.
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
    IS_REPETITION.get()
}

/// A guard for the repetition of a call.
struct Repetition {
    outer: bool,
}

impl Repetition {
    fn begin() -> Self {
        Self { outer: IS_REPETITION.replace(true) }
    }
}

impl Drop for Repetition {
    fn drop(&mut self) {
        IS_REPETITION.set(self.outer);
    }
}
