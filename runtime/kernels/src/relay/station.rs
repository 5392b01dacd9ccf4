//! What stands in candle's graph.

use super::{Link, Locker, links, locked};
use crate::operation::{CpuOperand, Operation};
use candle_core::{CpuStorage, Result, Shape, Tensor, bail};
use std::cell::{Cell, RefCell};
use std::sync::{Arc, Mutex};

/// An operation that stands in candle's graph as a single number.
pub(super) struct Station<O, const N: usize> {
    pub operation: O,
    pub operands: [Tensor; N],
    /// The lockers of those operands that are outputs of such operations.
    pub before: [Option<Arc<Locker>>; N],
    pub locker: Arc<Locker>,
}

impl<const N: usize, O: Operation<N>> Operation<N> for Station<O, N> {
    fn name(&self) -> &'static str {
        self.operation.name()
    }

    fn forward(&self, _: [CpuOperand; N]) -> Result<(CpuStorage, Shape)> {
        Ok((CpuStorage::F32(vec![0.]), Shape::from(())))
    }

    fn backward(&self, _: [&Tensor; N], _: &Tensor, count: &Tensor) -> Result<[Option<Tensor>; N]> {
        let (output, gradient) = self.locker.take(count.to_scalar::<f32>()? as usize)?;
        let mut gradients = self.operation.backward(self.operands.each_ref(), output, &gradient)?;
        for (gradient, before) in gradients.iter_mut().zip(&self.before) {
            if let Some(locker) = before {
                *gradient = gradient.take().map(|gradient| locker.leave(gradient)).transpose()?;
            }
        }
        Ok(gradients)
    }
}

/// The way from a station to the output that everybody sees.
pub(super) struct Output {
    /// Until the tensor is made of it.
    pub storage: Mutex<Option<CpuStorage>>,
    pub shape: Shape,
    pub locker: Arc<Locker>,
}

impl Operation<1> for Output {
    fn name(&self) -> &'static str {
        "output"
    }

    fn forward(&self, _: [CpuOperand; 1]) -> Result<(CpuStorage, Shape)> {
        match locked(&self.storage).take() {
            Some(storage) => Ok((storage, self.shape.clone())),
            None => bail!("the output of an operation is there once"),
        }
    }

    fn backward(&self, _: [&Tensor; 1], _: &Tensor, gradient: &Tensor) -> Result<[Option<Tensor>; 1]> {
        Ok([Some(self.locker.leave(gradient.clone())?)])
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
