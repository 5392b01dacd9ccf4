//! The two operations in candle's graph that represent one operation of this crate: the proxy node, and the output,
//! whose only operand is the proxy node.

use std::cell::{Cell, RefCell};
use std::sync::{Arc, Mutex};

use candle_core::{CpuStorage, Result, Shape, Tensor, bail};

use crate::lock::locked;
use crate::operation::{CpuOperand, Operation};

use super::{GradientSlot, Link};

/// An operation that candle's graph represents by a single number.
pub(super) struct ProxyNode<O, const N: usize> {
    pub operation: O,
    pub operands: [Tensor; N],
    /// The gradient slot of each operand, or `None` if no proxy node represents the operation that computed the
    /// operand.
    pub operand_slots: [Option<Arc<GradientSlot>>; N],
    pub slot: Arc<GradientSlot>,
}

impl<const N: usize, O: Operation<N>> Operation<N> for ProxyNode<O, N> {
    fn name(&self) -> &'static str {
        self.operation.name()
    }

    fn forward(&self, _: [CpuOperand; N]) -> Result<(CpuStorage, Shape)> {
        Ok((CpuStorage::F32(vec![0.]), Shape::from(())))
    }

    fn backward(&self, _: [&Tensor; N], _: &Tensor, count: &Tensor) -> Result<[Option<Tensor>; N]> {
        let (output, gradient) = self.slot.take(count.to_scalar::<f32>()? as usize)?;
        let mut gradients = self.operation.backward(self.operands.each_ref(), output, &gradient)?;
        for (gradient, slot) in gradients.iter_mut().zip(&self.operand_slots) {
            if let Some(slot) = slot {
                *gradient = gradient.take().map(|gradient| slot.add(gradient)).transpose()?;
            }
        }
        Ok(gradients)
    }
}

/// The operation that turns a proxy node into the visible output tensor.
pub(super) struct Output {
    /// The output's elements; `None` once the tensor holds them.
    pub storage: Mutex<Option<CpuStorage>>,
    pub shape: Shape,
    pub slot: Arc<GradientSlot>,
}

impl Operation<1> for Output {
    fn name(&self) -> &'static str {
        "output"
    }

    fn forward(&self, _: [CpuOperand; 1]) -> Result<(CpuStorage, Shape)> {
        match locked(&self.storage).take() {
            Some(storage) => Ok((storage, self.shape.clone())),
            None => bail!("the output of this operation was already taken"),
        }
    }

    fn backward(&self, _: [&Tensor; 1], _: &Tensor, gradient: &Tensor) -> Result<[Option<Tensor>; 1]> {
        Ok([Some(self.slot.add(gradient.clone())?)])
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        let links = self.slot.id.get().map_or_else(Vec::new, |id| Link::remove(*id));
        links.into_iter().for_each(release);
    }
}

/// Drops links one after another. Dropping a link may drop the output of the preceding operation, which releases
/// another link. In a long chain of operations, nested drops would overflow the stack.
pub(super) fn release(link: Link) {
    thread_local! {
        static PENDING: RefCell<Vec<Link>> = const { RefCell::new(Vec::new()) };
        static BUSY: Cell<bool> = const { Cell::new(false) };
    }
    // An exiting thread may have destroyed its list already. `try_with` then fails and drops the closure, and with it
    // the link.
    let queued = PENDING.try_with(|pending| pending.borrow_mut().push(link));
    if queued.is_err() || BUSY.replace(true) {
        return;
    }
    while let Some(link) = PENDING.with_borrow_mut(Vec::pop) {
        drop(link);
    }
    BUSY.set(false);
}
