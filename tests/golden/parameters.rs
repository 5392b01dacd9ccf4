//! The layers that hold parameters, against PyTorch's outputs, gradients and running statistics.

use crate::common::golden::cases;
use crate::common::layer::{check, count};
use sconce::prelude::*;

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
