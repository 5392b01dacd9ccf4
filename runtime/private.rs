//! What the code of `#[derive(Module)]` calls. Not part of the public interface.

pub use std::borrow::Cow;

use candle_core::{Shape, Tensor};
use candle_nn::VarBuilder;

pub use crate::display::display;
use crate::init::Initializer;
use crate::module::{Forward, Mode, Module};
use crate::registry::{Kind, for_each_mut};
pub use crate::scope::Scope;
use crate::{Error, Result};

/// Calls the field `name`: `name(input)` of a forward pass.
pub fn call<I, M: Forward<I> + ?Sized>(layer: &M, name: &'static str, input: I, mode: Mode) -> M::Output {
    let _scope = Scope::enter(name);
    layer.call(input, mode)
}

/// Calls element `index` of the field `name`: `name[index](input)`.
pub fn call_at<I, M: Forward<I> + ?Sized>(
    layer: &M,
    name: &'static str,
    index: usize,
    input: I,
    mode: Mode,
) -> M::Output {
    let _field = Scope::enter(name);
    let _element = Scope::index(index);
    layer.call(input, mode)
}

/// Element `index` of the repeated field `name`.
pub fn at<'a, T>(list: &'a [T], index: usize, name: &str) -> Result<&'a T> {
    list.get(index)
        .ok_or_else(|| Error::msg(format!("{name}[{index}]: the network has {} of them", list.len())))
}

/// Fields without `#[layer]`: layers that need no arguments.
#[diagnostic::on_unimplemented(
    message = "`{Self}` needs arguments",
    label = "write #[layer(…)] above this field, with the arguments of `{Self}::config`",
    note = "only a layer with `Default` may stand without #[layer(…)]"
)]
pub trait DefaultLayer: Module {
    fn default_layer() -> Self;
}

#[diagnostic::do_not_recommend]
impl<T: Module + Default> DefaultLayer for T {
    fn default_layer() -> Self {
        T::default()
    }
}

pub fn default_layer<T: DefaultLayer>() -> T {
    T::default_layer()
}

/// Names the field in an error of its construction.
pub fn building<T, E: Into<Error>>(name: &str, result: Result<T, E>) -> Result<T> {
    result.map_err(|error| error.into().at(name))
}

/// A bare parameter of a derived struct; without an initialiser `kaiming_uniform` for two or more
/// dimensions and zeros for fewer.
pub fn parameter(
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
    Ok(vb.get_with_hints(shape.clone(), name, init.for_shape(shape.dims()))?)
}

/// A buffer of a derived struct; zeros without an initialiser.
pub fn buffer(
    vb: &VarBuilder,
    name: &str,
    shape: impl Into<Shape>,
    init: Option<Initializer>,
) -> Result<Tensor> {
    let shape = shape.into();
    let init = init.unwrap_or_else(crate::init::zeros);
    Ok(vb.get_with_hints(shape.clone(), name, init.for_shape(shape.dims()))?.detach())
}

/// A builder in which the parameter of the field `name` that `target` ends in, `weight`, is read from
/// `target`; a `#[param]` field is that tensor itself.
pub fn tie<'a>(vb: VarBuilder<'a>, name: &str, target: &str) -> VarBuilder<'a> {
    let prefix = vb.prefix();
    let full = |path: &str| if prefix.is_empty() { path.to_string() } else { format!("{prefix}.{path}") };
    let leaf = target.rsplit('.').next().unwrap_or(target);
    let (own, tied, to) = (full(name), full(&format!("{name}.{leaf}")), full(target));
    vb.rename_f(move |asked| if asked == tied || asked == own { to.clone() } else { asked.to_string() })
}

/// Makes the tied tensor of the field `name` the very tensor at `target`, so that it is registered once.
pub fn tie_after<M: Module>(network: &mut M, name: &str, target: &str) -> Result<()> {
    let leaf = target.rsplit('.').next().unwrap_or(target);
    let tied = format!("{name}.{leaf}");
    let mut found = None;
    for_each_mut(network, &mut |path, kind, tensor| {
        if path == target && kind == Kind::Parameter {
            found = Some(tensor.clone());
        }
        Ok(())
    })?;
    let Some(found) = found else {
        return Err(
            Error::msg(format!("tie = {target:?}: this network has no parameter of that name")).at(name)
        );
    };
    let mut done = false;
    for_each_mut(network, &mut |path, kind, tensor| {
        if kind == Kind::Parameter && (path == tied || path == name) {
            if tensor.dims() != found.dims() {
                let (expected, got) = (tensor.dims(), found.dims());
                return Err(Error::msg(format!(
                    "tie = {target:?}: expected shape {expected:?}, got {got:?}"
                )));
            }
            (*tensor, done) = (found.clone(), true);
        }
        Ok(())
    })?;
    if done {
        Ok(())
    } else {
        Err(Error::msg(format!("tie = {target:?}: this field has no {leaf}")).at(name))
    }
}

/// What a user's function answered, as a result of sconce's.
pub fn into_result<T, E: Into<Error>>(result: Result<T, E>) -> Result<T> {
    result.map_err(Into::into)
}
