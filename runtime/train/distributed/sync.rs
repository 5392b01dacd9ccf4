//! Tensors and metrics that all ranks must share.

use candle_core::Tensor;

use crate::checkpoint::{StateDict, checksum};
use crate::kernels::internal::on_cpu_in_f64;
use crate::module::Module;
use crate::registry::Network;
use crate::train::metrics::Metric;
use crate::train::snapshot::{write_buffers, write_values};
use crate::{Error, Result};

use super::Ranks;

/// Gives the trainable parameters and the buffers of `model` the values of rank 0, and checks that all tensors of all
/// ranks are then equal. Frozen parameters are not changed, because layers keep packed copies of them.
pub(in crate::train) fn broadcast_tensors(ranks: &Ranks, model: &impl Module) -> Result<()> {
    let tensors = model.state_dict();
    ranks.check_equal("number of tensors of the network", tensors.len())?;
    let elements: usize = tensors.iter().map(|(_, tensor)| tensor.elem_count()).sum();
    ranks.check_equal("number of elements of the network", elements)?;
    let mut values = StateDict::new();
    for (name, parameter) in model.trainable_parameters() {
        values.insert(name, ranks.broadcast(&parameter)?);
    }
    for (name, buffer) in model.buffers() {
        values.insert(name, ranks.broadcast(&buffer)?);
    }
    write_values(model, &values)?;
    check_equal_tensors(ranks, &tensors)
}

/// Returns an error that names a trainable parameter whose bits differ between ranks.
pub(in crate::train) fn check_equal_parameters(ranks: &Ranks, model: &impl Module) -> Result<()> {
    let parameters = model.trainable_parameters().into_iter();
    check_equal_tensors(ranks, &parameters.map(|(name, parameter)| (name, parameter.detach())).collect())
}

/// Returns an error that names a tensor whose bits differ between ranks.
fn check_equal_tensors(ranks: &Ranks, tensors: &StateDict) -> Result<()> {
    let hash = |(name, tensor): (&str, &Tensor)| -> Result<f64> {
        Ok(f64::from(checksum("", &[(name.to_owned(), tensor.clone())].into_iter().collect())?))
    };
    let hashes = tensors.iter().map(hash).collect::<Result<Vec<f64>>>()?;
    let all = ranks.gather(&hashes)?;
    for (rank, hashes) in all.iter().enumerate() {
        if let Some(position) = hashes.iter().zip(&all[0]).position(|(hash, first)| hash != first) {
            let name = tensors.keys().nth(position).unwrap_or("a tensor");
            return Err(Error::msg(format!(
                "the ranks have different networks: `{name}` of rank {rank} has other values than that of rank 0"
            )));
        }
    }
    Ok(())
}

/// Replaces the buffers of `model` with their means over all ranks, and integers with those of rank 0.
pub(in crate::train) fn average_buffers(ranks: &Ranks, model: &impl Module) -> Result<()> {
    let mut values = StateDict::new();
    for (name, buffer) in model.buffers() {
        let value =
            if buffer.dtype().is_float() { mean(ranks, &buffer)? } else { ranks.broadcast(&buffer)? };
        values.insert(name, value);
    }
    write_buffers(model, &values)
}

/// Returns the mean of a tensor over all ranks.
fn mean(ranks: &Ranks, buffer: &Tensor) -> Result<Tensor> {
    let numbers = on_cpu_in_f64(buffer)?.flatten_all()?.to_vec1::<f64>()?;
    let sums = ranks.sum(&numbers)?;
    let means: Vec<f64> = sums.into_iter().map(|sum| sum / ranks.size() as f64).collect();
    let means = Tensor::from_vec(means, buffer.shape(), &candle_core::Device::Cpu)?;
    Ok(means.to_dtype(buffer.dtype())?.to_device(buffer.device())?)
}

/// Replaces what each metric keeps of the batches of this rank with what it keeps of the batches of all ranks.
pub(in crate::train) fn merge_metrics<O, T>(
    ranks: &Ranks,
    metrics: &mut [Box<dyn Metric<O, T> + '_>],
) -> Result<()> {
    for metric in metrics {
        let states = ranks.gather_lists(&metric.state()?)?;
        metric.reset();
        states.iter().try_for_each(|state| metric.merge(state))?;
    }
    Ok(())
}
