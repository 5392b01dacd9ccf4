//! Where a network's tensors come from while it is built: fresh, or out of a checkpoint.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use candle_core::{DType, Device, Result as CandleResult, Shape, Tensor, Var};
use candle_nn::var_builder::SimpleBackend;
use candle_nn::{Init, VarBuilder};

use crate::checkpoint::StateDict;
use crate::config::Config;
use crate::{Error, Result, random};

/// Draws every tensor anew; a name asked twice gives the same tensor, so that parameters can be tied.
#[derive(Default)]
struct Fresh(Mutex<std::collections::HashMap<String, Tensor>>);

/// A builder of fresh trainable parameters.
pub(crate) fn fresh(dtype: DType, device: &Device) -> VarBuilder<'static> {
    VarBuilder::from_backend(Box::new(Fresh::default()), dtype, device.clone())
}

/// Whether the tensor `name` of `vb` will be drawn anew, rather than read.
pub(crate) fn is_fresh(vb: &VarBuilder, name: &str) -> bool {
    // A fresh source has whatever it is asked for, candle's `VarMap` what it was asked for already.
    vb.contains_tensor("a name that no checkpoint has") || !vb.contains_tensor(name)
}

fn draw(init: Init, shape: &Shape, dtype: DType, device: &Device) -> CandleResult<Tensor> {
    let tensor = match init {
        Init::Const(value) => Tensor::full(value, shape, device)?.to_dtype(dtype)?,
        Init::Uniform { lo, up } => random::uniform(shape, lo, up, dtype, device)?,
        Init::Randn { mean, stdev } => random::normal(shape, mean, stdev, dtype, device)?,
        Init::Kaiming { dist, fan, non_linearity } => {
            let std = non_linearity.gain() / (fan.for_shape(shape) as f64).sqrt();
            match dist {
                candle_nn::init::NormalOrUniform::Normal => random::normal(shape, 0., std, dtype, device)?,
                candle_nn::init::NormalOrUniform::Uniform => {
                    let bound = 3f64.sqrt() * std;
                    random::uniform(shape, -bound, bound, dtype, device)?
                }
            }
        }
    };
    trainable(tensor)
}

/// A variable of a float tensor; an integer one stays as it is.
fn trainable(tensor: Tensor) -> CandleResult<Tensor> {
    Ok(if tensor.dtype().is_float() { Var::from_tensor(&tensor)?.into_inner() } else { tensor })
}

impl SimpleBackend for Fresh {
    fn get(
        &self,
        shape: Shape,
        name: &str,
        init: Init,
        dtype: DType,
        device: &Device,
    ) -> CandleResult<Tensor> {
        let mut made = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(tensor) = made.get(name) {
            return same_shape(tensor, &shape, name);
        }
        let tensor = draw(init, &shape, dtype, device)?;
        made.insert(name.to_string(), tensor.clone());
        Ok(tensor)
    }

    fn get_unchecked(&self, name: &str, _: DType, _: &Device) -> CandleResult<Tensor> {
        candle_core::bail!("{name}: a fresh parameter needs a shape")
    }

    fn contains_tensor(&self, _: &str) -> bool {
        true
    }
}

/// `tensor`, where it has the shape that a second asker of its name expects.
fn same_shape(tensor: &Tensor, shape: &Shape, name: &str) -> CandleResult<Tensor> {
    if tensor.shape() == shape {
        return Ok(tensor.clone());
    }
    candle_core::bail!("{name}: expected shape {:?}, got {:?}", shape.dims(), tensor.dims())
}

/// Serves the tensors of a state dict and notes everything that does not fit.
struct Checkpoint {
    tensors: StateDict,
    report: Mutex<Report>,
}

#[derive(Default)]
struct Report {
    made: std::collections::HashMap<String, Tensor>,
    /// What the network knows of though it may not read it: a tied parameter's second name.
    known: HashSet<String>,
    missing: Vec<String>,
    misshapen: Vec<String>,
}

/// Builds `config` with the tensors of a checkpoint, all of them and no others.
pub(crate) fn build_from<C: Config>(config: C, tensors: StateDict, device: &Device) -> Result<C::Output> {
    let source = Arc::new(Checkpoint { tensors, report: Mutex::default() });
    let shared = Box::new(Shared(source.clone()));
    let network = config.build(VarBuilder::from_backend(shared, DType::F32, device.clone()))?;
    source.verdict().map(|()| network)
}

struct Shared(Arc<Checkpoint>);

impl SimpleBackend for Shared {
    fn get(&self, shape: Shape, name: &str, _: Init, dtype: DType, device: &Device) -> CandleResult<Tensor> {
        self.0.serve(shape, name, dtype, device)
    }

    fn get_unchecked(&self, name: &str, dtype: DType, device: &Device) -> CandleResult<Tensor> {
        match self.0.tensors.get(name) {
            Some(tensor) => self.0.serve(tensor.shape().clone(), name, dtype, device),
            None => candle_core::bail!("the checkpoint has no tensor {name}"),
        }
    }

    fn contains_tensor(&self, name: &str) -> bool {
        self.0.report.lock().unwrap_or_else(PoisonError::into_inner).known.insert(name.to_string());
        self.0.tensors.get(name).is_some()
    }
}

impl Checkpoint {
    /// The tensor `name`; zeros where it does not fit, so that the build goes on and finds the rest.
    fn serve(&self, shape: Shape, name: &str, dtype: DType, device: &Device) -> CandleResult<Tensor> {
        let mut report = self.report.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(made) = report.made.get(name) {
            return same_shape(made, &shape, name);
        }
        let tensor = match self.tensors.get(name) {
            Some(tensor) if *tensor.shape() == shape => tensor.to_dtype(dtype)?.to_device(device)?,
            Some(tensor) => {
                let (expected, found) = (shape.dims(), tensor.dims());
                report.misshapen.push(format!("{name}: expected {expected:?}, found {found:?}"));
                Tensor::zeros(&shape, dtype, device)?
            }
            None => {
                report.missing.push(format!("{name} {:?}", shape.dims()));
                Tensor::zeros(&shape, dtype, device)?
            }
        };
        let tensor = trainable(tensor)?;
        report.made.insert(name.to_string(), tensor.clone());
        Ok(tensor)
    }

    fn verdict(&self) -> Result<()> {
        let report = self.report.lock().unwrap_or_else(PoisonError::into_inner);
        let used: HashSet<&str> = report.made.keys().chain(&report.known).map(String::as_str).collect();
        let unexpected: Vec<String> = self
            .tensors
            .iter()
            .filter(|(name, _)| !used.contains(name))
            .map(|(name, tensor)| format!("{name} {:?}", tensor.dims()))
            .collect();
        mismatch(&report.missing, &unexpected, &report.misshapen)
    }
}

/// One error for every tensor that does not fit, or none.
pub(crate) fn mismatch(missing: &[String], unexpected: &[String], misshapen: &[String]) -> Result<()> {
    let lists = [("missing", missing), ("unexpected", unexpected), ("misshapen", misshapen)];
    let parts: Vec<String> = lists
        .iter()
        .filter(|(_, names)| !names.is_empty())
        .map(|(what, names)| format!("{} {what}:\n  {}", names.len(), names.join("\n  ")))
        .collect();
    if parts.is_empty() {
        return Ok(());
    }
    Err(Error::msg(format!("the checkpoint does not fit the network; {}", parts.join("\n"))))
}
