//! Randomly initialized parameters.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use candle_core::{DType, Device, Result, Shape, Tensor, bail};
use candle_nn::var_builder::SimpleBackend;
use candle_nn::{Init, VarBuilder};

use super::check_shape;
use super::initialize::initialize;

/// Returns a builder of randomly initialized trainable parameters.
pub(crate) fn fresh(dtype: DType, device: &Device) -> VarBuilder<'static> {
    VarBuilder::from_backend(Box::new(Fresh::default()), dtype, device.clone())
}

/// The tensors initialized so far, by name. A second request for a name returns the first tensor, so that the
/// parameters are tied.
#[derive(Default)]
struct Fresh(Mutex<HashMap<String, Tensor>>);

impl SimpleBackend for Fresh {
    fn get(&self, shape: Shape, name: &str, init: Init, dtype: DType, device: &Device) -> Result<Tensor> {
        let mut tensors = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(tensor) = tensors.get(name) {
            return check_shape(tensor, &shape, name);
        }
        let tensor = initialize(init, &shape, name, dtype, device)?;
        tensors.insert(name.to_string(), tensor.clone());
        Ok(tensor)
    }

    fn get_unchecked(&self, name: &str, _: DType, _: &Device) -> Result<Tensor> {
        bail!("{name}: expected a shape, because the parameter is not read from a checkpoint")
    }

    fn contains_tensor(&self, _: &str) -> bool {
        true
    }
}
