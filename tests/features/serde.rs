//! The feature `serde`: configs in JSON, as in the `config.json` of a model on the hub.

use sconce::prelude::*;

#[derive(Module)]
#[module(
    args(channels: usize, widths: [usize; 2], stride: usize = 2, classes: usize = 4 * widths[1]),
    forward = |x| head(flatten(conv2(relu(conv1(x))), 1)),
)]
struct Small {
    #[layer(channels, widths[0], 3, stride = stride)]
    conv1: Conv2d,
    #[layer(widths[0], widths[1], 3)]
    conv2: Conv2d,
    #[layer(widths[1] * 25, classes)]
    head: Linear,
}

#[test]
fn a_config_round_trips_through_json() -> Result<()> {
    let config = Small::config(3, [4, 8]).classes(7);
    let json = serde_json::to_string(&config).map_err(Error::msg)?;
    let read: SmallConfig = serde_json::from_str(&json).map_err(Error::msg)?;
    let network = read.init(&Device::Cpu)?;
    let x = Tensor::zeros((1, 3, 15, 15), DType::F32, &Device::Cpu)?;
    assert_eq!(network.forward(&x)?.dims(), [1, 7]);
    Ok(())
}

#[test]
fn missing_optional_arguments_get_their_default() -> Result<()> {
    let read: SmallConfig =
        serde_json::from_str(r#"{"channels": 1, "widths": [2, 5]}"#).map_err(Error::msg)?;
    assert_eq!(read.init(&Device::Cpu)?.named_parameters()[4].1.dims(), [20, 125]);
    Ok(())
}

#[test]
fn the_error_names_a_missing_required_argument() {
    let error = serde_json::from_str::<SmallConfig>(r#"{"channels": 1}"#).map(|_| ()).unwrap_err();
    assert!(error.to_string().contains("widths"), "{error}");
}

#[derive(Module)]
#[module(args(width: W, bias: bool = true), forward = |x| head(x))]
struct Generic<W: Into<usize> + Clone> {
    #[layer(4, width.clone().into(), bias = bias)]
    head: Linear,
    #[module(skip = width)]
    width: W,
}

#[test]
fn a_generic_config_round_trips_through_json() -> Result<()> {
    let json = r#"{"width":6,"bias":false}"#;
    let read: GenericConfig<u8> = serde_json::from_str(json).map_err(Error::msg)?;
    assert_eq!(serde_json::to_string(&read).map_err(Error::msg)?, json);
    let network = read.init(&Device::Cpu)?;
    assert_eq!((network.width, network.named_parameters().len()), (6, 1));
    Ok(())
}

#[test]
fn a_summary_is_written_as_json() -> Result<()> {
    let summary =
        Small::config(3, [4, 8]).init(&Device::Cpu)?.summary(Signal::meta((1, 3, 15, 15), DType::F32))?;
    let json = serde_json::to_value(&summary).map_err(Error::msg)?;
    let conv = &json["layers"][1];
    assert_eq!((conv["path"].as_str(), conv["kind"].as_str()), (Some("conv1"), Some("Conv2d")));
    assert_eq!(conv["output_shape"], serde_json::json!([1, 4, 7, 7]));
    assert_eq!(conv["multiply_adds"], serde_json::json!(4 * 7 * 7 * 3 * 9));
    assert_eq!(json["parameters"].as_u64(), Some(summary.parameters as u64));
    Ok(())
}

#[test]
fn a_profile_is_written_as_json() -> Result<()> {
    let x = Tensor::zeros((1, 3, 15, 15), DType::F32, &Device::Cpu)?;
    let profile = Small::config(3, [4, 8]).init(&Device::Cpu)?.profile(Signal::from(x))?;
    let json = serde_json::to_value(&profile).map_err(Error::msg)?;
    let launch = &json["launches"][0];
    assert_eq!(launch["path"].as_str(), Some("Small.conv1"));
    assert_eq!(launch["operations"].as_str(), Some("conv2d + bias + relu"));
    assert_eq!(launch["multiply_adds"], serde_json::json!(4 * 7 * 7 * 3 * 9));
    assert_eq!(launch["milliseconds"].as_f64(), Some(profile.launches[0].milliseconds));
    assert_eq!(json["runs"].as_u64(), Some(9));
    Ok(())
}

#[test]
fn a_graph_is_written_with_its_reasons() -> Result<()> {
    let linear = vec![Linear::config(4, 8).init(&Device::Cpu)?];
    let x = Signal::from(Tensor::zeros((2, 4), DType::F32, &Device::Cpu)?);
    let mut json = serde_json::to_value(linear.graph(x)?).map_err(Error::msg)?;
    let expected = serde_json::json!({
        "network": "Sequential",
        "nodes": [
            {
                "operation": "input", "path": "Sequential", "layer": "", "output_shapes": [[2, 4]],
                "output_dtypes": ["f32"], "launches": [], "not_fused": null,
            },
            {
                "operation": "linear", "path": "Sequential[0]", "layer": "Linear", "output_shapes": [[2, 8]],
                "output_dtypes": ["f32"], "launches": [0], "not_fused": null,
            },
            {
                "operation": "output", "path": "Sequential", "layer": "", "output_shapes": [], "output_dtypes": [],
                "launches": [], "not_fused": null,
            },
        ],
        "edges": [{ "from": 0, "to": 1, "shape": [2, 4] }, { "from": 1, "to": 2, "shape": [2, 8] }],
        "launches": [
            { "path": "Sequential[0]", "operations": "linear + bias", "nodes": [1], "changes_layout": false },
        ],
    });
    assert_eq!(json, expected);
    let graph = Gelu.graph(Signal::from(Tensor::zeros(2, DType::F32, &Device::Cpu)?))?;
    json = serde_json::to_value(graph).map_err(Error::msg)?;
    let message = "its input is an input of the network, into which no operation is fused";
    assert_eq!(
        json["nodes"][1]["not_fused"],
        serde_json::json!({ "kind": "no_producer", "message": message })
    );
    Ok(())
}

#[derive(Module)]
#[module(forward = |x| gelu(x))]
struct Gelu;
