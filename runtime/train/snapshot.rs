//! Copies of the tensors that training changes.

use candle_core::Tensor;

use crate::checkpoint::StateDict;
use crate::module::Module;
use crate::registry::Network;
use crate::{Error, Result};

/// Returns copies of the parameters and buffers of `network` by path.
pub(super) fn copy_values(network: &impl Module) -> Result<StateDict> {
    let copy = |(name, tensor): (&str, &Tensor)| Ok((name.to_owned(), tensor.copy()?));
    network.state_dict().iter().map(copy).collect()
}

/// Writes `values` to the trainable parameters and the buffers of `network`, in place. `values` must have the same
/// paths, shapes and dtypes.
pub(super) fn write_values(network: &impl Module, values: &StateDict) -> Result<()> {
    for (name, var) in network.trainable_parameters() {
        var.set(&value(values, &name, &var)?)?;
    }
    write_buffers(network, values)
}

/// Writes `values` to the buffers of `network`, in place. `values` must have the same paths, shapes and dtypes.
pub(super) fn write_buffers(network: &impl Module, values: &StateDict) -> Result<()> {
    // Write only contiguous buffers. The only buffers that training changes are running statistics, which are
    // contiguous because they are updated in place.
    for (name, buffer) in network.buffers() {
        if buffer.is_contiguous() && buffer.elem_count() > 0 {
            // Flatten because `slice_set` needs at least one dimension, and `num_batches_tracked` is a scalar.
            let value = value(values, &name, &buffer)?.flatten_all()?;
            buffer.detach().flatten_all()?.slice_set(&value, 0, 0)?;
        }
    }
    Ok(())
}

/// Returns the value of `tensor`, whose path is `name`.
fn value(values: &StateDict, name: &str, tensor: &Tensor) -> Result<Tensor> {
    let missing = || Error::msg(format!("`{name}` is missing from the saved parameters and buffers"));
    Ok(values.get(name).ok_or_else(missing)?.to_device(tensor.device())?)
}
