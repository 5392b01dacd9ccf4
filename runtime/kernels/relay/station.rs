//! What stands in candle's graph.

use super::operation::Operation;
use super::{Link, Locker, links, locked};
use candle_core::{CpuStorage, CustomOp1, CustomOp2, CustomOp3, Layout, Result, Shape, Tensor, bail};
use std::cell::{Cell, RefCell};
use std::sync::{Arc, Mutex};

/// An operation as it stands in candle's graph.
pub(super) struct Station {
    pub operation: Box<dyn Operation>,
    /// The lockers of those operands that are outputs of such operations.
    pub before: Vec<Option<Arc<Locker>>>,
    pub locker: Arc<Locker>,
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
pub(super) struct Output {
    /// Until the tensor is made of it.
    pub storage: Mutex<Option<CpuStorage>>,
    pub shape: Shape,
    pub locker: Arc<Locker>,
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
