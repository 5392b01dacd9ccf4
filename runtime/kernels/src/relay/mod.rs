//! Hands gradients directly from an operation of this crate to the operation that computed its operand.
//!
//! Candle initializes the gradient of each tensor with zeros and then adds to it, even if there is only one gradient to
//! add. Clearing the memory and adding to it cause as much memory traffic as a pooling operation.
//!
//! In this module, a *proxy node*, a tensor of a single number, represents an operation in candle's graph. The gradient
//! of the operation's output waits in a [`GradientSlot`] until candle's traversal of the graph reaches the proxy node.
//! The output itself is an ordinary tensor: in candle's graph, the result of an operation on the proxy node.

mod proxy;
mod reshape;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, OnceLock};
use std::thread::{self, ThreadId};

use candle_core::{CpuStorage, Device, Result, Shape, Storage, Tensor, TensorId, bail};

use super::elementwise::add;
use super::lock::locked;
use super::operation::{self, CpuOperand, Operation, to_array};
use proxy::{Output, ProxyNode};
pub use reshape::{Reshaped, reshape};

/// Runs an operation like [`operation::apply`]. On the CPU, if an operand tracks gradients, a proxy node represents the
/// operation in candle's graph.
pub(crate) fn apply<const N: usize>(operands: [&Tensor; N], operation: impl Operation<N>) -> Result<Tensor> {
    let on_cpu = operands.iter().all(|x| x.device().is_cpu());
    if on_cpu && operands.iter().any(|x| x.track_op()) {
        apply_with_proxy(operands, operation)
    } else {
        operation::apply(operands, operation)
    }
}

fn apply_with_proxy<const N: usize>(operands: [&Tensor; N], operation: impl Operation<N>) -> Result<Tensor> {
    let (storage, shape) = forward(operands, &operation)?;
    let link = Link::new(operands, operands.map(Tensor::clone), operation)?;
    let output = Output { storage: Mutex::new(Some(storage)), shape, slot: link.slot.clone() };
    let tensor = operation::apply([&link.proxy], output)?;
    let _ = link.slot.id.set(tensor.id());
    link.insert(&tensor);
    Ok(tensor)
}

/// Runs an operation on the CPU without a node in candle's graph.
fn forward<const N: usize>(
    operands: [&Tensor; N],
    operation: &impl Operation<N>,
) -> Result<(CpuStorage, Shape)> {
    let stored = operands.map(Tensor::storage_and_layout);
    let operands = stored.iter().map(|(storage, layout)| match &**storage {
        Storage::Cpu(storage) => Ok((storage, *layout)),
        _ => bail!("{}: expected a tensor on the CPU", operation.name()),
    });
    operation.forward(to_array(operation.name(), &operands.collect::<Result<Vec<CpuOperand>>>()?)?)
}

/// The proxy node and the gradient slot of the operation that computed a tensor.
#[derive(Clone)]
struct Link {
    proxy: Tensor,
    slot: Arc<GradientSlot>,
    /// The tensors that are the same elements in other shapes. Their links are removed together with this one.
    reshaped: Vec<TensorId>,
}

impl Link {
    /// Adds a proxy node to candle's graph. `saved` holds the operands for the backward pass.
    fn new<const N: usize>(
        operands: [&Tensor; N],
        saved: [Tensor; N],
        operation: impl Operation<N>,
    ) -> Result<Self> {
        let links = operands.map(|x| links().get(&x.id()).cloned());
        let slot = Arc::new(GradientSlot::default());
        let proxy = ProxyNode {
            operation,
            operands: saved,
            operand_slots: links.each_ref().map(|link| Some(link.as_ref()?.slot.clone())),
            slot: slot.clone(),
        };
        // An operand with a proxy node is replaced with that node, so that candle's graph connects proxy nodes.
        let graph_operands: [&Tensor; N] =
            std::array::from_fn(|i| links[i].as_ref().map_or(operands[i], |link| &link.proxy));
        Ok(Self { proxy: operation::apply(graph_operands, proxy)?, slot, reshaped: Vec::new() })
    }

    /// Makes this the link of `output`.
    fn insert(self, output: &Tensor) {
        // `set` cannot fail, because no other thread has access to the slot yet.
        let _ = self.slot.output.set(output.detach());
        links().insert(output.id(), self);
    }

    /// Removes the link of a tensor, and those of its reshaped tensors. The caller must drop them without holding the
    /// lock of [`links`], because a link may hold the last reference to another output.
    fn remove(id: TensorId) -> Vec<Self> {
        let mut links = links();
        let mut removed: Vec<Self> = links.remove(&id).into_iter().collect();
        let mut next = 0;
        while let Some(link) = removed.get(next) {
            let reshaped: Vec<Self> = link.reshaped.iter().filter_map(|id| links.remove(id)).collect();
            removed.extend(reshaped);
            next += 1;
        }
        removed
    }
}

/// Returns the number of live tensors that are outputs of operations with proxy nodes, in all threads.
pub(crate) fn live_output_count() -> usize {
    links().len()
}

/// Returns the links of all live outputs.
fn links() -> MutexGuard<'static, HashMap<TensorId, Link>> {
    static LINKS: LazyLock<Mutex<HashMap<TensorId, Link>>> = LazyLock::new(Mutex::default);
    locked(&LINKS)
}

/// An operation's output, saved for the backward pass. During that pass, each operation that read the output adds a
/// gradient of the output to the slot.
#[derive(Default)]
struct GradientSlot {
    /// The output, detached from candle's graph.
    output: OnceLock<Tensor>,
    /// The id of the output in candle's graph.
    id: OnceLock<TensorId>,
    /// The sum of the gradients added so far, for each thread that runs a backward pass.
    gradients: Mutex<HashMap<ThreadId, Sum>>,
}

/// The sum of `count` gradients of one output.
struct Sum {
    count: usize,
    total: Tensor,
}

impl GradientSlot {
    /// Adds a gradient to the slot. Returns the number one, which candle accumulates in place of the gradient. The
    /// proxy node therefore receives the number of gradients that were added to the slot.
    fn add(&self, gradient: Tensor) -> Result<Tensor> {
        let expected = self.output.get().map(Tensor::dims);
        if expected != Some(gradient.dims()) {
            bail!("backward: expected a gradient of shape {expected:?}, found {:?}", gradient.shape());
        }
        let thread = thread::current().id();
        let earlier = locked(&self.gradients).remove(&thread);
        let sum = match earlier {
            Some(Sum { count, total }) => Sum { count: count + 1, total: add(&total, &gradient)? },
            None => Sum { count: 1, total: gradient },
        };
        locked(&self.gradients).insert(thread, sum);
        Tensor::new(1f32, &Device::Cpu)
    }

    /// Returns the output, and takes the sum of the `count` gradients of this backward pass out of the slot.
    fn take(&self, count: usize) -> Result<(&Tensor, Tensor)> {
        let sum = locked(&self.gradients).remove(&thread::current().id());
        match (self.output.get(), sum) {
            (Some(output), Some(sum)) if sum.count == count => Ok((output, sum.total)),
            _ => {
                bail!("backward: an earlier backward pass over this graph failed; run the forward pass again")
            }
        }
    }
}
