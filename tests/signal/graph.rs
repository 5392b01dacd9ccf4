//! `Network::graph`: the reasons why operations are not fused, the values between operations, and the drawings.

use std::collections::HashSet;

use sconce::prelude::*;
use sconce::{Graph, IntoTensors, NotFusedKind, SummaryInput};

fn random(dims: &[usize]) -> Result<Signal> {
    Ok(Tensor::randn(0f32, 1., dims, &Device::Cpu)?.into())
}

/// Returns the graph of a network. Checks that its launches are those of a trace.
fn graph<I, M>(network: &M, input: I) -> Result<Graph>
where
    I: SummaryInput + Clone,
    M: Forward<I, Output: IntoTensors>,
{
    let graph = network.graph(input.clone())?;
    let (output, launches) = sconce::trace(|| network.call(input, Mode::Eval).into_tensors());
    output?;
    let operations: Vec<_> = graph.launches.iter().map(|launch| launch.operations.as_str()).collect();
    assert_eq!(operations, launches.iter().map(|launch| launch.operations.as_str()).collect::<Vec<_>>());
    Ok(graph)
}

/// A forward pass with the layers of [`Net`].
type Body = fn(&Conv2d, &Conv2d, &BatchNorm2d, &Linear, Signal) -> Signal;

/// A network whose forward pass is an argument.
#[derive(Module)]
#[module(
    args(
        body: Body,
        channels: usize = 16,
        groups: usize = 1,
        padding: usize = 1,
        depthwise_kernel: usize = 3,
        track: bool = true,
    ),
    forward = |x| body(conv, depthwise, norm, head, x),
)]
struct Net {
    #[layer(channels, channels, 3, padding = padding, groups = groups)]
    conv: Conv2d,
    #[layer(channels, channels, depthwise_kernel, padding = depthwise_kernel / 2, groups = channels)]
    depthwise: Conv2d,
    #[layer(channels, track_running_stats = track)]
    norm: BatchNorm2d,
    #[layer(8, 8)]
    head: Linear,
    #[module(skip = body)]
    body: Body,
}

/// Returns the operations that were not fused, with the kinds of the reasons and their messages.
fn reasons(network: &Net, x: Signal) -> Result<Vec<(String, NotFusedKind, String)>> {
    let graph = graph(network, x)?;
    let reasons = graph.not_fused();
    Ok(reasons.map(|(node, reason)| (node.operation.clone(), reason.kind, reason.to_string())).collect())
}

/// A network that causes one reason.
struct Case {
    kind: NotFusedKind,
    /// The operation that is not fused.
    operation: &'static str,
    message: &'static str,
    config: NetConfig,
    /// Makes the network with the config.
    build: fn(NetConfig) -> Result<Net>,
    input: [usize; 4],
}

impl Case {
    fn new(kind: NotFusedKind, operation: &'static str, message: &'static str, body: Body) -> Self {
        let build = |config: NetConfig| config.init(&Device::Cpu)?.inference();
        Self { kind, operation, message, config: Net::config(body), build, input: [1, 16, 8, 8] }
    }
}

fn cases() -> Vec<Case> {
    use NotFusedKind as Kind;
    let new = Case::new;
    let pooled: Body = |conv, _, _, _, x| max_pool2d(conv.call(x, Mode::Eval), MaxPool2d::config(2));
    let normalized: Body = |conv, _, norm, _, x| norm.call(conv.call(x, Mode::Eval), Mode::Eval);
    let depthwise: Body =
        |conv, depthwise, _, _, x| depthwise.call(relu(conv.call(x, Mode::Eval)), Mode::Eval);
    vec![
        new(Kind::FusionDisabled, "relu", "fusion is disabled by `sconce::no_fusion`", |conv, _, _, _, x| {
            sconce::no_fusion(|| relu(conv.call(x, Mode::Eval)))
        }),
        new(
            Kind::NoProducer,
            "relu",
            "its input is an input of the network, into which no operation is fused",
            |_, _, _, _, x| relu(x),
        ),
        new(
            Kind::NoProducer,
            "relu",
            "its input is `multiply` at `Net`, into which no operation is fused",
            |conv, _, _, _, x| relu(conv.call(x, Mode::Eval) * 2.),
        ),
        new(
            Kind::NoProducer,
            "sigmoid",
            "its input is a tensor, into which no operation is fused",
            |conv, _, _, _, x| sigmoid(conv.weight()) * x.dims().map_or(0, <[usize]>::len),
        ),
        new(
            Kind::SharedResult,
            "relu",
            "the result of `conv2d` at `Net.conv` is also used elsewhere",
            |conv, _, _, _, x| {
                let y = conv.call(x, Mode::Eval);
                relu(&y) * y
            },
        ),
        new(
            Kind::AlreadyRun,
            "relu",
            "`conv2d` at `Net.conv` has already run, because its result was read",
            |conv, _, _, _, x| {
                let y = conv.call(x, Mode::Eval);
                let checked = y.tensor().map(drop);
                checked.map_or_else(Signal::fail, |()| relu(y))
            },
        ),
        new(
            Kind::ActivationApplied,
            "sigmoid",
            "`conv2d` at `Net.conv` already ends with an activation",
            |conv, _, _, _, x| sigmoid(relu(conv.call(x, Mode::Eval))),
        ),
        new(
            Kind::ActivationApplied,
            "batch_norm",
            "`conv2d` at `Net.conv` already ends with an activation",
            |conv, _, norm, _, x| norm.call(relu(conv.call(x, Mode::Eval)), Mode::Eval),
        ),
        new(
            Kind::ActivationApplied,
            "add",
            "`conv2d` at `Net.conv` already ends with an activation",
            |conv, _, _, _, x| &x + relu(conv.call(x.clone(), Mode::Eval)),
        ),
        // A shortcut that has run is not the operand into which the addition could have been fused.
        new(
            Kind::ActivationApplied,
            "add",
            "`conv2d` at `Net.depthwise` already ends with an activation",
            |conv, depthwise, _, _, x| {
                let shortcut = conv.call(x.clone(), Mode::Eval);
                let checked = shortcut.tensor().map(drop);
                let shortcut = checked.map_or_else(Signal::fail, |()| shortcut);
                shortcut + relu(depthwise.call(x, Mode::Eval))
            },
        ),
        new(
            Kind::ResidualApplied,
            "batch_norm",
            "`conv2d` at `Net.conv` already adds a residual",
            |conv, _, norm, _, x| norm.call(conv.call(x.clone(), Mode::Eval) + x, Mode::Eval),
        ),
        new(
            Kind::ResidualApplied,
            "max_pool2d",
            "`conv2d` at `Net.conv` already adds a residual",
            |conv, _, _, _, x| max_pool2d(conv.call(x.clone(), Mode::Eval) + x, MaxPool2d::config(2)),
        ),
        new(
            Kind::BatchNormApplied,
            "batch_norm",
            "`conv2d` at `Net.conv` already applies a batch norm",
            |conv, _, norm, _, x| norm.call(norm.call(conv.call(x, Mode::Eval), Mode::Eval), Mode::Eval),
        ),
        new(
            Kind::UnsupportedByKernel,
            "add",
            "the kernel of `linear` at `Net.head` cannot apply it",
            |_, _, _, head, x| head.call(x.clone(), Mode::Eval) + x,
        ),
        new(
            Kind::UnsupportedByKernel,
            "relu",
            "the kernel of `max_pool2d` at `Net` cannot apply it",
            |conv, _, _, _, x| relu(max_pool2d(conv.call(x, Mode::Eval), MaxPool2d::config(2))),
        ),
        new(
            Kind::UnfusedActivation,
            "mish",
            "no kernel applies this activation to its results",
            |conv, _, _, _, x| mish(conv.call(x, Mode::Eval)),
        ),
        new(
            Kind::UnfusedPooling,
            "avg_pool2d",
            "no kernel computes this pooling together with the producer",
            |conv, _, _, _, x| avg_pool2d(conv.call(x, Mode::Eval), AvgPool2d::config(2)),
        ),
        new(
            Kind::ShapeMismatch,
            "add",
            "its operands have different shapes, and the kernel of `conv2d` at `Net.conv` adds no residual that broadcasts",
            |conv, _, _, _, x| conv.call(x.clone(), Mode::Eval) + x.mean_keepdim((2, 3)),
        ),
        Case {
            config: Net::config(normalized).track(false),
            ..new(
                Kind::BatchStatistics,
                "batch_norm",
                "it normalizes with the statistics of its input, which must be computed first",
                normalized,
            )
        },
        Case {
            build: |config| {
                let mut network = config.init(&Device::Cpu)?;
                network.conv.to_dtype(DType::BF16)?;
                Ok(network)
            },
            ..new(
                Kind::DtypeMismatch,
                "batch_norm",
                "the running statistics have another dtype than its input",
                normalized,
            )
        },
        Case {
            build: |config| with_values(config, DType::F32, &[("norm.running_mean", f64::INFINITY)]),
            ..new(
                Kind::NotFinite,
                "batch_norm",
                "the scale or the shift of the batch norm is not finite in this dtype",
                normalized,
            )
        },
        Case {
            build: |config| with_values(config, DType::F16, &[("conv.bias", 6e4), ("norm.weight", 4.)]),
            ..new(
                Kind::BiasOverflow,
                "batch_norm",
                "the bias of `conv2d` at `Net.conv`, scaled by the batch norm, is not finite in this dtype",
                normalized,
            )
        },
        Case {
            build: |config| with_values(config, DType::F64, &[]),
            ..new(
                Kind::UnsupportedDtype,
                "max_pool2d",
                "the channel-blocked kernels, which fuse it, support only f32",
                pooled,
            )
        },
        Case {
            build: |config| config.init(&Device::Cpu),
            ..new(
                Kind::GradientTracked,
                "conv2d",
                "an operand tracks gradients, which the channel-blocked kernels do not support; call `inference()`",
                depthwise,
            )
        },
        Case {
            build: |config| Ok(config.init(&Device::Cpu)?.detached()),
            ..new(
                Kind::WeightNotPacked,
                "max_pool2d",
                "a weight is not packed, which the channel-blocked kernels need; call `inference()`",
                pooled,
            )
        },
        Case {
            config: Net::config(pooled).groups(2),
            ..new(
                Kind::GroupedConvolution,
                "max_pool2d",
                "`conv2d` at `Net.conv` has several groups, which this fusion does not support",
                pooled,
            )
        },
        Case {
            config: Net::config(|conv, _, _, _, x| {
                max_pool2d(conv.call(x, Mode::Eval), MaxPool2d::config(1))
            })
            .padding(0),
            input: [1, 16, 3, 3],
            ..new(
                Kind::CoveringKernel,
                "max_pool2d",
                "the kernel of `conv2d` at `Net.conv` covers its input, so it runs as a linear layer",
                pooled,
            )
        },
        Case {
            config: Net::config(pooled).channels(5),
            input: [1, 5, 8, 8],
            ..new(
                Kind::FewChannels,
                "max_pool2d",
                "the output channels do not fill the vectors of the channel-blocked layout",
                pooled,
            )
        },
        Case {
            input: [0, 16, 8, 8],
            ..new(Kind::EmptyTensor, "max_pool2d", "an operand or the result is empty", pooled)
        },
        new(
            Kind::UnsupportedWindow,
            "max_pool2d",
            "its dilation or padding is not supported in one launch with `conv2d` at `Net.conv`",
            |conv, _, _, _, x| max_pool2d(conv.call(x, Mode::Eval), MaxPool2d::config(2).dilation(2)),
        ),
        Case {
            config: Net::config(depthwise).depthwise_kernel(5),
            ..new(
                Kind::UnsupportedDepthwise,
                "conv2d",
                "only depthwise convolutions with 3×3 kernels and finite weights are fused",
                depthwise,
            )
        },
    ]
}

/// Builds a network for inference with the given dtype, whose tensors of these names have a single value each.
fn with_values(config: NetConfig, dtype: DType, values: &[(&str, f64)]) -> Result<Net> {
    let mut network = config.init(&Device::Cpu)?;
    let mut state = network.state_dict();
    for (name, value) in values {
        let dims = state.get(name).map(Tensor::dims).unwrap_or_default();
        let changed = Tensor::full(*value as f32, dims, &Device::Cpu)?;
        state.insert(name.to_string(), changed);
    }
    network.load_state_dict(&state)?;
    network.to_dtype(dtype)?;
    network.inference()
}

/// Reasons that [`cases`] do not cover.
const OTHER_KINDS: [NotFusedKind; 4] = [
    // Needs a GPU.
    NotFusedKind::UnsupportedDevice,
    // Tested below.
    NotFusedKind::UnsupportedLayout,
    NotFusedKind::OtherAlgorithm,
    NotFusedKind::ManyChannels,
];

#[test]
fn every_reason_has_a_network_that_causes_it() -> Result<()> {
    let mut found = HashSet::from(OTHER_KINDS);
    for case in cases() {
        let network = (case.build)(case.config)?;
        let dtype = network.conv.weight().dtype();
        let x = random(&case.input)?.to_dtype(dtype);
        let reasons = reasons(&network, x)?;
        let expected = (case.operation.to_string(), case.kind, case.message.to_string());
        assert!(reasons.contains(&expected), "expected {expected:?}, found {reasons:?}");
        found.insert(case.kind);
    }
    let missing: Vec<_> = NotFusedKind::ALL.iter().filter(|kind| !found.contains(kind)).collect();
    assert!(missing.is_empty(), "{missing:?}");
    Ok(())
}

#[test]
fn depthwise_convolutions_over_sequences_are_not_fused() -> Result<()> {
    let conv = |groups| Conv1d::config(8, 8, 3).groups(groups).init(&Device::Cpu);
    let network = vec![conv(1)?, conv(8)?].inference()?;
    let graph = graph(&network, random(&[2, 8, 9])?)?;
    let reasons: Vec<_> = graph.not_fused().map(|(_, reason)| reason).collect();
    assert_eq!(reasons.len(), 1);
    assert_eq!(reasons[0].kind, NotFusedKind::UnsupportedLayout);
    Ok(())
}

/// The algorithm of a convolution depends on the processor, so several sizes are tried.
#[test]
fn the_algorithm_of_a_convolution_can_prevent_the_fusion() -> Result<()> {
    // The second convolution has a channel-blocked input, as Winograd needs for a channel-blocked result.
    let pooled: Body = |conv, _, _, _, x| {
        let x = relu(conv.call(x, Mode::Eval));
        max_pool2d(conv.call(x, Mode::Eval), MaxPool2d::config(2))
    };
    let mut found = HashSet::new();
    for (channels, size) in [(512, 4), (64, 56), (128, 28), (256, 14)] {
        let network = Net::config(pooled).channels(channels).init(&Device::Cpu)?.inference()?;
        let graph = graph(&network, random(&[1, channels, size, size])?)?;
        found.extend(graph.not_fused().map(|(_, reason)| reason.to_string()));
    }
    for expected in [
        "`conv2d` at `Net.conv` uses a faster algorithm that does not support this fusion",
        "the input channels of `conv2d` at `Net.conv` do not fit into the cache at once",
    ] {
        assert!(found.contains(expected), "{found:?}");
    }
    Ok(())
}

#[derive(Module)]
#[module(forward = |a, b| -> (Signal, Signal) {
    let parts: Vec<Signal> = a.split(2, 1);
    let sums = parts[1].map(|x| x.cumsum(0));
    let constant = sums.tensor().and_then(|x| Ok(x.neg()?));
    let stacked = stack([&parts[0], &b, &shift(&b)], 0);
    (stacked, Signal::from(constant) * fc(dropout(sums, 0.5, mode)))
})]
struct TwoInputs {
    #[layer]
    shift: Shift,
    #[layer(2, 2)]
    fc: Linear,
}

#[derive(Module)]
#[module(forward = |x| x + offset)]
struct Shift {
    #[param(2)]
    offset: Tensor,
}

#[test]
fn edges_lead_from_the_operation_that_computed_a_value() -> Result<()> {
    let network = TwoInputs::new(&Device::Cpu)?;
    let graph = graph(&network, (random(&[2, 4])?, random(&[2, 2])?))?;
    let node = |index: usize| {
        let node = &graph.nodes[index];
        let name =
            node.path.rsplit('.').next().filter(|_| !["input", "output"].contains(&node.operation.as_str()));
        format!("{} {}", node.operation, name.unwrap_or_default())
    };
    let edges: Vec<_> =
        graph.edges.iter().map(|edge| (node(edge.from), node(edge.to), &edge.shape[..])).collect();
    let expected = [
        ("input ", "split TwoInputs", &[2, 4][..]),
        ("split TwoInputs", "map TwoInputs", &[2, 2]),
        ("input ", "add shift", &[2, 2]),
        ("parameter offset", "add shift", &[2]),
        ("split TwoInputs", "stack TwoInputs", &[2, 2]),
        ("input ", "stack TwoInputs", &[2, 2]),
        ("add shift", "stack TwoInputs", &[2, 2]),
        // Dropout returns its input.
        ("map TwoInputs", "linear fc", &[2, 2]),
        ("tensor TwoInputs", "multiply TwoInputs", &[2, 2]),
        ("linear fc", "multiply TwoInputs", &[2, 2]),
        ("stack TwoInputs", "output ", &[3, 2, 2]),
        ("multiply TwoInputs", "output ", &[2, 2]),
    ];
    let expected = expected.map(|(from, to, shape)| (from.to_string(), to.to_string(), shape));
    assert_eq!(edges, expected);
    Ok(())
}

#[test]
fn inputs_without_numbers_are_an_error() -> Result<()> {
    let network = Linear::config(4, 2).init(&Device::Cpu)?;
    let error = network.graph(Signal::meta((1, 4), DType::F32)).err().map(|error| error.to_string());
    assert!(error.is_some_and(|error| error.starts_with("graph: expected inputs with numbers")));
    // The error of a layer has its path.
    let error = network.graph(random(&[1, 3])?).err().map(|error| error.to_string());
    assert_eq!(error.as_deref(), Some("at Linear (Linear 4→2): expected an input […, 4], found [1, 3]"));
    Ok(())
}

#[derive(Module)]
#[module(forward = |x| sigmoid(relu(fc(x))))]
struct Small {
    #[layer(4, 8)]
    fc: Linear,
}

#[test]
fn the_fusion_plan_lists_the_operations_of_each_launch() -> Result<()> {
    let graph = graph(&Small::new(&Device::Cpu)?, random(&[2, 4])?)?;
    let expected = "\
==================================================
Launch  Operation  Layer              Output Shape
==================================================
0       linear     Small.fc (Linear)  2×8
        + relu     Small (Small)      2×8
1       sigmoid    Small (Small)      2×8
            not fused: `linear` at `Small.fc` already ends with an activation
==================================================
Operations: 3
Launches: 2
Layout changes (*): 0
Not fused: 1
==================================================";
    assert_eq!(graph.to_string(), expected);
    Ok(())
}
