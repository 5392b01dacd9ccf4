//! The components that wrapper modules add to the names of a network's tensors.

use std::borrow::Cow;

/// The names under which PyTorch's wrappers hold a module: `DataParallel`, `torch.compile`, FSDP, activation
/// checkpointing and DeepSpeed. A part of a network can be wrapped, so these names also occur within a path.
const WRAPPERS: [&str; 5] =
    ["module", "_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module", "_forward_module"];

/// The fields in which training code holds the network, beside losses and metrics.
const FIELDS: [&str; 3] = ["model", "net", "network"];

/// The maximum number of components of a prefix. It bounds the time for a hostile file with long names.
const MAX_DEPTH: usize = 8;

/// Removes the names of PyTorch's wrappers from a path, except from its first and last component.
pub(super) fn without_inner_wrappers(name: &str) -> Cow<'_, str> {
    let Some((first, rest)) = name.split_once('.') else { return name.into() };
    let Some((middle, last)) = rest.rsplit_once('.') else { return name.into() };
    if !middle.split('.').any(is_wrapper) {
        return name.into();
    }
    let kept = middle.split('.').filter(|component| !is_wrapper(component));
    let components: Vec<&str> = std::iter::once(first).chain(kept).chain([last]).collect();
    components.join(".").into()
}

/// Returns the splits of a name into a prefix of at most [`MAX_DEPTH`] components and a rest, the shortest prefix
/// first. The first prefix is empty.
pub(super) fn splits(name: &str) -> impl Iterator<Item = (&str, &str)> {
    let ends = name.match_indices('.').map(|(dot, _)| dot + 1).take(MAX_DEPTH);
    std::iter::once(0).chain(ends).map(|end| name.split_at(end))
}

/// Returns `true` if every module that contains the module at `prefix` is only a wrapper: each component of the prefix
/// is one of the [`wrapped_components`] of its parent.
pub(super) fn is_wrapped<'n>(prefix: &str, names: impl Iterator<Item = &'n str> + Clone) -> bool {
    let parents: Vec<&str> = splits(prefix).map(|(parent, _)| parent).collect();
    parents.windows(2).all(|levels| {
        let component = &levels[1][levels[0].len()..levels[1].len() - 1];
        wrapped_components(levels[0], names.clone()).contains(&component)
    })
}

/// Returns the prefixes for which [`is_wrapped`] returns `true`, at most `limit`, shorter prefixes first.
pub(super) fn wrapped_prefixes<'n>(
    names: impl Iterator<Item = &'n str> + Clone,
    limit: usize,
) -> Vec<String> {
    let mut prefixes = vec![String::new()];
    let mut next = 0;
    while next < prefixes.len() && prefixes.len() < limit {
        let parent = prefixes[next].clone();
        next += 1;
        if parent.matches('.').count() == MAX_DEPTH {
            continue;
        }
        for component in wrapped_components(&parent, names.clone()) {
            prefixes.push(format!("{parent}{component}."));
        }
    }
    prefixes.truncate(limit);
    prefixes
}

/// Returns the submodules of the module at `parent` that can be wrapped networks: those with a usual name, or the only
/// submodule. Tensors directly in a wrapper, such as `n_averaged`, belong to no submodule.
fn wrapped_components<'n>(parent: &str, names: impl Iterator<Item = &'n str>) -> Vec<&'n str> {
    let submodules = names.filter_map(|name| Some(name.strip_prefix(parent)?.split_once('.')?.0));
    let mut usual = Vec::new();
    let mut only = None;
    let mut several = false;
    for submodule in submodules {
        several |= *only.get_or_insert(submodule) != submodule;
        if is_usual(submodule) && !usual.contains(&submodule) {
            usual.push(submodule);
        }
    }
    match only {
        Some(only) if !several => vec![only],
        _ => usual,
    }
}

fn is_wrapper(component: &str) -> bool {
    WRAPPERS.contains(&component)
}

fn is_usual(component: &str) -> bool {
    is_wrapper(component) || FIELDS.contains(&component)
}
