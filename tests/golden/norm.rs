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

/// Builds the config of a batch norm.
macro_rules! batch_norm {
    ($layer:ident, $case:expr) => {{
        let case = $case;
        $layer::config(case.size("num_features"))
            .eps(case.number("eps").unwrap_or(1e-5))
            .momentum(case.number("momentum"))
            .affine(case.is_true("affine"))
    }};
}

golden_tests! {
    batch_norm1d: "BatchNorm1d", 16 => |case| {
        check(batch_norm!(BatchNorm, case), case)?;
        check(batch_norm!(BatchNorm1d, case), case)
    };
    batch_norm2d: "BatchNorm2d", 16 => |case| {
        check(batch_norm!(BatchNorm, case), case)?;
        check(batch_norm!(BatchNorm2d, case), case)
    };
    batch_norm3d: "BatchNorm3d", 8 => |case| {
        check(batch_norm!(BatchNorm, case), case)?;
        check(batch_norm!(BatchNorm3d, case), case)
    };
    layer_norm: "LayerNorm", 16 => |case| {
        let config = LayerNorm::config(normalized_shape(case)).eps(eps(case));
        check(config.elementwise_affine(case.is_true("elementwise_affine")), case)
    };
    layer_norm2d: "LayerNorm2d", 6 => |case| {
        check(LayerNorm2d::config(case.size("normalized_shape")).eps(eps(case)), case)
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
