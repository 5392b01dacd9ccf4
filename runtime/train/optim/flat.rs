//! All parameters of a network as one flat vector.

use candle_core::backprop::GradStore;
use candle_core::{DType, Tensor, Var};

use crate::kernels::backward;
use crate::kernels::internal::on_cpu_in_f64;
use crate::{Error, Result};

use super::rule_optimizer::check_parameters;

/// Parameters read and updated as one flat vector. Its dtype is f64 if any parameter is f64, and f32 otherwise.
pub(super) struct FlatParameters {
    parameters: Vec<Var>,
    dtype: DType,
}

impl FlatParameters {
    pub fn new(parameters: Vec<(String, Var)>) -> Result<Self> {
        check_parameters(&parameters)?;
        if parameters.is_empty() {
            return Err(Error::msg("expected at least one parameter, found none"));
        }
        let parameters: Vec<Var> = parameters.into_iter().map(|(_, var)| var).collect();
        let has_f64 = parameters.iter().any(|var| var.dtype() == DType::F64);
        Ok(Self { parameters, dtype: if has_f64 { DType::F64 } else { DType::F32 } })
    }

    /// Returns the flat gradient. It is 0 for parameters without a gradient.
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

    /// Evaluates the loss at the current values of the parameters. Returns the loss and its gradient.
    pub fn evaluate(&self, loss: &mut dyn FnMut() -> Result<Tensor>) -> Result<(Tensor, Tensor)> {
        let loss = loss()?;
        let gradient = self.gradient(&backward(&loss)?)?;
        Ok((loss, gradient))
    }

    /// Returns a copy of each parameter.
    pub fn values(&self) -> Result<Vec<Tensor>> {
        self.parameters.iter().map(|var| Ok(var.as_detached_tensor().copy()?)).collect()
    }

    /// Sets the parameters to values returned by [`values`](Self::values).
    pub fn set(&self, values: &[Tensor]) -> Result<()> {
        self.parameters.iter().zip(values).try_for_each(|(var, value)| Ok(var.set(value)?))
    }

    /// Adds a flat vector to the parameters in place.
    pub fn add(&self, step: &Tensor) -> Result<()> {
        let mut offset = 0;
        for var in &self.parameters {
            let part = step.narrow(0, offset, var.elem_count())?.reshape(var.shape())?;
            let value = var.as_detached_tensor();
            var.set(&(value.to_dtype(self.dtype)? + part)?.to_dtype(var.dtype())?)?;
            offset += var.elem_count();
        }
        Ok(())
    }

    /// Copies a saved vector to the device and the dtype of the parameters. Fails if its length is not the total
    /// number of elements.
    pub fn load(&self, vector: &Tensor) -> Result<Tensor> {
        let expected: usize = self.parameters.iter().map(|var| var.elem_count()).sum();
        if vector.dims() != [expected] {
            let found = vector.dims();
            return Err(Error::msg(format!(
                "expected a vector of shape [{expected}] for all parameters, found {found:?}"
            )));
        }
        let device = self.parameters.first().map_or(vector.device(), |var| var.device());
        Ok(vector.detach().to_device(device)?.to_dtype(self.dtype)?.copy()?)
    }
}

/// Returns the dot product of two vectors.
pub(super) fn dot(a: &Tensor, b: &Tensor) -> Result<f64> {
    Ok(on_cpu_in_f64(&(a * b)?.sum_all()?)?.to_scalar()?)
}

/// Returns the largest magnitude in a vector, or 0 if the vector is empty.
pub(super) fn max_abs(vector: &Tensor) -> Result<f64> {
    if vector.elem_count() == 0 {
        return Ok(0.);
    }
    Ok(on_cpu_in_f64(&vector.abs()?.max_all()?)?.to_scalar()?)
}

/// Returns the value of a scalar tensor.
pub(super) fn scalar(tensor: &Tensor) -> Result<f64> {
    Ok(on_cpu_in_f64(tensor)?.to_scalar()?)
}
