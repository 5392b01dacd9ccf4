//! The layers that hold parameters, against PyTorch's outputs, gradients and running statistics.

mod common;

use common::golden::{Case, cases};
use sconce::candle::Var;
use sconce::prelude::*;

/// A layer of f64 with the case's parameters and buffers.
fn layer<C: Config>(config: C, case: &Case) -> Result<C::Output> {
    let mut layer = config.init(&Device::Cpu)?;
    layer.to_dtype(DType::F64)?;
    let mut state = layer.state_dict();
    for name in state.keys().map(String::from).collect::<Vec<_>>() {
        if let Some(tensor) = case.find(&format!("param.{name}"))?.or(case.find(&format!("buffer.{name}"))?) {
            state.insert(name, tensor);
        }
    }
    layer.load_state_dict(&state)?;
    Ok(layer)
}

fn close(what: &str, case: &Case, got: &Tensor, expected: &Tensor) -> Result<()> {
    Ok(common::check_close(&format!("{what} of {}", case.label()), got, expected, 1e-5)?)
}

/// Output, gradients and, after training, buffers of one case.
fn check<C: Config<Output: Forward<Signal, Output = Signal>>>(config: C, case: &Case) -> Result<()> {
    let layer = layer(config, case)?;
    let mode = Mode::from(case.mode == "train");
    let x = Var::from_tensor(&case.tensor("input")?)?;
    let y = layer.call(x.as_tensor().into(), mode).into_tensor()?;
    close("output", case, &y, &case.tensor("output")?)?;
    let grads = (&y * case.tensor("grad_output")?)?.sum_all()?.backward()?;
    let gradient = |tensor: &Tensor| grads.get(tensor).cloned().ok_or_else(|| Error::msg("no gradient"));
    close("grad.input", case, &gradient(x.as_tensor())?, &case.tensor("grad.input")?)?;
    for (name, parameter) in layer.named_parameters() {
        close(&name, case, &gradient(&parameter)?, &case.tensor(&format!("grad.{name}"))?)?;
    }
    for (name, buffer) in layer.buffers() {
        if let Some(after) = case.find(&format!("after.{name}"))? {
            close(&name, case, &buffer, &after)?;
        }
    }
    Ok(())
}

fn count(case: &Case, name: &str) -> usize {
    case.number(name).unwrap_or_default() as usize
}

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
