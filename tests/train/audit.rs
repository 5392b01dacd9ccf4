//! `audit_gradients` names exactly the parameters without a gradient.

use sconce::prelude::*;

use crate::common::Rng;

const CPU: Device = Device::Cpu;

#[derive(Module)]
#[module(args(width: usize), forward = |x| {
    let _unused = side(x);
    head(relu(blocks[0](x)) + scale)
})]
struct Branches {
    #[layer(width, width; for _ in 0..2)]
    blocks: Vec<Linear>,
    #[layer(width, width, bias = false)]
    side: Linear,
    #[param((1,), init = zeros)]
    scale: Tensor,
    #[param((1,), init = zeros)]
    _forgotten: Tensor,
    #[layer(width)]
    _norm: BatchNorm,
    #[layer(width, 2)]
    head: Linear,
}

/// Returns the classes of 4 examples.
fn targets() -> Result<Tensor> {
    Ok(Tensor::new(&[0u32, 1, 1, 0], &CPU)?)
}

fn inputs() -> Result<Tensor> {
    Ok(Rng::new(1).tensor(&[4, 3], 1.).to_dtype(DType::F32)?)
}

#[test]
fn parameters_without_a_gradient_are_named_in_field_order() -> Result<()> {
    let mut net = Branches::new(3, &CPU)?;
    let audit = |net: &Branches| -> Result<Vec<String>> {
        let loss = cross_entropy(&net.forward_t(&inputs()?, true)?, &targets()?)?;
        Ok(audit_gradients(net, &loss.backward()?))
    };
    let unreached =
        ["blocks.1.weight", "blocks.1.bias", "side.weight", "_forgotten", "_norm.weight", "_norm.bias"];
    assert_eq!(audit(&net)?, unreached);
    net.freeze("blocks.**")?;
    net.freeze("_norm.weight")?;
    assert_eq!(audit(&net)?, ["side.weight", "_forgotten", "_norm.bias"]);
    net.freeze("**")?;
    assert!(audit_gradients(&net, &Tensor::new(1f32, &CPU)?.backward()?).is_empty());
    Ok(())
}

#[test]
fn the_audit_is_empty_if_every_parameter_has_a_gradient() -> Result<()> {
    let net = LayerNorm::config(3).init(&CPU)?;
    let y = net.call(inputs()?.into(), Mode::Train).into_tensor()?;
    assert!(audit_gradients(&net, &y.sqr()?.sum_all()?.backward()?).is_empty());
    assert_eq!(audit_gradients(&net, &y.detach().sum_all()?.backward()?), ["weight", "bias"]);
    Ok(())
}

#[test]
fn fit_reports_parameters_without_a_gradient_in_the_first_step() -> Result<()> {
    let net = Branches::new(3, &CPU)?;
    let mut trainer = Trainer::new(&net, cross_entropy, Sgd::new(0.1)).quiet(true);
    let history = trainer.fit(&(inputs()?, targets()?), &(), Epochs(2))?;
    assert_eq!(history.unreached().len(), 6);
    assert_eq!(history.unreached()[2], "side.weight");
    Ok(())
}
