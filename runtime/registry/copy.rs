//! Copies of a network without trainable parameters.

use crate::Result;
use crate::module::Module;

use super::replace::{Replacements, for_each_mut};

/// Returns a copy that shares the network's storage.
pub(super) fn detached<M: Module>(network: &M) -> M {
    let mut copy = network.share();
    let mut replacements = Replacements::default();
    let result = for_each_mut(&mut copy, &mut |_, _, tensor| {
        *tensor = replacements.get_or_make(tensor, |tensor| Ok(tensor.detach()))?;
        Ok(())
    });
    debug_assert!(result.is_ok(), "detaching a tensor cannot fail");
    copy
}

/// Returns a copy with separate storage.
pub(super) fn inference<M: Module>(network: &M) -> Result<M> {
    let mut copy = network.share();
    let mut replacements = Replacements::default();
    for_each_mut(&mut copy, &mut |_, _, tensor| {
        *tensor = replacements.get_or_make(tensor, |tensor| Ok(tensor.copy()?.detach()))?;
        Ok(())
    })?;
    Ok(copy)
}
