//! Fresh parameters.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use candle_core::{DType, Device, Result, Shape, Tensor, bail};
use candle_nn::var_builder::SimpleBackend;
use candle_nn::{Init, VarBuilder};

use super::draw::draw;
use super::same_shape;

/// Returns a builder of fresh trainable parameters.
pub(crate) fn fresh(dtype: DType, device: &Device) -> VarBuilder<'static> {
    VarBuilder::from_backend(Box::new(Fresh::default()), dtype, device.clone())
}

/// The tensors drawn so far: the second request for a name returns the same tensor, so that parameters can be
/// tied.
#[derive(Default)]
struct Fresh(Mutex<HashMap<String, Tensor>>);

impl SimpleBackend for Fresh {
    fn get(&self, shape: Shape, name: &str, init: Init, dtype: DType, device: &Device) -> Result<Tensor> {
        let mut made = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(tensor) = made.get(name) {
            return same_shape(tensor, &shape, name);
        }
        let tensor = draw(init, &shape, name, dtype, device)?;
        made.insert(name.to_string(), tensor.clone());
        Ok(tensor)
    }

    fn get_unchecked(&self, name: &str, _: DType, _: &Device) -> Result<Tensor> {
        bail!("{name}: a fresh parameter needs a shape")
    }

    fn contains_tensor(&self, _: &str) -> bool {
        true
    }
}
