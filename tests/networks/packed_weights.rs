//! Tests that cached packed weights are never used after the weights change. A network alternates between training and
//! evaluation, and each evaluation is compared with a copy that has no caches.

use sconce::candle::Var;
use sconce::nn::VarBuilder;
use sconce::prelude::*;

use crate::common::magnitude::largest_magnitude;

/// A network with every kind of layer whose weight is packed: convolutions (Winograd, direct, depthwise, dilated,
/// pointwise, 1-D and transposed), and linear layers and attention with enough rows.
#[derive(Module)]
#[module(forward = |x| {
    let x = relu(norm(first(x)));
    let x = relu(residual(x.clone()) + x);
    let x = relu(dilated(x));
    let x = relu6(depthwise(x));
    let x = relu(pointwise(strided(x)));
    let x = relu(up(x));
    let x = flatten(x, 2);
    let x = relu(sequence_conv(x));
    let x = relu(sequence_up(x));
    let x = relu(rows(x.transpose(1, 2)));
    let (attended, _) = attention(x, x, x);
    head(relu(hidden(flatten(x + attended, 1))))
})]
struct AllLayers {
    #[layer(3, 32, 3, padding = 1)]
    first: Conv2d,
    #[layer(32)]
    norm: BatchNorm,
    #[layer(32, 32, 3, padding = 1)]
    residual: Conv2d,
    #[layer(32, 32, 3, padding = 2, dilation = 2)]
    dilated: Conv2d,
    #[layer(32, 32, 3, padding = 1, groups = 32)]
    depthwise: Conv2d,
    #[layer(32, 16, 3, stride = 2)]
    strided: Conv2d,
    #[layer(16, 8, 1)]
    pointwise: Conv2d,
    #[layer(8, 6, 3, stride = 2, padding = 1)]
    up: ConvTranspose2d,
    #[layer(6, 8, 5, padding = 2)]
    sequence_conv: Conv1d,
    #[layer(8, 4, 3)]
    sequence_up: ConvTranspose1d,
    #[layer(4, 16)]
    rows: Linear,
    #[layer(16, 2, batch_first = true)]
    attention: MultiheadAttention,
    #[layer(16 * 83, 16)]
    hidden: Linear,
    #[layer(16, 5)]
    head: Linear,
}

/// Returns a new network whose parameters are scaled so that every weight affects the output: activations keep their
/// scale from layer to layer, and biases are small.
fn new_network() -> Result<AllLayers> {
    let network = AllLayers::new(&Device::Cpu)?;
    for (_, var) in network.trainable_parameters() {
        let factor = if var.rank() > 1 { 6f64.sqrt() } else { 0.5 };
        var.set(&(var.as_tensor() * factor)?)?;
    }
    Ok(network)
}

fn input() -> Tensor {
    let numbers = (0..2 * 3 * 12 * 12).map(|i| ((i * 7919 % 1009) as f32 / 504.) - 1.);
    Tensor::from_iter(numbers, &Device::Cpu).unwrap().reshape((2, 3, 12, 12)).unwrap()
}

fn output(network: &AllLayers) -> Result<Tensor> {
    let dtype = network.parameters()[0].dtype();
    Ok(network.forward(&input().to_dtype(dtype)?)?.detach().to_dtype(DType::F64)?)
}

/// Returns the output of a new f64 network with the tensors of `state`. The network has no caches yet, and runs each
/// operation in its own launch.
fn uncached_output(state: &StateDict) -> Result<Tensor> {
    let mut copy = AllLayers::new(&Device::Cpu)?;
    copy.to_dtype(DType::F64)?;
    copy.load_state_dict(state)?;
    sconce::no_fusion(|| output(&copy))
}

/// Returns the largest difference, divided by the largest magnitude in `b`.
fn distance(a: &Tensor, b: &Tensor) -> Result<f64> {
    Ok(largest_magnitude(&(a - b)?)? / largest_magnitude(b)?)
}

/// Compares a network with a copy that has no caches, and remembers the output of an earlier comparison.
struct Checker {
    last_output: Tensor,
}

impl Checker {
    fn new(network: &AllLayers) -> Result<Self> {
        Ok(Self { last_output: output(network)? })
    }

    /// Compares two evaluations of `network` with the uncached copy, and returns the output of the copy. The
    /// second evaluation uses the weights that the first evaluation packed.
    fn check(&self, label: &str, network: &AllLayers, tolerance: f64) -> Result<Tensor> {
        let expected_output = uncached_output(&network.state_dict())?;
        for call in ["first", "second"] {
            let error = distance(&output(network)?, &expected_output)?;
            assert!(error < tolerance, "{label}, {call} call: relative error {error}");
        }
        Ok(expected_output)
    }

    /// Like [`check`](Self::check), but also asserts that the output has changed since the previous call of
    /// `check_changed` or, in the first call, since [`new`](Self::new).
    fn check_changed(&mut self, label: &str, network: &AllLayers) -> Result<()> {
        let expected_output = self.check(label, network, 1e-4)?;
        let change = distance(&self.last_output, &expected_output)?;
        assert!(change > 1e-3, "{label}: expected a different output, but it changed by only {change}");
        self.last_output = expected_output;
        Ok(())
    }
}

fn train(network: &AllLayers, settings: &dyn Optimizer, steps: usize) -> Result<()> {
    let mut optimizer = settings.build(network.trainable_parameters())?;
    let x = input().to_dtype(network.parameters()[0].dtype())?;
    for _ in 0..steps {
        let loss = (network.forward_t(&x, true)? - 1.)?.sqr()?.mean_all()?;
        optimizer.step(&loss.backward()?)?;
    }
    Ok(())
}

fn scale_all(network: &AllLayers, factor: f64) -> Result<()> {
    for (_, var) in network.trainable_parameters() {
        var.set(&(var.as_tensor() * factor)?)?;
    }
    Ok(())
}

/// Returns the weights that a kernel may pack.
fn weights(network: &AllLayers) -> Vec<(String, Var)> {
    network.trainable_parameters().into_iter().filter(|(_, var)| var.rank() > 1).collect()
}

#[test]
fn training_between_evaluations_updates_packed_weights() -> Result<()> {
    sconce::manual_seed(1);
    let network = new_network()?;
    let detached = network.detached();
    let mut checker = Checker::new(&network)?;
    let optimizers: [&dyn Optimizer; 3] =
        [&Sgd::new(0.01).momentum(0.9), &AdamW::new(1e-3), &RmsProp::new(1e-4)];
    for optimizer in optimizers {
        train(&network, optimizer, 3)?;
        checker.check_changed(&format!("{optimizer:?}"), &network)?;
        checker.check("a detached network", &detached, 1e-4)?;
        assert!(distance(&output(&detached)?, &checker.last_output)? < 1e-4);
    }
    for (name, var) in weights(&network) {
        var.set(&((var.as_tensor() * 1.5)? + 0.1)?)?;
        checker.check_changed(&format!("Var::set of {name}"), &network)?;
        assert!(distance(&output(&detached)?, &checker.last_output)? < 1e-4);
    }
    Ok(())
}

#[test]
fn loading_between_evaluations_updates_packed_weights() -> Result<()> {
    sconce::manual_seed(2);
    let mut network = new_network()?;
    let (mut detached, mut copy) = (network.detached(), network.inference()?);
    let mut checker = Checker::new(&network)?;
    let mut copy_checker = Checker::new(&copy)?;
    for _ in 0..3 {
        let state = new_network()?.state_dict();
        network.load_state_dict(&state)?;
        checker.check_changed("load_state_dict", &network)?;
        assert!(
            distance(&output(&detached)?, &checker.last_output)? < 1e-4,
            "the detached network should share the storage"
        );
        assert!(
            distance(&output(&copy)?, &copy_checker.last_output)? < 1e-4,
            "the copy should have its own storage"
        );
        copy.load_state_dict(&state)?;
        copy_checker.check_changed("load_state_dict of an inference copy", &copy)?;
    }
    // The first `load_state_dict` of a detached network replaces the tensors that it shares with the original
    // network.
    detached.load_state_dict(&new_network()?.state_dict())?;
    checker.check_changed("load_state_dict of a detached network", &detached)?;
    scale_all(&network, 1.1)?;
    checker.check("the loaded detached network", &detached, 1e-4)?;
    Ok(())
}

#[test]
fn changing_the_dtype_updates_packed_weights() -> Result<()> {
    sconce::manual_seed(3);
    let mut network = new_network()?;
    let mut copy = network.inference()?;
    let mut checker = Checker::new(&network)?;
    for (dtype, tolerance) in
        [(DType::F64, 1e-4), (DType::BF16, 6e-2), (DType::F32, 1e-4), (DType::F16, 1e-2), (DType::F32, 1e-4)]
    {
        network.to_dtype(dtype)?;
        copy.to_dtype(dtype)?;
        checker.check(&format!("{dtype:?}"), &network, tolerance)?;
        checker.check(&format!("{dtype:?}, inference"), &copy, tolerance)?;
        if tolerance < 1e-3 {
            train(&network, &AdamW::new(1e-3), 3)?;
            checker.check_changed(&format!("trained in {dtype:?}"), &network)?;
            copy.load_state_dict(&network.state_dict())?;
            checker.check("loaded", &copy, 1e-4)?;
        }
    }
    Ok(())
}

#[test]
fn freezing_and_unfreezing_update_packed_weights() -> Result<()> {
    sconce::manual_seed(4);
    let mut network = new_network()?;
    let vars = network.trainable_parameters();
    let mut checker = Checker::new(&network)?;
    network.freeze("**")?;
    checker.check("frozen", &network, 1e-4)?;
    // A variable from before the freeze still shares its storage with the frozen parameter.
    for (_, var) in &vars {
        var.set(&(var.as_tensor() * 1.2)?)?;
    }
    checker.check_changed("Var::set while frozen", &network)?;
    network.unfreeze("**")?;
    train(&network, &AdamW::new(1e-3), 3)?;
    checker.check_changed("unfrozen and trained", &network)?;
    let mut copy = network.inference()?;
    checker.check("a copy", &copy, 1e-4)?;
    copy.unfreeze("**")?;
    train(&copy, &AdamW::new(1e-3), 3)?;
    Checker::new(&network)?.check("the copy's original", &network, 1e-4)?;
    checker.check_changed("a copy, unfrozen and trained", &copy)?;
    let copy_of_copy = copy.inference()?.detached();
    checker.check("a detached copy", &copy_of_copy, 1e-4)?;
    train(&copy, &AdamW::new(1e-3), 3)?;
    assert!(
        distance(&output(&copy_of_copy)?, &checker.last_output)? < 1e-4,
        "the detached copy should have its own storage"
    );
    checker.check_changed("trained once more", &copy)?;
    Ok(())
}

/// A network that is built from the variables of another network uses the values that these variables get later.
#[test]
fn setting_shared_variables_updates_packed_weights() -> Result<()> {
    sconce::manual_seed(5);
    let network = new_network()?;
    let tensors = network.state_dict().into_iter().collect();
    let reader = AllLayers::config().build(VarBuilder::from_tensors(tensors, DType::F32, &Device::Cpu))?;
    let mut checker = Checker::new(&reader)?;
    for (name, var) in weights(&network) {
        var.set(&((var.as_tensor() * 1.5)? + 0.1)?)?;
        checker.check_changed(&format!("{name}, set in the first network"), &reader)?;
    }
    Ok(())
}

/// `unfreeze` makes the weight of a frozen layer a variable. The layer then uses the values that are set later.
#[test]
fn unfreezing_a_frozen_layer_updates_its_packed_weight() -> Result<()> {
    sconce::manual_seed(6);
    let mut conv = Conv2d::config(32, 32, 3).padding(1).bias(false).init(&Device::Cpu)?.inference()?;
    let x = Tensor::ones((1, 32, 48, 48), DType::F32, &Device::Cpu)?;
    let run = |conv: &Conv2d| conv.call((&x).into(), Mode::Eval).into_tensor();
    let before = run(&conv)?;
    conv.unfreeze("weight")?;
    for (_, var) in conv.trainable_parameters() {
        Var::set(&var, &(var.as_tensor() * 2.)?)?;
    }
    assert!(largest_magnitude(&((before * 2.)? - run(&conv)?)?)? < 1e-4);
    Ok(())
}
