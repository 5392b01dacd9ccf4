//! The derive macros of [sconce](https://docs.rs/sconce): `Module` turns a struct of layers into a neural network, and
//! `Batch` a struct of tensors into the examples of one step.
//!
//! `Module` has three stages: `ast` and `attr` parse the item, `valid` checks it, and `expand` generates the
//! code. `closure` rewrites forward closures. All errors are collected in one `Ctxt` and reported together.

mod ast;
mod attr;
mod batch;
mod closure;
mod ctxt;
mod expand;
mod fragment;
mod mention;
mod name;
mod suggest;
mod valid;

use proc_macro::TokenStream;
use syn::{DeriveInput, parse_macro_input};

/// Turns a struct or enum whose fields are layers into a neural network.
///
/// ```
/// use sconce::prelude::*;
///
/// #[derive(Module)]
/// #[module(forward = |x| {
///     let x = relu(conv1(x));
///     relu(conv2(x))
/// })]
/// struct Model {
///     #[layer(1, 20, 5)]
///     conv1: Conv2d,
///     #[layer(20, 20, 5)]
///     conv2: Conv2d,
/// }
///
/// # fn main() -> Result<()> {
/// let model = Model::new(&Device::Cpu)?;
/// let x = Tensor::zeros((8, 1, 28, 28), DType::F32, &Device::Cpu)?;
/// assert_eq!(model.forward(&x)?.dims(), [8, 20, 20, 20]);
/// # Ok(())
/// # }
/// ```
///
/// The derive implements `sconce::Module` (the registry of tensors), `sconce::Forward` and `Display`, and
/// `candle_nn::ModuleT` if the network maps one signal to one signal. It also generates `Model::config`,
/// `Model::new`, `forward`, `forward_t`, and a `ModelConfig` with a setter for every argument that has a default.
///
/// # Struct attributes: `#[module(…)]`
///
/// ## `args(name: Type, name: Type = default, …)`
///
/// The arguments from which the network is built. Required arguments are parameters of `config`; arguments with
/// a default have setters. Comments on the arguments become the documentation of `config` and of the setters, which
/// also states the defaults.
///
/// All attribute expressions that build the network can use the arguments by value; a default can use the preceding
/// arguments. An argument that one expression uses is moved into it. An argument that several expressions or the
/// layers of a list use is cloned for each. `Self` is the network in these expressions. The network does not keep its
/// arguments: `forward`, `loss`, `optimizer` and `schedule` can use those that are also fields, such as
/// `#[module(skip = rate)] rate: f64`.
///
/// ```
/// # use sconce::prelude::*;
/// #[derive(Module)]
/// #[module(args(
///     /// The number of features.
///     inputs: usize,
///     /// The number of features between the two layers.
///     hidden: usize = 4 * inputs,
/// ))]
/// struct FeedForward {
///     #[layer(inputs, hidden)]
///     up: Linear,
///     act: Gelu,
///     #[layer(hidden, inputs)]
///     down: Linear,
/// }
///
/// # fn main() -> Result<()> {
/// let wide = FeedForward::config(16).hidden(256).init(&Device::Cpu)?;
/// let default = FeedForward::new(16, &Device::Cpu)?;
/// // Each hidden feature has 16 weights and a bias in `up`, and 16 weights in `down`.
/// assert_eq!(wide.num_parameters() - default.num_parameters(), (256 - 64) * 33);
/// # Ok(())
/// # }
/// ```
///
/// ## `config_name = Name`
///
/// The name of the generated config. The default is the name of the network, followed by `Config`. If that name is
/// taken, choose another one with this attribute. A network without arguments has a config without a name, unless this
/// attribute gives it one.
///
/// ```
/// # use sconce::prelude::*;
/// /// A type of the user, with the default name of the config.
/// struct EncoderConfig;
///
/// #[derive(Module)]
/// #[module(args(width: usize, bias: bool = true), config_name = EncoderSettings)]
/// struct Encoder {
///     #[layer(width, width, bias = bias)]
///     fc: Linear,
/// }
///
/// # fn main() -> Result<()> {
/// let settings: EncoderSettings = Encoder::config(8).bias(false);
/// assert_eq!(settings.init(&Device::Cpu)?.num_parameters(), 64);
/// # Ok(())
/// # }
/// ```
///
/// ## `config = Type`
///
/// Replaces `args` with a user-defined struct, for example one that is read from a `config.json`. Attribute
/// expressions refer to it as `config`.
///
/// ```
/// # use sconce::prelude::*;
/// #[derive(Clone)]
/// struct Sizes {
///     inputs: usize,
///     classes: usize,
/// }
///
/// #[derive(Module)]
/// #[module(config = Sizes)]
/// struct Classifier {
///     #[layer(config.inputs, config.classes)]
///     fc: Linear,
/// }
///
/// # fn main() -> Result<()> {
/// let net = Classifier::new(Sizes { inputs: 8, classes: 3 }, &Device::Cpu)?;
/// assert_eq!(net.num_parameters(), 27);
/// # Ok(())
/// # }
/// ```
///
/// ## `forward = |x, …| …`
///
/// The forward pass. Inside the closure, each field is a variable, and ordinary Rust applies to it: loops, iterators,
/// indices, slices, patterns, closures, and functions of your own.
///
/// - A layer, parameter or buffer is a reference to the field. Plain data (`#[module(skip)]`) is its value if the type
///   is `Copy`, and otherwise a reference.
/// - A call to a layer runs it, whether the layer is a field (`conv1(x)`, `self.conv1(x)`), an element of one
///   (`blocks[i](x)`, `heads["a"](x)`) or any other value (`block(x)`, `(block.conv)(x)`). Errors and traces name the
///   layer by its path, such as `Net.blocks[3].conv`. An index out of range in `blocks[i](x)` is an error.
/// - A function of your own calls a layer with `layer.call(x, mode)`. It need not know the layer's path.
/// - A signal that is used again later is cloned implicitly, and so is any other value that is passed by value. The
///   last use moves the value. If another value may borrow from it, such as the result of a method, the last use
///   also clones it; operations can still be fused into this clone of a signal. The receiver of a method is never
///   cloned.
/// - The output is a signal, a tensor, a tuple of them, or a type that the closure declares. A tuple whose parts are
///   not written out must be declared: `|x, state: (Signal, Signal)| -> (Signal, Signal) { cell(x, state) }`. `Ok(…)`,
///   `Err(…)`, `return` and `?` are supported but not needed, because signals carry errors.
/// - `mode` is `Mode::Train` or `Mode::Eval`, and `self` is the network.
/// - Inputs without a type are signals, or tuples of signals if their pattern is a tuple, such as `(h, c)`.
///   An input with a type can be a reference: `|x, mask: &Tensor, cache: &mut Vec<Signal>| …`.
///
/// Calls to layers also work in the arguments of macros, but not in macros that write the call themselves. Such a macro
/// can take a closure: `apply!(|x| fc(x), x)`. A name that is an argument of a macro is not cloned: a macro that
/// consumes `x` needs `x.clone()` if `x` is used again.
///
/// ```
/// # use sconce::prelude::*;
/// #[derive(Module)]
/// #[module(args(depth: usize), forward = |x, scale: f64| {
///     let mut x = x;
///     for block in blocks {
///         x = x + relu(block(x)) * scale;
///     }
///     (head(x), x)
/// })]
/// struct Residual {
///     #[layer(4, 4; for i in 0..depth)]
///     blocks: Vec<Linear>,
///     #[layer(4, 2)]
///     head: Linear,
/// }
///
/// # fn main() -> Result<()> {
/// let net = Residual::new(3, &Device::Cpu)?;
/// let x = Tensor::zeros((1, 4), DType::F32, &Device::Cpu)?;
/// let (logits, features) = net.forward(&x, 0.5)?;
/// assert_eq!((logits.dims(), features.dims()), ([1, 2].as_slice(), [1, 4].as_slice()));
/// # Ok(())
/// # }
/// ```
///
/// `forward = Self::run` uses a function instead: `fn run(&self, x: Signal, mode: Mode) -> Signal`.
/// Without `forward`, the fields run in order of declaration.
///
/// ```
/// # use sconce::prelude::*;
/// #[derive(Module)]
/// #[module(forward = Self::run)]
/// struct Doubled {
///     #[layer(3, 3)]
///     fc: Linear,
/// }
///
/// impl Doubled {
///     fn run(&self, x: Signal, mode: Mode) -> Signal {
///         self.fc.call(x, mode) * 2.0
///     }
/// }
/// # fn main() {}
/// ```
///
/// ## `loss = …`, `optimizer = …`, `schedule = …`
///
/// Implements `sconce::train::Trainable`, so that the network has the methods `fit`, `evaluate` and `trainer`. The loss
/// is a function of the output and the target, a configured loss such as
/// `CrossEntropyLoss::new().label_smoothing(0.1)`, or a closure `|output, target| …` that returns `Result<Tensor>`. The
/// schedule of the learning rate is optional: a schedule that advances in every step, such as
/// `Cosine::new().warmup(500)`, a pair with the interval, or `ReduceLrOnPlateau`. All three expressions can use the
/// network's plain-data fields by name.
///
/// ```
/// # use sconce::prelude::*;
/// #[derive(Module)]
/// #[module(
///     args(rate: f64, scale: f64 = 1.0),
///     loss = |output, target| Ok((mse_loss(output, target)? * scale)?),
///     optimizer = Sgd::new(rate).momentum(0.9),
///     schedule = (StepLr::new(10).gamma(0.5), Every::Epoch),
/// )]
/// struct Line {
///     #[layer(1, 1)]
///     fc: Linear,
///     #[module(skip = rate)]
///     rate: f64,
///     #[module(skip = scale)]
///     scale: f64,
/// }
///
/// # fn main() -> Result<()> {
/// use sconce::train::Trainable;
///
/// let x = Tensor::arange(-4f32, 4., &Device::Cpu)?.reshape((8, 1))?;
/// let data = (x.clone(), ((x * 3.)? + 1.)?);
/// let line = Line::new(0.01, &Device::Cpu)?;
/// let history = line.trainer().quiet(true).fit(&data, &(), Epochs(20))?;
/// assert_eq!(history.last().map(|epoch| epoch.learning_rate), Some(0.005));
/// # Ok(())
/// # }
/// ```
///
/// ## `crate = path`
///
/// The path of sconce, for crates that re-export it: `#[module(crate = framework::sconce)]`.
///
/// ```
/// mod framework {
///     pub use sconce;
/// }
/// use sconce::layers::Linear;
///
/// #[derive(sconce::Module)]
/// #[module(crate = crate::framework::sconce)]
/// struct Net {
///     #[layer(3, 3)]
///     fc: Linear,
/// }
/// # fn main() {}
/// ```
///
/// # Field attributes
///
/// ## `#[layer(args…, setter = value, …)]`
///
/// Builds the field with `Type::config(args…).setter(value)…`, under the field's name. Every layer of sconce and
/// every derived struct has such a `config`. The field can be an `Option`, a `Box` or an `Arc` of the layer, or a
/// nesting of these, such as `Option<Box<Linear>>`. The type can be an alias of up to three nested pointers. A field
/// without an attribute is a derived network without required arguments, or a layer that is built with `Default`.
///
/// An alias of a pointer or a tuple must not have a generic parameter of the network, unless the attribute contains
/// `for` or `if`, or a list that always belongs to a tuple (see below). Write `Arc<Block<L>>` or `(Block<L>, Linear)`
/// instead of such an alias.
///
/// If a layer cannot be built, the error has the path of the field, such as `Net.blocks[2]`.
///
/// ```
/// # use sconce::prelude::*;
/// use std::sync::Arc;
///
/// type Shared = Arc<Linear>;
///
/// #[derive(Module)]
/// #[module(args(groups: usize))]
/// struct Mixed {
///     #[layer(4, 4)]
///     fc: Shared,
///     #[layer(4, 4, 3, groups = groups + i; for i in 0..3)]
///     blocks: Vec<Conv2d>,
/// }
///
/// # fn main() {
/// let error = Mixed::new(1, &Device::Cpu).err().expect("4 channels cannot be in 3 groups");
/// assert_eq!(error.path(), "Mixed.blocks[2]");
/// # }
/// ```
///
/// ## `#[layer(…; if condition)]`, `#[layer(…; for i in range)]`
///
/// With `if`, the field is an `Option` that holds a layer if the condition is true. With `for`, the field is a `Vec`
/// or array of layers, named `blocks.0`, `blocks.1`, ….
///
/// ```
/// # use sconce::prelude::*;
/// #[derive(Module)]
/// #[module(args(width: usize, depth: usize, normed: bool = false))]
/// struct Tower {
///     #[layer(width, width, 3, padding = 1; if normed)]
///     stem: Option<Conv2d>,
///     #[layer(width << i, width << (i + 1), 3, padding = "same"; for i in 0..depth)]
///     blocks: Vec<Conv2d>,
///     act: Relu,
/// }
///
/// # fn main() -> Result<()> {
/// let tower = Tower::new(2, 3, &Device::Cpu)?;
/// let names: Vec<String> = tower.named_parameters().into_iter().map(|(name, _)| name).collect();
/// assert_eq!(names[..2], ["blocks.0.weight", "blocks.0.bias"]);
/// # Ok(())
/// # }
/// ```
///
/// Several conditions and ranges are separated by commas, outermost first, in the order of the type: `Option<Vec<_>>`
/// has `if` before `for`, and `Vec<Option<_>>` has `for` before `if`. The layers of a list in a list are named
/// `stages.0.0`, `stages.0.1`, …. The type of the field can be an alias.
///
/// ```
/// # use sconce::prelude::*;
/// type Grid = Vec<Vec<Linear>>;
///
/// #[derive(Module)]
/// #[module(args(depth: usize, deep: bool = true))]
/// struct Stages {
///     #[layer(4, 4; for _ in 0..2, for _ in 0..depth)]
///     stages: Grid,
///     #[layer(4, 4; if deep, for _ in 0..depth)]
///     tail: Option<Vec<Linear>>,
///     #[layer(4, 4; for i in 0..depth, if i > 0)]
///     some: Vec<Option<Linear>>,
/// }
///
/// # fn main() -> Result<()> {
/// let net = Stages::new(2, &Device::Cpu)?;
/// let names: Vec<String> = net.named_parameters().into_iter().map(|(name, _)| name).collect();
/// assert_eq!([&*names[2], &*names[8], &*names[12]], ["stages.0.1.weight", "tail.0.weight", "some.1.weight"]);
/// # Ok(())
/// # }
/// ```
///
/// ## `#[layer((args…), (args…))]`
///
/// A tuple of layers that run in order. Each layer has its own list of arguments. The layers are named `stem.0`,
/// `stem.1`, …. The type of the field can be an alias of a tuple. A list that is empty, or that contains a named
/// argument or a closure whose parameters have no types, always belongs to a tuple.
///
/// ```
/// # use sconce::prelude::*;
/// type Head = (Linear, Linear);
///
/// #[derive(Module)]
/// struct Features {
///     #[layer((3, 16, 3, padding = 1, bias = false), (16), ())]
///     stem: (Conv2d, BatchNorm, Relu),
///     #[layer((8, 4), (4, 2))]
///     head: Head,
/// }
///
/// # fn main() -> Result<()> {
/// let y = Features::new(&Device::Cpu)?.forward(Tensor::zeros((1, 3, 8, 8), DType::F32, &Device::Cpu)?)?;
/// assert_eq!(y.dims(), [1, 16, 8, 2]);
/// # Ok(())
/// # }
/// ```
///
/// ## `#[layer(with = |vb| …)]`
///
/// Builds the field with a constructor that takes a `VarBuilder`, like those of candle-nn. A `Box<dyn Layer>` is also
/// built in this way.
///
/// ```
/// # use sconce::prelude::*;
/// #[derive(Module)]
/// struct Mixed {
///     #[layer(with = |vb| sconce::nn::linear(10, 20, vb))]
///     fc: sconce::nn::Linear,
///     #[layer(with = |vb| Ok(Linear::config(20, 5).build(vb)?))]
///     head: Box<dyn Layer>,
/// }
/// # fn main() {}
/// ```
///
/// A constructor can also build nested lists (`Vec<Vec<_>>`, `Vec<Option<_>>`, …), which run in order, and maps with
/// keys of type `String`: `BTreeMap`, and `sconce::IndexMap`, which keeps the order of insertion like PyTorch's
/// `ModuleDict`.
///
/// ```
/// # use sconce::prelude::*;
/// use sconce::IndexMap;
///
/// #[derive(Module)]
/// #[module(args(heads: Vec<String>), forward = |x| self.heads["boxes"].call(x, mode))]
/// struct Detector {
///     #[layer(with = |vb| {
///         let head = |name: String| Ok((name.clone(), Linear::config(4, 2).build(vb.pp(name))?));
///         heads.into_iter().map(head).collect()
///     })]
///     heads: IndexMap<String, Linear>,
/// }
/// # fn main() -> Result<()> {
/// let network = Detector::new(vec!["boxes".into(), "classes".into()], &Device::Cpu)?;
/// assert_eq!(network.named_parameters()[2].0, "heads.classes.weight");
/// # Ok(())
/// # }
/// ```
///
/// An `Arc` can be an argument, so that several fields or networks use one layer. Its parameters are tied.
///
/// ```
/// # use sconce::prelude::*;
/// use std::sync::Arc;
///
/// #[derive(Module, Clone, Debug)]
/// #[module(args(shared: Arc<Linear>))]
/// struct Twice {
///     #[layer(with = |_| Ok(Arc::clone(&shared)))]
///     first: Arc<Linear>,
///     act: Relu,
///     #[layer(with = |_| Ok(shared))]
///     second: Arc<Linear>,
/// }
/// # fn main() -> Result<()> {
/// let shared = Linear::config(4, 4).init(&Device::Cpu)?;
/// let network = Twice::new(Arc::new(shared), &Device::Cpu)?;
/// assert_eq!(network.parameters().len(), 2); // one weight and one bias
/// # Ok(())
/// # }
/// ```
///
/// ## `#[param(shape, init = …)]`, `#[buffer(shape, init = …)]`
///
/// A bare `Tensor`. A parameter is trained; a buffer is only saved and moved. `init` is a function of
/// `sconce::init`, which need not be imported. By default, parameters with two or more dimensions are initialized
/// with `kaiming_uniform`, all other tensors with zeros.
///
/// ```
/// # use sconce::prelude::*;
/// #[derive(Module)]
/// #[module(args(features: usize), forward = |x| (x - mean) * scale)]
/// struct Scale {
///     #[param(features, init = ones)]
///     scale: Tensor,
///     #[buffer((features,), init = constant(0.5))]
///     mean: Tensor,
/// }
/// # fn main() {}
/// ```
///
/// ## `#[module(rename = "features.0")]`
///
/// Sets the name in checkpoints. By default, the layers of a list are numbered from 0, after a dot. With `{1..}` in
/// the name, the number appears at that position and starts at 1. With `{0..;2}`, the numbers are 0, 2, 4, …, like
/// those of the linear layers in PyTorch's `Sequential(Linear, ReLU, Linear, …)`.
///
/// ```
/// # use sconce::prelude::*;
/// #[derive(Module)]
/// struct Numbered {
///     #[layer(4, 4; for _ in 0..2)]
///     #[module(rename = "encoder.layer_{1..}")]
///     layers: Vec<Linear>,
/// }
///
/// # fn main() -> Result<()> {
/// let names: Vec<String> =
///     Numbered::new(&Device::Cpu)?.named_parameters().into_iter().map(|(name, _)| name).collect();
/// assert_eq!(names[..3], ["encoder.layer_1.weight", "encoder.layer_1.bias", "encoder.layer_2.weight"]);
/// # Ok(())
/// # }
/// ```
///
/// `{stage}` is the value of the plain-data field or const parameter `stage`. With `rename = ""`, the tensors in the
/// field keep their own names, as if they were fields of this network.
///
/// ```
/// # use sconce::prelude::*;
/// #[derive(Module)]
/// #[module(args(stage: usize))]
/// struct Stage {
///     #[layer(4, 4; for _ in 0..2)]
///     #[module(rename = "block{stage}.{0..;2}")]
///     blocks: Vec<Linear>,
///     #[module(skip = stage)]
///     stage: usize,
/// }
///
/// #[derive(Module)]
/// struct Backbone {
///     #[layer(3)]
///     #[module(rename = "")]
///     stage: Stage,
/// }
///
/// # fn main() -> Result<()> {
/// let net = Backbone::new(&Device::Cpu)?;
/// let names: Vec<String> = net.named_parameters().into_iter().map(|(name, _)| name).collect();
/// assert_eq!(names, ["block3.0.weight", "block3.0.bias", "block3.2.weight", "block3.2.bias"]);
/// # Ok(())
/// # }
/// ```
///
/// ## `#[module(skip)]`, `#[module(skip = value)]`
///
/// Plain data, initialized with `Default::default()` or with the value. The type must implement `Clone`. In `forward`,
/// the field is its value if the type is `Copy`, and otherwise a reference.
///
/// ## `#[module(mode = eval)]`
///
/// Pins a field to a mode, for example a frozen batch norm. With `mode = train`, a dropout layer is always active. At
/// run time, `Network::set_mode` pins a field, and overrides this attribute.
///
/// ## `#[module(recompute)]`
///
/// Saves memory in training, like `torch.utils.checkpoint`: a call of the layer keeps its inputs instead of its
/// intermediate results, and the backward pass runs the layer again. Each call is repeated on its own, so mark the
/// blocks of a deep network. In a list, call the elements by index: `for i in 0..n { x = blocks[i](x); }`.
///
/// The repetition draws the same numbers from `sconce::random`, for dropout, and does not update running statistics.
/// Without random numbers, outputs and gradients have the same bits as without `recompute`. Each call in training draws
/// one seed, so random numbers elsewhere differ. Candle's random numbers, such as those of `Tensor::rand`, cannot be
/// repeated: gradients would be wrong.
///
/// The layer returns one signal, and its type is `Send + Sync + 'static`. Its inputs are signals, tensors, numbers,
/// booleans, and options, vectors and tuples of them. Gradients reach the inputs and the parameters, but not tensors in
/// other fields. A list that is called as a whole is repeated as a whole. A layer of your own that updates a buffer
/// asks `sconce::is_recomputing()` first. The derive cannot change calls in a forward function or through a reference,
/// such as the elements of an iterator.
///
/// ## `#[module(tie = "embed.weight")]`
///
/// Shares the parameter of another field. Lists of parameters contain the shared parameter once, under the first of its
/// names.
///
/// ```
/// # use sconce::prelude::*;
/// #[derive(Module)]
/// #[module(args(width: usize), forward = |x| decoder(dropout(encoder(x)) * gain))]
/// struct AutoEncoder {
///     #[layer(width, width, bias = false)]
///     #[module(rename = "layers.0")]
///     encoder: Linear,
///     #[module(mode = eval)]
///     dropout: Dropout,
///     #[layer(width, width, bias = false)]
///     #[module(tie = "layers.0.weight")]
///     decoder: Linear,
///     #[module(skip = 2.0)]
///     gain: f64,
/// }
///
/// # fn main() -> Result<()> {
/// let net = AutoEncoder::new(4, &Device::Cpu)?;
/// let names: Vec<String> = net.named_parameters().into_iter().map(|(name, _)| name).collect();
/// assert_eq!(names, ["layers.0.weight"]);
/// # Ok(())
/// # }
/// ```
///
/// # Enums
///
/// An enum is a network with several variants. Each variant has its own fields and `forward`. The first variant whose
/// `#[module(when = condition)]` is true is built. If no condition is true, the variant without `when` is built. At
/// most one variant has no `when`. Variant names are not part of parameter names.
///
/// ```
/// # use sconce::prelude::*;
/// #[derive(Module)]
/// #[module(args(width: usize, deep: bool = false))]
/// enum Head {
///     #[module(when = deep, forward = |x| out(relu(hidden(x))))]
///     Deep {
///         #[layer(width, width)]
///         hidden: Linear,
///         #[layer(width, 10)]
///         out: Linear,
///     },
///     Shallow(#[layer(width, 10)] Linear),
/// }
///
/// # fn main() -> Result<()> {
/// let head = Head::config(4).deep(true).init(&Device::Cpu)?;
/// assert_eq!(head.parameters().len(), 4);
/// # Ok(())
/// # }
/// ```
///
/// # Macros
///
/// `macro_rules!` can write a network. Types, expressions, literals and names can be fragments.
///
/// ```
/// # use sconce::prelude::*;
/// macro_rules! chain {
///     ($name:ident, $layer:ty, $width:expr) => {
///         #[derive(Module)]
///         struct $name {
///             #[layer($width, $width; for _ in 0..2)]
///             layers: Vec<$layer>,
///         }
///     };
/// }
///
/// chain!(Narrow, Linear, 2 + 2);
/// # fn main() -> Result<()> {
/// assert_eq!(Narrow::new(&Device::Cpu)?.num_parameters(), 40);
/// # Ok(())
/// # }
/// ```
#[proc_macro_derive(Module, attributes(module, layer, param, buffer))]
pub fn derive_module(input: TokenStream) -> TokenStream {
    let mut node = parse_macro_input!(input as DeriveInput);
    fragment::ungroup(&mut node);
    derive(&node).into()
}

/// Implements `sconce::train::Batch` for a struct of tensors, the examples of one step of training.
///
/// - `#[batch(input)]` marks an input of the network. Several inputs become a tuple, in the order of the fields.
/// - `#[batch(skip)]` marks plain data, which is cloned when the tensors are moved or converted. All other fields are
///   tensors, or an `Option`, `Vec` or tuple of tensors.
/// - `#[batch(crate = path)]` on the struct sets the path of sconce.
///
/// The number of examples is the first dimension of the first input. The target, which the loss and the metrics get, is
/// the struct itself.
///
/// ```
/// use sconce::prelude::*;
///
/// #[derive(Batch)]
/// struct Sentences {
///     #[batch(input)]
///     tokens: Tensor,
///     #[batch(input)]
///     mask: Option<Tensor>,
///     labels: Tensor,
///     #[batch(skip)]
///     names: Vec<String>,
/// }
///
/// # fn main() -> Result<()> {
/// let tokens = Tensor::zeros((2, 7), DType::U32, &Device::Cpu)?;
/// let labels = Tensor::zeros(2, DType::U32, &Device::Cpu)?;
/// let batch = Sentences { tokens, mask: None, labels, names: vec!["a".into(), "b".into()] };
/// let (tokens, mask): (Signal, Option<Signal>) = batch.input();
/// assert_eq!((batch.examples(), tokens.dims()?, mask.is_some()), (2, &[2, 7][..], false));
/// assert_eq!(batch.to_device(&Device::Cpu)?.names, ["a", "b"]);
/// # Ok(())
/// # }
/// ```
#[proc_macro_derive(Batch, attributes(batch))]
pub fn derive_batch(input: TokenStream) -> TokenStream {
    let mut node = parse_macro_input!(input as DeriveInput);
    fragment::ungroup(&mut node);
    batch::derive(&node).into()
}

/// Parses and checks the item, and returns the generated code followed by the errors.
fn derive(node: &DeriveInput) -> proc_macro2::TokenStream {
    let ctxt = ctxt::Ctxt::default();
    let mut code = proc_macro2::TokenStream::new();
    if let Some(input) = ast::Input::from_syn(&ctxt, node) {
        valid::validate(&ctxt, &input);
        code = expand::expand(&ctxt, &input);
    }
    code.extend(ctxt.into_compile_errors());
    code
}
