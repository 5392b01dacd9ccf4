//! An operation that has not run, with the epilogue collected so far.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use candle_core::{DType, Device, Shape, Tensor};

use super::work::Work;
use super::{Before, Convolution, Couple, Form, Normalization, Product, Value};
use crate::kernels::activation::Activation;
use crate::kernels::internal::blocked::Image;
use crate::scope::Path;
use crate::{Error, Result};

/// What may follow a deferred operation inside the same kernel, in the order the kernel knows.
#[derive(Clone)]
pub(crate) enum Step {
    /// `y * scale[c] + shift[c]`: batch norm in evaluation.
    Affine { scale: Tensor, shift: Tensor },
    /// `y + residual`
    Residual(Value),
    /// `activation(y)`
    Activation(Activation),
}

/// An operation on its way to becoming one launch.
pub(crate) struct Deferred {
    shape: Shape,
    dtype: DType,
    device: Device,
    path: Path,
    stage: Mutex<Stage>,
}

#[allow(clippy::large_enum_variant, reason = "it lies on the heap, with the deferred operation")]
enum Stage {
    /// Its operands live no longer than it waits.
    Waiting(Work),
    Done(Result<Value>),
}

impl Deferred {
    /// A convolution whose operands and `output` shape the layer has checked.
    pub(crate) fn convolution(convolution: Convolution, bias: Option<Tensor>, output: Shape) -> Self {
        let (dtype, device) = (convolution.input.dtype(), convolution.input.device());
        Self::new(Work::convolution(convolution, bias), output, dtype, device)
    }

    /// A matrix product whose operands and `output` shape the layer has checked.
    pub(crate) fn product(product: Product, bias: Option<Tensor>, output: Shape) -> Self {
        let (dtype, device) = (product.input.dtype(), product.input.device().clone());
        Self::new(Work::product(product, bias), output, dtype, device)
    }

    /// A batch that its own statistics will normalise.
    pub(crate) fn normalization(normalization: Normalization) -> Self {
        let input = &normalization.input;
        let (shape, dtype, device) = (input.shape().clone(), input.dtype(), input.device().clone());
        Self::new(Work::normalization(normalization), shape, dtype, device)
    }

    /// Batch norm of an image that no convolution before it takes: `scale` and `shift` of its channels.
    pub(crate) fn norm(image: Arc<Image>, scale: Tensor, shift: Tensor) -> Self {
        let shape = image.shape().clone();
        Self::new(Work::norm(image, scale, shift), shape, DType::F32, Device::Cpu)
    }

    /// A convolution that has not run, and what is behind it, of this `output` shape, with its bias.
    pub(crate) fn couple(couple: Couple, bias: Option<Tensor>, output: Shape) -> Self {
        Self::new(Work::couple(couple, bias), output, DType::F32, Device::Cpu)
    }

    fn new(work: Work, shape: Shape, dtype: DType, device: Device) -> Self {
        Self { shape, dtype, device, path: Path::current(), stage: Mutex::new(Stage::Waiting(work)) }
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

    /// Takes `step` into the epilogue, if it fits behind what is collected so far.
    pub(crate) fn extend(&mut self, step: Step) -> Result<Result<()>, Step> {
        let shape = &self.shape;
        match self.stage.get_mut().unwrap_or_else(PoisonError::into_inner) {
            Stage::Waiting(work) => work.extend(step, shape),
            Stage::Done(_) => Err(step),
        }
    }

    pub(crate) fn takes_residual(&self, shape: &Shape) -> bool {
        match &*self.stage() {
            Stage::Waiting(work) => self.shape == *shape && work.takes_residual(),
            Stage::Done(_) => false,
        }
    }

    /// Whether it has a result in blocks, or can make one.
    pub(crate) fn can_block(&self) -> bool {
        match &*self.stage() {
            Stage::Waiting(work) => work.can_block(),
            Stage::Done(result) => result.as_ref().is_ok_and(Value::is_blocked),
        }
    }

    /// Whether blocks are what it would make anyway.
    pub(crate) fn is_blocked(&self) -> bool {
        match &*self.stage() {
            Stage::Waiting(work) => work.reads_blocks(),
            Stage::Done(result) => result.as_ref().is_ok_and(Value::is_blocked),
        }
    }

    /// The convolution for another operation to run behind, where it has not run and there may be kernels for both.
    pub(super) fn into_before(self) -> std::result::Result<Before, Box<Self>> {
        match self.stage.into_inner().unwrap_or_else(PoisonError::into_inner) {
            Stage::Waiting(work) if work.leader().is_some() => {
                Ok(Before { work: Box::new(work), path: self.path })
            }
            stage => Err(Box::new(Self { stage: Mutex::new(stage), ..self })),
        }
    }

    /// Runs it: one launch.
    pub(crate) fn run(self, form: Form) -> Result<Value> {
        match self.stage.into_inner().unwrap_or_else(PoisonError::into_inner) {
            Stage::Waiting(work) => work.run(form, &self.path),
            Stage::Done(result) => result,
        }
    }

    /// Runs it the first time it is asked; everybody who shares it gets the same numbers, in the form that was
    /// asked for first.
    pub(crate) fn run_once(&self, form: Form) -> Result<Value> {
        let mut stage = self.stage();
        let unfinished = Stage::Done(Err(Error::msg("the kernel of this layer panicked").at(&self.path)));
        let result = match std::mem::replace(&mut *stage, unfinished) {
            Stage::Waiting(work) => work.run(form, &self.path),
            Stage::Done(result) => result,
        };
        *stage = Stage::Done(result.clone());
        result
    }

    fn stage(&self) -> MutexGuard<'_, Stage> {
        self.stage.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What one launch computes, as traces name it: `conv2d + bias + relu`.
impl fmt::Display for Deferred {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &*self.stage() {
            Stage::Waiting(work) => work.fmt(f),
            Stage::Done(_) => f.write_str("done"),
        }
    }
}
