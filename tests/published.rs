//! Published networks with their published parameter names, against PyTorch's outputs and gradients.

#[path = "../examples/face_detection.rs"]
mod face_detection;
#[path = "../examples/resnet.rs"]
mod resnet;

use std::path::Path;

use face_detection::{ONet, PNet, RNet, golden};
use resnet::{ResNetConfig, resnet18, resnet50};
use sconce::checkpoint;
use sconce::prelude::*;

/// Compares the `head` of a network's answer to each input.
fn agree(network: &str, input: &str, heads: &[(&str, Tensor)]) -> Result<()> {
    let answers = checkpoint::read(golden(network, "output.safetensors"), &Device::Cpu)?;
    for (head, ours) in heads {
        let name = format!("{input}.{head}");
        let theirs = answers.get(&name).ok_or_else(|| Error::msg(format!("no {name}")))?;
        let worst = (ours - theirs)?.abs()?.max_all()?.to_scalar::<f32>()?;
        assert!(worst <= 1e-5, "{network} {name}: differs by {worst}");
    }
    Ok(())
}

fn inputs(network: &str) -> Result<StateDict> {
    checkpoint::read(golden(network, "input.safetensors"), &Device::Cpu)
}

#[test]
fn mtcnn_from_the_original_files_and_from_safetensors() -> Result<()> {
    let device = &Device::Cpu;
    const SAFE: &str = "weights.safetensors";
    for [p, r, o] in [["pnet.pt", "rnet.pt", "onet.pt"], [SAFE; 3]] {
        let pnet = PNet::config().load(golden("mtcnn_pnet", p), device)?;
        for (name, x) in inputs("mtcnn_pnet")? {
            let (prob, reg) = pnet.forward(x)?;
            agree("mtcnn_pnet", &name, &[("prob", prob), ("reg", reg)])?;
        }
        let rnet = RNet::config().load(golden("mtcnn_rnet", r), device)?;
        for (name, x) in inputs("mtcnn_rnet")? {
            let (prob, reg) = rnet.forward(x)?;
            agree("mtcnn_rnet", &name, &[("prob", prob), ("reg", reg)])?;
        }
        let onet = ONet::config().load(golden("mtcnn_onet", o), device)?;
        for (name, x) in inputs("mtcnn_onet")? {
            let (prob, reg, landmarks) = onet.forward(x)?;
            agree("mtcnn_onet", &name, &[("prob", prob), ("reg", reg), ("landmarks", landmarks)])?;
        }
    }
    Ok(())
}

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
fn torchvision(name: &str, config: ResNetConfig) -> Result<()> {
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
    let y = network.forward(answer("input")?)?;
    near("output", &y, answer("output")?)?;
    near("output without a graph", &network.inference()?.forward(answer("input")?)?, answer("output")?)?;
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
    torchvision("resnet18", resnet18())
}

#[test]
fn resnet50_as_torchvision() -> Result<()> {
    torchvision("resnet50", resnet50())
}
