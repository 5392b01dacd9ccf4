//! Freezes and unfreezes parameters.

use candle_core::{Tensor, Var};

use crate::glob::Glob;
use crate::module::Module;
use crate::{Error, Result};

use super::list::TensorKind;
use super::replace::{Replacements, for_each_mut};

pub(super) fn freeze<M: Module + ?Sized>(network: &mut M, pattern: &str) -> Result<()> {
    replace_parameters(network, pattern, |tensor| Ok(tensor.detach()))
}

pub(super) fn unfreeze<M: Module + ?Sized>(network: &mut M, pattern: &str) -> Result<()> {
    replace_parameters(network, pattern, |tensor| Ok(Var::from_tensor(tensor)?.into_inner()))
}

/// Replaces the parameters whose path matches `pattern`. If a parameter has several names, replaces it under the first
/// name that matches and under every later name.
fn replace_parameters<M: Module + ?Sized>(
    network: &mut M,
    pattern: &str,
    replacement: impl Fn(&Tensor) -> Result<Tensor>,
) -> Result<()> {
    let glob = Glob::new(pattern);
    let mut replacements = Replacements::default();
    for_each_mut(network, &mut |path, kind, tensor| {
        if kind == TensorKind::Parameter && (glob.matches(path) || replacements.get(tensor).is_some()) {
            *tensor = replacements.get_or_make(tensor, &replacement)?;
        }
        Ok(())
    })?;
    if replacements.is_empty() {
        return Err(Error::msg(format!("no parameter of {} matches {pattern:?}", network.kind())));
    }
    Ok(())
}
