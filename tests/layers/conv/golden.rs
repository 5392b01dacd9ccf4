//! PyTorch's outputs and gradients.

use sconce::prelude::*;
use serde_json::Value;

use crate::common::golden::{Case, cases};
use crate::common::layer::{check, count};

/// An argument for each of two axes, from one number or a list of one or two.
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
    (count(case, "in_channels"), count(case, "out_channels"))
}

fn has_bias(case: &Case) -> bool {
    case.flag("bias") == Some(true)
}

#[test]
fn conv1d_as_pytorch() -> Result<()> {
    for case in cases("Conv1d")? {
        let (inputs, outputs) = channels(&case);
        let along = |name: &str| sizes(&case, name)[1];
        let config = Conv1d::config(inputs, outputs, along("kernel_size"))
            .stride(along("stride"))
            .dilation(along("dilation"))
            .groups(count(&case, "groups"))
            .bias(has_bias(&case))
            .padding_mode(padding_mode(&case));
        match case.args["padding"].as_str() {
            Some("same") => check(config.padding("same"), &case)?,
            _ => check(config.padding(along("padding")), &case)?,
        }
    }
    Ok(())
}

#[test]
fn conv2d_as_pytorch() -> Result<()> {
    for case in cases("Conv2d")? {
        let (inputs, outputs) = channels(&case);
        let config = Conv2d::config(inputs, outputs, sizes(&case, "kernel_size"))
            .stride(sizes(&case, "stride"))
            .dilation(sizes(&case, "dilation"))
            .groups(count(&case, "groups"))
            .bias(has_bias(&case))
            .padding_mode(padding_mode(&case));
        match case.args["padding"].as_str() {
            Some("same") => check(config.padding("same"), &case)?,
            _ => check(config.padding(sizes(&case, "padding")), &case)?,
        }
    }
    Ok(())
}

#[test]
fn conv_transpose1d_as_pytorch() -> Result<()> {
    for case in cases("ConvTranspose1d")? {
        let (inputs, outputs) = channels(&case);
        let along = |name: &str| sizes(&case, name)[1];
        let config = ConvTranspose1d::config(inputs, outputs, along("kernel_size"))
            .stride(along("stride"))
            .padding(along("padding"))
            .output_padding(along("output_padding"))
            .groups(count(&case, "groups"))
            .bias(has_bias(&case))
            .dilation(along("dilation"));
        check(config, &case)?;
    }
    Ok(())
}

#[test]
fn conv_transpose2d_as_pytorch() -> Result<()> {
    for case in cases("ConvTranspose2d")? {
        let (inputs, outputs) = channels(&case);
        let config = ConvTranspose2d::config(inputs, outputs, sizes(&case, "kernel_size"))
            .stride(sizes(&case, "stride"))
            .padding(sizes(&case, "padding"))
            .output_padding(sizes(&case, "output_padding"))
            .groups(count(&case, "groups"))
            .bias(has_bias(&case))
            .dilation(sizes(&case, "dilation"));
        check(config, &case)?;
    }
    Ok(())
}

#[test]
fn every_case_is_there() -> Result<()> {
    for (kind, least) in [("Conv1d", 16), ("Conv2d", 48), ("ConvTranspose1d", 16), ("ConvTranspose2d", 32)] {
        assert!(cases(kind)?.len() >= least, "{kind}");
    }
    let modes = ["zeros", "reflect", "replicate", "circular"];
    let all = cases("Conv2d")?;
    assert!(modes.iter().all(|mode| all.iter().any(|case| case.args["padding_mode"] == *mode)));
    Ok(())
}
