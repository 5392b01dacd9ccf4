//! The layers that hold parameters, against PyTorch's outputs, gradients and running statistics.

mod common;

use common::golden::cases;
use common::layer::{check, count};
use sconce::prelude::*;

#[test]
fn conv2d() -> Result<()> {
    let mut checked = 0;
    for case in cases("Conv2d")? {
        if case.args["padding_mode"] != "zeros" {
            continue;
        }
        let pair = |name: &str| case.pair(name).unwrap_or([1; 2]);
        let config =
            Conv2d::config(count(&case, "in_channels"), count(&case, "out_channels"), pair("kernel_size"))
                .stride(pair("stride"))
                .dilation(pair("dilation"))
                .groups(count(&case, "groups"))
                .bias(case.flag("bias") == Some(true));
        let config = match case.args["padding"].as_str() {
            Some("same") => config.padding("same"),
            _ => config.padding(pair("padding")),
        };
        check(config, &case)?;
        checked += 1;
    }
    assert!(checked >= 20, "only {checked} cases");
    Ok(())
}

#[test]
fn linear() -> Result<()> {
    cases("Linear")?.iter().try_for_each(|case| {
        let config = Linear::config(count(case, "in_features"), count(case, "out_features"));
        check(config.bias(case.flag("bias") == Some(true)), case)
    })
}

#[test]
fn batch_norm() -> Result<()> {
    let all = cases("BatchNorm1d")?.into_iter().chain(cases("BatchNorm2d")?);
    all.into_iter().try_for_each(|case| {
        let config = BatchNorm::config(count(&case, "num_features"))
            .eps(case.number("eps").unwrap_or(1e-5))
            .momentum(case.number("momentum"))
            .affine(case.flag("affine") == Some(true));
        check(config, &case)
    })
}

#[test]
fn prelu() -> Result<()> {
    cases("PReLU")?
        .iter()
        .try_for_each(|case| check(PRelu::config().num_parameters(count(case, "num_parameters")), case))
}
