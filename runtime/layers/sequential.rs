//! A list of layers that is assembled at run time.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use candle_core::Tensor;
use candle_nn::VarBuilder;

use crate::Result;
use crate::config::Config;
use crate::module::{Forward, Layer, Mode, Module, Visitor, VisitorMut};
use crate::scope::Scope;
use crate::signal::Signal;

use super::impl_fmt;

/// Calls boxed layers one after another, for networks whose structure is known only at run time. For a fixed
/// structure, prefer a struct, a tuple or a `Vec` of layers of one type.
///
/// - Config: `Sequential::config()` collects configs and builds them together; `Sequential::new()` collects layers
/// - Input: the input of the first layer
/// - Output: the output of the last layer
/// - Fails if one of the layers fails
///
/// In checkpoints, the layers are named "0", "1", …, or have the names passed to `push_named`.
///
/// ```
/// use sconce::prelude::*;
///
/// fn mlp(widths: &[usize]) -> SequentialConfig {
///     widths.windows(2).fold(Sequential::config(), |layers, pair| {
///         layers.push(Linear::config(pair[0], pair[1])).push(Relu)
///     })
/// }
///
/// #[derive(Module)]
/// #[module(args(widths: Vec<usize>))]
/// struct Model {
///     #[layer(extend = mlp(&widths))]
///     body: Sequential,
/// }
/// # fn main() -> Result<()> {
/// let model = Model::new(vec![4, 8, 2], &Device::Cpu)?;
/// assert_eq!(model.named_parameters()[2].0, "body.2.weight");
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Default)]
pub struct Sequential {
    children: Vec<(Arc<str>, Box<dyn Layer>)>,
}

/// Builds one layer from a `VarBuilder`.
type Constructor = Box<dyn FnOnce(VarBuilder) -> Result<Box<dyn Layer>>>;

/// The config of [`Sequential`].
///
/// ```
/// use sconce::prelude::*;
/// # fn main() -> Result<()> {
/// let config = Sequential::config().push(Linear::config(4, 8)).push_named("head", Linear::config(8, 2));
/// let model = config.init(&Device::Cpu)?;
/// let state = model.state_dict();
/// let names: Vec<&str> = state.keys().collect();
/// assert_eq!(names, ["0.weight", "0.bias", "head.weight", "head.bias"]);
/// # Ok(())
/// # }
/// ```
#[derive(Default)]
pub struct SequentialConfig {
    children: Vec<(Arc<str>, Constructor)>,
}

impl Sequential {
    /// Creates an empty config.
    pub fn config() -> SequentialConfig {
        SequentialConfig::default()
    }

    /// Creates an empty list, which returns its input.
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends a layer whose name is its index.
    pub fn push(self, layer: impl Layer + 'static) -> Self {
        let name = self.children.len().to_string();
        self.push_named(name, layer)
    }

    /// Appends a layer with the given name.
    pub fn push_named(self, name: impl Into<Arc<str>>, layer: impl Layer + 'static) -> Self {
        self.push_boxed(name.into(), Box::new(layer))
    }

    fn push_boxed(mut self, name: Arc<str>, layer: Box<dyn Layer>) -> Self {
        self.children.push((name, layer));
        self
    }

    /// Runs the layers in evaluation mode.
    ///
    /// # Errors
    /// Fails if a layer fails. The error contains the name or index of the layer.
    pub fn forward(&self, x: impl Into<Signal>) -> Result<Tensor> {
        self.forward_t(x, false)
    }

    /// Runs the layers in training mode if `train` is true, and in evaluation mode otherwise.
    ///
    /// # Errors
    /// Fails if a layer fails. The error contains the name or index of the layer.
    pub fn forward_t(&self, x: impl Into<Signal>, train: bool) -> Result<Tensor> {
        crate::__private::forward(self, "Sequential", x.into(), train.into()).tensors()
    }

    /// Returns the number of layers.
    pub fn len(&self) -> usize {
        self.children.len()
    }

    /// Returns `true` if the list is empty.
    pub fn is_empty(&self) -> bool {
        self.children.is_empty()
    }

    /// Returns the layers in order.
    pub fn layers(&self) -> impl Iterator<Item = &dyn Layer> {
        self.children.iter().map(|(_, layer)| &**layer)
    }
}

impl From<Vec<Box<dyn Layer>>> for Sequential {
    fn from(layers: Vec<Box<dyn Layer>>) -> Self {
        layers.into_iter().collect()
    }
}

impl FromIterator<Box<dyn Layer>> for Sequential {
    fn from_iter<I: IntoIterator<Item = Box<dyn Layer>>>(layers: I) -> Self {
        layers
            .into_iter()
            .enumerate()
            .fold(Self::new(), |list, (i, layer)| list.push_boxed(i.to_string().into(), layer))
    }
}

impl SequentialConfig {
    /// Appends a layer whose name is its index.
    pub fn push<C>(self, layer: C) -> Self
    where
        C: Config<Output: Layer> + 'static,
    {
        let name = self.children.len().to_string();
        self.push_named(name, layer)
    }

    /// Appends a layer with the given name.
    pub fn push_named<C>(mut self, name: impl Into<Arc<str>>, layer: C) -> Self
    where
        C: Config<Output: Layer> + 'static,
    {
        let build = |vb: VarBuilder| -> Result<Box<dyn Layer>> { Ok(Box::new(layer.build(vb)?)) };
        self.children.push((name.into(), Box::new(build)));
        self
    }

    /// Appends the layers of `other`. A layer whose name is its index in `other` is renamed to its new index.
    pub fn extend(mut self, other: SequentialConfig) -> Self {
        for (i, (name, build)) in other.children.into_iter().enumerate() {
            let has_index_name = *name == *i.to_string();
            let name = if has_index_name { self.children.len().to_string().into() } else { name };
            self.children.push((name, build));
        }
        self
    }
}

impl fmt::Debug for SequentialConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.children.iter().map(|(name, _)| name)).finish()
    }
}

impl Config for SequentialConfig {
    type Output = Sequential;

    fn build(self, vb: VarBuilder) -> Result<Sequential> {
        self.children.into_iter().try_fold(Sequential::new(), |list, (name, build)| {
            let layer = build(vb.pp(&name)).map_err(|error| error.at(&name))?;
            Ok(list.push_boxed(name, layer))
        })
    }
}

impl Forward for Sequential {
    type Output = Signal;

    fn forward_pass(&self, x: Signal, mode: Mode) -> Signal {
        self.children.iter().fold(x, |x, (name, layer)| {
            let _call = Scope::dynamic(name.clone()).begin_call();
            layer.forward_pass(x, mode)
        })
    }
}

impl Module for Sequential {
    fn kind(&self) -> Cow<'static, str> {
        "Sequential".into()
    }

    fn visit<'a>(&'a self, visitor: &mut dyn Visitor<'a>) {
        self.children.iter().for_each(|(name, layer)| visitor.child(name, layer));
    }

    fn visit_mut(&mut self, visitor: &mut dyn VisitorMut) {
        self.children.iter_mut().for_each(|(name, layer)| visitor.child(name, layer));
    }

    fn share(&self) -> Self {
        self.clone()
    }
}

impl_fmt!(Sequential);
