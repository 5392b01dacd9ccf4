//! An operation that has not run yet, with the operations that have been fused into it so far.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use candle_core::{DType, Device, Shape, Tensor};

use crate::kernels::internal::blocked::BlockedTensor;
use crate::scope::{
    self, DeferredId, DeferredIdCell, NotFused, NotFusedKind, Path, RunningDeferred, ValueId, add_alias,
    describe_operation,
};
use crate::{Error, Result};

use super::epilogue::{Epilogue, EpilogueOp, FuseError};
use super::fused_pair::Producer;
use super::normalization::BlockedNormalization;
use super::operation::Operation;
use super::{Convolution, FusedPair, Layout, Layouts, Normalization, Product, Value};

/// An operation that runs when its result is needed.
pub(crate) struct Deferred {
    shape: Shape,
    dtype: DType,
    device: Device,
    path: Path,
    /// The identity of the result, in a recorded execution.
    id: DeferredIdCell,
    /// Whether the only signal of this operation is a temporary value on which one method is called.
    is_temporary: AtomicBool,
    stage: Mutex<Stage>,
}

#[derive(Clone)]
#[allow(clippy::large_enum_variant, reason = "a `Stage` is on the heap, inside a `Deferred`")]
enum Stage {
    /// The operation has not run. Its operands are dropped when it runs.
    Pending(Operation),
    /// The operation is running, or its kernel panicked.
    Running,
    Done(Result<Value>),
}

impl Deferred {
    /// Defers a convolution. The caller must have checked the operands and the `output` shape.
    pub(crate) fn convolution(convolution: Convolution, bias: Option<Tensor>, output: Shape) -> Self {
        let dtype = convolution.dtype();
        let device = convolution.device();
        let operation = Operation::Convolution(convolution, Epilogue::with_bias(bias));
        Self::new(operation, output, dtype, device)
    }

    /// Defers a matrix product. The caller must have checked the operands and the `output` shape.
    pub(crate) fn product(product: Product, output: Shape) -> Self {
        let dtype = product.input.dtype();
        let device = product.input.device().clone();
        Self::new(Operation::Product(product), output, dtype, device)
    }

    /// Defers a batch norm in training mode.
    pub(crate) fn normalization(normalization: Normalization) -> Self {
        let input = &normalization.input;
        let shape = input.shape().clone();
        let dtype = input.dtype();
        let device = input.device().clone();
        Self::new(Operation::Normalization(normalization), shape, dtype, device)
    }

    /// Defers a batch norm in evaluation mode whose input is channel-blocked.
    pub(super) fn blocked_normalization(input: Arc<BlockedTensor>, scale: Tensor, shift: Tensor) -> Self {
        let shape = input.shape().clone();
        let operation = Operation::BlockedNormalization(BlockedNormalization::new(input, scale, shift));
        Self::new(operation, shape, DType::F32, Device::Cpu)
    }

    /// Defers a convolution and its consumer. The caller must have checked the `output` shape.
    pub(crate) fn fused_pair(pair: FusedPair, output: Shape) -> Self {
        Self::new(Operation::FusedPair(pair), output, DType::F32, Device::Cpu)
    }

    fn new(operation: Operation, shape: Shape, dtype: DType, device: Device) -> Self {
        let stage = Mutex::new(Stage::Pending(operation));
        let is_temporary = AtomicBool::new(false);
        let id = DeferredIdCell::default();
        Self { shape, dtype, device, path: Path::current(), id, is_temporary, stage }
    }

    /// Marks the only signal of this operation as temporary.
    pub(super) fn set_temporary(&self) {
        self.is_temporary.store(true, Ordering::Relaxed);
    }

    /// Removes the mark. Returns `true` if there was one.
    pub(super) fn take_temporary(&self) -> bool {
        self.is_temporary.swap(false, Ordering::Relaxed)
    }

    /// Returns the path of the layer whose launch computes the operation.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the identity of the result in a recorded execution.
    pub(super) fn id(&self) -> &DeferredIdCell {
        &self.id
    }

    /// Returns the reason of this kind why an operation is not fused into this one.
    pub(super) fn reason(&self, kind: NotFusedKind) -> NotFused {
        let producer = match &*self.stage() {
            Stage::Pending(operation) => describe_operation(operation.name(), &self.path),
            Stage::Running | Stage::Done(_) => scope::describe_value(self.id.get().map(ValueId::Deferred)),
        };
        kind.with_producer(&producer)
    }

    pub(crate) fn shape(&self) -> &Shape {
        &self.shape
    }

    pub(crate) fn dtype(&self) -> DType {
        self.dtype
    }

    pub(crate) fn device(&self) -> &Device {
        &self.device
    }

    /// Appends an operation to the epilogue. Fails if the operation has run or its kernel does not support `op`.
    pub(super) fn fuse(&mut self, op: EpilogueOp) -> std::result::Result<(), FuseError> {
        match self.stage.get_mut().unwrap_or_else(PoisonError::into_inner) {
            Stage::Pending(operation) => match op {
                EpilogueOp::Residual(residual) if *residual.shape() != self.shape => {
                    Err(FuseError::Unsupported(EpilogueOp::Residual(residual), NotFusedKind::ShapeMismatch))
                }
                op => operation.fuse(op),
            },
            Stage::Running | Stage::Done(_) => Err(FuseError::Unsupported(op, NotFusedKind::AlreadyRun)),
        }
    }

    /// Returns an error if no residual of this shape can be added after the operations that are already fused.
    pub(super) fn check_residual(&self, shape: &Shape) -> std::result::Result<(), NotFusedKind> {
        match &*self.stage() {
            Stage::Pending(operation) => {
                operation.check_residual()?;
                if self.shape == *shape { Ok(()) } else { Err(NotFusedKind::ShapeMismatch) }
            }
            Stage::Running | Stage::Done(_) => Err(NotFusedKind::AlreadyRun),
        }
    }

    /// Returns an error if no consumer can be fused into the operation.
    pub(super) fn check_producer(&self) -> std::result::Result<(), NotFusedKind> {
        match &*self.stage() {
            Stage::Pending(operation) => operation.check_producer(),
            Stage::Running | Stage::Done(_) => Err(NotFusedKind::AlreadyRun),
        }
    }

    /// Returns the layouts in which the result is available without reordering.
    pub(super) fn layouts(&self) -> Layouts {
        match &*self.stage() {
            Stage::Pending(operation) => operation.layouts(),
            Stage::Done(Ok(value)) => Layouts::Only(value.layout()),
            Stage::Running | Stage::Done(Err(_)) => Layouts::Only(Layout::Nchw),
        }
    }

    /// Returns a copy that runs independently of this operation.
    pub(super) fn copy(&self) -> Self {
        let Self { shape, dtype, device, path, id, is_temporary: _, stage: _ } = self;
        let (shape, dtype, device, path) = (shape.clone(), *dtype, device.clone(), path.clone());
        let id = DeferredIdCell::new(id.get());
        let is_temporary = AtomicBool::new(false);
        Self { shape, dtype, device, path, id, is_temporary, stage: Mutex::new(self.stage().clone()) }
    }

    /// Returns the convolution into which a consumer can be fused, or `self` if that is not possible.
    pub(super) fn into_producer(self) -> std::result::Result<Producer, Box<Self>> {
        let Self { shape, dtype, device, path, id, is_temporary, stage } = self;
        let (stage, path) = match stage.into_inner().unwrap_or_else(PoisonError::into_inner) {
            Stage::Pending(operation) => match operation.into_producer(path, id.get()) {
                Ok(producer) => return Ok(producer),
                Err((operation, path)) => (Stage::Pending(operation), path),
            },
            other => (other, path),
        };
        Err(Box::new(Self { shape, dtype, device, path, id, is_temporary, stage: Mutex::new(stage) }))
    }

    /// Runs the operation unless it has already run, and returns the result. Its layout may differ from the requested
    /// one: see [`Operation::run`].
    pub(super) fn run(self, requested: Layout) -> Result<Value> {
        let stage = self.stage.into_inner().unwrap_or_else(PoisonError::into_inner);
        stage.into_result(requested, &self.path, &self.device, self.id.get())
    }

    /// Runs the operation on the first call. Every call returns the same values, in the layout of the first call,
    /// whatever layout the later calls request.
    pub(super) fn run_once(&self, requested: Layout) -> Result<Value> {
        let mut stage = self.stage();
        let pending = std::mem::replace(&mut *stage, Stage::Running);
        let result = pending.into_result(requested, &self.path, &self.device, self.id.get());
        *stage = Stage::Done(result.clone());
        result
    }

    fn stage(&self) -> MutexGuard<'_, Stage> {
        self.stage.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Stage {
    /// Returns the result. Runs the operation unless it has already run.
    fn into_result(
        self,
        requested: Layout,
        path: &Path,
        device: &Device,
        id: Option<DeferredId>,
    ) -> Result<Value> {
        let operation = match self {
            Self::Pending(operation) => operation,
            Self::Running => return Err(Error::msg("the kernel of this layer panicked").at(path)),
            Self::Done(result) => return result,
        };
        let _running = RunningDeferred::begin(id);
        let value = operation.run(requested, path, device)?;
        add_alias(|| id.map(ValueId::Deferred), || value.id());
        Ok(value)
    }
}

/// Writes the operations in the form used in traces: `conv2d + bias + relu`.
impl fmt::Display for Deferred {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &*self.stage() {
            Stage::Pending(operation) => operation.fmt(f),
            Stage::Running => f.write_str("running"),
            Stage::Done(_) => f.write_str("done"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scope::Scope;

    #[test]
    fn a_kernel_panic_becomes_an_error_with_the_path_of_the_layer() {
        let _network = Scope::enter("Net");
        let _layer = Scope::enter("conv");
        let deferred = Deferred {
            shape: Shape::from(1),
            dtype: DType::F32,
            device: Device::Cpu,
            path: Path::current(),
            id: DeferredIdCell::default(),
            is_temporary: AtomicBool::new(false),
            stage: Mutex::new(Stage::Running),
        };
        for _ in 0..2 {
            let error = deferred.run_once(Layout::Nchw).err().map(|error| error.to_string());
            assert_eq!(error.as_deref(), Some("at Net.conv: the kernel of this layer panicked"));
        }
    }
}
