//! What one launch computes: an operation and its epilogue.

use std::fmt;
use std::sync::Arc;

use candle_core::{Shape, Tensor, bail};

use super::{Convolution, Couple, Form, Normalization, Product, Step, Tail, Value};
use crate::kernels::activation::Activation;
use crate::kernels::conv::Epilogue;
use crate::kernels::internal::ConvShape;
use crate::kernels::internal::blocked::{self, Image};
use crate::kernels::internal::{is_finite, with_elements};
use crate::kernels::pool::{self, PoolGeometry};
use crate::scope::{self, Path};
use crate::{Error, Result};

pub(super) struct Work {
    operation: Operation,
    /// Without the residual, which may be in blocks.
    epilogue: Epilogue,
    residual: Option<Value>,
    affine: bool,
}

#[allow(clippy::large_enum_variant, reason = "most of them are convolutions")]
enum Operation {
    Convolution(Convolution),
    /// A convolution and what is behind it, which the epilogue belongs to.
    Couple(Couple),
    /// What is left of a couple without a kernel for both.
    MaxPool(Value, PoolGeometry),
    Product(Product),
    /// Batch norm alone, its scale and shift in the epilogue.
    Norm(Arc<Image>),
    /// Batch norm in training.
    Normalization(Normalization),
}

impl Work {
    pub fn convolution(convolution: Convolution, bias: Option<Tensor>) -> Self {
        Self::new(Operation::Convolution(convolution), None, bias, false)
    }

    pub fn couple(couple: Couple, bias: Option<Tensor>) -> Self {
        Self::new(Operation::Couple(couple), None, bias, false)
    }

    pub fn product(product: Product, bias: Option<Tensor>) -> Self {
        Self::new(Operation::Product(product), None, bias, false)
    }

    /// For vectors of f32 on the CPU.
    pub fn norm(image: Arc<Image>, scale: Tensor, shift: Tensor) -> Self {
        Self::new(Operation::Norm(image), Some(scale), Some(shift), true)
    }

    pub fn normalization(normalization: Normalization) -> Self {
        Self::new(Operation::Normalization(normalization), None, None, false)
    }

    fn new(operation: Operation, scale: Option<Tensor>, shift: Option<Tensor>, affine: bool) -> Self {
        Self { operation, epilogue: Epilogue { scale, shift, ..Epilogue::default() }, residual: None, affine }
    }

    /// Whether `step` fits behind what is collected so far, in the kernel's order; the output has a `shape`.
    fn takes(&self, step: &Step, shape: &Shape) -> bool {
        self.epilogue.activation == Activation::Identity
            && match step {
                Step::Affine { .. } => self.is_convolution() && !self.affine && self.residual.is_none(),
                Step::Residual(residual) => residual.shape() == shape && self.takes_residual(),
                Step::Activation(_) => !self.is_pool(),
            }
    }

    pub fn takes_residual(&self) -> bool {
        let waiting = self.residual.is_none() && self.epilogue.activation == Activation::Identity;
        waiting && (self.is_convolution() || matches!(self.operation, Operation::Normalization(_)))
    }

    fn is_convolution(&self) -> bool {
        matches!(self.operation, Operation::Convolution(_) | Operation::Couple(_)) && !self.is_pool()
    }

    fn is_pool(&self) -> bool {
        matches!(&self.operation, Operation::Couple(Couple { tail: Tail::MaxPool(_), .. }))
    }

    /// A convolution into blocks that others may run behind, with its sizes and its epilogue.
    pub fn leader(&self) -> Option<(&Convolution, &ConvShape, &Epilogue)> {
        let Operation::Convolution(convolution) = &self.operation else { return None };
        let shape = convolution.blocked.as_ref().filter(|shape| shape.geometry.groups == 1)?;
        let leads = convolution.runs_blocked(&self.epilogue) && self.residual.is_none();
        leads.then_some((convolution, shape, &self.epilogue))
    }

    /// Takes `step` into the epilogue, or gives it back where it does not fit.
    pub fn extend(&mut self, step: Step, shape: &Shape) -> Result<Result<()>, Step> {
        if !self.takes(&step, shape) {
            return Err(step);
        }
        match step {
            Step::Affine { scale, shift } => match self.shifted(&scale, &shift) {
                Ok(Some(sum)) => {
                    (self.epilogue.scale, self.epilogue.shift) = (Some(scale), Some(sum));
                    self.affine = true;
                }
                Ok(None) => return Err(Step::Affine { scale, shift }),
                Err(error) => return Ok(Err(error.into())),
            },
            Step::Residual(residual) => self.residual = Some(residual),
            Step::Activation(activation) => self.epilogue.activation = activation,
        }
        Ok(Ok(()))
    }

    /// The shift of a batch norm behind the bias, where it is finite: a half may not hold the two together.
    fn shifted(&self, scale: &Tensor, shift: &Tensor) -> candle_core::Result<Option<Tensor>> {
        let Some(bias) = &self.epilogue.shift else { return Ok(Some(shift.clone())) };
        let sum = ((bias * scale)? + shift)?;
        Ok(if is_finite(&sum)? { Some(sum) } else { None })
    }

    /// Whether it can run into blocks without putting an operand in blocks first.
    pub fn can_block(&self) -> bool {
        match &self.operation {
            Operation::Convolution(convolution) => {
                convolution.runs_blocked(&self.epilogue)
                    && self.residual.as_ref().is_none_or(Value::is_blocked)
            }
            Operation::Product(_) | Operation::Normalization(_) => false,
            Operation::Couple(_) => self.residual.as_ref().is_none_or(Value::is_blocked),
            Operation::MaxPool(input, _) => input.is_blocked(),
            Operation::Norm(_) => true,
        }
    }

    /// Whether its input is in blocks, and so will be its output.
    pub fn reads_blocks(&self) -> bool {
        match &self.operation {
            Operation::Convolution(convolution) => {
                convolution.input.is_blocked() && convolution.runs_blocked(&self.epilogue)
            }
            Operation::Product(_) | Operation::Normalization(_) => false,
            Operation::MaxPool(input, _) => input.is_blocked(),
            Operation::Couple(_) | Operation::Norm(_) => true,
        }
    }

    /// Runs it, into blocks where they are asked for and it can.
    pub fn run(self, form: Form, path: &Path) -> Result<Value> {
        let wrong = |error| Error::from(error).in_layer(&self.operation).at(path);
        if let Operation::Couple(couple) = &self.operation {
            let image = couple.run(&self.epilogue, self.residual.as_ref()).map_err(wrong)?;
            let Some(image) = image else { return self.apart()?.run(form, path) };
            scope::launched(|| couple.before.path.clone(), || format!("{} + {self}", couple.before.work));
            return in_form(Value::Blocked(Arc::new(image)), form).map_err(wrong);
        }
        let blocks = self.reads_blocks() || form == Form::Blocks && self.can_block();
        scope::launched(|| path.clone(), || self.to_string());
        let result = if blocks { self.blocked() } else { self.planes().map(Value::Tensor) };
        result.and_then(|value| in_form(value, form)).map_err(wrong)
    }

    /// Runs the first of a couple by itself, and leaves the second.
    fn apart(self) -> Result<Self> {
        let operation = match self.operation {
            Operation::Couple(Couple { before, tail }) => {
                let input = before.work.run(Form::Blocks, &before.path)?;
                match tail {
                    Tail::Depthwise(depthwise) => Operation::Convolution(depthwise.of(input)),
                    Tail::MaxPool(geometry) => Operation::MaxPool(input, geometry),
                }
            }
            operation => operation,
        };
        Ok(Self { operation, ..self })
    }

    fn planes(&self) -> candle_core::Result<Tensor> {
        let residual = self.residual.as_ref().map(Value::tensor).transpose()?;
        let epilogue = Epilogue { residual, ..self.epilogue.clone() };
        match &self.operation {
            Operation::Convolution(convolution) => convolution.run(&epilogue),
            Operation::Couple(_) => bail!("there is no kernel for both"),
            Operation::MaxPool(input, geometry) => pool::max_pool2d(&input.tensor()?, geometry),
            Operation::Product(product) => product.run(&epilogue),
            Operation::Norm(image) => Value::Blocked(image.clone()).tensor(),
            Operation::Normalization(normalization) => normalization.run(&epilogue),
        }
    }

    fn blocked(&self) -> candle_core::Result<Value> {
        let image = match &self.operation {
            Operation::Convolution(convolution) => match &convolution.blocked {
                Some(shape) => convolution.run_blocked(shape, &self.epilogue, self.residual.as_ref())?,
                None => return self.planes().map(Value::Tensor),
            },
            Operation::MaxPool(Value::Blocked(image), geometry) => blocked::max_pool2d(image, geometry)?,
            Operation::Norm(image) => self.normalized(image)?,
            _ => return self.planes().map(Value::Tensor),
        };
        Ok(Value::Blocked(Arc::new(image)))
    }

    fn normalized(&self, image: &Image) -> candle_core::Result<Image> {
        let Epilogue { scale: Some(scale), shift: Some(shift), activation, .. } = &self.epilogue else {
            return blocked::activated(image, self.epilogue.activation);
        };
        with_elements(scale, |scale| {
            with_elements(shift, |shift| blocked::affine(image, scale, shift, *activation))
        })??
    }
}

/// The layer, as errors name it.
impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Convolution(convolution) => convolution.fmt(f),
            Self::Couple(Couple { tail: Tail::Depthwise(depthwise), .. }) => depthwise.fmt(f),
            Self::Couple(_) | Self::MaxPool(..) => f.write_str("MaxPool2d"),
            Self::Product(product) => product.fmt(f),
            Self::Norm(image) => write!(f, "BatchNorm {}", image.dims()[1]),
            Self::Normalization(normalization) => normalization.fmt(f),
        }
    }
}

/// What one launch computes, as traces name it: `conv2d + bias + relu`.
impl fmt::Display for Work {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match &self.operation {
            Operation::Convolution(convolution) => convolution.name(),
            Operation::Couple(Couple { tail: Tail::Depthwise(_), .. }) => "conv2d",
            Operation::Couple(_) | Operation::MaxPool(..) => "max_pool2d",
            Operation::Product(_) => "linear",
            Operation::Norm(_) | Operation::Normalization(_) => "batch_norm",
        })?;
        match (&self.operation, self.affine, &self.epilogue.shift) {
            (Operation::Norm(_) | Operation::Normalization(_), ..) | (_, false, None) => {}
            (_, true, _) => f.write_str(" + batch_norm")?,
            (_, false, Some(_)) => f.write_str(" + bias")?,
        }
        if self.residual.is_some() {
            f.write_str(" + residual")?;
        }
        match self.epilogue.activation {
            Activation::Identity => Ok(()),
            activation => write!(f, " + {}", activation.name()),
        }
    }
}

fn in_form(value: Value, form: Form) -> candle_core::Result<Value> {
    match form {
        Form::Planes => value.tensor().map(Value::Tensor),
        Form::Blocks => Ok(value),
    }
}
