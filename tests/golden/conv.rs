//! Compares convolutions and transposed convolutions with the golden data.

use sconce::prelude::*;
use serde_json::Value;

use crate::cases::{Case, cases, golden_tests};
use crate::layer::check;

/// Returns an argument as one size per axis. The case states a number, or a list of one or two numbers.
fn sizes(case: &Case, name: &str) -> [usize; 2] {
    let size = |value: &Value| value.as_u64().unwrap_or_default() as usize;
    match &case.args[name] {
        Value::Array(list) => [list.first().map_or(0, size), list.last().map_or(0, size)],
        value => [size(value); 2],
    }
}

fn padding_mode(case: &Case) -> PadMode {
    match case.args["padding_mode"].as_str() {
        Some("reflect") => "reflect".into(),
        Some("replicate") => "replicate".into(),
        Some("circular") => "circular".into(),
        _ => "zeros".into(),
    }
}

fn channels(case: &Case) -> (usize, usize) {
    (case.size("in_channels"), case.size("out_channels"))
}

fn triple(case: &Case, name: &str) -> [usize; 3] {
    case.sizes(name).unwrap_or_default()
}

golden_tests! {
    conv1d: "Conv1d", 16 => |case| {
        let (in_channels, out_channels) = channels(case);
        let axis_size = |name: &str| sizes(case, name)[1];
        let config = Conv1d::config(in_channels, out_channels, axis_size("kernel_size"))
            .stride(axis_size("stride"))
            .dilation(axis_size("dilation"))
            .groups(case.size("groups"))
            .bias(case.is_true("bias"))
            .padding_mode(padding_mode(case));
        match case.args["padding"].as_str() {
            Some("same") => check(config.padding("same"), case),
            _ => check(config.padding(axis_size("padding")), case),
        }
    };
    conv2d: "Conv2d", 48 => |case| {
        let (in_channels, out_channels) = channels(case);
        let config = Conv2d::config(in_channels, out_channels, sizes(case, "kernel_size"))
            .stride(sizes(case, "stride"))
            .dilation(sizes(case, "dilation"))
            .groups(case.size("groups"))
            .bias(case.is_true("bias"))
            .padding_mode(padding_mode(case));
        match case.args["padding"].as_str() {
            Some("same") => check(config.padding("same"), case),
            _ => check(config.padding(sizes(case, "padding")), case),
        }
    };
    conv3d: "Conv3d", 48 => |case| {
        let (in_channels, out_channels) = channels(case);
        let config = Conv3d::config(in_channels, out_channels, triple(case, "kernel_size"))
            .stride(triple(case, "stride"))
            .dilation(triple(case, "dilation"))
            .groups(case.size("groups"))
            .bias(case.is_true("bias"))
            .padding_mode(padding_mode(case));
        match case.args["padding"].as_str() {
            Some("same") => check(config.padding("same"), case),
            _ => check(config.padding(triple(case, "padding")), case),
        }
    };
    conv_transpose1d: "ConvTranspose1d", 16 => |case| {
        let (in_channels, out_channels) = channels(case);
        let axis_size = |name: &str| sizes(case, name)[1];
        let config = ConvTranspose1d::config(in_channels, out_channels, axis_size("kernel_size"))
            .stride(axis_size("stride"))
            .padding(axis_size("padding"))
            .output_padding(axis_size("output_padding"))
            .groups(case.size("groups"))
            .bias(case.is_true("bias"))
            .dilation(axis_size("dilation"));
        check(config, case)
    };
    conv_transpose2d: "ConvTranspose2d", 32 => |case| {
        let (in_channels, out_channels) = channels(case);
        let config = ConvTranspose2d::config(in_channels, out_channels, sizes(case, "kernel_size"))
            .stride(sizes(case, "stride"))
            .padding(sizes(case, "padding"))
            .output_padding(sizes(case, "output_padding"))
            .groups(case.size("groups"))
            .bias(case.is_true("bias"))
            .dilation(sizes(case, "dilation"));
        check(config, case)
    };
    conv_transpose3d: "ConvTranspose3d", 32 => |case| {
        let (in_channels, out_channels) = channels(case);
        let config = ConvTranspose3d::config(in_channels, out_channels, triple(case, "kernel_size"))
            .stride(triple(case, "stride"))
            .padding(triple(case, "padding"))
            .output_padding(triple(case, "output_padding"))
            .groups(case.size("groups"))
            .bias(case.is_true("bias"))
            .dilation(triple(case, "dilation"));
        check(config, case)
    };
}

#[test]
fn conv2d_and_conv3d_have_cases_of_every_padding_mode() -> Result<()> {
    for (kind, mode) in ["Conv2d", "Conv3d"]
        .iter()
        .flat_map(|kind| ["zeros", "reflect", "replicate", "circular"].map(|mode| (kind, mode)))
    {
        assert!(cases(kind)?.iter().any(|case| case.args["padding_mode"] == *mode), "{kind} {mode}");
    }
    Ok(())
}
