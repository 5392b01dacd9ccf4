//! Parameters from a checkpoint.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use candle_core::{DType, Device, Result, Shape, Tensor, TensorId, Var, bail};
use candle_nn::var_builder::SimpleBackend;
use candle_nn::{Init, VarBuilder};

use crate::checkpoint::{StateDict, to_dtype};
use crate::load::{Guesses, Selection, fill};

use super::check_shape;
use super::initial_values::initial_values;
use super::initialize::{check_memory, initialize, to_trainable};

/// The value that a tensor gets if the checkpoint lacks it or has it with a different shape.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fallback {
    /// The layer's initialization, as without a checkpoint.
    Initialize,
    /// Zeros. The checkpoint is rejected after the construction, with a list of all these tensors.
    Zeros,
}

/// Provides the tensors of a checkpoint to the construction of a network.
///
/// The names of all tensors of the network are known only after the construction, and so is the prefix that a wrapper
/// adds to the names in the checkpoint. During the construction, each tensor gets the values that the checkpoint most
/// likely has for it. [`correct_values`](Self::correct_values) corrects wrong values.
#[derive(Clone)]
pub(crate) struct Checkpoint(Arc<Shared>);

struct Shared {
    fallback: Fallback,
    construction: Mutex<Construction>,
}

/// The state of a construction.
struct Construction {
    guesses: Guesses,
    /// The tensors that the network has requested, in the order of the requests.
    requests: Vec<Request>,
    /// The requested tensors by name.
    requested: StateDict,
}

/// A request for a tensor.
struct Request {
    name: String,
    tensor: Tensor,
    init: Init,
    /// The initial values, if they are a tensor instead of `init`.
    values: Option<Tensor>,
    /// The tensor of the checkpoint from which `tensor` got its values, or `None` for the [`Fallback`].
    source: Option<TensorId>,
}

impl Checkpoint {
    /// Prepares the construction of a network from the selected tensors.
    pub fn new(selection: Arc<Selection>, fallback: Fallback) -> Self {
        let guesses = Guesses::new(selection);
        let construction = Construction { guesses, requests: Vec::new(), requested: StateDict::new() };
        Self(Arc::new(Shared { fallback, construction: Mutex::new(construction) }))
    }

    /// Returns a builder of trainable parameters with the values of the checkpoint.
    pub fn var_builder(&self, dtype: DType, device: &Device) -> VarBuilder<'static> {
        VarBuilder::from_backend(Box::new(self.clone()), dtype, device.clone())
    }

    /// Returns the tensors requested so far.
    pub fn requested(&self) -> StateDict {
        self.lock().requested.clone()
    }

    /// Gives each requested tensor the values that `values` returns for its name. If `values` returns `None`, replaces
    /// wrong values of the checkpoint with the tensor's initial values. Returns the ids of the requested tensors for
    /// which `values` returned values.
    ///
    /// # Errors
    /// Fails if values cannot be converted to the dtype and device of the tensor.
    pub fn correct_values<'v>(
        &self,
        values: impl Fn(&str) -> Option<&'v Tensor>,
    ) -> Result<HashSet<TensorId>> {
        let mut assigned = HashSet::new();
        for Request { name, tensor, init, values: initial, source } in &self.lock().requests {
            let expected = values(name);
            if let Some(expected) = expected.filter(|expected| Some(expected.id()) != *source) {
                fill(tensor, expected)?;
            }
            if expected.is_none() && source.is_some() {
                match initial {
                    Some(initial) => fill(tensor, initial)?,
                    None => fill(
                        tensor,
                        &initialize(*init, tensor.shape(), name, tensor.dtype(), tensor.device())?,
                    )?,
                }
            }
            assigned.extend(expected.map(|_| tensor.id()));
        }
        Ok(assigned)
    }

    fn lock(&self) -> MutexGuard<'_, Construction> {
        self.0.construction.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl SimpleBackend for Checkpoint {
    fn get(&self, shape: Shape, name: &str, init: Init, dtype: DType, device: &Device) -> Result<Tensor> {
        let mut construction = self.lock();
        if let Some(tensor) = construction.requested.get(name) {
            return check_shape(tensor, &shape, name);
        }
        let found = construction.guesses.find(name, shape.dims());
        let initial = initial_values();
        let tensor = match (&found, self.0.fallback) {
            (Some(found), _) => tensor_with_values(found, dtype, device)?,
            (None, Fallback::Initialize) => match &initial {
                Some(initial) => tensor_with_values(initial, dtype, device)?,
                None => initialize(init, &shape, name, dtype, device)?,
            },
            (None, Fallback::Zeros) => {
                check_memory(&shape, name)?;
                to_trainable(Tensor::zeros(&shape, dtype, device)?)?
            }
        };
        let source = found.map(|found| found.id());
        let request =
            Request { name: name.to_owned(), tensor: tensor.clone(), init, values: initial, source };
        construction.requests.push(request);
        construction.requested.insert(name, tensor.clone());
        Ok(tensor)
    }

    fn get_unchecked(&self, name: &str, dtype: DType, device: &Device) -> Result<Tensor> {
        let shape = self.lock().guesses.shape(name);
        match shape {
            Some(shape) => self.get(shape.into(), name, Init::Const(0.), dtype, device),
            None => bail!("the checkpoint has no tensor `{name}`"),
        }
    }

    fn contains_tensor(&self, name: &str) -> bool {
        self.lock().guesses.shape(name).is_some()
    }
}

/// Returns a tensor with `values`, converted to `dtype` and `device`. A floating-point tensor is trainable.
fn tensor_with_values(values: &Tensor, dtype: DType, device: &Device) -> Result<Tensor> {
    if !dtype.is_float() {
        return to_dtype(values, dtype)?.to_device(device)?.copy();
    }
    let variable = Var::zeros(values.shape(), dtype, device)?.into_inner();
    fill(&variable, values)?;
    Ok(variable)
}
