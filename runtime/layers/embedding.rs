//! The embedding layer: a table of learned vectors.

use std::borrow::Cow;

use candle_core::{DType, Tensor};
use candle_nn::{Init, VarBuilder};

use crate::config::Config;
use crate::graph::Op;
use crate::module::{Forward, Mode, Module, Visitor, VisitorMut};
use crate::ops::look_up;
use crate::signal::{Leading, Signal};
use crate::{Error, Result, source};

use super::{forward_methods, impl_fmt};

/// Returns the row of the weight for each index.
///
/// - Config: `Embedding::config(num_embeddings, embedding_dim)`; setter `padding_idx` (`None`)
/// - Input: `[…]`, indices of dtype u8, u32 or i64
/// - Output: `[…, embedding_dim]`
/// - Fails if `padding_idx` or an index is outside `0..num_embeddings`, or if the input has the wrong dtype
///
/// The weight is drawn from the standard normal distribution. PyTorch's `max_norm`, `scale_grad_by_freq` and
/// `sparse` are not supported.
///
/// ```
/// use sconce::prelude::*;
/// # fn main() -> Result<()> {
/// let embedding = Embedding::config(100, 16).padding_idx(0).init(&Device::Cpu)?;
/// let words = Tensor::new(&[[4u32, 9, 17], [3, 0, 0]], &Device::Cpu)?;
/// let y = embedding.call(words.into(), Mode::Eval).into_tensor()?;
/// assert_eq!(y.dims(), [2, 3, 16]);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Embedding {
    weight: Tensor,
    padding_idx: Option<usize>,
}

/// The config of [`Embedding`].
///
/// ```
/// use sconce::prelude::*;
/// # fn main() -> Result<()> {
/// let embedding = Embedding::config(100, 16).padding_idx(0).init(&Device::Cpu)?;
/// assert_eq!(embedding.weight().get(0)?.abs()?.max_all()?.to_scalar::<f32>()?, 0.);
/// // The index must be less than the number of embeddings.
/// assert!(Embedding::config(100, 16).padding_idx(100).init(&Device::Cpu).is_err());
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug)]
pub struct EmbeddingConfig {
    num_embeddings: usize,
    embedding_dim: usize,
    padding_idx: Option<usize>,
}

impl Embedding {
    /// Creates the config with PyTorch's defaults.
    pub fn config(num_embeddings: usize, embedding_dim: usize) -> EmbeddingConfig {
        EmbeddingConfig { num_embeddings, embedding_dim, padding_idx: None }
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
}

impl Forward for Embedding {
    type Output = Signal;

    fn forward_pass(&self, x: Signal, _: Mode) -> Signal {
        x.apply(("embedding", Op::Embedding, [Some(&self.weight)]), Leading, |ids| {
            let (rows, width) = self.sizes();
            look_up(&ids, &self.weight, self.padding_idx)
                .map_err(|error| Error::from(error).in_layer(format!("Embedding {rows}→{width}")))
        })
    }
}

impl EmbeddingConfig {
    /// Sets the padding index. Its row is initialized with zeros and gets no gradient.
    pub fn padding_idx(mut self, row: impl Into<Option<usize>>) -> Self {
        self.padding_idx = row.into();
        self
    }
}

impl Config for EmbeddingConfig {
    type Output = Embedding;

    fn build(self, vb: VarBuilder) -> Result<Embedding> {
        let Self { num_embeddings, embedding_dim, padding_idx } = self;
        let weight = build_weight("Embedding", [num_embeddings, embedding_dim], padding_idx, &vb)?;
        Ok(Embedding { weight, padding_idx })
    }
}

/// Builds the weight `[num_embeddings, embedding_dim]` of the layer `kind`.
pub(super) fn build_weight(
    kind: &str,
    [rows, width]: [usize; 2],
    padding_idx: Option<usize>,
    vb: &VarBuilder,
) -> Result<Tensor> {
    if let Some(row) = padding_idx.filter(|row| *row >= rows) {
        let error = format!("expected a padding_idx below {rows}, found {row}");
        return Err(Error::msg(error).in_layer(format!("{kind} {rows}→{width}")));
    }
    let init = Init::Randn { mean: 0., stdev: 1. };
    // Set the padding row of a new weight to zero. The padding row of a checkpoint is kept.
    let is_fresh = source::is_fresh(vb, "weight");
    let weight = vb.get_with_hints((rows, width), "weight", init)?;
    if let Some(row) = padding_idx.filter(|_| is_fresh) {
        let zeros = Tensor::zeros((1, width), DType::F32, weight.device())?;
        weight.slice_set(&zeros.to_dtype(weight.dtype())?, 0, row)?;
    }
    Ok(weight)
}

impl Module for Embedding {
    fn kind(&self) -> Cow<'static, str> {
        "Embedding".into()
    }

    fn extra(&self) -> String {
        let (rows, width) = self.sizes();
        match self.padding_idx {
            Some(row) => format!("{rows}, {width}, padding_idx={row}"),
            None => format!("{rows}, {width}"),
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

impl_fmt!(Embedding);
forward_methods!(Embedding);
