//! Builds fields with `#[param]` and `#[buffer]`, and ties parameters.

use candle_core::{Shape, Tensor};
use candle_nn::{Init, VarBuilder};

use crate::init::Initializer;
use crate::load::fill;
use crate::module::Module;
use crate::registry::{TensorKind, for_each_mut, join};
use crate::{Error, Result, source};

use super::build::at_current_path;

/// Builds a `#[param]` field. The default initializer is `kaiming_uniform` for two or more dimensions, and zeros
/// otherwise.
pub fn param(
    vb: &VarBuilder,
    name: &str,
    shape: impl Into<Shape>,
    init: Option<Initializer>,
) -> Result<Tensor> {
    let shape = shape.into();
    let init = init.unwrap_or_else(|| match shape.rank() {
        0 | 1 => crate::init::zeros(),
        _ => crate::init::kaiming_uniform(),
    });
    at_current_path(vb.get_with_hints(shape.clone(), name, init.for_shape(shape.dims())))
}

/// The initial values of a `#[buffer]` field: a distribution, or a tensor.
pub enum BufferInit {
    Distribution(Initializer),
    Values(Tensor),
}

impl From<Initializer> for BufferInit {
    fn from(init: Initializer) -> Self {
        Self::Distribution(init)
    }
}

impl From<Tensor> for BufferInit {
    fn from(values: Tensor) -> Self {
        Self::Values(values)
    }
}

/// Converts a function without arguments, which allows `init = ones`.
impl<F: Fn() -> Initializer> From<F> for BufferInit {
    fn from(init: F) -> Self {
        Self::Distribution(init())
    }
}

/// Builds a `#[buffer]` field. The default initializer is zeros.
pub fn buffer(
    vb: &VarBuilder,
    name: &str,
    shape: impl Into<Shape>,
    init: Option<BufferInit>,
) -> Result<Tensor> {
    let shape = shape.into();
    let tensor = match init {
        Some(BufferInit::Values(values)) => buffer_with_values(vb, name, &shape, &values),
        Some(BufferInit::Distribution(init)) => vb.get_with_hints(&shape, name, init.for_shape(shape.dims())),
        None => vb.get_with_hints(&shape, name, Init::Const(0.)),
    };
    Ok(at_current_path(tensor)?.detach())
}

/// Returns the buffer of a checkpoint. If `vb` initializes the tensor instead, returns a copy of `values`. Floats get
/// the dtype of `vb`; integers keep theirs.
fn buffer_with_values(
    vb: &VarBuilder,
    name: &str,
    shape: &Shape,
    values: &Tensor,
) -> candle_core::Result<Tensor> {
    let values = source::check_shape(values, shape, name)?;
    let dtype = if values.dtype().is_float() { vb.dtype() } else { values.dtype() };
    let values = values.to_dtype(dtype)?.to_device(vb.device())?;
    if source::initializes_every_tensor(vb) {
        return values.copy();
    }
    // A source that lacks the tensor returns an error or, as candle's `VarMap` and a partial load do, a new tensor.
    let is_missing = !vb.contains_tensor(name);
    let request = || vb.get_with_hints_dtype(shape, name, Init::Const(0.), dtype);
    let tensor = source::with_initial_values(values.clone(), request)?;
    if is_missing {
        fill(&tensor, &values)?;
    }
    Ok(tensor)
}

/// Returns a builder that reads the tied parameter of the field `name` from `target`. With the target
/// `embed.weight`, the tied parameter is `weight` of the field. If the field is a `#[param]`, the tied parameter is the
/// field itself.
pub fn tie<'a>(vb: VarBuilder<'a>, name: &str, target: &str) -> VarBuilder<'a> {
    let prefix = vb.prefix();
    let with_prefix =
        |path: &str| if prefix.is_empty() { path.to_string() } else { format!("{prefix}.{path}") };
    let leaf = target.rsplit('.').next().unwrap_or(target);
    let field = with_prefix(name);
    let field_leaf = with_prefix(&join(name, leaf));
    let target = with_prefix(target);
    // Rename at the root: a renamed builder wraps the original builder, which would prepend its own prefix to the new
    // name.
    let root = vb.root().rename_f(move |path| {
        if path == field_leaf || path == field { target.clone() } else { path.to_string() }
    });
    if prefix.is_empty() { root } else { root.pp(prefix) }
}

/// Replaces the tied parameter of the field `name` with the tensor at `target`, so that both share it.
///
/// # Errors
/// Fails if the network has no parameter `target`, if the field has no parameter named like the last part of `target`,
/// or if the shapes differ.
pub fn tie_after_build<M: Module>(network: &mut M, name: &str, target: &str) -> Result<()> {
    let leaf = target.rsplit('.').next().unwrap_or(target);
    let tied = join(name, leaf);
    let mut found = None;
    for_each_mut(network, &mut |path, kind, tensor| {
        if path == target && kind == TensorKind::Parameter {
            found = Some(tensor.clone());
        }
        Ok(())
    })?;
    let Some(found) = found else {
        return at_current_path(Err(Error::msg(format!(
            "tie = {target:?}: the network has no parameter with this name"
        ))));
    };
    let mut replaced = false;
    for_each_mut(network, &mut |path, kind, tensor| {
        if kind == TensorKind::Parameter && (path == tied || path == name) {
            if tensor.dims() != found.dims() {
                let expected = tensor.dims();
                let found = found.dims();
                return at_current_path(Err(Error::msg(format!(
                    "tie = {target:?}: expected a parameter of the field's shape {expected:?}, found {found:?}"
                ))));
            }
            *tensor = found.clone();
            replaced = true;
        }
        Ok(())
    })?;
    if replaced {
        Ok(())
    } else {
        at_current_path(Err(Error::msg(format!("tie = {target:?}: the field has no parameter `{leaf}`"))))
    }
}
