//! The embedding layer for bags of indices.

use std::borrow::Cow;

use candle_core::Tensor;
use candle_nn::VarBuilder;

use crate::Result;
use crate::config::Config;
use crate::display::python_bool;
use crate::kernels::embedding::{BagMode, Bags};
use crate::module::{Forward, ForwardWith, Mode, Module, Visitor, VisitorMut};
use crate::ops::combine_bags;
use crate::signal::Signal;

use super::embedding::build_weight;
use super::{forward_methods, impl_fmt};

/// Returns the mean, the sum or the maximum of the rows of the weight for each bag of indices.
///
/// - Config: `EmbeddingBag::config(num_embeddings, embedding_dim)`; setters `mode` ([`BagMode::Mean`]),
///   `include_last_offset` (false), `padding_idx` (`None`)
/// - Input: `bag(ids)` with `[bags, length]`, `bag(ids, offsets)` with `[ids]` and `[bags]`, or
///   `bag(ids, offsets, per_sample_weights)` in a forward closure; either of the last two may be `None`
/// - Output: `[bags, embedding_dim]`; an empty bag gives zeros
/// - Fails if `padding_idx` or an index is outside `0..num_embeddings`, if the offsets do not begin at 0, decrease or
///   exceed the number of indices, if there are `per_sample_weights` in a mode other than [`BagMode::Sum`], or if a
///   tensor has the wrong shape or dtype
///
/// The indices and the offsets are u8, u32 or i64. The offset of a bag is the position of its first index. With
/// `include_last_offset`, the last offset is the number of indices. The `per_sample_weights`, in the shape of the
/// indices, multiply the rows before they are added. The index `padding_idx` is left out of the
/// sum, the mean and the maximum.
///
/// The weight is drawn from the standard normal distribution. PyTorch's `max_norm`, `scale_grad_by_freq` and
/// `sparse` are not supported.
///
/// ```
/// use sconce::prelude::*;
///
/// #[derive(Module)]
/// #[module(forward = |ids, offsets| fc(bag(ids, offsets)))]
/// struct Classifier {
///     #[layer(100, 16, mode = BagMode::Sum)]
///     bag: EmbeddingBag,
///     #[layer(16, 2)]
///     fc: Linear,
/// }
/// # fn main() -> Result<()> {
/// // Two texts, of three words and of one word.
/// let words = Tensor::new(&[4u32, 9, 17, 3], &Device::Cpu)?;
/// let offsets = Tensor::new(&[0u32, 3], &Device::Cpu)?;
/// assert_eq!(Classifier::new(&Device::Cpu)?.forward(words, offsets)?.dims(), [2, 2]);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct EmbeddingBag {
    weight: Tensor,
    /// The settings, without the inputs of a call.
    bags: Bags,
}

/// The config of [`EmbeddingBag`].
///
/// ```
/// use sconce::prelude::*;
/// # fn main() -> Result<()> {
/// let bag = EmbeddingBag::config(100, 16).mode(BagMode::Max).padding_idx(0).init(&Device::Cpu)?;
/// assert_eq!(bag.to_string(), "EmbeddingBag(100, 16, mode='max', padding_idx=0)");
/// // The index must be less than the number of embeddings.
/// assert!(EmbeddingBag::config(100, 16).padding_idx(100).init(&Device::Cpu).is_err());
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug)]
pub struct EmbeddingBagConfig {
    num_embeddings: usize,
    embedding_dim: usize,
    mode: BagMode,
    include_last_offset: bool,
    padding_idx: Option<usize>,
}

impl EmbeddingBag {
    /// Creates the config with PyTorch's defaults.
    pub fn config(num_embeddings: usize, embedding_dim: usize) -> EmbeddingBagConfig {
        EmbeddingBagConfig {
            num_embeddings,
            embedding_dim,
            mode: BagMode::Mean,
            include_last_offset: false,
            padding_idx: None,
        }
    }

    /// Returns the weight, `[num_embeddings, embedding_dim]`.
    pub fn weight(&self) -> &Tensor {
        &self.weight
    }

    /// Returns `(num_embeddings, embedding_dim)`. The constructor guarantees that the weight has two dimensions.
    fn sizes(&self) -> (usize, usize) {
        let dims = self.weight.dims();
        (dims[0], dims[1])
    }

    fn run(&self, ids: Signal, offsets: Option<Signal>, per_sample_weights: Option<Signal>) -> Signal {
        let (rows, width) = self.sizes();
        let operands = [offsets, per_sample_weights];
        // The error of an operand belongs to the operand's layer.
        if let Some(error) = std::iter::once(&ids).chain(operands.iter().flatten()).find_map(Signal::error) {
            return Signal::fail(error.clone());
        }
        let output = combine_bags(ids, &self.weight, operands, &self.bags);
        match output.error() {
            Some(error) => Signal::fail(error.clone().in_layer(format!("EmbeddingBag {rows}→{width}"))),
            None => output,
        }
    }
}

impl EmbeddingBagConfig {
    /// Sets how the rows of a bag are combined. Default: [`BagMode::Mean`].
    pub fn mode(mut self, mode: BagMode) -> Self {
        self.mode = mode;
        self
    }

    /// Sets whether the last offset is the number of indices instead of the beginning of a bag. Default: `false`.
    pub fn include_last_offset(mut self, include: bool) -> Self {
        self.include_last_offset = include;
        self
    }

    /// Sets the padding index. It is left out of the sum, the mean and the maximum, and its row is initialized with
    /// zeros and gets no gradient.
    pub fn padding_idx(mut self, row: impl Into<Option<usize>>) -> Self {
        self.padding_idx = row.into();
        self
    }
}

impl Config for EmbeddingBagConfig {
    type Output = EmbeddingBag;

    fn build(self, vb: VarBuilder) -> Result<EmbeddingBag> {
        let Self { num_embeddings, embedding_dim, mode, include_last_offset, padding_idx } = self;
        let weight = build_weight("EmbeddingBag", [num_embeddings, embedding_dim], padding_idx, &vb)?;
        let bags = Bags { mode, include_last_offset, padding: padding_idx, ..Bags::default() };
        Ok(EmbeddingBag { weight, bags })
    }
}

impl Forward for EmbeddingBag {
    type Output = Signal;

    fn forward_pass(&self, ids: Signal, _: Mode) -> Signal {
        self.run(ids, None, None)
    }
}

#[diagnostic::do_not_recommend]
impl ForwardWith<(Signal, Signal)> for EmbeddingBag {
    type Output = Signal;

    fn forward_pass_with(&self, (ids, offsets): (Signal, Signal), _: Mode) -> Signal {
        self.run(ids, Some(offsets), None)
    }
}

#[diagnostic::do_not_recommend]
impl ForwardWith<(Signal, Option<Signal>, Option<Signal>)> for EmbeddingBag {
    type Output = Signal;

    fn forward_pass_with(
        &self,
        (ids, offsets, per_sample_weights): (Signal, Option<Signal>, Option<Signal>),
        _: Mode,
    ) -> Signal {
        self.run(ids, offsets, per_sample_weights)
    }
}

impl Module for EmbeddingBag {
    fn kind(&self) -> Cow<'static, str> {
        "EmbeddingBag".into()
    }

    fn extra(&self) -> String {
        let (rows, width) = self.sizes();
        let Bags { mode, include_last_offset, padding, .. } = &self.bags;
        let mode = match mode {
            BagMode::Sum => "sum",
            BagMode::Mean => "mean",
            BagMode::Max => "max",
        };
        let mut text = format!("{rows}, {width}");
        if *include_last_offset {
            text += &format!(", include_last_offset={}", python_bool(true));
        }
        text += &format!(", mode='{mode}'");
        match padding {
            Some(row) => format!("{text}, padding_idx={row}"),
            None => text,
        }
    }

    fn visit<'a>(&'a self, visitor: &mut dyn Visitor<'a>) {
        visitor.parameter("weight", &self.weight);
    }

    fn visit_mut(&mut self, visitor: &mut dyn VisitorMut) {
        visitor.parameter("weight", &mut self.weight);
    }

    fn share(&self) -> Self {
        self.clone()
    }
}

impl_fmt!(EmbeddingBag);
forward_methods!(EmbeddingBag);
