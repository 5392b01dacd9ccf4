//! Loads a state dict into a network.

use std::collections::HashSet;

use candle_core::Tensor;

use super::list::all_names;
use super::replace::for_each_mut;
use crate::Result;
use crate::checkpoint::StateDict;
use crate::load::LoadReport;
use crate::module::Module;
use crate::source::{converted, fill};

/// What of `state` a network has, by name and shape.
pub(super) fn compare<M: Module + ?Sized>(network: &M, state: &StateDict) -> LoadReport {
    let mut report = LoadReport::default();
    let mut names = HashSet::new();
    for entry in all_names(network) {
        report.note(&entry.path, entry.tensor.dims(), state.get(&entry.path));
        names.insert(entry.path);
    }
    report.note_unexpected(state, |name| names.contains(name));
    report
}

/// Copies into the network what `report` says can be loaded. What can fail is tried before the first copy.
pub(super) fn assign_all<M: Module + ?Sized>(
    network: &mut M,
    state: &StateDict,
    report: &LoadReport,
) -> Result<()> {
    let loaded: HashSet<&str> = report.loaded.iter().map(String::as_str).collect();
    let new = |name: &str| state.get(name).filter(|_| loaded.contains(name));
    for_each_mut(network, &mut |name, _, tensor| {
        if let Some(new) = new(name) {
            let one = new.flatten_all()?;
            converted(&one.narrow(0, 0, one.elem_count().min(1))?, tensor)?;
        }
        Ok(())
    })?;
    for_each_mut(network, &mut |name, _, tensor| new(name).map_or(Ok(()), |new| assign(tensor, new)))
}

/// Puts the content of `new` into `tensor`: in place where it trains, since an optimiser and twins hold
/// the same storage; as a new tensor where it does not, since packed copies of it must not go stale.
fn assign(tensor: &mut Tensor, new: &Tensor) -> Result<()> {
    if tensor.is_variable() {
        fill(tensor, new)?;
    } else {
        *tensor = converted(new, tensor)?.copy()?.detach();
    }
    Ok(())
}
