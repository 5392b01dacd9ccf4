//! Gradients that go straight from one of our operations to the one before it.
//!
//! Candle makes zeros for each gradient and adds it to them, also where nothing else is added: a pass over memory
//! that clears and one that adds, as much traffic as a pooling. Here an operation stands in candle's graph as a
//! *station*, a tensor of a single number, and its gradient waits in the station's [`Locker`] until candle, which
//! goes by the graph, comes to it. The output is a tensor like any other, an operation on the station for whoever
//! else computes with it.

use super::elementwise::sum;
use candle_core::{
    CpuStorage, CustomOp1, CustomOp2, CustomOp3, Device, Layout, Result, Shape, Storage, Tensor, TensorId,
    bail,
};
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

/// An operation as it stands in candle's graph.
struct Station {
    operation: Box<dyn Operation>,
    /// The lockers of those operands that are outputs of such operations.
    before: Vec<Option<Arc<Locker>>>,
    locker: Arc<Locker>,
}

impl Station {
    fn forward(&self) -> Result<(CpuStorage, Shape)> {
        Ok((CpuStorage::F32(vec![0.]), Shape::from(())))
    }

    fn backward<const N: usize>(&self, count: &Tensor) -> Result<[Option<Tensor>; N]> {
        let (output, gradient) = self.locker.take(count.to_scalar::<f32>()? as usize)?;
        let mut gradients = self.operation.backward(output, &gradient)?.into_iter();
        let mut before = self.before.iter();
        let mut next = || match (gradients.next().flatten(), before.next()) {
            (Some(gradient), Some(Some(locker))) => locker.leave(gradient).map(Some),
            (gradient, _) => Ok(gradient),
        };
        let mut results = [const { None }; N];
        for result in &mut results {
            *result = next()?;
        }
        Ok(results)
    }
}

impl CustomOp1 for Station {
    fn name(&self) -> &'static str {
        self.operation.name()
    }

    fn cpu_fwd(&self, _: &CpuStorage, _: &Layout) -> Result<(CpuStorage, Shape)> {
        self.forward()
    }

    fn bwd(&self, _: &Tensor, _: &Tensor, count: &Tensor) -> Result<Option<Tensor>> {
        let [gradient] = self.backward(count)?;
        Ok(gradient)
    }
}

impl CustomOp2 for Station {
    fn name(&self) -> &'static str {
        self.operation.name()
    }

    fn cpu_fwd(&self, _: &CpuStorage, _: &Layout, _: &CpuStorage, _: &Layout) -> Result<(CpuStorage, Shape)> {
        self.forward()
    }

    fn bwd(
        &self,
        _: &Tensor,
        _: &Tensor,
        _: &Tensor,
        count: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        Ok(self.backward::<2>(count)?.into())
    }
}

impl CustomOp3 for Station {
    fn name(&self) -> &'static str {
        self.operation.name()
    }

    fn cpu_fwd(
        &self,
        _: &CpuStorage,
        _: &Layout,
        _: &CpuStorage,
        _: &Layout,
        _: &CpuStorage,
        _: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        self.forward()
    }

    fn bwd(
        &self,
        _: &Tensor,
        _: &Tensor,
        _: &Tensor,
        _: &Tensor,
        count: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        Ok(self.backward::<3>(count)?.into())
    }
}

/// The way from a station to the output that everybody sees.
struct Output {
    /// Until the tensor is made of it.
    storage: Mutex<Option<CpuStorage>>,
    shape: Shape,
    locker: Arc<Locker>,
}

impl CustomOp1 for Output {
    fn name(&self) -> &'static str {
        "output"
    }

    fn cpu_fwd(&self, _: &CpuStorage, _: &Layout) -> Result<(CpuStorage, Shape)> {
        match locked(&self.storage).take() {
            Some(storage) => Ok((storage, self.shape.clone())),
            None => bail!("the output of an operation is there once"),
        }
    }

    fn bwd(&self, _: &Tensor, _: &Tensor, gradient: &Tensor) -> Result<Option<Tensor>> {
        self.locker.leave(gradient.clone()).map(Some)
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        // Not dropped while the links are locked: there may be another output at the end of it.
        let link = self.locker.id.get().and_then(|id| links().remove(id));
        drop(link);
    }
}

/// A candle operation with its operands.
trait Operation: Send + Sync {
    fn name(&self) -> &'static str;
    fn operands(&self) -> &[Tensor];
    fn forward(&self) -> Result<(CpuStorage, Shape)>;
    /// The gradients of the operands.
    fn backward(&self, output: &Tensor, gradient: &Tensor) -> Result<Vec<Option<Tensor>>>;
}

struct One<C> {
    op: C,
    operands: [Tensor; 1],
}

impl<C: CustomOp1 + Send + Sync> Operation for One<C> {
    fn name(&self) -> &'static str {
        self.op.name()
    }

    fn operands(&self) -> &[Tensor] {
        &self.operands
    }

    fn forward(&self) -> Result<(CpuStorage, Shape)> {
        let [x] = self.operands.each_ref().map(Tensor::storage_and_layout);
        self.op.cpu_fwd(on_cpu(&x.0)?, x.1)
    }

    fn backward(&self, output: &Tensor, gradient: &Tensor) -> Result<Vec<Option<Tensor>>> {
        let [x] = &self.operands;
        Ok(vec![self.op.bwd(x, output, gradient)?])
    }
}

struct Two<C> {
    op: C,
    operands: [Tensor; 2],
}

impl<C: CustomOp2 + Send + Sync> Operation for Two<C> {
    fn name(&self) -> &'static str {
        self.op.name()
    }

    fn operands(&self) -> &[Tensor] {
        &self.operands
    }

    fn forward(&self) -> Result<(CpuStorage, Shape)> {
        let [x, second] = self.operands.each_ref().map(Tensor::storage_and_layout);
        self.op.cpu_fwd(on_cpu(&x.0)?, x.1, on_cpu(&second.0)?, second.1)
    }

    fn backward(&self, output: &Tensor, gradient: &Tensor) -> Result<Vec<Option<Tensor>>> {
        let [x, second] = &self.operands;
        let (x, second) = self.op.bwd(x, second, output, gradient)?;
        Ok(vec![x, second])
    }
}

struct Three<C> {
    op: C,
    operands: [Tensor; 3],
}

impl<C: CustomOp3 + Send + Sync> Operation for Three<C> {
    fn name(&self) -> &'static str {
        self.op.name()
    }

    fn operands(&self) -> &[Tensor] {
        &self.operands
    }

    fn forward(&self) -> Result<(CpuStorage, Shape)> {
        let [x, second, third] = self.operands.each_ref().map(Tensor::storage_and_layout);
        self.op.cpu_fwd(on_cpu(&x.0)?, x.1, on_cpu(&second.0)?, second.1, on_cpu(&third.0)?, third.1)
    }

    fn backward(&self, output: &Tensor, gradient: &Tensor) -> Result<Vec<Option<Tensor>>> {
        let [x, second, third] = &self.operands;
        let (x, second, third) = self.op.bwd(x, second, third, output, gradient)?;
        Ok(vec![x, second, third])
    }
}

fn on_cpu(storage: &Storage) -> Result<&CpuStorage> {
    match storage {
        Storage::Cpu(storage) => Ok(storage),
        _ => bail!("expected a tensor on the CPU"),
    }
}
