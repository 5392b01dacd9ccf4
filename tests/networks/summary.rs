//! Compares summaries of torchvision's networks with torchinfo and fvcore.

use std::collections::HashMap;

use sconce::prelude::*;
use sconce::{IntoTensors, LayerSummary, Summary};
use serde_json::Value;

use crate::networks::{convnext, densenet, efficientnet, googlenet, mobilenet, resnet, vgg};
use crate::torchvision::checked_network;
use crate::without_fusion::without_fusion;

/// torchinfo's summary of a network, and fvcore's count of multiply-adds.
struct Golden(Value);

/// The path, class, output shape and parameters of a layer without child layers.
type Leaf = (String, String, Vec<usize>, usize);

impl Golden {
    fn new(name: &str) -> Result<Self> {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/networks/summaries.json");
        let mut all: Value = serde_json::from_str(&std::fs::read_to_string(path)?).map_err(Error::msg)?;
        Ok(Self(all[name].take()))
    }

    fn shape(&self) -> Result<Vec<usize>> {
        serde_json::from_value(self.0["shape"].clone()).map_err(Error::msg)
    }

    fn leaves(&self) -> Result<Vec<Leaf>> {
        serde_json::from_value(self.0["leaves"].clone()).map_err(Error::msg)
    }

    fn number(&self, key: &str) -> u64 {
        self.0[key].as_u64().unwrap_or_else(|| panic!("expected a number for the key {key}"))
    }
}

/// Returns the layers that have parameters but no layers in them.
fn leaves(summary: &Summary) -> impl Iterator<Item = &LayerSummary> {
    let is_leaf = |(i, layer): &(usize, &LayerSummary)| {
        layer.parameters > 0 && summary.layers.get(i + 1).is_none_or(|next| next.depth <= layer.depth)
    };
    summary.layers.iter().enumerate().filter(is_leaf).map(|(_, layer)| layer)
}

/// Returns torchinfo's number of multiply-adds: it multiplies the parameters of each layer by the number of output
/// pixels of a convolution, or else by the batch size.
fn torchinfo_multiply_adds(summary: &Summary) -> u64 {
    let counts = leaves(summary).map(|layer| {
        let shape = layer.output_shape.as_deref().unwrap_or_default();
        let pixels = if layer.kind.contains("Conv") { shape[2..].iter().product() } else { 1 };
        layer.calls * layer.parameters * shape[0] * pixels
    });
    counts.sum::<usize>() as u64
}

/// Checks the summary of a network for an input without numbers.
fn check<C>(name: &str, config: C) -> Result<()>
where
    C: Config,
    C::Output: Forward<Signal, Output: IntoTensors>,
{
    let network = checked_network(name, config)?;
    let golden = Golden::new(name)?;
    let golden_leaves = golden.leaves()?;
    let summary = network.summary(Signal::meta(golden.shape()?, DType::F32))?;
    let layers: HashMap<&str, _> = summary.layers.iter().map(|layer| (layer.path.as_str(), layer)).collect();
    for (path, class, shape, parameters) in &golden_leaves {
        // Activations and pooling layers of PyTorch are functions here, except in `Sequential`.
        let Some(layer) = layers.get(path.as_str()) else {
            assert_eq!(*parameters, 0, "{name}: {path} {class}");
            continue;
        };
        assert_eq!(layer.output_shape.as_ref(), Some(shape), "{name}: {path} {class}");
        assert_eq!(layer.parameters, *parameters, "{name}: {path} {class}");
    }
    let with_parameters = golden_leaves.iter().filter(|leaf| leaf.3 > 0).count();
    assert_eq!(leaves(&summary).count(), with_parameters, "{name}");

    assert_eq!(summary.parameter_bytes, 4 * golden.number("params"), "{name}");
    let totals = [
        (summary.parameters as u64, "params"),
        (summary.trainable_parameters as u64, "trainable"),
        // torchinfo leaves out the parameters of layers with other layers in them, such as ConvNeXt's scales.
        (4 * leaves(&summary).map(|layer| layer.parameters as u64).sum::<u64>(), "param_bytes"),
        (torchinfo_multiply_adds(&summary), "mult_adds"),
        (summary.multiply_adds, "operators"),
        (summary.activation_bytes * 2, "output_bytes"),
        // torchinfo adds the size of the Python object of the input.
        (summary.input_bytes + 64, "input_bytes"),
    ];
    for (total, key) in totals {
        assert_eq!(total, golden.number(key), "{name}: {key}");
    }
    Ok(())
}

#[test]
fn residual_networks_agree_with_torchinfo() -> Result<()> {
    check("resnet18", resnet::resnet18())?;
    check("resnet50", resnet::resnet50())
}

#[test]
fn mobile_networks_agree_with_torchinfo() -> Result<()> {
    check("mobilenet_v2", mobilenet::mobilenet_v2())?;
    check("efficientnet_b0", efficientnet::efficientnet_b0())
}

#[test]
fn networks_with_branches_agree_with_torchinfo() -> Result<()> {
    check("densenet121", densenet::densenet121())?;
    check("googlenet", googlenet::googlenet().aux_logits(false))
}

#[test]
fn vgg16_agrees_with_torchinfo() -> Result<()> {
    check("vgg16_bn", vgg::vgg16_bn())
}

#[test]
fn convnext_agrees_with_torchinfo() -> Result<()> {
    check("convnext_tiny", convnext::convnext_tiny())
}

#[test]
fn an_input_with_numbers_has_the_same_summary() -> Result<()> {
    let compare = |network: resnet::ResNet| -> Result<()> {
        let shape = (2, 3, 64, 48);
        let with_shape = network.summary(Signal::meta(shape, DType::F32))?;
        let before = network.deep_clone()?.state_dict();
        let with_numbers = network.summary(Signal::from(Tensor::ones(shape, DType::F32, &Device::Cpu)?))?;
        assert_eq!(with_shape, without_fusion(with_numbers));
        for ((name, before), (_, after)) in before.iter().zip(network.state_dict().iter()) {
            let difference =
                (before.to_dtype(DType::F64)? - after.to_dtype(DType::F64)?)?.abs()?.sum_all()?;
            assert_eq!(difference.to_scalar::<f64>()?, 0., "{name}");
        }
        Ok(())
    };
    compare(checked_network("resnet18", resnet::resnet18())?)?;
    compare(checked_network("resnet18", resnet::resnet18())?.inference()?)
}

#[test]
fn a_wrong_shape_has_the_error_of_a_run() -> Result<()> {
    let network = checked_network("resnet18", resnet::resnet18())?;
    let wrong = (1, 4, 64, 64);
    let error = network.summary(Signal::meta(wrong, DType::F32)).unwrap_err();
    let expected = network.forward(Tensor::ones(wrong, DType::F32, &Device::Cpu)?).unwrap_err();
    assert_eq!(error.path(), "ResNet.backbone.conv1");
    assert_eq!(error.to_string(), expected.to_string());
    Ok(())
}

/// Each network in both layouts: with `inference`, activations are channel-blocked and fused across layers.
#[test]
fn fused_and_blocked_networks_have_the_same_summary() -> Result<()> {
    fn compare<C>(name: &str, config: C) -> Result<()>
    where
        C: Config,
        C::Output: Forward<Signal, Output: IntoTensors>,
    {
        let network = checked_network(name, config)?.inference()?;
        let shape = (1, 3, 64, 64);
        let with_numbers = network.summary(Signal::from(Tensor::ones(shape, DType::F32, &Device::Cpu)?))?;
        // ConvNeXt's activations are functions, which have no rows.
        let is_fused = with_numbers.layers.iter().any(|layer| layer.fused_into.is_some());
        assert_eq!(is_fused, name != "convnext_tiny", "{name}");
        let with_shape = network.summary(Signal::meta(shape, DType::F32))?;
        assert_eq!(with_shape, without_fusion(with_numbers), "{name}");
        Ok(())
    }
    compare("mobilenet_v2", mobilenet::mobilenet_v2())?;
    compare("densenet121", densenet::densenet121())?;
    compare("googlenet", googlenet::googlenet().aux_logits(false))?;
    compare("efficientnet_b0", efficientnet::efficientnet_b0())?;
    compare("convnext_tiny", convnext::convnext_tiny())
}
