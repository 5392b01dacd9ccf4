//! The face detector MTCNN from its original files, against PyTorch's outputs.

#[path = "../examples/face_detection.rs"]
mod face_detection;

use face_detection::{ONet, PNet, RNet, golden};
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
