//! `Network::profile`: the launches of a traced run, their work against hand-computed figures, and Chrome traces.

use std::cell::Cell;
use std::thread;

use proptest::prelude::*;
use sconce::kernels::trace::measure;
use sconce::prelude::*;
use sconce::{IntoTensors, Launch, LaunchProfile, Profile, SummaryInput};
use serde_json::Value;

use crate::common::config;

fn random(dims: &[usize]) -> Result<Signal> {
    Ok(Tensor::randn(0f32, 1., dims, &Device::Cpu)?.into())
}

/// The path, the operations, the multiply-adds, and the number of elements that are read and written.
type Work<'a> = (&'a str, &'a str, usize, usize, usize);

/// Returns the work of each launch, with 4 bytes for each element.
fn work(profile: &Profile) -> Vec<Work<'_>> {
    let work = |launch: &LaunchProfile| {
        assert_eq!((launch.bytes_read % 4, launch.bytes_written % 4), (0, 0));
        launch.multiply_adds as usize
    };
    let elements = |bytes: u64| bytes as usize / 4;
    let launches = profile.launches.iter();
    launches
        .map(|launch| {
            let (read, written) = (elements(launch.bytes_read), elements(launch.bytes_written));
            (launch.path.as_str(), launch.operations.as_str(), work(launch), read, written)
        })
        .collect()
}

/// Checks that a profile has the launches of a traced run, the multiply-adds of the summary, and consistent totals.
fn check<I, M>(network: &M, input: I) -> Result<Profile>
where
    I: SummaryInput + Clone,
    M: Forward<I, Output: IntoTensors>,
{
    let profile = network.profile(input.clone())?;
    let (output, launches) = sconce::trace(|| network.call(input.clone(), Mode::Eval).into_tensors());
    output?;
    // Without a network around it, `call` does not add the name of the network to the path.
    let matches = |launch: &LaunchProfile, traced: &Launch| {
        launch.path.ends_with(&traced.path) && launch.operations == traced.operations
    };
    let is_same = profile.launches.len() == launches.len()
        && profile.launches.iter().zip(&launches).all(|(launch, traced)| matches(launch, traced));
    assert!(is_same, "expected the launches {launches:?}, found\n{profile}");
    let changes = profile.launches.iter().map(|launch| launch.changes_layout);
    assert!(changes.eq(launches.iter().map(|launch| launch.changes_layout())));

    assert_eq!(profile.multiply_adds, network.summary(input)?.multiply_adds, "{profile}");
    let sum = |of: fn(&LaunchProfile) -> u64| profile.launches.iter().map(of).sum::<u64>();
    assert_eq!(profile.multiply_adds, sum(|launch| launch.multiply_adds));
    assert_eq!(profile.bytes_read, sum(|launch| launch.bytes_read));
    assert_eq!(profile.bytes_written, sum(|launch| launch.bytes_written));
    assert_eq!(profile.runs, 9);
    let shares: f64 = profile.launches.iter().map(|launch| launch.share).sum();
    assert!((shares + profile.outside_share() - 1.).abs() < 1e-9, "{profile}");
    let times: f64 = profile.launches.iter().map(|launch| launch.milliseconds).sum();
    assert!((times + profile.outside_milliseconds - profile.milliseconds).abs() < 1e-9, "{profile}");
    Ok(profile)
}

#[derive(Module)]
#[module(
    args(channels: [usize; 2], kernel: usize, groups: usize, features: usize),
    forward = |x| {
        let y = norm(conv(x));
        let y = relu(y.clone()) + y;
        head(flatten(pool(y), 1)).softmax(1)
    },
)]
struct Image {
    #[layer(channels[0] * groups, channels[1] * groups, kernel, groups = groups, bias = false)]
    conv: Conv2d,
    #[layer(channels[1] * groups)]
    norm: BatchNorm2d,
    #[layer(2, stride = 1)]
    pool: AvgPool2d,
    #[layer(features, 3)]
    head: Linear,
}

proptest! {
    #![proptest_config(config(20))]

    #[test]
    fn launches_have_the_work_of_their_operands(
        batch in 1usize..4,
        channels in [1usize..5, 1..5],
        groups in 1usize..3,
        kernel in 1usize..4,
        size in 5usize..9,
    ) {
        let [inputs, outputs] = channels.map(|count| count * groups);
        let conv = size + 1 - kernel;
        let pool = conv - 1;
        let features = outputs * pool * pool;
        let network = Image::config(channels, kernel, groups, features).init(&Device::Cpu)?;
        let profile = check(&network, random(&[batch, inputs, size, size])?)?;
        let (image, pooled) = (batch * outputs * conv * conv, batch * features);
        let weight = outputs * channels[0] * kernel * kernel;
        let expected = [
            ("Image.conv", "conv2d + batch_norm", image * channels[0] * kernel * kernel,
                batch * inputs * size * size + weight + 2 * outputs, image),
            ("Image", "relu", 0, image, image),
            ("Image", "add", 0, 2 * image, image),
            ("Image.pool", "avg_pool2d", 0, image, pooled),
            // A view moves nothing.
            ("Image", "flatten", 0, 0, 0),
            ("Image.head", "linear + bias", 3 * pooled, pooled + 3 * features + 3, 3 * batch),
            ("Image", "softmax", 0, 3 * batch, 3 * batch),
        ];
        prop_assert_eq!(work(&profile), expected);
    }

    #[test]
    fn sequences_have_the_work_of_their_operands(
        batch in 1usize..4,
        length in 1usize..5,
        heads in 1usize..3,
        width in 1usize..4,
        rows in 1usize..9,
        hidden in 1usize..6,
    ) {
        #[derive(Module)]
        #[module(
            args(rows: usize, width: usize, heads: usize, hidden: usize),
            forward = |ids| {
                let x = norm(embedding(ids));
                let x = attention(&x, &x, &x).0;
                lstm(x).0.matmul(matrix)
            },
        )]
        struct Sequence {
            #[layer(rows, width)]
            embedding: Embedding,
            #[layer(width)]
            norm: LayerNorm,
            #[layer(width, heads, batch_first = true)]
            attention: MultiheadAttention,
            #[layer(width, hidden, batch_first = true)]
            lstm: LSTM,
            #[param((hidden, 2))]
            matrix: Tensor,
        }
        let width = width * heads;
        let network = Sequence::config(rows, width, heads, hidden).init(&Device::Cpu)?;
        let ids = Tensor::zeros((batch, length), DType::U32, &Device::Cpu)?;
        let profile = check(&network, Signal::from(ids))?;
        let steps = batch * length;
        let x = steps * width;
        let scores = 2 * steps * length * width;
        let (gates, state) = (4 * hidden, 2 * batch * hidden);
        let expected = [
            // The rows of the table, not the table.
            ("Sequence.embedding", "embedding", 0, steps + x, x),
            ("Sequence.norm", "layer_norm", 0, x + 2 * width, x),
            ("Sequence.attention", "multi_head_attention", scores, 3 * x, x),
            ("Sequence.attention", "linear + bias", 3 * x * width, x + 3 * width * width + 3 * width, 3 * x),
            ("Sequence.attention", "linear + bias", x * width, x + width * width + width, x),
            (
                "Sequence.lstm", "lstm", steps * gates * hidden,
                steps * gates + gates * hidden + gates + state, steps * hidden + state,
            ),
            ("Sequence.lstm", "linear + bias", x * gates, x + gates * width + gates, steps * gates),
            ("Sequence", "matmul", steps * hidden * 2, steps * hidden + hidden * 2, steps * 2),
        ];
        prop_assert_eq!(work(&profile), expected);
    }

    /// Max pooling and depthwise convolutions may run in the launch of the convolution before them.
    #[test]
    fn networks_in_the_blocked_layout_have_the_launches_of_a_traced_run(
        batch in 1usize..3,
        channels in 1usize..40,
        size in 4usize..24,
        depthwise in any::<bool>(),
        inputs in prop_oneof![Just(3usize), Just(64)],
    ) {
        #[derive(Module)]
        #[module(
            args(inputs: usize, channels: usize),
            forward = |x, depthwise: bool| {
                let y = relu(norm(conv(x)));
                let y = if depthwise { relu(middle(y)) } else { pool(y) };
                last(y).mean((2, 3))
            },
        )]
        struct Blocked {
            #[layer(inputs, channels, 3, padding = 1)]
            conv: Conv2d,
            #[layer(channels)]
            norm: BatchNorm2d,
            #[layer(channels, channels, 3, groups = channels)]
            middle: Conv2d,
            #[layer(2)]
            pool: MaxPool2d,
            #[layer(channels, channels, 1)]
            last: Conv2d,
        }
        let network = Blocked::config(inputs, channels).init(&Device::Cpu)?;
        let network = network.inference()?;
        let x = random(&[batch, inputs, size, size])?;
        let profile = check(&network, (x, depthwise))?;
        // Each operation runs in one launch.
        let count = |name| profile.launches.iter().map(|launch| launch.operations.matches(name).count()).sum::<usize>();
        prop_assert_eq!((count("conv2d"), count("max_pool2d")), if depthwise { (3, 0) } else { (2, 1) });
        let first = batch * channels * size * size * 9 * inputs;
        let side = if depthwise { size - 2 } else { size / 2 };
        let pixels = batch * channels * side * side;
        let products = first + pixels * (if depthwise { 9 } else { 0 } + channels);
        prop_assert_eq!(profile.multiply_adds as usize, products);
        let launch = &profile.launches[0];
        if launch.operations.contains("max_pool2d") || launch.operations.matches("conv2d").count() == 2 {
            let parameters = (9 * inputs + 2) * channels + if depthwise { 10 * channels } else { 0 };
            let (read, written) = (4 * (batch * inputs * size * size + parameters), 4 * pixels);
            prop_assert_eq!((launch.bytes_read as usize, launch.bytes_written as usize), (read, written));
        }
        // Every weight is read.
        let weights = 9 * inputs * channels + if depthwise { 9 * channels } else { 0 } + channels * channels;
        prop_assert!(profile.bytes_read as usize >= 4 * (batch * inputs * size * size + weights));
        for launch in profile.launches.iter().filter(|launch| launch.changes_layout) {
            prop_assert_eq!((launch.multiply_adds, launch.bytes_read), (0, launch.bytes_written));
        }
    }
}

#[test]
fn launches_read_every_operand() -> Result<()> {
    /// Returns the multiply-adds of the last launch, and the elements that it reads and writes.
    fn last(run: impl FnOnce() -> Result<Tensor>) -> Result<(u64, u64, u64)> {
        let (output, launches) = measure(run);
        output?;
        let work = launches.last().expect("the operation has a launch").work;
        Ok((work.multiply_adds, work.bytes_read / 4, work.bytes_written / 4))
    }
    let device = &Device::Cpu;
    let x = &random(&[2, 6, 4, 5])?;
    let layer = |layer: &dyn Layer| last(|| layer.call(x.clone(), Mode::Eval).into_tensor());
    assert_eq!(layer(&PRelu::config().num_parameters(6).init(device)?)?, (0, 240 + 6, 240));
    assert_eq!(layer(&GroupNorm::config(3, 6).init(device)?)?, (0, 240 + 2 * 6, 240));
    assert_eq!(layer(&RmsNorm::config(5).init(device)?)?, (0, 240 + 5, 240));
    assert_eq!(layer(&InstanceNorm2d::config(6).affine(true).init(device)?)?, (0, 240 + 2 * 6, 240));
    assert_eq!(layer(&BatchNorm2d::config(6).init(device)?)?, (0, 240 + 4 * 6, 240));
    let transposed = ConvTranspose2d::config(6, 4, 3).init(device)?;
    assert_eq!(layer(&transposed)?, (240 * 4 * 9, 240 + 6 * 4 * 9 + 4, 2 * 4 * 6 * 7));

    let (a, b) = (&random(&[3, 4])?, &random(&[3, 4])?);
    let ids = &Tensor::new(&[2u32, 0, 0], device)?;
    let condition = Signal::from(Tensor::ones((3, 4), DType::U32, device)?);
    assert_eq!(last(|| condition.where_cond(a, b).into_tensor())?, (0, 3 * 12, 12));
    assert_eq!(last(|| a.index_select(0, ids).into_tensor())?, (0, 12 + 3, 12));
    assert_eq!(last(|| cat([a, b, a], 1).into_tensor())?, (0, 3 * 12, 3 * 12));
    assert_eq!(
        last(|| rotary_embedding(a, &a.tensor()?.narrow(1, 0, 2)?, &b.tensor()?.narrow(1, 0, 2)?, true)
            .into_tensor())?,
        (0, 12 + 2 * 6, 12)
    );
    assert_eq!(last(|| embedding(ids, a).into_tensor())?, (0, 3 + 12, 12));
    let bags = Bags { offsets: Some(Tensor::new(&[0u32, 1], device)?), ..Bags::default() };
    assert_eq!(last(|| embedding_bag(ids, a, &bags).into_tensor())?, (0, 3 + 2 + 12, 2 * 4));
    let weight = random(&[2, 4, 4])?;
    let bias = Tensor::zeros(2, DType::F32, device)?;
    assert_eq!(
        last(|| bilinear(a, b, &weight, bias).into_tensor())?,
        (3 * 2 * 4 * (4 + 1), 2 * 12 + 32 + 2, 3 * 2)
    );
    let attended =
        || scaled_dot_product_attention(a, b, b, Tensor::zeros((3, 3), DType::F32, device)?).into_tensor();
    assert_eq!(last(attended)?, (3 * 3 * (4 + 4), 3 * 12 + 9, 12));
    Ok(())
}

#[test]
fn a_failing_network_has_the_error_of_its_layer() -> Result<()> {
    let network = Image::config([1, 4], 3, 1, 36).init(&Device::Cpu)?;
    let error = network.profile(random(&[1, 2, 6, 6])?).expect_err("the input has two channels");
    assert_eq!(error.path(), "Image.conv");
    let expected = network.forward(random(&[1, 2, 6, 6])?).expect_err("the input has two channels");
    assert_eq!(error.to_string(), expected.to_string());
    let error = network.profile(Signal::meta((1, 1, 6, 6), DType::F32)).expect_err("there are no numbers");
    assert!(error.message().contains("expected a signal with numbers"), "{error}");
    // The next profile does not contain the launches of the failed runs.
    check(&network, random(&[1, 1, 6, 6])?).map(drop)
}

#[test]
fn profiles_in_a_forward_pass_and_on_other_threads_do_not_mix() -> Result<()> {
    #[derive(Module)]
    #[module(forward = |x| -> Result<Signal> {
        let profile = inner.profile(x.clone())?;
        assert_eq!(profile.launches.len(), 1);
        assert_eq!(profile.launches[0].path, "Outer.inner.linear");
        Ok(inner(x))
    })]
    struct Outer {
        inner: Inner,
    }
    #[derive(Module)]
    #[module(forward = |x| relu(linear(x)))]
    struct Inner {
        #[layer(3, 4)]
        linear: Linear,
    }
    thread::scope(|scope| {
        let profile = || -> Result<Vec<String>> {
            let profile = Outer::new(&Device::Cpu)?.profile(random(&[2, 3])?)?;
            Ok(profile
                .launches
                .into_iter()
                .map(|launch| format!("{}: {}", launch.path, launch.operations))
                .collect())
        };
        let threads = [0; 4].map(|_| scope.spawn(profile));
        for launches in threads.map(|thread| thread.join().expect("the thread profiles a network")) {
            assert_eq!(launches?, ["Outer.inner.linear: linear + bias + relu"]);
        }
        Ok(())
    })
}

#[test]
fn a_chrome_trace_has_an_event_for_each_launch() -> Result<()> {
    let name = "a \"b\" \\ é\n";
    let mut layers = std::collections::BTreeMap::new();
    layers.insert(name.to_string(), Linear::config(3, 4).init(&Device::Cpu)?);
    #[derive(Module)]
    #[module(forward = |x| relu(layers.values().fold(x, |x, layer| layer(x))).reshape((2, 2, 2)))]
    struct Named {
        layers: std::collections::BTreeMap<String, Linear>,
    }
    let profile = check(&Named { layers }, random(&[2, 3])?)?;
    let directory = tempfile::tempdir()?;
    let path = directory.path().join("trace.json");
    std::fs::write(&path, "an older file")?;
    profile.write_chrome_trace(&path)?;
    assert_eq!(std::fs::read_dir(directory.path())?.count(), 1);
    let trace: Value = serde_json::from_str(&std::fs::read_to_string(&path)?).map_err(Error::msg)?;
    let events = trace["traceEvents"].as_array().expect("the events are a list");
    assert_eq!(events.len(), 1 + profile.launches.len());
    assert_eq!((events[0]["name"].as_str(), events[0]["ts"].as_f64()), (Some("Named"), Some(0.)));
    let end = |event: &Value| Some(event["ts"].as_f64()? + event["dur"].as_f64()?);
    let mut previous = Some(0.);
    for (event, launch) in events[1..].iter().zip(&profile.launches) {
        assert_eq!((event["ph"].as_str(), event["cat"].as_str()), (Some("X"), Some("launch")));
        assert_eq!(event["name"].as_str(), Some(launch.operations.as_str()));
        assert_eq!(event["args"]["path"].as_str(), Some(launch.path.as_str()));
        assert_eq!(event["args"]["bytes_read"].as_u64(), Some(launch.bytes_read));
        assert!(event["ts"].as_f64() >= previous);
        previous = end(event);
    }
    assert!(previous <= end(&events[0]));
    assert!(profile.launches[0].path.contains(name), "{}", profile.launches[0].path);
    let error = profile.write_chrome_trace(directory.path().join("none/trace.json"));
    assert!(error.expect_err("the directory does not exist").to_string().contains("none"));
    Ok(())
}

/// A network whose launches differ between runs has the times of the runs that agree with the last one.
#[test]
fn only_runs_with_the_launches_of_the_last_run_count() -> Result<()> {
    thread_local! {
        static CALLS: Cell<usize> = const { Cell::new(0) };
    }
    #[derive(Module)]
    #[module(forward = |x| {
        CALLS.set(CALLS.get() + 1);
        if CALLS.get().is_multiple_of(2) { linear(x).tanh().exp() } else { linear(x) }
    })]
    struct Alternating {
        #[layer(3, 4)]
        linear: Linear,
    }
    let network = Alternating::new(&Device::Cpu)?;
    let profile = network.profile(random(&[2, 3])?)?;
    // Calls 3 to 11 are measured. The last one is odd, as five of them are.
    assert_eq!((CALLS.get(), profile.runs, profile.launches.len()), (11, 5, 1));
    let profile = network.profile(random(&[2, 3])?)?;
    assert_eq!((CALLS.get(), profile.runs, profile.launches.len()), (22, 5, 2));
    Ok(())
}

#[test]
fn the_table_has_a_row_for_each_launch() -> Result<()> {
    let network = Image::config([1, 4], 3, 1, 36).init(&Device::Cpu)?;
    let profile = network.profile(random(&[1, 1, 6, 6])?)?;
    let table = profile.to_string();
    let rows: Vec<&str> = table.lines().skip(3).take_while(|line| !line.starts_with('=')).collect();
    assert_eq!(rows.len(), profile.launches.len() + 1);
    for (row, launch) in rows.iter().zip(&profile.launches) {
        assert!(
            row.starts_with(&launch.path) && row.contains(&format!("  {}  ", launch.operations)),
            "{row}"
        );
        let share = format!("{:.1}%", launch.share * 100.);
        assert!(row.contains(&share), "{row}");
        assert_eq!(row.ends_with("--"), launch.bytes_read == 0, "{row}");
    }
    assert!(rows[rows.len() - 1].starts_with("outside of launches"));
    assert!(table.contains(&format!("Launches: {}\n", profile.launches.len())));
    Ok(())
}
