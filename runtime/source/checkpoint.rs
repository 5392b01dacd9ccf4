//! Parameters from a checkpoint.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use candle_core::{DType, Device, Result, Shape, Tensor, TensorId, Var, bail};
use candle_nn::var_builder::SimpleBackend;
use candle_nn::{Init, VarBuilder};

use crate::checkpoint::StateDict;
use crate::load::fill;

use super::check_shape;
use super::initialize::{check_memory, initialize, to_trainable};

/// The value that a tensor gets if the checkpoint lacks it or has it with a different shape.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fallback {
    /// The layer's initialization, as without a checkpoint.
    Initialize,
    /// Zeros. The checkpoint is rejected after the construction, with a list of all these tensors.
    Zeros,
}

/// The tensors that the construction of a network has requested.
#[derive(Clone, Default)]
pub(crate) struct Requests {
    /// The tensors by name, in the order of the requests.
    pub tensors: StateDict,
    /// The tensors whose values are from the checkpoint.
    pub filled: HashSet<TensorId>,
}

/// Provides the tensors of a state dict to the construction of a network.
#[derive(Clone)]
pub(crate) struct Checkpoint(Arc<Shared>);

struct Shared {
    state: StateDict,
    fallback: Fallback,
    requests: Mutex<Requests>,
}

impl Checkpoint {
    pub fn new(state: StateDict, fallback: Fallback) -> Self {
        Self(Arc::new(Shared { state, fallback, requests: Mutex::default() }))
    }

    pub fn state(&self) -> &StateDict {
        &self.0.state
    }

    pub fn fallback(&self) -> Fallback {
        self.0.fallback
    }

    /// Returns a builder of trainable parameters with the values of the checkpoint.
    pub fn var_builder(&self, dtype: DType, device: &Device) -> VarBuilder<'static> {
        VarBuilder::from_backend(Box::new(self.clone()), dtype, device.clone())
    }

    /// Returns the tensors requested so far.
    pub fn requests(&self) -> Requests {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, Requests> {
        self.0.requests.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl SimpleBackend for Checkpoint {
    fn get(&self, shape: Shape, name: &str, init: Init, dtype: DType, device: &Device) -> Result<Tensor> {
        let mut requests = self.lock();
        if let Some(tensor) = requests.tensors.get(name) {
            return check_shape(tensor, &shape, name);
        }
        let values = self.0.state.get(name).filter(|values| *values.shape() == shape);
        let tensor = match (values, self.0.fallback) {
            (Some(values), _) => tensor_with_values(values, dtype, device)?,
            (None, Fallback::Initialize) => initialize(init, &shape, name, dtype, device)?,
            (None, Fallback::Zeros) => {
                check_memory(&shape, name)?;
                to_trainable(Tensor::zeros(&shape, dtype, device)?)?
            }
        };
        if values.is_some() {
            requests.filled.insert(tensor.id());
        }
        requests.tensors.insert(name, tensor.clone());
        Ok(tensor)
    }

    fn get_unchecked(&self, name: &str, dtype: DType, device: &Device) -> Result<Tensor> {
        match self.0.state.get(name) {
            Some(tensor) => self.get(tensor.shape().clone(), name, Init::Const(0.), dtype, device),
            None => bail!("the checkpoint has no tensor `{name}`"),
        }
    }

    fn contains_tensor(&self, name: &str) -> bool {
        self.0.state.contains_key(name)
    }
}

/// Returns a tensor with `values`, converted to `dtype` and `device`. A floating-point tensor is trainable.
fn tensor_with_values(values: &Tensor, dtype: DType, device: &Device) -> Result<Tensor> {
    if !dtype.is_float() {
        return values.to_dtype(dtype)?.to_device(device);
    }
    let variable = Var::zeros(values.shape(), dtype, device)?.into_inner();
    fill(&variable, values)?;
    Ok(variable)
}
