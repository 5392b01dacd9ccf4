//! All parameters of a network as one long vector.

use candle_core::backprop::GradStore;
use candle_core::{DType, Tensor, Var};

use super::running::check_parameters;
use crate::{Error, Result};

/// Parameters that are seen, and moved, as one vector of f64 or, where none of them is of f64, of f32.
pub(super) struct Flat {
    parameters: Vec<Var>,
    dtype: DType,
}

impl Flat {
    pub fn new(parameters: Vec<(String, Var)>) -> Result<Self> {
        check_parameters(&parameters)?;
        if parameters.is_empty() {
            return Err(Error::msg("expected one parameter or more, got none"));
        }
        let parameters: Vec<Var> = parameters.into_iter().map(|(_, var)| var).collect();
        let double = parameters.iter().any(|var| var.dtype() == DType::F64);
        Ok(Self { parameters, dtype: if double { DType::F64 } else { DType::F32 } })
    }

    /// The gradient, 0 for the parameters that have none.
    pub fn gradient(&self, grads: &GradStore) -> Result<Tensor> {
        let parts = self.parameters.iter().map(|var| {
            let part = match grads.get(var) {
                Some(gradient) => gradient.detach(),
                None => var.as_detached_tensor().zeros_like()?,
            };
            Ok(part.flatten_all()?.to_dtype(self.dtype)?)
        });
        Ok(Tensor::cat(&parts.collect::<Result<Vec<_>>>()?, 0)?)
    }

    /// The loss of the parameters as they are, and its gradient.
    pub fn evaluate(&self, loss: &mut dyn FnMut() -> Result<Tensor>) -> Result<(Tensor, Tensor)> {
        let loss = loss()?;
        let gradient = self.gradient(&loss.backward()?)?;
        Ok((loss, gradient))
    }

    /// A copy of each parameter.
    pub fn values(&self) -> Result<Vec<Tensor>> {
        self.parameters.iter().map(|var| Ok(var.as_detached_tensor().copy()?)).collect()
    }

    /// Puts back what [`values`](Self::values) gave.
    pub fn set(&self, values: &[Tensor]) -> Result<()> {
        self.parameters.iter().zip(values).try_for_each(|(var, value)| Ok(var.set(value)?))
    }

    /// Adds a vector to the parameters, in their own storage.
    pub fn add(&self, step: &Tensor) -> Result<()> {
        let mut from = 0;
        for var in &self.parameters {
            let part = step.narrow(0, from, var.elem_count())?.reshape(var.shape())?;
            let value = var.as_detached_tensor();
            var.set(&(value.to_dtype(self.dtype)? + part)?.to_dtype(var.dtype())?)?;
            from += var.elem_count();
        }
        Ok(())
    }

    /// A copy of a saved vector, once it is seen to be as long as the parameters together.
    pub fn fit(&self, vector: &Tensor) -> Result<Tensor> {
        let expected: usize = self.parameters.iter().map(|var| var.elem_count()).sum();
        if vector.dims() != [expected] {
            let given = vector.dims();
            return Err(Error::msg(format!(
                "expected a vector [{expected}] for all parameters, got {given:?}"
            )));
        }
        let device = self.parameters.first().map_or(vector.device(), |var| var.device());
        Ok(vector.detach().to_device(device)?.to_dtype(self.dtype)?.copy()?)
    }
}

pub(super) fn dot(a: &Tensor, b: &Tensor) -> Result<f64> {
    Ok((a * b)?.sum_all()?.to_dtype(DType::F64)?.to_scalar()?)
}

/// The largest magnitude in a vector; 0 where it is empty.
pub(super) fn largest(vector: &Tensor) -> Result<f64> {
    if vector.elem_count() == 0 {
        return Ok(0.);
    }
    Ok(vector.abs()?.max_all()?.to_dtype(DType::F64)?.to_scalar()?)
}

/// The value of a scalar.
pub(super) fn number(loss: &Tensor) -> Result<f64> {
    Ok(loss.to_dtype(DType::F64)?.to_scalar()?)
}
