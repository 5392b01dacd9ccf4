//! Compares normalization layers, and the running statistics of batch norm, with the golden data.

use sconce::prelude::*;

use crate::cases::{Case, golden_tests};
use crate::layer::check;

fn normalized_shape(case: &Case) -> Vec<usize> {
    let list = case.args["normalized_shape"].as_array().expect("the case should have a normalized_shape");
    list.iter().map(|size| size.as_u64().expect("each size should be an integer") as usize).collect()
}

fn eps(case: &Case) -> f64 {
    case.number("eps").expect("the case should have an eps")
}

fn batch_norm(case: &Case) -> Result<()> {
    let config = BatchNorm::config(case.size("num_features"))
        .eps(case.number("eps").unwrap_or(1e-5))
        .momentum(case.number("momentum"))
        .affine(case.is_true("affine"));
    check(config, case)
}

golden_tests! {
    batch_norm1d: "BatchNorm1d", 16 => batch_norm;
    batch_norm2d: "BatchNorm2d", 16 => batch_norm;
    layer_norm: "LayerNorm", 16 => |case| {
        let config = LayerNorm::config(normalized_shape(case)).eps(eps(case));
        check(config.elementwise_affine(case.is_true("elementwise_affine")), case)
    };
    rms_norm: "RMSNorm", 16 => |case| {
        let config = RmsNorm::config(normalized_shape(case)).eps(eps(case));
        check(config.elementwise_affine(case.is_true("elementwise_affine")), case)
    };
    group_norm: "GroupNorm", 16 => |case| {
        let config = GroupNorm::config(case.size("num_groups"), case.size("num_channels"));
        check(config.affine(case.is_true("affine")), case)
    };
    instance_norm2d: "InstanceNorm2d", 16 => |case| {
        check(InstanceNorm2d::config(case.size("num_features")).affine(case.is_true("affine")), case)
    };
}
