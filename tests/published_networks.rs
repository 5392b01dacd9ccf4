//! torchvision's networks with the parameter names of their checkpoints, against PyTorch's outputs and
//! gradients.

#[allow(dead_code)] // The tests take the networks without the program.
#[path = "../examples/networks/main.rs"]
mod networks;

use std::path::Path;

use networks::{densenet, googlenet, mobilenet, resnet, squeezenet, vgg};
use sconce::checkpoint;
use sconce::prelude::*;

/// The weights that `make_networks.py` computes: element `i` of the `p`-th tensor, uniform in ±0.5.
fn uniform(p: u32, n: usize) -> impl Iterator<Item = f64> {
    (0..n as u32).map(move |i| {
        let mut h = i.wrapping_mul(0x9E37_79B1).wrapping_add(p.wrapping_mul(0x85EB_CA77));
        h = (h ^ (h >> 15)).wrapping_mul(0x2C1B_3C6D);
        h = (h ^ (h >> 12)).wrapping_mul(0x297A_2D39);
        f64::from(h ^ (h >> 15)) / 2f64.powi(32) - 0.5
    })
}

/// The value of the `p`-th entry of a state dict, by its name and shape.
fn value(name: &str, p: u32, dims: &[usize]) -> Result<Tensor> {
    let elements: usize = dims.iter().product();
    if name.ends_with("num_batches_tracked") {
        return Ok(Tensor::zeros(dims, DType::I64, &Device::Cpu)?);
    }
    let fan = elements as f64 / dims.first().copied().unwrap_or(1) as f64;
    let (scale, offset) = match name.rsplit('.').next() {
        Some("running_var") => (1., 1.),
        Some("weight") if dims.len() >= 2 => ((24. / fan).sqrt(), 0.),
        Some("weight") => (0.5, 1.),
        _ => (0.2, 0.),
    };
    let data: Vec<f32> = uniform(p, elements).map(|u| (offset + scale * u) as f32).collect();
    Ok(Tensor::from_vec(data, dims, &Device::Cpu)?)
}

/// Keys in order, the output in evaluation, and the gradients of the first and the last weight.
fn torchvision<C: Config>(
    name: &str,
    config: C,
    forward: impl Fn(&C::Output, &Tensor) -> Result<Tensor>,
) -> Result<()> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/networks");
    let list = std::fs::read_to_string(folder.join(format!("{name}.json")))?;
    let list: Vec<(String, Vec<usize>)> = serde_json::from_str(&list).map_err(Error::msg)?;
    let mut network = config.init(&Device::Cpu)?;
    let own: Vec<(String, Vec<usize>)> = network
        .state_dict()
        .iter()
        .map(|(name, tensor)| (name.to_string(), tensor.dims().to_vec()))
        .collect();
    assert_eq!(own, list);

    let state: Result<StateDict> =
        list.iter().zip(0..).map(|((name, dims), p)| Ok((name.clone(), value(name, p, dims)?))).collect();
    network.load_state_dict(&state?)?;
    let answers = checkpoint::read(folder.join(format!("{name}.safetensors")), &Device::Cpu)?;
    let answer = |name: &str| answers.get(name).ok_or_else(|| Error::msg(format!("no {name}")));
    let y = forward(&network, answer("input")?)?;
    near("output", &y, answer("output")?)?;
    near("output without a graph", &forward(&network.inference()?, answer("input")?)?, answer("output")?)?;
    let grads = (y * answer("cotangent")?)?.sum_all()?.backward()?;
    for (parameter, tensor) in network.named_parameters() {
        let ours = grads.get(&tensor).ok_or_else(|| Error::msg(format!("{parameter} got no gradient")))?;
        if let Some(theirs) = answers.get(&format!("grad.{parameter}")) {
            near(&parameter, ours, theirs)?;
        }
    }
    Ok(())
}

/// ‖ours − theirs‖ ≤ 1e-5 ‖theirs‖
fn near(what: &str, ours: &Tensor, theirs: &Tensor) -> Result<()> {
    let norm = |t: &Tensor| -> Result<f64> {
        Ok(t.to_dtype(DType::F64)?.sqr()?.sum_all()?.to_scalar::<f64>()?.sqrt())
    };
    let error = norm(&(ours - theirs)?)? / norm(theirs)?;
    assert!(error <= 1e-5, "{what}: relative error {error:e}");
    Ok(())
}

#[test]
fn resnet18_as_torchvision() -> Result<()> {
    torchvision("resnet18", resnet::resnet18(), |network, x| network.forward(x))
}

#[test]
fn resnet50_as_torchvision() -> Result<()> {
    torchvision("resnet50", resnet::resnet50(), |network, x| network.forward(x))
}

#[test]
fn vgg16_bn_as_torchvision() -> Result<()> {
    torchvision("vgg16_bn", vgg::vgg16_bn(), |network, x| network.forward(x))
}

#[test]
fn mobilenet_v2_as_torchvision() -> Result<()> {
    torchvision("mobilenet_v2", mobilenet::mobilenet_v2(), |network, x| network.forward(x))
}

#[test]
fn densenet121_as_torchvision() -> Result<()> {
    torchvision("densenet121", densenet::densenet121(), |network, x| network.forward(x))
}

#[test]
fn squeezenet1_1_as_torchvision() -> Result<()> {
    torchvision("squeezenet1_1", squeezenet::squeezenet1_1(), |network, x| network.forward(x))
}

#[test]
fn googlenet_as_torchvision() -> Result<()> {
    torchvision("googlenet", googlenet::googlenet().aux_logits(false), |network, x| Ok(network.forward(x)?.0))
}
