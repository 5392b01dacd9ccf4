//! Gradients that go straight from one of our operations to the one before it.
//!
//! Candle makes zeros for each gradient and adds it to them, also where nothing else is added: a pass over memory
//! that clears and one that adds, as much traffic as a pooling. Here an operation stands in candle's graph as a
//! *station*, a tensor of a single number, and its gradient waits in the station's [`Locker`] until candle, which
//! goes by the graph, comes to it. The output is a tensor like any other, an operation on the station for whoever
//! else computes with it.

mod station;
#[cfg(test)]
mod tests;

use super::elementwise::sum;
use super::operation::{self, CpuOperand, Operation, all};
use candle_core::{CpuStorage, Device, Result, Shape, Storage, Tensor, TensorId, bail};
use station::{Output, Station};
use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::{self, ThreadId};

/// As [`operation::apply`]; on the CPU and where gradients are wanted, by way of a station.
pub(crate) fn apply<const N: usize>(operands: [&Tensor; N], operation: impl Operation<N>) -> Result<Tensor> {
    let on_cpu = operands.iter().all(|x| x.device().is_cpu());
    match on_cpu && operands.iter().any(|x| x.track_op()) {
        true => relayed(operands, operation),
        false => operation::apply(operands, operation),
    }
}

fn relayed<const N: usize>(operands: [&Tensor; N], operation: impl Operation<N>) -> Result<Tensor> {
    let (storage, shape) = forward(operands, &operation)?;
    let links = operands.map(|x| links().get(&x.id()).cloned());
    let locker = Arc::new(Locker::default());
    let station = Station {
        operation,
        operands: operands.map(Tensor::clone),
        before: links.each_ref().map(|link| Some(link.as_ref()?.locker.clone())),
        locker: locker.clone(),
    };
    // An operand that has a station is in candle's graph as that.
    let in_graph: [&Tensor; N] =
        std::array::from_fn(|i| links[i].as_ref().map_or(operands[i], |link| &link.station));
    let station = operation::apply(in_graph, station)?;
    let output = Output { storage: Mutex::new(Some(storage)), shape, locker: locker.clone() };
    let tensor = operation::apply([&station], output)?;
    // Neither fails: nobody else has seen the locker.
    let _ = locker.output.set(tensor.detach());
    let _ = locker.id.set(tensor.id());
    self::links().insert(tensor.id(), Link { station, locker });
    Ok(tensor)
}

/// Runs an operation on the CPU, outside of candle's graph.
fn forward<const N: usize>(
    operands: [&Tensor; N],
    operation: &impl Operation<N>,
) -> Result<(CpuStorage, Shape)> {
    let stored = operands.map(Tensor::storage_and_layout);
    let operands = stored.iter().map(|(storage, layout)| match &**storage {
        Storage::Cpu(storage) => Ok((storage, *layout)),
        _ => bail!("{}: expected a tensor on the CPU", operation.name()),
    });
    operation.forward(all(operation.name(), &operands.collect::<Result<Vec<CpuOperand>>>()?)?)
}

/// How to reach the operation that made a tensor.
#[derive(Clone)]
struct Link {
    station: Tensor,
    locker: Arc<Locker>,
}

/// The links of all outputs that are alive.
fn links() -> MutexGuard<'static, HashMap<TensorId, Link>> {
    static LINKS: LazyLock<Mutex<HashMap<TensorId, Link>>> = LazyLock::new(Mutex::default);
    locked(&LINKS)
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What an operation left for its backward pass, and what those after it leave there during the pass.
#[derive(Default)]
struct Locker {
    /// Detached.
    output: OnceLock<Tensor>,
    /// That of the output as it stands in the graph.
    id: OnceLock<TensorId>,
    /// Of each thread that is in a backward pass.
    gradients: Mutex<HashMap<ThreadId, Sum>>,
}

/// Some gradients of one output.
struct Sum {
    count: usize,
    total: Tensor,
}

impl Locker {
    /// Adds a gradient. What candle is to add up in its place is their number.
    fn leave(&self, gradient: Tensor) -> Result<Tensor> {
        let expected = self.output.get().map(Tensor::dims);
        if expected != Some(gradient.dims()) {
            bail!("backward: expected a gradient of shape {expected:?}, got {:?}", gradient.shape());
        }
        let thread = thread::current().id();
        let earlier = locked(&self.gradients).remove(&thread);
        let sum = match earlier {
            Some(Sum { count, total }) => Sum { count: count + 1, total: sum(&total, &gradient)? },
            None => Sum { count: 1, total: gradient },
        };
        locked(&self.gradients).insert(thread, sum);
        Tensor::new(1f32, &Device::Cpu)
    }

    /// Takes the output and the sum of the `count` gradients of this pass.
    fn take(&self, count: usize) -> Result<(&Tensor, Tensor)> {
        let sum = locked(&self.gradients).remove(&thread::current().id());
        match (self.output.get(), sum) {
            (Some(output), Some(sum)) if sum.count == count => Ok((output, sum.total)),
            _ => bail!("backward: an earlier pass over this graph has failed; run the forward pass again"),
        }
    }
}
