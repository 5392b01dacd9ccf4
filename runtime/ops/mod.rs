//! Operations on signals, with every tensor and setting as an argument. Layers and [`functional`](crate::functional)
//! call these operations.

pub(crate) mod activation;
mod adaptive;
mod attention;
mod bilinear;
mod distance;
mod dropout;
mod elementwise;
mod embedding;
mod kv_cache;
mod linear;
mod norm;
mod normalized_shape;
mod operand;
mod packed_layout;
mod packed_sequence;
mod pad;
mod pair;
mod pixel_shuffle;
mod rotary;
mod rrelu;
mod shape;
mod triple;

pub use activation::*;
pub use adaptive::{
    OutputSize, adaptive_avg_pool1d, adaptive_avg_pool2d, adaptive_avg_pool3d, adaptive_max_pool1d,
    adaptive_max_pool2d, adaptive_max_pool3d,
};
pub use attention::{AttentionOptions, scaled_dot_product_attention};
pub(crate) use attention::{attend, boolean_mask, causal_mask};
pub use bilinear::bilinear;
pub(crate) use distance::check_exponent;
pub use distance::{cosine_similarity, pairwise_distance};
pub(crate) use dropout::check_stochastic_depth;
pub use dropout::{
    alpha_dropout, dropout, dropout1d, dropout2d, dropout3d, feature_alpha_dropout, stochastic_depth,
};
pub use elementwise::{
    celu, elu, gelu_tanh, glu, hardshrink, hardsigmoid, hardtanh, logsigmoid, mish, selu, softmin, softplus,
    softshrink, softsign, tanhshrink, threshold,
};
pub(crate) use embedding::{combine_bags, look_up};
pub use embedding::{embedding, embedding_bag};
pub use kv_cache::KvCache;
pub(crate) use linear::cached_linear;
pub use linear::linear;
pub(crate) use norm::epsilon;
pub use norm::{group_norm, instance_norm, layer_norm, rms_norm};
pub use normalized_shape::NormalizedShape;
pub(crate) use operand::tensor_or_view;
pub(crate) use packed_layout::PackedLayout;
pub use packed_sequence::{Lengths, PackedSequence, pack_padded_sequence, pad_packed_sequence};
pub use pad::pad;
pub use pair::{Padding, Pair, Sides};
pub use pixel_shuffle::{channel_shuffle, pixel_shuffle, pixel_unshuffle};
pub(crate) use rotary::check_rotary;
pub use rotary::rotary_embedding;
pub(crate) use rrelu::check_slopes;
pub use rrelu::rrelu;
pub(crate) use shape::flatten_range;
pub use shape::{cat, flatten, stack, unflatten};
pub use triple::Triple;
