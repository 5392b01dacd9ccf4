//! A convolution, matrix product or normalisation that has not run, with the epilogue collected so far.

use std::fmt;
use std::sync::OnceLock;

use candle_core::{Shape, Tensor};

use super::{Convolution, Normalization, Product};
use crate::kernels::activation::Activation;
use crate::kernels::conv::Epilogue;
use crate::scope::{self, Path};
use crate::{Error, Result};

/// What may follow a deferred operation inside the same kernel, in the order the kernel knows.
#[derive(Clone)]
pub(crate) enum Step {
    /// `y * scale[c] + shift[c]`: batch norm in evaluation.
    Affine { scale: Tensor, shift: Tensor },
    /// `y + residual`
    Residual(Tensor),
    /// `activation(y)`
    Activation(Activation),
}

pub(crate) enum Operation {
    Convolution(Convolution),
    Product(Product),
    Normalization(Normalization),
}

/// An operation on its way to becoming one launch.
pub(crate) struct Deferred {
    operation: Operation,
    epilogue: Epilogue,
    affine: bool,
    shape: Shape,
    path: Path,
    result: OnceLock<Result<Tensor>>,
}

impl Deferred {
    /// A convolution whose operands and `output` shape the layer has checked.
    pub(crate) fn convolution(convolution: Convolution, bias: Option<Tensor>, output: Shape) -> Self {
        Self::new(Operation::Convolution(convolution), bias, output)
    }

    /// A matrix product whose operands and `output` shape the layer has checked.
    pub(crate) fn product(product: Product, bias: Option<Tensor>, output: Shape) -> Self {
        Self::new(Operation::Product(product), bias, output)
    }

    /// A batch that its own statistics will normalise.
    pub(crate) fn normalization(normalization: Normalization) -> Self {
        let shape = normalization.input.shape().clone();
        Self::new(Operation::Normalization(normalization), None, shape)
    }

    fn new(operation: Operation, bias: Option<Tensor>, shape: Shape) -> Self {
        Self {
            operation,
            epilogue: Epilogue { shift: bias, ..Epilogue::default() },
            affine: false,
            shape,
            path: Path::current(),
            result: OnceLock::new(),
        }
    }

    pub(crate) fn shape(&self) -> &Shape {
        &self.shape
    }

    /// The operand whose dtype and device the result will have.
    pub(crate) fn input(&self) -> &Tensor {
        match &self.operation {
            Operation::Convolution(convolution) => &convolution.input,
            Operation::Product(product) => &product.input,
            Operation::Normalization(normalization) => &normalization.input,
        }
    }

    /// Whether `step` fits behind what is collected so far, in the kernel's order.
    pub(crate) fn takes(&self, step: &Step) -> bool {
        let waiting = self.result.get().is_none() && self.epilogue.activation == Activation::Identity;
        let convolution = matches!(self.operation, Operation::Convolution(_));
        waiting
            && match step {
                Step::Affine { .. } => convolution && !self.affine && self.epilogue.residual.is_none(),
                Step::Residual(residual) => self.takes_residual(residual.shape()),
                Step::Activation(_) => true,
            }
    }

    /// Takes `step`, which fits, into the epilogue.
    pub(crate) fn extend(&mut self, step: Step) -> Result<()> {
        match step {
            Step::Affine { scale, shift } => {
                let shift = match &self.epilogue.shift {
                    Some(bias) => ((bias * &scale)? + shift)?,
                    None => shift,
                };
                (self.epilogue.scale, self.epilogue.shift) = (Some(scale), Some(shift));
                self.affine = true;
            }
            Step::Residual(residual) => self.epilogue.residual = Some(residual),
            Step::Activation(activation) => self.epilogue.activation = activation,
        }
        Ok(())
    }

    pub(crate) fn takes_residual(&self, shape: &Shape) -> bool {
        !matches!(self.operation, Operation::Product(_))
            && self.epilogue.residual.is_none()
            && self.epilogue.activation == Activation::Identity
            && self.shape == *shape
    }

    /// Runs it: one launch.
    pub(crate) fn run(mut self) -> Result<Tensor> {
        self.result.take().unwrap_or_else(|| self.launch())
    }

    /// Runs it the first time it is asked; everybody who shares it gets the same tensor.
    pub(crate) fn run_once(&self) -> Result<Tensor> {
        self.result.get_or_init(|| self.launch()).clone()
    }

    fn launch(&self) -> Result<Tensor> {
        scope::launched(|| self.path.clone(), || self.to_string());
        let result = match &self.operation {
            Operation::Convolution(convolution) => convolution.run(&self.epilogue),
            Operation::Product(product) => product.run(&self.epilogue),
            Operation::Normalization(normalization) => normalization.run(&self.epilogue),
        };
        result.map_err(|error| Error::from(error).in_layer(&self.operation).at(&self.path))
    }
}

/// The layer, as errors name it.
impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Convolution(convolution) => convolution.fmt(f),
            Self::Product(product) => product.fmt(f),
            Self::Normalization(normalization) => normalization.fmt(f),
        }
    }
}

/// What one launch computes, as traces name it: `conv2d + bias + relu`.
impl fmt::Display for Deferred {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Epilogue { shift, residual, activation, .. } = &self.epilogue;
        f.write_str(match &self.operation {
            Operation::Convolution(convolution) => convolution.name(),
            Operation::Product(_) => "linear",
            Operation::Normalization(_) => "batch_norm",
        })?;
        match (self.affine, shift) {
            (true, _) => f.write_str(" + batch_norm")?,
            (false, Some(_)) => f.write_str(" + bias")?,
            (false, None) => {}
        }
        if residual.is_some() {
            f.write_str(" + residual")?;
        }
        match activation {
            Activation::Identity => Ok(()),
            activation => write!(f, " + {}", activation.name()),
        }
    }
}
