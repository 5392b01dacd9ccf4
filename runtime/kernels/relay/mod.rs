//! Gradients that go straight from one of our operations to the one before it.
//!
//! Candle makes zeros for each gradient and adds it to them, also where nothing else is added: a pass over memory
//! that clears and one that adds, as much traffic as a pooling. Here an operation stands in candle's graph as a
//! *station*, a tensor of a single number, and its gradient waits in the station's [`Locker`] until candle, which
//! goes by the graph, comes to it. The output is a tensor like any other, an operation on the station for whoever
//! else computes with it.

mod operation;
mod station;
#[cfg(test)]
mod tests;

use super::elementwise::sum;
use candle_core::{CustomOp1, CustomOp2, CustomOp3, Device, Result, Tensor, TensorId, bail};
use operation::{One, Operation, Three, Two};
use station::{Output, Station};
use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::{self, ThreadId};

/// `x.apply_op1(op)`
pub(crate) fn apply1(x: &Tensor, op: impl CustomOp1 + Send + Sync + 'static) -> Result<Tensor> {
    if !is_for_relay(&[x]) {
        return x.apply_op1(op);
    }
    let [station] = stations([x]);
    relayed(One { op, operands: [x.clone()] }, |op| station.apply_op1(op))
}

/// `x.apply_op2(second, op)`
pub(crate) fn apply2(
    x: &Tensor,
    second: &Tensor,
    op: impl CustomOp2 + Send + Sync + 'static,
) -> Result<Tensor> {
    if !is_for_relay(&[x, second]) {
        return x.apply_op2(second, op);
    }
    let [x_station, second_station] = stations([x, second]);
    let operands = [x, second].map(Tensor::clone);
    relayed(Two { op, operands }, |op| x_station.apply_op2(&second_station, op))
}

/// `x.apply_op3(second, third, op)`
pub(crate) fn apply3(
    x: &Tensor,
    second: &Tensor,
    third: &Tensor,
    op: impl CustomOp3 + Send + Sync + 'static,
) -> Result<Tensor> {
    if !is_for_relay(&[x, second, third]) {
        return x.apply_op3(second, third, op);
    }
    let [x_station, second_station, third_station] = stations([x, second, third]);
    let operands = [x, second, third].map(Tensor::clone);
    relayed(Three { op, operands }, |op| x_station.apply_op3(&second_station, &third_station, op))
}

fn is_for_relay(operands: &[&Tensor]) -> bool {
    operands.iter().all(|x| x.device().is_cpu()) && operands.iter().any(|x| x.track_op())
}

/// What stands in candle's graph for each operand: its station, where it has one.
fn stations<const N: usize>(operands: [&Tensor; N]) -> [Tensor; N] {
    operands.map(|x| links().get(&x.id()).map_or_else(|| x.clone(), |link| link.station.clone()))
}

/// Runs an operation; `enter` puts its station into candle's graph.
fn relayed(
    operation: impl Operation + 'static,
    enter: impl FnOnce(Station) -> Result<Tensor>,
) -> Result<Tensor> {
    let (storage, shape) = operation.forward()?;
    let before = operation.operands().iter().map(|x| links().get(&x.id()).map(|link| link.locker.clone()));
    let (before, locker) = (before.collect(), Arc::new(Locker::default()));
    let station = enter(Station { operation: Box::new(operation), before, locker: locker.clone() })?;
    let output = Output { storage: Mutex::new(Some(storage)), shape, locker: locker.clone() };
    let tensor = station.apply_op1(output)?;
    // Neither fails: nobody else has seen the locker.
    let _ = locker.output.set(tensor.detach());
    let _ = locker.id.set(tensor.id());
    links().insert(tensor.id(), Link { station, locker });
    Ok(tensor)
}

/// How to reach the operation that made a tensor.
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
