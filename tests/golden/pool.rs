//! Compares pooling layers with the golden data.

use sconce::prelude::*;
use serde_json::Value;

use crate::cases::{Case, golden_tests};
use crate::layer::check;

fn pair(case: &Case, name: &str) -> (usize, usize) {
    let [height, width] = case.sizes(name).expect("the case should have the size");
    (height, width)
}

fn triple(case: &Case, name: &str) -> [usize; 3] {
    case.sizes(name).expect("the case should have the size")
}

/// Returns the output size of adaptive pooling of videos. `null` keeps the size of the input.
fn video_output(case: &Case) -> OutputSize<3> {
    let size = |value: &Value| value.as_u64().map(|size| size as usize);
    match &case.args["output_size"] {
        Value::Array(sizes) => OutputSize([0, 1, 2].map(|axis| size(&sizes[axis]))),
        value => OutputSize([size(value); 3]),
    }
}

golden_tests! {
    max_pool1d: "MaxPool1d", 32 => |case| {
        let config = MaxPool1d::config(case.size("kernel_size"))
            .stride(case.size("stride"))
            .padding(case.size("padding"))
            .dilation(case.size("dilation"))
            .ceil_mode(case.is_true("ceil_mode"));
        check(config, case)
    };
    avg_pool1d: "AvgPool1d", 16 => |case| {
        let config = AvgPool1d::config(case.size("kernel_size"))
            .stride(case.size("stride"))
            .padding(case.size("padding"))
            .ceil_mode(case.is_true("ceil_mode"))
            .count_include_pad(case.is_true("count_include_pad"));
        check(config, case)
    };
    max_pool2d: "MaxPool2d", 32 => |case| {
        let config = MaxPool2d::config(pair(case, "kernel_size"))
            .stride(pair(case, "stride"))
            .padding(pair(case, "padding"))
            .dilation(pair(case, "dilation"))
            .ceil_mode(case.is_true("ceil_mode"));
        check(config, case)
    };
    avg_pool2d: "AvgPool2d", 16 => |case| {
        let config = AvgPool2d::config(pair(case, "kernel_size"))
            .stride(pair(case, "stride"))
            .padding(pair(case, "padding"))
            .ceil_mode(case.is_true("ceil_mode"))
            .count_include_pad(case.is_true("count_include_pad"));
        check(config, case)
    };
    max_pool3d: "MaxPool3d", 32 => |case| {
        let config = MaxPool3d::config(triple(case, "kernel_size"))
            .stride(triple(case, "stride"))
            .padding(triple(case, "padding"))
            .dilation(triple(case, "dilation"))
            .ceil_mode(case.is_true("ceil_mode"));
        check(config, case)
    };
    avg_pool3d: "AvgPool3d", 32 => |case| {
        let config = AvgPool3d::config(triple(case, "kernel_size"))
            .stride(triple(case, "stride"))
            .padding(triple(case, "padding"))
            .ceil_mode(case.is_true("ceil_mode"))
            .count_include_pad(case.is_true("count_include_pad"))
            .divisor_override(case.number("divisor_override").map(|divisor| divisor as usize));
        check(config, case)
    };
    adaptive_avg_pool3d: "AdaptiveAvgPool3d", 16 => |case| check(AdaptiveAvgPool3d::config(video_output(case)), case);
    adaptive_max_pool3d: "AdaptiveMaxPool3d", 16 => |case| check(AdaptiveMaxPool3d::config(video_output(case)), case);
    adaptive_avg_pool1d: "AdaptiveAvgPool1d", 16 => |case| {
        check(AdaptiveAvgPool1d::config(case.size("output_size")), case)
    };
    adaptive_avg_pool2d: "AdaptiveAvgPool2d", 16 => |case| {
        check(AdaptiveAvgPool2d::config(pair(case, "output_size")), case)
    };
    adaptive_max_pool1d: "AdaptiveMaxPool1d", 12 => |case| {
        check(AdaptiveMaxPool1d::config(case.size("output_size")), case)
    };
    adaptive_max_pool2d: "AdaptiveMaxPool2d", 16 => |case| {
        check(AdaptiveMaxPool2d::config(pair(case, "output_size")), case)
    };
}
