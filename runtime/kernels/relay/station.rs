//! What stands in candle's graph.

use super::{Link, Locker, links, locked};
use crate::kernels::cuda::Operand as CudaOperand;
use crate::kernels::operation::{AnyOperation, CpuOperand};
use candle_core::{CpuStorage, CudaStorage, Result, Shape, Tensor, bail};
use std::cell::{Cell, RefCell};
use std::sync::{Arc, Mutex};

/// An operation that stands in candle's graph as a single number.
pub(super) struct Station {
    pub operation: Box<dyn AnyOperation>,
    pub operands: Vec<Tensor>,
    /// The lockers of those operands that are outputs of such operations.
    pub before: Vec<Option<Arc<Locker>>>,
    pub locker: Arc<Locker>,
}

impl AnyOperation for Station {
    fn name(&self) -> &'static str {
        self.operation.name()
    }

    fn forward(&self, _: &[CpuOperand]) -> Result<(CpuStorage, Shape)> {
        Ok((CpuStorage::F32(vec![0.]), Shape::from(())))
    }

    fn forward_on_cuda(&self, _: &[CudaOperand]) -> Result<(CudaStorage, Shape)> {
        bail!("{}: a station is on the CPU", self.name())
    }

    fn backward(&self, _: &[&Tensor], _: &Tensor, count: &Tensor) -> Result<Vec<Option<Tensor>>> {
        let (output, gradient) = self.locker.take(count.to_scalar::<f32>()? as usize)?;
        let operands: Vec<&Tensor> = self.operands.iter().collect();
        let gradients = self.operation.backward(&operands, output, &gradient)?;
        let hand_on = |(gradient, before): (Option<Tensor>, &Option<Arc<Locker>>)| match (gradient, before) {
            (Some(gradient), Some(locker)) => locker.leave(gradient).map(Some),
            (gradient, _) => Ok(gradient),
        };
        gradients.into_iter().zip(&self.before).map(hand_on).collect()
    }
}

/// The way from a station to the output that everybody sees.
pub(super) struct Output {
    /// Until the tensor is made of it.
    pub storage: Mutex<Option<CpuStorage>>,
    pub shape: Shape,
    pub locker: Arc<Locker>,
}

impl AnyOperation for Output {
    fn name(&self) -> &'static str {
        "output"
    }

    fn forward(&self, _: &[CpuOperand]) -> Result<(CpuStorage, Shape)> {
        match locked(&self.storage).take() {
            Some(storage) => Ok((storage, self.shape.clone())),
            None => bail!("the output of an operation is there once"),
        }
    }

    fn forward_on_cuda(&self, _: &[CudaOperand]) -> Result<(CudaStorage, Shape)> {
        bail!("the output of a station is on the CPU")
    }

    fn backward(&self, _: &[&Tensor], _: &Tensor, gradient: &Tensor) -> Result<Vec<Option<Tensor>>> {
        Ok(vec![Some(self.locker.leave(gradient.clone())?)])
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        let link = self.locker.id.get().and_then(|id| links().remove(id));
        if let Some(link) = link {
            release(link);
        }
    }
}

/// Drops links one after another. At the end of one may be the output before it, and of a long chain of operations
/// each would be dropped inside the last, on a stack that is not so deep.
fn release(link: Link) {
    thread_local! {
        static WAITING: RefCell<Vec<Link>> = const { RefCell::new(Vec::new()) };
        static BUSY: Cell<bool> = const { Cell::new(false) };
    }
    // A thread that comes to its end no longer has a list; there the link has just been dropped.
    let listed = WAITING.try_with(|waiting| waiting.borrow_mut().push(link));
    if listed.is_err() || BUSY.replace(true) {
        return;
    }
    while let Some(link) = WAITING.with_borrow_mut(Vec::pop) {
        drop(link);
    }
    BUSY.set(false);
}
