//! Copies of the tensors that training changes.

use candle_core::{Tensor, Var};

use crate::Result;
use crate::module::Module;
use crate::registry::Network;

/// The trainable parameters and the buffers of a network, each with a copy of its values.
pub(super) struct Snapshot {
    parameters: Vec<(Var, Tensor)>,
    buffers: Vec<(Tensor, Tensor)>,
}

impl Snapshot {
    /// Copies the current values of `network`.
    pub(super) fn take(network: &impl Module) -> Result<Self> {
        let copy = |tensor: &Tensor| -> Result<Tensor> { Ok(tensor.detach().copy()?) };
        let parameters = network.trainable_parameters().into_iter();
        let parameters = parameters.map(|(_, var)| Ok((var.clone(), copy(&var)?)));
        // Copy only contiguous buffers. The only buffers that training changes are running statistics, which are
        // contiguous because they are updated in place.
        let buffers = network.buffers().into_iter().map(|(_, buffer)| buffer);
        let buffers = buffers.filter(|buffer| buffer.is_contiguous() && buffer.elem_count() > 0);
        let buffers = buffers.map(|buffer| Ok((buffer.clone(), copy(&buffer)?)));
        Ok(Self { parameters: parameters.collect::<Result<_>>()?, buffers: buffers.collect::<Result<_>>()? })
    }

    /// Writes the copied values back into the original storage.
    pub(super) fn restore(&self) -> Result<()> {
        for (var, copy) in &self.parameters {
            var.set(copy)?;
        }
        for (buffer, copy) in &self.buffers {
            // Flatten because `slice_set` needs at least one dimension, and `num_batches_tracked` is a scalar.
            buffer.detach().flatten_all()?.slice_set(&copy.flatten_all()?, 0, 0)?;
        }
        Ok(())
    }
}
