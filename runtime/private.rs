//! What the code of `#[derive(Module)]` calls, and what fuzzing does. Not part of the public interface.

pub use std::borrow::Cow;

use candle_core::{Shape, Tensor};
use candle_nn::VarBuilder;

use crate::config::Config;
pub use crate::display::display;
use crate::init::Initializer;
use crate::module::{Forward, ForwardWith, Mode, Module};
use crate::registry::{Kind, for_each_mut};
use crate::scope::{Path, Scope};
use crate::signal::{Finish, Outcome, Signal};
use crate::{Error, Result};

/// One checkpoint reader per format, from bytes, for fuzzing and the tests of damaged files.
pub mod readers {
    pub use crate::checkpoint::readers::*;
}

/// Calls the field `name`: `name(input)` of a forward pass.
pub fn call<I, M: Forward<I> + ?Sized>(layer: &M, name: &'static str, input: I, mode: Mode) -> M::Output {
    let _scope = Scope::enter(name);
    layer.call(input, mode)
}

/// Calls an element of the field `name` that loops have gone down to: `block(input)`.
pub fn call_in<I, M: Forward<I> + ?Sized>(
    layer: &M,
    name: &'static str,
    indices: &[usize],
    input: I,
    mode: Mode,
) -> M::Output {
    let _field = Scope::enter(name);
    within(indices, || layer.call(input, mode))
}

/// Calls the field `name`, or an element that loops have gone down to, with several inputs:
/// `attn(query, key, value)`.
pub fn call_with<I, M: ForwardWith<I> + ?Sized>(
    layer: &M,
    name: &'static str,
    indices: &[usize],
    inputs: I,
    mode: Mode,
) -> M::Output {
    let _field = Scope::enter(name);
    within(indices, || layer.call_with(inputs, mode))
}

/// Calls element `index` of a list in the field `name`: `name[index](input)`.
pub fn call_at<I, M: Forward<I>>(
    list: &[M],
    name: &'static str,
    indices: &[usize],
    index: usize,
    input: I,
    mode: Mode,
) -> M::Output
where
    M::Output: Outcome,
{
    element(list, name, indices, index, |layer| layer.call(input, mode))
}

/// The same with several inputs: `name[index](query, key, value)`.
pub fn call_with_at<I, M: ForwardWith<I>>(
    list: &[M],
    name: &'static str,
    indices: &[usize],
    index: usize,
    inputs: I,
    mode: Mode,
) -> M::Output
where
    M::Output: Outcome,
{
    element(list, name, indices, index, |layer| layer.call_with(inputs, mode))
}

fn element<M, T: Outcome>(
    list: &[M],
    name: &'static str,
    indices: &[usize],
    index: usize,
    call: impl FnOnce(&M) -> T,
) -> T {
    let _field = Scope::enter(name);
    within(indices, || {
        let _element = Scope::index(index);
        list.get(index).map_or_else(|| T::failed(out_of_range(list.len())), call)
    })
}

/// Runs `f` below the elements `indices`, outermost first.
fn within<T>(indices: &[usize], f: impl FnOnce() -> T) -> T {
    match indices {
        [] => f(),
        [first, rest @ ..] => {
            let _element = Scope::index(*first);
            within(rest, f)
        }
    }
}

fn out_of_range(length: usize) -> Error {
    Error::msg(format!("no such layer: the network has {length} of them here")).at(Path::current())
}

/// Runs the body of a forward pass; what `?` gives up becomes a failed answer.
pub fn outcome<T: Outcome>(run: impl FnOnce() -> Result<T>) -> T {
    run().unwrap_or_else(T::failed)
}

/// The inherent `forward` of the network called `name`.
pub fn run<I, M: Forward<I>>(
    network: &M,
    name: &'static str,
    input: I,
    mode: Mode,
) -> Result<<M::Output as Finish>::Finished>
where
    M::Output: Finish,
{
    let _scope = Scope::root(name);
    network.call(input, mode).finish()
}

/// `candle_nn::ModuleT::forward_t` of the network called `name`.
pub fn module_t<M: Forward<Signal, Output = Signal>>(
    network: &M,
    name: &'static str,
    xs: &Tensor,
    train: bool,
) -> candle_core::Result<Tensor> {
    Ok(run(network, name, Signal::from(xs), Mode::from(train))?)
}

/// Builds the field `name`; an error names it.
pub fn layer<C: Config>(vb: &VarBuilder, name: &str, config: C) -> Result<C::Output> {
    building(name, config.build(vb.pp(name)))
}

/// Builds the field `name` by a constructor of candle's convention.
pub fn with<'a, T>(
    vb: &VarBuilder<'a>,
    name: &str,
    constructor: impl FnOnce(VarBuilder<'a>) -> candle_core::Result<T>,
) -> Result<T> {
    building(name, constructor(vb.pp(name)))
}

/// The name of element `index` of a list.
pub fn index(index: usize) -> String {
    index.to_string()
}

/// The name of a list's layer where `#[module(rename = "denselayer{1..}")]` gives it one.
pub fn numbered(before: &str, number: usize, after: &str) -> String {
    format!("{before}{number}{after}")
}

/// A field that holds several layers: a `Vec`, or an array of as many as were built.
pub trait Repeated<T>: Sized {
    fn from_layers(layers: Vec<T>) -> Result<Self>;
}

impl<T> Repeated<T> for Vec<T> {
    fn from_layers(layers: Vec<T>) -> Result<Self> {
        Ok(layers)
    }
}

impl<T, const N: usize> Repeated<T> for [T; N] {
    fn from_layers(layers: Vec<T>) -> Result<Self> {
        let got = layers.len();
        layers
            .try_into()
            .map_err(|_| Error::msg(format!("expected {N} layers, as the array holds, got {got}")))
    }
}

pub fn repeated<T, L: Repeated<T>>(name: &str, layers: Vec<T>) -> Result<L> {
    building(name, L::from_layers(layers))
}

/// What a field of a network that runs its fields in order is.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a layer",
    label = "this type does not implement `sconce::Layer`",
    note = "without `forward` the fields run in order, hence each is a layer from one signal to one signal",
    note = "a field that is plain data: mark it #[module(skip)]",
    note = "a struct of layers: write #[derive(Module)] above it"
)]
pub trait IsLink: IsLayer {
    const CALL: fn(&Self, Signal, Mode) -> Signal;
}

#[diagnostic::do_not_recommend]
impl<T: Forward<Signal, Output = Signal>> IsLink for T {
    const CALL: fn(&Self, Signal, Mode) -> Signal = T::call;
}

/// A [`Part`] that can be called. Like there, only [`link`] asks what `T` is.
pub struct Link<T> {
    part: Part<T>,
    call: fn(&T, Signal, Mode) -> Signal,
}

pub const fn link<T: IsLink>() -> Link<T> {
    Link { part: T::PART, call: T::CALL }
}

impl<T> Link<T> {
    #[inline(always)]
    pub fn call(&self, layer: &T, name: &'static str, x: Signal, mode: Mode) -> Signal {
        let _scope = Scope::enter(name);
        (self.call)(layer, x, mode)
    }
}

impl<T> std::ops::Deref for Link<T> {
    type Target = Part<T>;
    fn deref(&self) -> &Part<T> {
        &self.part
    }
}

/// What a field without `#[layer]` is built by.
#[diagnostic::on_unimplemented(
    message = "`{Self}` needs arguments",
    label = "write #[layer(…)] above this field, with the arguments of `{Self}::config`",
    note = "only a layer with `Default` may stand without #[layer(…)]",
    note = "if it is plain data: mark it #[module(skip = value)]"
)]
pub trait DefaultLayer: Sized {
    fn default_layer() -> Self;
}

#[diagnostic::do_not_recommend]
impl<T: Default> DefaultLayer for T {
    fn default_layer() -> Self {
        T::default()
    }
}

/// What a field that holds layers is.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a layer",
    label = "this type does not implement `sconce::Module`",
    note = "a field that is plain data: mark it #[module(skip)]",
    note = "a bare tensor: mark it #[param(shape)] or #[buffer(shape)]",
    note = "a struct of layers: write #[derive(Module)] above it"
)]
pub trait IsLayer: Sized {
    const PART: Part<Self>;
}

#[diagnostic::do_not_recommend]
impl<T: Module> IsLayer for T {
    const PART: Part<Self> = Part { show: |part| part, show_mut: |part| part, share: T::share };
}

/// How the registry reaches into a field of type `T`. That `T` is a module is asked for in [`part`] and
/// nowhere else, so that the compiler finds one mistake in a field that is none.
pub struct Part<T> {
    show: for<'a> fn(&'a T) -> &'a (dyn Module + 'a),
    show_mut: for<'a> fn(&'a mut T) -> &'a mut (dyn Module + 'a),
    share: fn(&T) -> T,
}

pub const fn part<T: IsLayer>() -> Part<T> {
    T::PART
}

impl<T> Part<T> {
    pub fn show<'a>(&self, part: &'a T) -> &'a (dyn Module + 'a) {
        (self.show)(part)
    }

    pub fn show_mut<'a>(&self, part: &'a mut T) -> &'a mut (dyn Module + 'a) {
        (self.show_mut)(part)
    }

    pub fn share(&self, part: &T) -> T {
        (self.share)(part)
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
    building(name, vb.get_with_hints(shape.clone(), name, init.for_shape(shape.dims())))
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
    let tensor = building(name, vb.get_with_hints(shape.clone(), name, init.for_shape(shape.dims())))?;
    Ok(tensor.detach())
}

/// Returns a builder in which the parameter of the field `name` that `target` ends in, `weight`, is read from
/// `target`; a `#[param]` field is that tensor itself.
pub fn tie<'a>(vb: VarBuilder<'a>, name: &str, target: &str) -> VarBuilder<'a> {
    let prefix = vb.prefix();
    let full = |path: &str| if prefix.is_empty() { path.to_string() } else { format!("{prefix}.{path}") };
    let leaf = target.rsplit('.').next().unwrap_or(target);
    let (own, tied, to) = (full(name), full(&format!("{name}.{leaf}")), full(target));
    // At the root, as the renamed builder puts the prefix of the one below it before the new name.
    let root = vb.root().rename_f(
        move |asked| {
            if asked == tied || asked == own { to.clone() } else { asked.to_string() }
        },
    );
    if prefix.is_empty() { root } else { root.pp(prefix) }
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
