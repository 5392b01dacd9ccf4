//! Where a network's tensors come from while it is built: fresh, or out of a checkpoint.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};

use candle_core::{DType, Device, Result as CandleResult, Shape, Tensor, Var};
use candle_nn::var_builder::SimpleBackend;
use candle_nn::{Init, VarBuilder};

use crate::checkpoint::StateDict;
use crate::config::Config;
use crate::kernels::internal::can_allocate;
use crate::load::{Load, LoadReport};
use crate::{Result, random};

/// Draws every tensor anew; a name asked twice gives the same tensor, so that parameters can be tied.
#[derive(Default)]
struct Fresh(Mutex<HashMap<String, Tensor>>);

/// A builder of fresh trainable parameters.
pub(crate) fn fresh(dtype: DType, device: &Device) -> VarBuilder<'static> {
    VarBuilder::from_backend(Box::new(Fresh::default()), dtype, device.clone())
}

/// Whether the tensor `name` of `vb` will be drawn anew, rather than read.
pub(crate) fn is_fresh(vb: &VarBuilder, name: &str) -> bool {
    // A fresh source has whatever it is asked for, candle's `VarMap` what it was asked for already.
    vb.contains_tensor("a name that no checkpoint has") || !vb.contains_tensor(name)
}

fn draw(init: Init, shape: &Shape, name: &str, dtype: DType, device: &Device) -> CandleResult<Tensor> {
    check_room(shape, name)?;
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

/// Refuses a tensor that there is no memory for, as numbers of f64 on the CPU: asking for it would end the program.
fn check_room(shape: &Shape, name: &str) -> CandleResult<()> {
    match can_allocate::<f64>(shape.dims()) {
        true => Ok(()),
        false => candle_core::bail!("{name}: there is no memory for a tensor of shape {:?}", shape.dims()),
    }
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
        let tensor = draw(init, &shape, name, dtype, device)?;
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
    partial: bool,
    served: Mutex<Served>,
}

#[derive(Default)]
struct Served {
    made: HashMap<String, Tensor>,
    /// What the network knows of though it may not read it: a tied parameter's second name.
    known: HashSet<String>,
    report: LoadReport,
}

/// Builds `config` with the tensors of a checkpoint: all of them and no others, unless `load` says else.
pub(crate) fn build_from<C: Config>(
    config: C,
    tensors: StateDict,
    load: &Load,
    device: &Device,
) -> Result<(C::Output, LoadReport)> {
    let dtype = load.float_dtype()?.unwrap_or(DType::F32);
    let source = Arc::new(Checkpoint { tensors, partial: load.is_partial(), served: Mutex::default() });
    let shared = Box::new(Shared(source.clone()));
    let network = config.build(VarBuilder::from_backend(shared, dtype, device.clone()))?;
    let report = source.report();
    if !source.partial {
        report.check()?;
    }
    Ok((network, report))
}

struct Shared(Arc<Checkpoint>);

impl SimpleBackend for Shared {
    fn get(
        &self,
        shape: Shape,
        name: &str,
        init: Init,
        dtype: DType,
        device: &Device,
    ) -> CandleResult<Tensor> {
        self.0.serve(shape, name, init, dtype, device)
    }

    fn get_unchecked(&self, name: &str, dtype: DType, device: &Device) -> CandleResult<Tensor> {
        match self.0.tensors.get(name) {
            Some(tensor) => self.0.serve(tensor.shape().clone(), name, Init::Const(0.), dtype, device),
            None => candle_core::bail!("the checkpoint has no tensor {name}"),
        }
    }

    fn contains_tensor(&self, name: &str) -> bool {
        self.0.served.lock().unwrap_or_else(PoisonError::into_inner).known.insert(name.to_string());
        self.0.tensors.get(name).is_some()
    }
}

impl Checkpoint {
    /// The tensor `name`. Where none fits, a fresh one if that may be; else zeros, so that the build goes
    /// on and finds the rest.
    fn serve(
        &self,
        shape: Shape,
        name: &str,
        init: Init,
        dtype: DType,
        device: &Device,
    ) -> CandleResult<Tensor> {
        let mut served = self.served.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(made) = served.made.get(name) {
            return same_shape(made, &shape, name);
        }
        let found = self.tensors.get(name);
        let fits = served.report.note(name, shape.dims(), found);
        let tensor = match found {
            Some(tensor) if fits => loaded(tensor, dtype, device)?,
            _ if self.partial => draw(init, &shape, name, dtype, device)?,
            _ => {
                check_room(&shape, name)?;
                trainable(Tensor::zeros(&shape, dtype, device)?)?
            }
        };
        served.made.insert(name.to_string(), tensor.clone());
        Ok(tensor)
    }

    fn report(&self) -> LoadReport {
        let mut served = self.served.lock().unwrap_or_else(PoisonError::into_inner);
        let Served { made, known, report } = &mut *served;
        let mut report = std::mem::take(report);
        report.note_unexpected(&self.tensors, |name| made.contains_key(name) || known.contains(name));
        report
    }
}

/// A network's own tensor with the values of a file's, trainable if it is one of floats.
fn loaded(tensor: &Tensor, dtype: DType, device: &Device) -> CandleResult<Tensor> {
    if !dtype.is_float() {
        return tensor.to_dtype(dtype)?.to_device(device);
    }
    let variable = Var::zeros(tensor.shape(), dtype, device)?.into_inner();
    fill(&variable, tensor)?;
    Ok(variable)
}

/// Elements that are copied at once.
const PIECE: usize = 1 << 16;

/// Copies the values of `from` into `to`, a contiguous tensor of the same shape, in its type and on its
/// device.
///
/// It goes piece by piece: large tensors are in memory twice, in the file's type and in the network's, and
/// a third copy would be one too many.
pub(crate) fn fill(to: &Tensor, from: &Tensor) -> CandleResult<()> {
    let (to, from) = (to.detach().flatten_all()?, from.flatten_all()?);
    for start in (0..to.elem_count()).step_by(PIECE) {
        let piece = from.narrow(0, start, PIECE.min(to.elem_count() - start))?;
        // A copy, as `from` may be `to`. (`copy` would copy the storage that the piece looks into.)
        to.slice_set(&converted(&piece.force_contiguous()?, &to)?, 0, start)?;
    }
    Ok(())
}

/// `tensor` in the type and on the device of `like`.
pub(crate) fn converted(tensor: &Tensor, like: &Tensor) -> CandleResult<Tensor> {
    tensor.to_device(like.device())?.to_dtype(like.dtype())
}
