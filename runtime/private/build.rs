//! Builds layers from the expressions in attributes.

use std::fmt::Display;

use candle_nn::VarBuilder;

use crate::config::Config;
use crate::scope::Path;
use crate::{Error, Result};

/// Warns if a user-defined type has the name of a generated config. The generated code uses the path
/// `ModelConfig::__is_generated`. If `ModelConfig` is the generated config, the path resolves to the config's own
/// method. For any other type, it resolves to the deprecated function of this trait, and the compiler warns.
pub trait ConfigNameConflict {
    #[deprecated(
        note = "the derive generates a config with this name, which is already taken; rename the config with \
                `#[module(config_name = …)]`"
    )]
    fn __is_generated<C>(_: &C) {}
}

impl<T> ConfigNameConflict for T {}

/// Builds the field `name` from its config.
pub fn layer<C: Config>(vb: &VarBuilder, name: &str, config: C) -> Result<C::Output> {
    at_current_path(config.build(child(vb, name)))
}

/// Builds the field `name` with a function that takes a `VarBuilder`. The function may be from sconce, candle-nn or the
/// user.
pub fn layer_with<'a, T, E: Into<Error>>(
    vb: &VarBuilder<'a>,
    name: &str,
    constructor: impl FnOnce(VarBuilder<'a>) -> Result<T, E>,
) -> Result<T> {
    at_current_path(constructor(child(vb, name)))
}

/// Builds the field `name` with a closure that takes a `VarBuilder`. The bound on `constructor` determines the
/// closure's error type.
pub fn layer_by_closure<'a, T>(
    vb: &VarBuilder<'a>,
    name: &str,
    constructor: impl FnOnce(VarBuilder<'a>) -> candle_core::Result<T>,
) -> Result<T> {
    layer_with(vb, name, constructor)
}

/// Returns the builder of the field `name`. If the name is empty (`rename = ""`), returns `vb` itself.
pub fn child<'a>(vb: &VarBuilder<'a>, name: &str) -> VarBuilder<'a> {
    if name.is_empty() { vb.clone() } else { vb.pp(name) }
}

/// Returns the name of element `index` of a list.
pub fn element_name(index: usize) -> String {
    index.to_string()
}

/// Returns the number in the name of element `index` of a list with `#[module(rename = "layer{first..;step}")]`.
pub fn element_number(first: usize, step: usize, index: usize) -> usize {
    first + step * index
}

/// Returns the name in checkpoints: the concatenated `parts`.
pub fn concat_name(parts: &[&dyn Display]) -> String {
    parts.iter().map(ToString::to_string).collect()
}

/// Clones an argument of the network for one of the attribute expressions that use the argument.
pub fn copy_arg<T: ArgClone>(arg: &T) -> T {
    arg.copy()
}

/// The type of an argument that several attribute expressions use.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not `Clone`, but several attribute expressions use this argument",
    label = "the trait `Clone` is not implemented for `{Self}`",
    note = "an argument that is used once, outside of a list, need not be `Clone`"
)]
pub trait ArgClone {
    fn copy(&self) -> Self;
}

#[diagnostic::do_not_recommend]
impl<T: Clone> ArgClone for T {
    fn copy(&self) -> Self {
        self.clone()
    }
}

/// Adds the current path to an error: the path of the field or element that is being built.
pub(super) fn at_current_path<T, E: Into<Error>>(result: Result<T, E>) -> Result<T> {
    result.map_err(|error| error.into().at(Path::current()))
}
