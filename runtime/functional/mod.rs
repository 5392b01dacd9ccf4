//! Functions that correspond to the layers, with the names of `torch.nn.functional`.

mod conv;
mod fold;
mod interpolate;
mod pool;

pub use crate::kernels::embedding::{BagMode, Bags};
pub use crate::ops::activation::*;
pub use crate::ops::{
    AttentionOptions, KvCache, adaptive_avg_pool1d, adaptive_avg_pool2d, adaptive_avg_pool3d,
    adaptive_max_pool1d, adaptive_max_pool2d, adaptive_max_pool3d, alpha_dropout, bilinear, cat, celu,
    channel_shuffle, cosine_similarity, dropout, dropout1d, dropout2d, dropout3d, elu, embedding,
    embedding_bag, feature_alpha_dropout, flatten, gelu_tanh, glu, group_norm, hardshrink, hardsigmoid,
    hardtanh, instance_norm, layer_norm, linear, logsigmoid, mish, pack_padded_sequence, pad,
    pad_packed_sequence, pairwise_distance, pixel_shuffle, pixel_unshuffle, rms_norm, rotary_embedding,
    rrelu, scaled_dot_product_attention, selu, softmin, softplus, softshrink, softsign, stack,
    stochastic_depth, tanhshrink, threshold, unflatten,
};
pub use conv::{conv_transpose1d, conv_transpose2d, conv_transpose3d, conv1d, conv2d, conv3d};
pub use fold::{fold, unfold};
pub use interpolate::interpolate;
pub use pool::{avg_pool1d, avg_pool2d, avg_pool3d, max_pool1d, max_pool2d, max_pool3d};
