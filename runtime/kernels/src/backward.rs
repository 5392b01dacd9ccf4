//! A backward pass that keeps the gradients of variables out of candle's accumulation.
//!
//! Candle initializes the gradient of each variable with zeros and then adds to it, even if there is only one gradient
//! to add. For large parameters, that costs three times the memory traffic of the gradient itself. During [`backward`],
//! the operations of this crate instead add the gradients of variables to sums that are kept here, in `SUMS`.

use std::cell::RefCell;
use std::collections::HashMap;

use candle_core::backprop::GradStore;
use candle_core::{Result, Tensor, TensorId, bail};

use crate::elementwise::add;
use crate::relay;

/// Computes the gradients of `loss`, as [`Tensor::backward`] does, but with less memory traffic.
///
/// - `loss`: a tensor of any shape; the gradients are those of the sum of its elements
/// - returns the gradients of all variables on which `loss` depends
///
/// If the graph has many of this crate's operations, the pass runs on a separate large stack, which suffices for
/// hundreds of thousands of operations in sequence. For thousands of candle's own operations in sequence, the calling
/// thread needs a large stack, both in this function and when the graph is dropped.
///
/// # Errors
/// Fails if an operation has no gradient.
///
/// # Examples
/// ```
/// use candle_core::{Device, Result, Var};
/// use sconce_kernels::{Activation, activate, backward};
///
/// # fn main() -> Result<()> {
/// let x = Var::new(&[-1f32, 2.], &Device::Cpu)?;
/// let gradients = backward(&activate(Activation::Relu, &x)?)?;
/// assert_eq!(gradients.get(&x).expect("the output depends on `x`").to_vec1::<f32>()?, [0., 1.]);
/// # Ok(())
/// # }
/// ```
pub fn backward(loss: &Tensor) -> Result<GradStore> {
    run_on_stack(loss, None)
}

/// Computes the gradients of `loss` like [`backward`], and calls `observer` after each gradient that an operation of
/// this crate adds to the gradient of a variable: with the variable, the sum of its gradients so far, and their number.
/// Gradients that candle's own operations compute for a variable are in the result, but are not observed, nor are those
/// of a [`backward`] that an operation runs within this one, such as that of a layer that is computed again.
///
/// # Errors
/// Fails if an operation has no gradient, or with the error of the observer.
pub fn backward_observed(loss: &Tensor, observer: Observer) -> Result<GradStore> {
    run_on_stack(loss, Some(observer))
}

/// The observer of a [`backward_observed`]: a function of a variable, the sum of its gradients so far, and their
/// number.
pub type Observer = Box<dyn FnMut(TensorId, &Tensor, usize) -> Result<()>>;

/// The size of the stack of a backward pass over a large graph, in bytes. Candle's traversal of the graph calls itself
/// for each operation in a sequence and needs about 300 bytes for a call. The system provides the memory when it is
/// first used.
const STACK_SIZE: usize = 256 << 20;

/// If fewer outputs of this crate's operations are alive than this number, the stack of any thread suffices for a
/// backward pass. Mapping a separate stack would take about 10 µs.
const SMALL_GRAPH: usize = 256;

fn run_on_stack(loss: &Tensor, observer: Option<Observer>) -> Result<GradStore> {
    let is_small = loss.device().is_cpu() && relay::live_output_count() < SMALL_GRAPH;
    if is_small { run(loss, observer) } else { stacker::grow(STACK_SIZE, || run(loss, observer)) }
}

fn run(loss: &Tensor, observer: Option<Observer>) -> Result<GradStore> {
    let pass = Pass::begin(loss, observer);
    let mut gradients = loss.backward()?;
    for (variable, total) in pass.take_sums() {
        // `gradients` has the sum of the gradients that candle's own operations computed for the variable.
        let total = match gradients.remove(&variable) {
            Some(from_candle) => add(&from_candle, &total)?,
            None => total,
        };
        gradients.insert(&variable, total);
    }
    Ok(gradients)
}

/// The variables on which the loss depends, each with the sum of its gradients so far and their number.
type Sums = HashMap<TensorId, (Tensor, Option<(Tensor, usize)>)>;

thread_local! {
    /// The sums of the innermost running [`backward`] of this thread, or `None` outside of that function.
    static SUMS: RefCell<Option<Sums>> = const { RefCell::new(None) };
    /// The observer of the innermost running [`backward`] of this thread, if it has one.
    static OBSERVER: RefCell<Option<Observer>> = const { RefCell::new(None) };
}

/// A running [`backward`]. Restores the sums and the observer of the outer backward pass on drop.
struct Pass {
    outer: Option<Sums>,
    outer_observer: Option<Observer>,
}

impl Pass {
    fn begin(loss: &Tensor, observer: Option<Observer>) -> Self {
        let nodes = loss.sorted_nodes();
        let variables = nodes.into_iter().filter(|node| node.is_variable());
        let sums = variables.map(|variable| (variable.id(), (variable.clone(), None))).collect();
        Self { outer: SUMS.replace(Some(sums)), outer_observer: OBSERVER.replace(observer) }
    }

    /// Ends the collection of gradients. Returns each variable that received gradients, with their sum.
    fn take_sums(&self) -> impl Iterator<Item = (Tensor, Tensor)> {
        let sums = SUMS.take().into_iter().flat_map(HashMap::into_values);
        sums.filter_map(|(variable, total)| Some((variable, total?.0)))
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        SUMS.set(self.outer.take());
        OBSERVER.set(self.outer_observer.take());
    }
}

/// If `operand` is a variable of the loss whose [`backward`] runs on this thread, adds the gradient to the variable's
/// sum and returns `None`. Otherwise returns the gradient.
pub(crate) fn take_gradient(operand: &Tensor, gradient: Tensor) -> Result<Option<Tensor>> {
    let taken = SUMS.with_borrow_mut(|sums| {
        // The operations of a loss can run a backward pass of candle over another graph, whose variables are not in the
        // sums.
        let Some((_, total)) = sums.as_mut().and_then(|sums| sums.get_mut(&operand.id())) else {
            return Ok(Taken::Returned(gradient));
        };
        if operand.dims() != gradient.dims() {
            let (expected, found) = (operand.dims(), gradient.dims());
            bail!("backward: expected a gradient of shape {expected:?}, found {found:?}");
        }
        let (sum, count) = match total.take() {
            Some((earlier, count)) => (add(&earlier, &gradient)?, count + 1),
            None => (gradient.detach(), 1),
        };
        *total = Some((sum.clone(), count));
        Ok(Taken::Added(sum, count))
    })?;
    match taken {
        Taken::Returned(gradient) => Ok(Some(gradient)),
        Taken::Added(sum, count) => {
            observe(operand.id(), &sum, count)?;
            Ok(None)
        }
    }
}

/// The outcome of [`take_gradient`].
enum Taken {
    /// The operand has no sum.
    Returned(Tensor),
    /// The sum after the addition, and the number of its terms.
    Added(Tensor, usize),
}

/// Calls the observer, if there is one. An operation that the observer runs is not observed.
fn observe(variable: TensorId, sum: &Tensor, count: usize) -> Result<()> {
    let Some(mut observer) = OBSERVER.take() else { return Ok(()) };
    let result = observer(variable, sum, count);
    OBSERVER.set(Some(observer));
    result
}
