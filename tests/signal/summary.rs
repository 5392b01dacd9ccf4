//! `Network::summary`: multiply-adds against PyTorch's, calls, shared and renamed layers, and the printed table.

use std::sync::Arc;

use proptest::prelude::*;
use sconce::prelude::*;
use sconce::{IntoTensors, LayerSummary, Summary, SummaryInput};
use serde_json::Value;

use crate::common::config;
use crate::without_fusion::without_fusion;

fn meta(dims: &[usize]) -> Signal {
    Signal::meta(dims, DType::F32)
}

/// Returns random numbers of the shape of a signal.
fn with_numbers(x: &Signal) -> Result<Signal> {
    Ok(Tensor::randn(0f32, 1., x.shape()?, &Device::Cpu)?.into())
}

fn layer<'a>(summary: &'a Summary, path: &str) -> &'a LayerSummary {
    let found = summary.layers.iter().find(|layer| layer.path == path);
    found.unwrap_or_else(|| panic!("expected a layer {path} in\n{summary}"))
}

#[derive(Module)]
#[module(forward = |a, b, _c| a.matmul(b))]
struct Matmul {}

#[derive(Module)]
#[module(forward = |q, k, v| scaled_dot_product_attention(q, k, v, None))]
struct DotProduct {}

#[derive(Module)]
#[module(args(width: usize, heads: usize), forward = |q, k, v| attention(q, k, v).0)]
struct Attention {
    #[layer(width, heads, need_weights = true)]
    attention: MultiheadAttention,
}

#[derive(Module)]
#[module(args(input: usize, hidden: usize), forward = |x| lstm(x).0)]
struct Lstm {
    #[layer(input, hidden, num_layers = 2, bidirectional = true)]
    lstm: LSTM,
}

#[derive(Module)]
#[module(args(input: usize, hidden: usize), forward = |x| gru(x).0)]
struct Gru {
    #[layer(input, hidden, num_layers = 2, bidirectional = true)]
    gru: GRU,
}

#[derive(Module)]
#[module(args(input: usize, hidden: usize), forward = |x| rnn(x).0)]
struct Rnn {
    #[layer(input, hidden, num_layers = 2, bidirectional = true)]
    rnn: RNN,
}

#[derive(Module)]
#[module(args(input: usize, hidden: usize), forward = |x| cell(x).0)]
struct Cell {
    #[layer(input, hidden)]
    cell: LSTMCell,
}

/// Returns the multiply-adds of a network on inputs of these shapes. They are the same with and without numbers.
fn count<M: Forward<Signal, Output: IntoTensors>>(network: M, x: &[usize]) -> Result<u64> {
    let summary = network.summary(meta(x))?;
    assert_eq!(network.summary(with_numbers(&meta(x))?)?, summary);
    Ok(summary.multiply_adds)
}

fn count3<M>(network: M, shapes: &[Vec<usize>]) -> Result<u64>
where
    M: Forward<(Signal, Signal, Signal), Output: IntoTensors>,
{
    let [x, y, z] = [0, 1, 2].map(|i| meta(shapes.get(i).map_or(&[1], Vec::as_slice)));
    let numbers = (with_numbers(&x)?, with_numbers(&y)?, with_numbers(&z)?);
    let summary = network.summary((x, y, z))?;
    assert_eq!(network.summary(numbers)?, summary);
    Ok(summary.multiply_adds)
}

/// The layer, its arguments, the shapes of its inputs and the multiply-adds.
type Case = (String, Vec<usize>, Vec<Vec<usize>>, u64);

#[test]
fn multiply_adds_agree_with_pytorch() -> Result<()> {
    let device = &Device::Cpu;
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/networks/layer_products.json");
    let cases: Value = serde_json::from_str(&std::fs::read_to_string(path)?).map_err(Error::msg)?;
    let cases: Vec<Case> = serde_json::from_value(cases).map_err(Error::msg)?;
    for (name, a, shapes, expected) in &cases {
        let x = &shapes[0];
        let found = match (name.as_str(), &a[..]) {
            ("Linear", &[i, o]) => count(Linear::config(i, o).init(device)?, x)?,
            ("Conv1d", &[i, o, k]) => count(Conv1d::config(i, o, k).init(device)?, x)?,
            ("Conv2d", &[i, o, k, groups]) => count(Conv2d::config(i, o, k).groups(groups).init(device)?, x)?,
            ("Conv3d", &[i, o, k]) => count(Conv3d::config(i, o, k).init(device)?, x)?,
            ("ConvTranspose2d", &[i, o, k, stride]) => {
                count(ConvTranspose2d::config(i, o, k).stride(stride).init(device)?, x)?
            }
            ("LSTM", &[i, h]) => count(Lstm::config(i, h).init(device)?, x)?,
            ("GRU", &[i, h]) => count(Gru::config(i, h).init(device)?, x)?,
            ("RNN", &[i, h]) => count(Rnn::config(i, h).init(device)?, x)?,
            ("LSTMCell", &[i, h]) => count(Cell::config(i, h).init(device)?, x)?,
            ("MultiheadAttention", &[width, heads]) => {
                count3(Attention::config(width, heads).init(device)?, shapes)?
            }
            ("matmul", []) => count3(Matmul::new(device)?, shapes)?,
            ("attention", []) => count3(DotProduct::new(device)?, shapes)?,
            other => panic!("no test for {other:?}"),
        };
        assert_eq!(found, *expected, "{name} {a:?} {shapes:?}");
    }
    Ok(())
}

#[test]
fn a_bilinear_map_counts_both_products() -> Result<()> {
    #[derive(Module)]
    #[module(forward = |x, y| bilinear(x, y))]
    struct Net {
        #[layer(3, 4, 5)]
        bilinear: Bilinear,
    }
    let summary = Net::new(&Device::Cpu)?.summary((meta(&[2, 7, 3]), meta(&[2, 7, 4])))?;
    // x1 · weight[o], then the inner products with x2.
    assert_eq!(summary.multiply_adds, 14 * 5 * (3 * 4 + 4));
    assert_eq!(summary.input_bytes, 4 * 14 * (3 + 4));
    Ok(())
}

#[derive(Module)]
#[module(forward = |x| norm(act(conv(x))))]
struct Block {
    #[layer(4, 4, 3, padding = 1)]
    conv: Conv2d,
    act: Relu,
    #[layer(4)]
    norm: BatchNorm2d,
}

#[derive(Module)]
#[module(forward = |x| {
    let mut x = absent(dropout(identity(x)));
    if mode.is_train() {
        x = unused(x);
    }
    for block in blocks {
        x = block(x);
    }
    let x = blocks[1](x);
    let x = max_pool2d(shared(shared_too(x)), 2);
    flatten(scale * x, 1)
})]
struct Net {
    identity: Identity,
    #[layer(0.5)]
    dropout: Dropout,
    #[layer(; for _ in 0..2)]
    #[module(rename = "layer{1..}")]
    blocks: Vec<Block>,
    #[layer(4, 4, 1)]
    #[module(rename = "tied")]
    shared: Arc<Conv2d>,
    #[layer(4, 4, 1)]
    shared_too: Arc<Conv2d>,
    #[layer(4, 2)]
    unused: Linear,
    #[layer(4, 2; if false)]
    absent: Option<Linear>,
    #[param(1)]
    scale: Tensor,
}

/// Returns a network whose first block is frozen.
fn net() -> Result<Net> {
    let mut net = Net::new(&Device::Cpu)?;
    net.freeze("layer1.**")?;
    net.shared_too = Arc::clone(&net.shared);
    Ok(net)
}

#[test]
fn layers_are_listed_once_with_all_their_calls() -> Result<()> {
    let net = net()?;
    let image = Some(vec![2, 4, 6, 6]);
    let summary = net.summary(meta(&[2, 4, 6, 6]))?;
    let paths: Vec<(&str, usize)> =
        summary.layers.iter().map(|layer| (layer.path.as_str(), layer.calls)).collect();
    let expected = [
        ("", 1),
        ("identity", 1),
        ("dropout", 1),
        ("layer1", 1),
        ("layer1.conv", 1),
        ("layer1.act", 1),
        ("layer1.norm", 1),
        ("layer2", 2),
        ("layer2.conv", 2),
        ("layer2.act", 2),
        ("layer2.norm", 2),
        ("tied", 2),
        ("unused", 0),
    ];
    assert_eq!(paths, expected);
    for path in ["identity", "dropout", "layer1", "layer2.act", "layer2.norm", "tied"] {
        let layer = layer(&summary, path);
        assert_eq!((&layer.input_shape, &layer.output_shape), (&image, &image), "{path}");
        assert_eq!(layer.output_bytes, layer.calls as u64 * 2 * 4 * 6 * 6 * 4, "{path}");
    }
    assert_eq!(layer(&summary, "").output_shape, Some(vec![2, 4 * 3 * 3]));
    assert_eq!(layer(&summary, "unused").output_shape, None);
    let pixels = 2 * 4 * 6 * 6;
    assert_eq!(layer(&summary, "layer1.conv").multiply_adds, pixels * 4 * 9);
    assert_eq!(layer(&summary, "layer2.conv").multiply_adds, 2 * pixels * 4 * 9);
    assert_eq!(layer(&summary, "tied").multiply_adds, 2 * pixels * 4);
    assert_eq!(summary.multiply_adds, pixels * (3 * 4 * 9 + 2 * 4));
    let block = 4 * 4 * 9 + 4 + 2 * 4;
    let others = 4 * 4 + 4 + (4 * 2 + 2) + 1;
    assert_eq!((summary.parameters, summary.trainable_parameters), (2 * block + others, block + others));
    assert_eq!(layer(&summary, "").parameters, 1);
    assert_eq!(layer(&summary, "layer1.conv").trainable_parameters, 0);
    assert_eq!(summary.parameter_bytes, 4 * summary.parameters as u64);
    // Two layers of each call of a block, and the two calls of the shared layer.
    assert_eq!(summary.activation_bytes, 4 * pixels * (3 * 2 + 2));
    assert_eq!(without_fusion(net.summary(with_numbers(&meta(&[2, 4, 6, 6]))?)?), summary);
    Ok(())
}

#[test]
fn a_summary_changes_nothing_and_ends_after_an_error() -> Result<()> {
    let net = net()?;
    let before = net.deep_clone()?.state_dict();
    let numbers = with_numbers(&meta(&[2, 4, 6, 6]))?;
    let summary = net.summary(numbers)?;
    let error = net.summary(meta(&[2, 3, 6, 6])).unwrap_err();
    let expected = net.forward(Tensor::ones((2, 3, 6, 6), DType::F32, &Device::Cpu)?).unwrap_err();
    assert_eq!(error.to_string(), expected.to_string());
    assert_eq!(error.path(), "Net.blocks[0].conv");
    assert_eq!(net.summary(meta(&[2, 4, 6, 6]))?, without_fusion(summary));
    for ((name, before), (_, after)) in before.iter().zip(net.state_dict().iter()) {
        let values = |tensor: &Tensor| tensor.to_dtype(DType::F64)?.flatten_all()?.to_vec1::<f64>();
        assert_eq!(values(before)?, values(after)?, "{name}");
    }
    Ok(())
}

#[test]
fn huge_shapes_saturate() -> Result<()> {
    let linear = Linear::config(4, 4).init(&Device::Cpu)?;
    let summary = linear.summary(meta(&[usize::MAX / 8, 4]))?;
    assert_eq!((summary.multiply_adds, summary.total_bytes()), (u64::MAX, u64::MAX));
    assert!(summary.to_string().contains("Total mult-adds (T)"));
    let summary = linear.summary(meta(&[usize::MAX / 4, 0, 4]))?;
    assert_eq!((summary.multiply_adds, summary.input_bytes), (0, 0));
    Ok(())
}

#[test]
fn networks_without_memory_for_parameters_have_the_same_summary() -> Result<()> {
    let config = || LSTM::config(4, 6).num_layers(2).bidirectional(true);
    let x = || meta(&[5, 2, 4]);
    assert_eq!(
        config().meta()?.summary(x())?.to_string(),
        config().init(&Device::Cpu)?.summary(x())?.to_string()
    );
    // A weight of 2⁶² bytes, and one whose size no number of 64 bits holds.
    let summary = Linear::config(1 << 30, 1 << 30).bias(false).meta()?.summary(meta(&[2, 1 << 30]))?;
    assert_eq!((summary.parameters, summary.trainable_parameters), (1 << 60, 1 << 60));
    let error =
        Linear::config(1 << 32, 1 << 32).meta().expect_err("the weight should be too large").to_string();
    assert!(error.contains("weight: the number of bytes of the shape [4294967296, 4294967296]"), "{error}");
    Ok(())
}

#[test]
fn a_config_is_checked_without_parameters() -> Result<()> {
    let linear = |inputs| Linear::config(inputs, 1 << 20);
    let output = linear(1 << 20).check((3, 1 << 20))?;
    assert_eq!((output.dims()?, output.is_meta()), (&[3, 1 << 20][..], true));
    let error = linear(4).check((3, 5)).expect_err("the input should not fit").to_string();
    assert_eq!(error, "at Linear (Linear 4→1048576): expected an input […, 4], found [3, 5]");
    let error = Conv2d::config(3, 4, 0).check((1, 3, 8, 8)).expect_err("the setting is invalid").to_string();
    assert!(error.contains("expected kernel_size of at least 1"), "{error}");
    Ok(())
}

#[test]
fn every_kind_of_input_is_counted() {
    fn bytes(input: impl SummaryInput) -> usize {
        let mut bytes = 0;
        input.for_each_signal(&mut |x| bytes += x.shape().map_or(0, |s| s.elem_count()));
        bytes
    }
    let x = || meta(&[2, 3]);
    let tensor = Tensor::zeros(5, DType::F32, &Device::Cpu).expect("five zeros fit into memory");
    assert_eq!(bytes((x(), Some(x()), None::<Signal>, vec![x(), x()], (1usize, 0.5, true), &tensor)), 29);
}

#[test]
fn the_table_has_the_layers_and_the_totals() -> Result<()> {
    let summary = net()?.summary(meta(&[2, 4, 6, 6]))?;
    let expected = "\
==================================================================================
Layer (type (name))                 Input Shape   Output Shape  Param #  Mult-Adds
==================================================================================
Net                                 [2, 4, 6, 6]  [2, 36]             1         --
├─Identity (identity)               [2, 4, 6, 6]  [2, 4, 6, 6]       --         --
├─Dropout (dropout)                 [2, 4, 6, 6]  [2, 4, 6, 6]       --         --
├─Block (layer1)                    [2, 4, 6, 6]  [2, 4, 6, 6]       --         --
│    ├─Conv2d (conv)                [2, 4, 6, 6]  [2, 4, 6, 6]    (148)     10,368
│    ├─ReLU (act)                   [2, 4, 6, 6]  [2, 4, 6, 6]       --         --
│    └─BatchNorm2d (norm)           [2, 4, 6, 6]  [2, 4, 6, 6]      (8)         --
├─Block (layer2), 2 calls           [2, 4, 6, 6]  [2, 4, 6, 6]       --         --
│    ├─Conv2d (conv), 2 calls       [2, 4, 6, 6]  [2, 4, 6, 6]      148     20,736
│    ├─ReLU (act), 2 calls          [2, 4, 6, 6]  [2, 4, 6, 6]       --         --
│    └─BatchNorm2d (norm), 2 calls  [2, 4, 6, 6]  [2, 4, 6, 6]        8         --
├─Conv2d (tied), 2 calls            [2, 4, 6, 6]  [2, 4, 6, 6]       20      2,304
└─Linear (unused)                   --            not called         10         --
==================================================================================
Total params: 343
Trainable params: 187
Non-trainable params: 156
Total mult-adds (k): 33.41
==================================================================================
Input size (MB): 0.00
Forward/backward pass size (MB): 0.02
Params size (MB): 0.00
Estimated Total Size (MB): 0.02
==================================================================================";
    assert_eq!(summary.to_string(), expected);

    let limited = summary.clone().depth(1);
    assert_eq!((&limited.layers, limited.total_bytes()), (&summary.layers, summary.total_bytes()));
    let rows = "\
Net                        [2, 4, 6, 6]  [2, 36]             1         --
├─Identity (identity)      [2, 4, 6, 6]  [2, 4, 6, 6]       --         --
├─Dropout (dropout)        [2, 4, 6, 6]  [2, 4, 6, 6]       --         --
├─Block (layer1)           [2, 4, 6, 6]  [2, 4, 6, 6]    (156)     10,368
├─Block (layer2), 2 calls  [2, 4, 6, 6]  [2, 4, 6, 6]      156     20,736
├─Conv2d (tied), 2 calls   [2, 4, 6, 6]  [2, 4, 6, 6]       20      2,304
└─Linear (unused)          --            not called         10         --";
    let text = limited.to_string();
    assert_eq!(text.lines().skip(3).take(7).collect::<Vec<_>>().join("\n"), rows);
    let totals =
        |text: &str| text.lines().filter(|line| line.contains(": ")).map(str::to_string).collect::<Vec<_>>();
    assert_eq!(totals(&text), totals(expected));
    let network = summary.depth(0).to_string();
    assert_eq!(
        network.lines().nth(3),
        Some("Net                  [2, 4, 6, 6]  [2, 36]           343     33,408")
    );
    Ok(())
}

#[test]
fn columns_are_selected_as_in_torchinfo() -> Result<()> {
    use sconce::SummaryColumn::*;
    let summary = net()?.summary(meta(&[2, 4, 6, 6]))?.depth(1);
    let table =
        summary.columns([OutputShape, Trainable, Parameters, OutputMegabytes, MultiplyAdds]).to_string();
    let expected = "\
Layer (type (name))        Output Shape  Trainable  Param #  Output (MB)  Mult-Adds
===================================================================================
Net                        [2, 36]       True             1         0.00         --
├─Identity (identity)      [2, 4, 6, 6]  --              --         0.00         --
├─Dropout (dropout)        [2, 4, 6, 6]  --              --         0.00         --
├─Block (layer1)           [2, 4, 6, 6]  False        (156)         0.00     10,368
├─Block (layer2), 2 calls  [2, 4, 6, 6]  True           156         0.00     20,736
├─Conv2d (tied), 2 calls   [2, 4, 6, 6]  True            20         0.00      2,304
└─Linear (unused)          not called    True            10           --         --";
    assert_eq!(table.lines().skip(1).take(9).collect::<Vec<_>>().join("\n"), expected);
    let network = net()?.summary(meta(&[20_000, 4, 6, 6]))?.depth(0).columns([Trainable, OutputMegabytes]);
    assert!(network.to_string().contains("Net                  Partial           2.88\n"), "{network}");
    Ok(())
}

/// A network may summarize another one in its forward pass.
#[test]
fn a_summary_in_a_forward_pass_has_the_paths_of_its_network() -> Result<()> {
    #[derive(Module)]
    #[module(forward = |x| -> Result<Signal> {
        let summary = block.summary(Signal::meta((1, 4, 2, 2), DType::F32))?;
        let inner = layer(&summary, "conv");
        assert_eq!((inner.calls, inner.multiply_adds), (1, 4 * 4 * 4 * 9));
        Ok(block(x))
    })]
    struct Outer {
        block: Block,
    }
    let outer = Outer::new(&Device::Cpu)?.summary(meta(&[1, 4, 6, 6]))?;
    assert_eq!(layer(&outer, "block.conv").multiply_adds, 36 * 4 * 4 * 9);
    assert_eq!(outer.multiply_adds, 36 * 4 * 4 * 9);
    Ok(())
}

#[test]
fn the_outputs_of_a_shared_layer_in_another_layer_count_once() -> Result<()> {
    #[derive(Module)]
    #[module(forward = |x| relu(conv(x)))]
    struct Inner {
        #[layer(4, 4, 1)]
        conv: Arc<Conv2d>,
    }
    #[derive(Module)]
    #[module(forward = |x| inner(conv(x)))]
    struct Outer {
        #[layer(4, 4, 1)]
        conv: Arc<Conv2d>,
        inner: Inner,
    }
    let mut net = Outer::new(&Device::Cpu)?;
    net.inner.conv = Arc::clone(&net.conv);
    let summary = net.summary(meta(&[1, 4, 3, 3]))?;
    let paths: Vec<&str> = summary.layers.iter().map(|layer| layer.path.as_str()).collect();
    assert_eq!(paths, ["", "conv", "inner"]);
    assert_eq!(summary.activation_bytes, 2 * 4 * 4 * 9);
    assert_eq!((summary.parameters, layer(&summary, "conv").parameters), (20, 20));
    Ok(())
}

#[derive(Module)]
#[module(
    args(channels: usize),
    forward = |x, depthwise: bool| {
        let y = stem(x);
        let y = if depthwise { act(norm(middle(y))) } else { pool(y) };
        act2(relu(last(y))).mean((2, 3))
    },
)]
struct Fused {
    #[layer(channels)]
    #[module(rename = "features.stem")]
    stem: Stem,
    #[layer(channels, channels, 3, groups = channels)]
    middle: Conv2d,
    #[layer(channels)]
    norm: BatchNorm2d,
    act: Relu,
    #[layer(2)]
    pool: MaxPool2d,
    #[layer(channels, channels, 1)]
    last: Conv2d,
    act2: Relu,
}

#[derive(Module)]
#[module(args(channels: usize), forward = |x| act(norm(dropout(conv(x)))))]
struct Stem {
    #[layer(3, channels, 3, padding = 1)]
    conv: Conv2d,
    #[layer(0.5)]
    dropout: Dropout,
    #[layer(channels)]
    norm: BatchNorm2d,
    act: Relu,
}

proptest! {
    #![proptest_config(config(20))]

    /// The fusions are those of the launches: a layer has its own launch or that of the layer in its row.
    #[test]
    fn layers_name_the_layer_in_whose_launch_they_ran(
        channels in 1usize..40,
        size in 4usize..24,
        depthwise in any::<bool>(),
        inference in any::<bool>(),
    ) {
        let network = Fused::config(channels).init(&Device::Cpu)?;
        let network = if inference { network.inference()? } else { network };
        let x = with_numbers(&meta(&[1, 3, size, size]))?;
        let summary = network.summary((x.clone(), depthwise))?;
        let (output, launches) = sconce::trace(|| network.call((x.clone(), depthwise), Mode::Eval).into_tensor());
        output?;
        let stem = launches.iter().find(|launch| launch.path == "stem.conv").expect("the stem has a launch");
        let is_pair = stem.operations.contains("max_pool2d") || stem.operations.matches("conv2d").count() == 2;
        let conv = Some("features.stem.conv");
        let consumer = if is_pair { conv } else { None };
        let consumer_norm = if is_pair { conv } else { Some("middle") };
        let expected = [
            ("", None),
            ("features.stem", None),
            ("features.stem.conv", None),
            // A dropout in evaluation computes nothing.
            ("features.stem.dropout", None),
            ("features.stem.norm", conv),
            ("features.stem.act", conv),
            ("middle", consumer.filter(|_| depthwise)),
            ("norm", consumer_norm.filter(|_| depthwise)),
            ("act", consumer_norm.filter(|_| depthwise)),
            ("pool", consumer.filter(|_| !depthwise)),
            ("last", None),
            // The activation before it is fused already.
            ("act2", None),
        ];
        let found = summary.layers.iter().map(|layer| (layer.path.as_str(), layer.fused_into.as_deref()));
        prop_assert_eq!(found.collect::<Vec<_>>(), expected);

        let separate = sconce::no_fusion(|| network.summary((x, depthwise)))?;
        prop_assert!(separate.layers.iter().all(|layer| layer.fused_into.is_none()));
        prop_assert_eq!(&separate, &network.summary((meta(&[1, 3, size, size]), depthwise))?);
        prop_assert_eq!(separate, without_fusion(summary));
    }
}

#[test]
fn the_table_shows_what_was_fused() -> Result<()> {
    let summary = net()?.summary(with_numbers(&meta(&[2, 4, 6, 6]))?)?;
    // No row of the network or of a block shows a fusion.
    assert!(!summary.clone().depth(1).to_string().contains("Fused Into"));
    let summary = summary.to_string();
    let rows = "\
Layer (type (name))                 Input Shape   Output Shape  Fused Into   Param #  Mult-Adds
===============================================================================================
Net                                 [2, 4, 6, 6]  [2, 36]       --                 1         --
├─Identity (identity)               [2, 4, 6, 6]  [2, 4, 6, 6]  --                --         --
├─Dropout (dropout)                 [2, 4, 6, 6]  [2, 4, 6, 6]  --                --         --
├─Block (layer1)                    [2, 4, 6, 6]  [2, 4, 6, 6]  --                --         --
│    ├─Conv2d (conv)                [2, 4, 6, 6]  [2, 4, 6, 6]  --             (148)     10,368
│    ├─ReLU (act)                   [2, 4, 6, 6]  [2, 4, 6, 6]  layer1.conv       --         --
│    └─BatchNorm2d (norm)           [2, 4, 6, 6]  [2, 4, 6, 6]  --               (8)         --
├─Block (layer2), 2 calls           [2, 4, 6, 6]  [2, 4, 6, 6]  --                --         --
│    ├─Conv2d (conv), 2 calls       [2, 4, 6, 6]  [2, 4, 6, 6]  --               148     20,736
│    ├─ReLU (act), 2 calls          [2, 4, 6, 6]  [2, 4, 6, 6]  layer2.conv       --         --
│    └─BatchNorm2d (norm), 2 calls  [2, 4, 6, 6]  [2, 4, 6, 6]  --                 8         --
├─Conv2d (tied), 2 calls            [2, 4, 6, 6]  [2, 4, 6, 6]  --                20      2,304
└─Linear (unused)                   --            not called    --                10         --";
    assert_eq!(summary.lines().skip(1).take(15).collect::<Vec<_>>().join("\n"), rows);
    Ok(())
}

/// The first operation of the network is fused into a convolution that is not a layer of the network.
#[test]
fn fusion_into_an_operation_outside_of_the_network_is_not_named() -> Result<()> {
    let x = Tensor::randn(0f32, 1., (1, 3, 8, 8), &Device::Cpu)?;
    let outside = Conv2d::config(3, 16, 3).init(&Device::Cpu)?;
    let network = vec![BatchNorm2d::config(16).init(&Device::Cpu)?].inference()?;
    let inside = network.summary(outside.call(x.into(), Mode::Eval))?;
    assert_eq!(inside.layers.iter().map(|layer| layer.fused_into.clone()).collect::<Vec<_>>(), [None, None]);
    Ok(())
}
