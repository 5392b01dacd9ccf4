//! The derive macro of [sconce](https://docs.rs/sconce): a struct of layers becomes a neural network.
//!
//! Three stages: `ast` and `attr` read the item, `valid` checks it, `expand` writes the code, with
//! forward closures rewritten by `closure`. All mistakes of an item are collected in one `Ctxt`
//! and reported at once.

mod ast;
mod attr;
mod closure;
mod ctxt;
mod expand;
mod name;
mod suggest;
mod valid;

use proc_macro::TokenStream;
use syn::{DeriveInput, parse_macro_input};

/// Makes a neural network of a struct (or enum) whose fields are layers.
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
/// It implements `sconce::Module` (the registry of tensors), `sconce::Forward`, `candle_nn::ModuleT`
/// (one signal in and out) and `Display`; and it writes `Model::config`, `Model::new`, `forward`,
/// `forward_t` and a `ModelConfig` with a setter for every argument that has a default.
///
/// # Above the struct: `#[module(…)]`
///
/// ## `args(name: Type, name: Type = default, …)`
///
/// What the network is built from. The required ones go to `config` by position, the others have setters.
/// All are in scope of every attribute expression; a default may use the arguments before it.
///
/// ```
/// # use sconce::prelude::*;
/// #[derive(Module)]
/// #[module(args(inputs: usize, hidden: usize = 4 * inputs))]
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
/// let usual = FeedForward::new(16, &Device::Cpu)?;
/// assert_eq!(wide.num_parameters() - usual.num_parameters(), (256 - 64) * 33);
/// # Ok(())
/// # }
/// ```
///
/// ## `config = Type`
///
/// A struct of your own takes the place of `args`: a `config.json`, say. Attribute expressions see it as
/// `config`.
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
/// The forward pass. A call of a field (`conv1(x)`, `blocks[i](x)`, also of what a loop or `if let` takes
/// out of a field) is a call of that layer; everything else is ordinary Rust. A value that is used again
/// later is cloned for you, its last use moves it; `?` works and is not needed; `mode` is
/// `Mode::Train` or `Mode::Eval`; `self` is the network. Inputs are signals unless their type is written.
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
/// A call of a name that is a field's but for a digit or a letter or two is reported as a mistake; a
/// function of that name is still called by its path, `self::conv3(x)`.
///
/// `forward = Self::run` names a function instead, `fn run(&self, x: Signal, mode: Mode) -> Signal`.
/// Without `forward`, the fields run in the order they stand.
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
/// ## `crate = path`
///
/// Where sconce is, for crates that re-export it: `#[module(crate = framework::sconce)]`.
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
/// # Above a field
///
/// ## `#[layer(args…, setter = value, …)]`
///
/// `Type::config(args…).setter(value)…`, built under the field's name. Every layer of sconce and every
/// derived struct has such a `config`. A field without an attribute is a layer with `Default`.
///
/// ## `#[layer(…; if condition)]`, `#[layer(…; for i in range)]`
///
/// A layer that may be absent, in an `Option`; a layer that is there several times, in a `Vec` or array,
/// named `blocks.0`, `blocks.1`, ….
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
/// ## `#[layer((args…), (args…))]`
///
/// A tuple of layers, run in order: a list of arguments for each, named `stem.0`, `stem.1`, ….
///
/// ```
/// # use sconce::prelude::*;
/// #[derive(Module)]
/// struct Features {
///     #[layer((3, 16, 3, padding = 1, bias = false), (16), ())]
///     stem: (Conv2d, BatchNorm, Relu),
/// }
///
/// # fn main() -> Result<()> {
/// let y = Features::new(&Device::Cpu)?.forward(Tensor::zeros((1, 3, 8, 8), DType::F32, &Device::Cpu)?)?;
/// assert_eq!(y.dims(), [1, 16, 8, 8]);
/// # Ok(())
/// # }
/// ```
///
/// ## `#[layer(with = |vb| …)]`
///
/// Any constructor of candle's own convention; also the way into a `Box<dyn Layer>`.
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
/// ## `#[param(shape, init = …)]`, `#[buffer(shape, init = …)]`
///
/// A bare `Tensor`: trained, or only saved and moved. `init` is a function of `sconce::init`, which need
/// not be imported; without it a parameter of two or more dimensions is `kaiming_uniform`, everything
/// else zeros.
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
/// The name in checkpoints. A list's layers are numbered from 0 behind a dot; a name with `{1..}` in it
/// puts the number elsewhere and says with which it begins.
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
/// ## `#[module(skip)]`, `#[module(skip = value)]`
///
/// Plain data: `Default::default()` or the value. It has to be `Clone`.
///
/// ## `#[module(mode = eval)]`
///
/// Pins a field's mode: a frozen batch norm, a dropout that is always on (`mode = train`).
///
/// ## `#[module(tie = "embed.weight")]`
///
/// Shares another field's parameter, which is then registered once, under that field's name.
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
/// One network of several kinds. Each variant has fields and a `forward` of its own, and
/// `#[module(when = condition)]` chooses among them; one without is what is left. Variant names stay out
/// of parameter names.
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
#[proc_macro_derive(Module, attributes(module, layer, param, buffer))]
pub fn derive_module(input: TokenStream) -> TokenStream {
    let node = parse_macro_input!(input as DeriveInput);
    derive(&node).into()
}

/// Reads, checks, writes; the code first, then the mistakes.
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
