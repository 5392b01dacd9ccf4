//! Compares interpolation, pixel and channel shuffling, permutation and windows with the golden data.

use sconce::prelude::*;

use crate::cases::{Case, golden_tests};
use crate::common::check_close;
use crate::layer::check;

/// Returns the mode as the `&'static str` that the setter expects.
fn mode(case: &Case) -> &'static str {
    let modes = ["nearest", "nearest-exact", "linear", "bilinear", "bicubic", "area"];
    modes.into_iter().find(|mode| case.args["mode"] == *mode).expect("the case should have a known mode")
}

fn upsample(case: &Case) -> Upsample {
    let mut config = Upsample::config().mode(mode(case)).align_corners(case.boolean("align_corners"));
    let axes = |name: &str| match &case.args[name] {
        serde_json::Value::Array(axes) => axes.iter().filter_map(|axis| axis.as_f64()).collect(),
        both => both.as_f64().into_iter().collect::<Vec<_>>(),
    };
    config = match axes("size")[..] {
        [both] => config.size(both as usize),
        [height, width] => config.size((height as usize, width as usize)),
        _ => config,
    };
    config = match axes("scale_factor")[..] {
        [both] => config.scale_factor(both),
        [height, width] => config.scale_factor((height, width)),
        _ => config,
    };
    config.recompute_scale_factor(case.is_true("recompute_scale_factor"))
}

fn pair(case: &Case, name: &str) -> [usize; 2] {
    case.sizes(name).expect("the case should have these sizes")
}

/// Returns the kernel size, dilation, padding and stride of windows.
fn windows(case: &Case) -> [[usize; 2]; 4] {
    ["kernel_size", "dilation", "padding", "stride"].map(|name| pair(case, name))
}

golden_tests! {
    upsample_layer: "Upsample", 16 => |case| check(upsample(case), case);
    interpolation: "Interpolate", 64 => |case| check(upsample(case), case);
    nearest_neighbors_in_f32_and_f64: "NearestIndices", 399 => |case| {
        let dtype = if case.args["dtype"] == "float32" { DType::F32 } else { DType::F64 };
        // Each element of the input is its own index, so the output is the index of each nearest neighbor.
        let positions = Tensor::arange(0., case.size("length") as f64, &Device::Cpu)?;
        let y = interpolate(positions.to_dtype(dtype)?.reshape((1, 1, ()))?, upsample(case)).into_tensor()?;
        Ok(check_close(&case.label(), &y, &case.tensor("output")?, 0.)?)
    };
    unfold: "Unfold", 12 => |case| {
        let [kernel, dilation, padding, stride] = windows(case);
        check(Unfold::config(kernel).dilation(dilation).padding(padding).stride(stride), case)
    };
    fold: "Fold", 12 => |case| {
        let [kernel, dilation, padding, stride] = windows(case);
        let config = Fold::config(pair(case, "output_size"), kernel);
        check(config.dilation(dilation).padding(padding).stride(stride), case)
    };
    pixel_shuffle: "PixelShuffle", 4 => |case| {
        check(PixelShuffle::config(case.size("upscale_factor")), case)
    };
    pixel_unshuffle: "PixelUnshuffle", 4 => |case| {
        check(PixelUnshuffle::config(case.size("downscale_factor")), case)
    };
    channel_shuffle: "ChannelShuffle", 6 => |case| {
        check(ChannelShuffle::config(case.size("groups")), case)
    };
    permute: "Permute", 8 => |case| {
        let dims = case.args["dims"].as_array().expect("the case should have dims");
        let dims = dims.iter().map(|dim| dim.as_i64().expect("each dimension should be an integer") as isize);
        check(Permute::config(dims), case)
    };
}
