//! No lint that rustc allows by default fires on generated code.

#![deny(
    absolute_paths_not_starting_with_crate,
    ambiguous_negative_literals,
    elided_lifetimes_in_paths,
    explicit_outlives_requirements,
    ffi_unwind_calls,
    keyword_idents_2024,
    let_underscore_drop,
    macro_use_extern_crate,
    meta_variable_misuse,
    missing_abi,
    missing_unsafe_on_extern,
    redundant_imports,
    redundant_lifetimes,
    single_use_lifetimes,
    trivial_casts,
    trivial_numeric_casts,
    unit_bindings,
    unnameable_types,
    unreachable_pub,
    unsafe_code,
    unused_extern_crates,
    unused_import_braces,
    unused_lifetimes,
    unused_macro_rules,
    unused_qualifications,
    unused_results,
    variant_size_differences,
    missing_docs,
    missing_debug_implementations,
    let_underscore,
    nonstandard_style,
    rust_2018_idioms
)]
#![deny(clippy::all, clippy::pedantic)]
//! Documentation.
use std::collections::BTreeMap;
use std::sync::Arc;

use sconce::IndexMap;
use sconce::prelude::*;

/// Arguments, training, forward, tuples, lists.
#[derive(Module, Clone, Debug)]
#[module(
    args(width: usize, depth: usize = 2, rate: f64 = 0.1),
    forward = |x, state: (Signal, Signal)| {
        let mut y = x;
        for (fc, norm) in fcs.iter().zip(norms) {
            y = norm(fc(y)) * scale;
        }
        if let Some(extra) = extra {
            y = extra(y);
        }
        assert!(matches!(fcs.first(), Some(fc) if fc(y).rank()? == 2), "{rate}");
        let (h, c) = state;
        let y = pair(y) + heads["a"](shared(y)) + sorted["b"](boxed(h));
        (y, c)
    },
)]
pub struct Everything {
    #[layer(width, width; for _ in 0..depth)]
    #[module(rename = "fc{1..}")]
    fcs: Vec<Linear>,
    #[layer(width; for _ in 0..depth)]
    #[module(mode = eval)]
    norms: Vec<BatchNorm>,
    #[layer(width, width; if depth > 1)]
    extra: Option<Linear>,
    #[layer((width, width), ())]
    pair: (Linear, Relu),
    #[layer(width, width)]
    shared: Arc<Linear>,
    #[layer(width, width)]
    #[module(recompute)]
    boxed: Box<Linear>,
    #[layer(with = |vb| Ok([("a".to_string(), Linear::config(width, width).build(vb)?)].into_iter().collect()))]
    heads: IndexMap<String, Linear>,
    #[layer(with = |vb| Ok([("b".to_string(), Linear::config(width, width).build(vb)?)].into_iter().collect()))]
    sorted: BTreeMap<String, Linear>,
    #[param(width, init = ones)]
    scale: Tensor,
    #[buffer(width)]
    _mean: Tensor,
    #[module(skip = rate)]
    rate: f64,
}

/// An enum with closures.
#[derive(Module, Debug)]
#[module(args(width: usize, deep: bool = false))]
pub enum Head {
    /// Two layers.
    #[module(when = deep, forward = |x| { second(relu(first(x))) })]
    Deep {
        /// The first layer.
        #[layer(width, width)]
        first: Linear,
        /// The second layer.
        #[layer(width, 2)]
        second: Linear,
    },
    /// One layer.
    Shallow(#[layer(width, 2)] Linear),
}

/// Generic.
#[derive(Module, Debug)]
#[module(args(width: usize), loss = mse_loss, optimizer = Sgd::new(0.1))]
pub struct Generic<L: Layer + Default + std::fmt::Debug, const N: usize> {
    #[layer(width, width; for _ in 0..N)]
    layers: [Linear; N],
    act: L,
}

/// A unit.
#[derive(Module, Clone, Copy, Debug)]
pub struct Unit;

/// Braces and returns.
#[derive(Module, Debug)]
#[module(args(n: usize), forward = |x| { x + 1.0 })]
pub struct Braces {
    #[module(skip = n)]
    _n: usize,
}

/// Closures that return early.
#[derive(Module, Debug)]
#[module(forward = |x| {
    let y = fc(x);
    return y;
})]
#[allow(clippy::needless_return)]
pub struct Returned {
    #[layer(3, 3)]
    fc: Linear,
}

/// A function.
#[derive(Module, Debug)]
#[module(forward = Self::run)]
pub struct Function {
    #[layer(3, 3)]
    fc: Linear,
}

impl Function {
    fn run(&self, x: Signal, mode: Mode) -> Signal {
        self.fc.call(x, mode)
    }
}
