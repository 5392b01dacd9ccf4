//! A copy of all that training changes, to go back to.

use candle_core::{Tensor, Var};

use crate::Result;
use crate::module::Module;
use crate::registry::Network;

/// The trainable parameters and the buffers of a network, each with a copy of its content.
pub(super) struct Snapshot {
    parameters: Vec<(Var, Tensor)>,
    buffers: Vec<(Tensor, Tensor)>,
}

impl Snapshot {
    /// Copies what `network` holds now.
    pub(super) fn take(network: &impl Module) -> Result<Self> {
        let copied = |tensor: &Tensor| -> Result<Tensor> { Ok(tensor.detach().copy()?) };
        let parameters = network.trainable_parameters().into_iter();
        let parameters = parameters.map(|(_, var)| Ok((var.clone(), copied(&var)?)));
        // Running statistics are written in place, which takes a contiguous tensor; any other buffer is
        // a constant.
        let buffers = network.buffers().into_iter().map(|(_, buffer)| buffer);
        let buffers = buffers.filter(|buffer| buffer.is_contiguous() && buffer.elem_count() > 0);
        let buffers = buffers.map(|buffer| Ok((buffer.clone(), copied(&buffer)?)));
        Ok(Self { parameters: parameters.collect::<Result<_>>()?, buffers: buffers.collect::<Result<_>>()? })
    }

    /// Puts the content back, into the same storage: twins and optimisers see it too.
    pub(super) fn restore(&self) -> Result<()> {
        for (var, copy) in &self.parameters {
            var.set(copy)?;
        }
        for (buffer, copy) in &self.buffers {
            // Flat, since `slice_set` wants a dimension and a count of batches has none.
            buffer.detach().flatten_all()?.slice_set(&copy.flatten_all()?, 0, 0)?;
        }
        Ok(())
    }
}
