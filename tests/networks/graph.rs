//! `Network::graph`: the launches of published networks against those of `sconce::trace`, a separate record.

use std::collections::HashMap;

use sconce::prelude::*;
use sconce::{Graph, NotFusedKind};

use crate::networks::mobilenet::mobilenet_v2;
use crate::networks::mobilenet_v3::mobilenet_v3_small;
use crate::networks::resnet::resnet18;
use crate::networks::vit::VisionTransformer;

/// Builds a network for inference, and returns its graph for a random image. Checks the launches against a trace.
fn graph<C>(config: C, size: usize) -> Result<Graph>
where
    C: Config,
    C::Output: Forward<Signal, Output = Signal>,
{
    let network = config.init(&Device::Cpu)?.inference()?;
    let x = Signal::from(Tensor::randn(0f32, 1., (1, 3, size, size), &Device::Cpu)?);
    let graph = network.graph(x.clone())?;
    let (output, launches) = sconce::trace(|| network.call(x, Mode::Eval).into_tensor());
    let output = output?;
    let traced: Vec<_> = launches.iter().map(|launch| launch.operations.as_str()).collect();
    let recorded: Vec<_> = graph.launches.iter().map(|launch| launch.operations.as_str()).collect();
    assert_eq!(recorded, traced);
    for (launch, traced) in graph.launches.iter().zip(&launches) {
        // Without a network around it, `call` does not add the name of the network to the path.
        assert!(launch.path.ends_with(&traced.path), "{} is not {}", launch.path, traced.path);
        assert_eq!(launch.changes_layout, traced.changes_layout());
    }
    check_launches(&graph);
    check_edges(&graph);
    let output_shape = graph.edges.iter().find(|edge| graph.nodes[edge.to].operation == "output");
    assert_eq!(output_shape.map(|edge| &edge.shape[..]), Some(output.dims()));
    Ok(graph)
}

/// Checks that each launch computes the operations in its name, in their order.
fn check_launches(graph: &Graph) {
    for launch in graph.launches.iter().filter(|launch| !launch.changes_layout) {
        let mut names: Vec<&str> = launch.operations.split(" + ").filter(|name| *name != "bias").collect();
        names.iter_mut().filter(|name| **name == "residual").for_each(|name| *name = "add");
        let nodes = launch.nodes.iter().map(|&node| graph.nodes[node].operation.as_str());
        let nodes: Vec<&str> = nodes.collect();
        // The projections of attention are launches in its launch.
        let is_projection = nodes == ["multi_head_attention"] && names == ["linear"];
        assert!(is_projection || nodes == names, "{}: {names:?} is not {nodes:?}", launch.path);
    }
}

/// Checks that all values come from earlier nodes, and that all operations read something.
fn check_edges(graph: &Graph) {
    let mut operands = HashMap::new();
    for edge in &graph.edges {
        assert!(edge.from < edge.to);
        assert!(graph.nodes[edge.from].output_shapes.contains(&edge.shape));
        *operands.entry(edge.to).or_insert(0) += 1;
    }
    for (i, node) in graph.nodes.iter().enumerate() {
        let expected = match node.operation.as_str() {
            "input" | "parameter" => 0,
            "add" | "multiply" | "cat" => 2,
            "multi_head_attention" => 3,
            _ => 1,
        };
        assert_eq!(operands.get(&i).copied().unwrap_or(0), expected, "{} at {}", node.operation, node.path);
    }
}

/// Returns the number of operations that were not fused, by their name and the reason.
fn count_not_fused(graph: &Graph) -> HashMap<(&str, NotFusedKind), usize> {
    let mut counts = HashMap::new();
    for (node, reason) in graph.not_fused() {
        *counts.entry((node.operation.as_str(), reason.kind)).or_insert(0) += 1;
    }
    counts
}

#[test]
fn resnet18_is_fused() -> Result<()> {
    let graph = graph(resnet18(), 64)?;
    assert_eq!(
        count_not_fused(&graph),
        HashMap::from([(("adaptive_avg_pool2d", NotFusedKind::UnfusedPooling), 1)])
    );
    // All 20 convolutions, the average pooling, `flatten` and the linear layer.
    assert_eq!(graph.launches.len(), 23);
    Ok(())
}

#[test]
fn depthwise_convolutions_of_mobilenet_v2_are_fused() -> Result<()> {
    let graph = graph(mobilenet_v2(), 64)?;
    assert_eq!(
        count_not_fused(&graph),
        HashMap::from([(("adaptive_avg_pool2d", NotFusedKind::UnfusedPooling), 1)])
    );
    Ok(())
}

#[test]
fn squeeze_and_excitation_has_operations_that_are_not_fused() -> Result<()> {
    let graph = graph(mobilenet_v3_small(), 64)?;
    // Nine blocks have squeeze and excitation, and eight have depthwise convolutions with 5×5 kernels.
    assert_eq!(
        count_not_fused(&graph),
        HashMap::from([
            (("adaptive_avg_pool2d", NotFusedKind::UnfusedPooling), 10),
            (("hardsigmoid", NotFusedKind::UnfusedActivation), 9),
            (("conv2d", NotFusedKind::UnsupportedDepthwise), 8),
        ])
    );
    Ok(())
}

#[test]
fn a_transformer_has_additions_that_are_not_fused() -> Result<()> {
    let graph = graph(VisionTransformer::config(32, 8, 2, 4, 32, 64).classes(10), 32)?;
    // The position embeddings, and the two additions of each of two blocks.
    assert_eq!(
        count_not_fused(&graph),
        HashMap::from([
            (("add", NotFusedKind::NoProducer), 3),
            (("add", NotFusedKind::UnsupportedByKernel), 2),
        ])
    );
    let parameters = graph.nodes.iter().filter(|node| node.operation == "parameter");
    let paths: Vec<&str> = parameters.map(|node| node.path.as_str()).collect();
    assert_eq!(paths, ["VisionTransformer.class_token", "VisionTransformer.encoder.pos_embedding"]);
    Ok(())
}
