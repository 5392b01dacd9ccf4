//! Chooses which parameters training changes.

use candle_core::{Tensor, Var};

use super::list::Kind;
use super::replace::{Replacements, for_each_mut};
use crate::glob::Glob;
use crate::module::Module;
use crate::{Error, Result};

pub(super) fn freeze<M: Module + ?Sized>(network: &mut M, pattern: &str) -> Result<()> {
    replace_parameters(network, pattern, |tensor| Ok(tensor.detach()))
}

pub(super) fn unfreeze<M: Module + ?Sized>(network: &mut M, pattern: &str) -> Result<()> {
    replace_parameters(network, pattern, |tensor| Ok(Var::from_tensor(tensor)?.into_inner()))
}

/// Replaces the parameters whose path matches `pattern`, under all their names.
fn replace_parameters<M: Module + ?Sized>(
    network: &mut M,
    pattern: &str,
    with: impl Fn(&Tensor) -> Result<Tensor>,
) -> Result<()> {
    let glob = Glob::new(pattern);
    let mut replacements = Replacements::default();
    for_each_mut(network, &mut |path, kind, tensor| {
        if kind == Kind::Parameter && (glob.matches(path) || replacements.get(tensor).is_some()) {
            *tensor = replacements.get_or_make(tensor, &with)?;
        }
        Ok(())
    })?;
    if replacements.is_empty() {
        return Err(Error::msg(format!("no parameter of this {} matches {pattern:?}", network.kind())));
    }
    Ok(())
}
