//! Loads the face detector MTCNN from its original files, and compares its outputs with PyTorch's. Also fine-tunes one
//! of its networks.

#[path = "../../examples/face_detection/main.rs"]
#[allow(dead_code)] // The tests use the networks but not `main`.
#[expect(clippy::module_inception, reason = "named after the example")]
mod face_detection;

use sconce::checkpoint;
use sconce::prelude::*;

use face_detection::{ONet, PNet, RNet, crops, fine_tune, golden, photograph};

/// Compares the outputs of a network, one for each head, with the golden outputs for the golden input `input`.
fn assert_agrees(network: &str, input: &str, heads: &[(&str, Tensor)]) -> Result<()> {
    let golden_outputs = checkpoint::read(golden(network, "output.safetensors"), &Device::Cpu)?;
    for (head, ours) in heads {
        let name = format!("{input}.{head}");
        let theirs = golden_outputs
            .get(&name)
            .ok_or_else(|| Error::msg(format!("expected a golden tensor `{name}`")))?;
        let worst = crate::common::magnitude::largest_magnitude(&(ours - theirs)?)?;
        assert!(worst <= 1e-5, "{network} {name}: largest difference {worst}");
    }
    Ok(())
}

fn inputs(network: &str) -> Result<StateDict> {
    checkpoint::read(golden(network, "input.safetensors"), &Device::Cpu)
}

#[test]
fn mtcnn_agrees_with_pytorch_if_loaded_from_either_format() -> Result<()> {
    let device = &Device::Cpu;
    const SAFETENSORS: &str = "weights.safetensors";
    for [p, r, o] in [["pnet.pt", "rnet.pt", "onet.pt"], [SAFETENSORS; 3]] {
        let pnet = PNet::config().load(golden("mtcnn_pnet", p), device)?;
        for (name, x) in inputs("mtcnn_pnet")? {
            let (prob, reg) = pnet.forward(x)?;
            assert_agrees("mtcnn_pnet", &name, &[("prob", prob), ("reg", reg)])?;
        }
        let rnet = RNet::config().load(golden("mtcnn_rnet", r), device)?;
        for (name, x) in inputs("mtcnn_rnet")? {
            let (prob, reg) = rnet.forward(x)?;
            assert_agrees("mtcnn_rnet", &name, &[("prob", prob), ("reg", reg)])?;
        }
        let onet = ONet::config().load(golden("mtcnn_onet", o), device)?;
        for (name, x) in inputs("mtcnn_onet")? {
            let (prob, reg, landmarks) = onet.forward(x)?;
            assert_agrees("mtcnn_onet", &name, &[("prob", prob), ("reg", reg), ("landmarks", landmarks)])?;
        }
    }
    Ok(())
}

/// Trains R-Net to classify and locate the face that P-Net found, on crops of the same photograph.
#[test]
fn fine_tuning_rnet_lowers_the_loss_and_changes_every_parameter() -> Result<()> {
    let device = &Device::Cpu;
    let pnet = PNet::config().load(golden("mtcnn_pnet", "pnet.pt"), device)?;
    let rnet = RNet::config().load(golden("mtcnn_rnet", "rnet.pt"), device)?;
    let photograph = photograph("mtcnn_pnet")?;
    let crops = crops::crops(&photograph, &crops::face(&pnet, &photograph)?)?;
    let (faces, all) = (crops.is_face.sum_all()?.to_scalar::<u32>()? as usize, crops.images.dim(0)?);
    assert!(faces >= 10 && all - faces >= 50, "{faces} of {all} crops show the face");
    // The published R-Net must agree with most labels, which are derived from the box that P-Net found.
    let probability = rnet.forward(&crops.images)?.0.narrow(1, 1, 1)?.flatten_all()?.to_vec1::<f32>()?;
    let labels = crops.is_face.to_vec1::<u32>()?;
    let correct = probability.iter().zip(&labels).filter(|(p, label)| (**p > 0.5) == (**label == 1)).count();
    assert!(10 * correct > 8 * all, "{correct} of {all} crops classified as labeled");

    let before: Vec<Tensor> = rnet.parameters().iter().map(Tensor::copy).collect::<Result<_, _>>()?;
    let losses = fine_tune::fine_tune(&rnet, &crops, 10)?;
    assert_eq!(losses.len(), 10);
    assert!(losses[9] < 0.8 * losses[0], "{losses:?}");
    for (before, (name, after)) in before.iter().zip(rnet.named_parameters()) {
        let change = (before - after)?.abs()?.max_all()?.to_scalar::<f32>()?;
        assert!(change > 0., "`{name}` should change");
    }
    Ok(())
}
