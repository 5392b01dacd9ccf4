//! Copies of a network.

use candle_core::{Tensor, Var};

use crate::Result;
use crate::module::Module;

use super::replace::{Replacements, for_each_mut};

/// Returns a copy that shares the network's storage and has no trainable parameters.
pub(super) fn detached<M: Module>(network: &M) -> M {
    let copy = copy_with(network, |tensor| Ok(tensor.detach()));
    copy.expect("detaching a tensor should not fail")
}

/// Returns a copy with separate storage and no trainable parameters.
pub(super) fn inference<M: Module>(network: &M) -> Result<M> {
    copy_with(network, |tensor| Ok(tensor.copy()?.detach()))
}

/// Returns a copy with separate storage. Trainable parameters stay trainable.
pub(super) fn deep_clone<M: Module>(network: &M) -> Result<M> {
    copy_with(network, |tensor| {
        let copy = tensor.copy()?.detach();
        Ok(if tensor.is_variable() { Var::from_tensor(&copy)?.into_inner() } else { copy })
    })
}

/// Returns a copy in which every tensor is replaced with `copy(tensor)`. Tied tensors stay tied.
fn copy_with<M: Module>(network: &M, copy: impl Fn(&Tensor) -> Result<Tensor>) -> Result<M> {
    let mut network = network.share();
    let mut replacements = Replacements::default();
    for_each_mut(&mut network, &mut |_, _, tensor| {
        *tensor = replacements.get_or_make(tensor, &copy)?;
        Ok(())
    })?;
    Ok(network)
}
