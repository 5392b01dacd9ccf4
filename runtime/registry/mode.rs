//! Pins layers to a mode.

use std::collections::HashSet;

use candle_core::Tensor;

use crate::glob::Glob;
use crate::module::{Mode, Module, VisitorMut};
use crate::{Error, Result};

use super::list::{all_paths, join};

/// Pins the layers whose path satisfies `selected` to `mode`, or unpins them if `mode` is `None`. Returns the number of
/// selected layers whose forward pass depends on the mode.
///
/// # Errors
/// Fails if `mode` is not `None` and a selected layer cannot store a mode. The network is then unchanged.
pub(super) fn pin<M: Module + ?Sized>(
    network: &mut M,
    mode: Option<Mode>,
    selected: impl Fn(&str) -> bool,
) -> Result<usize> {
    let mut unpinnable = None;
    for_each_mode(network, &mut |path, pinned| {
        if pinned.is_none() && selected(path) {
            unpinnable = Some(path.to_owned());
        }
    });
    match unpinnable.filter(|_| mode.is_some()) {
        Some(path) => {
            Err(Error::msg("candle-nn's layers cannot be pinned to a mode; use the layer of this crate")
                .at(path))
        }
        None => Ok(pin_where_possible(network, mode, selected)),
    }
}

/// Pins or unpins the selected layers that can store a mode. Returns their number.
pub(crate) fn pin_where_possible<M: Module + ?Sized>(
    network: &mut M,
    mode: Option<Mode>,
    selected: impl Fn(&str) -> bool,
) -> usize {
    let mut count = 0;
    for_each_mode(network, &mut |path, pinned| {
        if let Some(pinned) = pinned
            && selected(path)
        {
            *pinned = mode;
            count += 1;
        }
    });
    count
}

/// Returns a function that selects the layers to which `pattern` applies. The pattern must match the path of the layer
/// or of one of its tensors.
pub(super) fn matching_layers<'p, M: Module + ?Sized>(
    network: &M,
    pattern: &'p str,
) -> impl Fn(&str) -> bool + use<'p, M> {
    let glob = Glob::new(pattern);
    let entries = all_paths(network).into_iter().filter(|entry| glob.matches(&entry.path));
    let layers: HashSet<String> = entries.map(|entry| parent(&entry.path).to_owned()).collect();
    move |path| glob.matches(path) || layers.contains(path)
}

/// Returns the path of the layer that has the tensor at `path`.
fn parent(path: &str) -> &str {
    path.rsplit_once('.').map_or("", |(parent, _)| parent)
}

/// A function that may change the mode of a layer, given the path of the layer and a reference to the mode. The
/// reference is `None` if the layer cannot store a mode.
type ChangeMode<'a> = &'a mut dyn FnMut(&str, Option<&mut Option<Mode>>);

/// Calls `change` for every layer whose forward pass depends on the mode.
fn for_each_mode<M: Module + ?Sized>(network: &mut M, change: ChangeMode<'_>) {
    network.visit_mut(&mut ModeVisitor { path: String::new(), change });
}

/// A visitor that passes the mode of each layer to `change`.
struct ModeVisitor<'a> {
    path: String,
    change: ChangeMode<'a>,
}

impl VisitorMut for ModeVisitor<'_> {
    fn parameter(&mut self, _: &str, _: &mut Tensor) {}

    fn buffer(&mut self, _: &str, _: &mut Tensor) {}

    fn child(&mut self, name: &str, child: &mut dyn Module) {
        let path = join(&self.path, name);
        let outer = std::mem::replace(&mut self.path, path);
        child.visit_mut(self);
        self.path = outer;
    }

    fn pinned_mode(&mut self, pinned: &mut Option<Mode>) {
        (self.change)(&self.path, Some(pinned));
    }

    fn cannot_pin(&mut self) {
        (self.change)(&self.path, None);
    }
}
