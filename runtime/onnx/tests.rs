//! The structure of exported models.

use std::fs;
use std::path::Path;

use prost::Message;

use crate::prelude::*;

use super::{OnnxOptions, proto};

/// Exports a network to `directory` and reads the model.
fn model<M>(network: &M, directory: &Path, input: Signal, options: OnnxOptions) -> Result<proto::Graph>
where
    M: Forward<Signal, Output = Signal> + Network,
{
    let path = directory.join("net.onnx");
    network.export_onnx_with(&path, input, options)?;
    let model = proto::Model::decode(&fs::read(path)?[..]).map_err(|error| Error::msg(error.to_string()))?;
    assert_eq!(model.ir_version, Some(proto::IR_VERSION));
    assert_eq!(model.opset_import[0].version, Some(proto::OPSET));
    Ok(model.graph.expect("a model has a graph"))
}

#[derive(Module)]
#[module(forward = |x| fc(flatten(relu(norm(conv(x))), 1)))]
struct Net {
    #[layer(1, 2, 3, stride = 2, padding = 1)]
    conv: Conv2d,
    #[layer(2, eps = 1e-3)]
    norm: BatchNorm2d,
    #[layer(2 * 4 * 4, 3)]
    fc: Linear,
}

fn images() -> Signal {
    Signal::symbolic(("batch", 1, 8, 8), DType::F32)
}

/// Returns the names of the sizes of an input or output, or the sizes themselves.
fn sizes(value: &proto::ValueInfo) -> Vec<String> {
    let shape = value.r#type.as_ref().and_then(|kind| kind.tensor_type.as_ref()?.shape.as_ref());
    let dims = &shape.expect("a value has a shape").dim;
    dims.iter()
        .map(|dim| dim.dim_param.clone().unwrap_or_else(|| dim.dim_value.unwrap_or(-1).to_string()))
        .collect()
}

#[test]
fn a_model_has_the_operations_and_the_parameters_of_the_network() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let net = Net::new(&Device::Cpu)?;
    let graph = model(&net, directory.path(), images(), OnnxOptions::default())?;
    let types: Vec<_> = graph.node.iter().map(|node| node.op_type.as_deref().unwrap_or_default()).collect();
    assert_eq!(types, ["Conv", "BatchNormalization", "Relu", "Reshape", "Gemm"]);
    assert_eq!(graph.node[0].name.as_deref(), Some("Net.conv/Conv"));
    assert_eq!(graph.node[0].input, ["input", "conv.weight", "conv.bias"]);
    let pads = graph.node[0].attribute.iter().find(|attribute| attribute.name.as_deref() == Some("pads"));
    assert_eq!(pads.map(|pads| &pads.ints[..]), Some(&[1; 4][..]));

    assert_eq!(sizes(&graph.input[0]), ["batch", "1", "8", "8"]);
    assert_eq!(sizes(&graph.output[0]), ["batch", "3"]);
    assert_eq!(graph.output[0].name.as_deref(), Some("output"));

    for (name, tensor) in net.state_dict().iter().filter(|(name, _)| !name.ends_with("num_batches_tracked")) {
        let found = graph.initializer.iter().find(|initializer| initializer.name.as_deref() == Some(name));
        let found = found.unwrap_or_else(|| panic!("{name} should be in the model"));
        assert_eq!(found.dims, tensor.dims().iter().map(|size| *size as i64).collect::<Vec<_>>());
        assert_eq!(found.raw_data, Some(bytes(tensor)?));
    }
    Ok(())
}

/// Returns the numbers of an f32 tensor, little-endian.
fn bytes(tensor: &Tensor) -> Result<Vec<u8>> {
    let numbers = tensor.flatten_all()?.to_vec1::<f32>()?;
    Ok(numbers.into_iter().flat_map(f32::to_le_bytes).collect())
}

#[test]
fn inputs_without_names_have_fixed_sizes() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let net = Net::new(&Device::Cpu)?;
    let graph =
        model(&net, directory.path(), Signal::meta((7, 1, 8, 8), DType::F32), OnnxOptions::default())?;
    assert_eq!(sizes(&graph.input[0]), ["7", "1", "8", "8"]);
    assert_eq!(sizes(&graph.output[0]), ["7", "3"]);
    Ok(())
}

#[test]
fn large_weights_are_in_a_file_of_their_own() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let layers = vec![Linear::config(32, 64).init(&Device::Cpu)?, Linear::config(64, 16).init(&Device::Cpu)?];
    let vectors = Signal::symbolic(("batch", 32), DType::F32);
    let options = OnnxOptions::default().max_inline_bytes(4096);
    let graph = model(&layers, directory.path(), vectors, options)?;
    let data = fs::read(directory.path().join("net.onnx.data"))?;
    let mut end = 0;
    for initializer in &graph.initializer {
        let name = initializer.name.as_deref().unwrap_or_default();
        if name.ends_with("bias") {
            assert!(initializer.raw_data.is_some() && initializer.external_data.is_empty(), "{name}");
            continue;
        }
        assert_eq!((initializer.data_location, &initializer.raw_data), (Some(proto::EXTERNAL), &None));
        let entry = |key: &str| {
            let entry = initializer.external_data.iter().find(|entry| entry.key.as_deref() == Some(key));
            entry.and_then(|entry| entry.value.clone()).unwrap_or_default()
        };
        assert_eq!((entry("location"), entry("offset")), ("net.onnx.data".to_string(), end.to_string()));
        let start = end;
        end += entry("length").parse::<usize>().expect("a length");
        let weight = layers.state_dict();
        let (_, weight) = weight.iter().find(|(path, _)| *path == name).expect("a weight");
        assert_eq!(data[start..end], bytes(weight)?);
    }
    assert_eq!((end, data.len()), (4 * (32 * 64 + 64 * 16), end));
    Ok(())
}

#[derive(Module)]
#[module(forward = |x| head(norm(embedding(x))))]
struct Tied {
    #[layer(10, 4)]
    embedding: Embedding,
    #[layer(4)]
    norm: LayerNorm,
    #[layer(4, 10, bias = false)]
    #[module(tie = "embedding.weight")]
    head: Linear,
}

#[test]
fn a_tied_parameter_is_stored_once() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let net = Tied::new(&Device::Cpu)?;
    let ids = Signal::symbolic(("batch", 3), DType::I64);
    let graph = model(&net, directory.path(), ids, OnnxOptions::default())?;
    let names: Vec<_> = graph.initializer.iter().filter_map(|tensor| tensor.name.as_deref()).collect();
    assert_eq!(names, ["embedding.weight", "norm.weight", "norm.bias"]);
    Ok(())
}

#[derive(Module)]
#[module(forward = |x| dropout(x, 0.5, Mode::Train))]
struct AlwaysDrops {}

#[test]
fn layers_in_training_mode_cannot_be_exported() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let error = model(&AlwaysDrops {}, directory.path(), images(), OnnxOptions::default()).unwrap_err();
    assert!(error.to_string().contains("the operation `dropout` cannot be exported"), "{error}");
    Ok(())
}

#[derive(Module)]
#[module(forward = |x| x * input + output)]
struct ReservedNames {
    #[param(4, init = ones)]
    input: Tensor,
    #[param(4, init = zeros)]
    output: Tensor,
}

#[test]
fn names_are_unique() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let net = ReservedNames::new(&Device::Cpu)?;
    let vectors = Signal::symbolic(("batch", 4), DType::F32);
    let graph = model(&net, directory.path(), vectors, OnnxOptions::default())?;
    assert_eq!(graph.node[0].input, ["input_2", "input"]);
    assert_eq!(graph.node[1].input[1], "output");
    assert_eq!(graph.node[1].output, ["output_2"]);
    assert_eq!(
        [&graph.input[0], &graph.output[0]].map(|value| value.name.as_deref().unwrap()),
        ["input_2", "output_2"]
    );
    Ok(())
}
