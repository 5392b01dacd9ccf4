//! Converts a network to a different device or element type.

use candle_core::{Tensor, Var};

use crate::Result;
use crate::module::Module;

use super::list::all_paths;
use super::replace::{Replacements, for_each_mut};

/// Replaces every tensor with `convert(tensor)`. Trainable parameters become new variables. If one conversion
/// fails, no tensor is replaced.
pub(super) fn convert<M: Module + ?Sized>(
    network: &mut M,
    convert: impl Fn(&Tensor) -> candle_core::Result<Tensor>,
) -> Result<()> {
    let mut replacements = Replacements::default();
    for entry in all_paths(network) {
        replacements.get_or_make(entry.tensor, |tensor| {
            let converted = convert(&tensor.detach())?;
            Ok(if tensor.is_variable() { Var::from_tensor(&converted)?.into_inner() } else { converted })
        })?;
    }
    for_each_mut(network, &mut |_, _, tensor| {
        if let Some(new) = replacements.get(tensor) {
            *tensor = new.clone();
        }
        Ok(())
    })
}
