//! The layers: agreement with their definitions, gradients, error messages, extreme settings and special values.

mod attention;
mod batch_norm_fusion;
#[path = "../common/mod.rs"]
mod common;
mod conv;
mod distance;
mod elementwise;
mod embedding_bag;
mod empty_views;
mod extreme_settings;
mod kv_cache;
mod norm;
mod on_tensors;
mod pool;
mod pool3d;
mod resample;
mod rotary;
mod sequence;
mod special_values;
mod traits;
mod transformer;
