//! What layers keep from call to call never outlives the weights that it was made of: a network that trains,
//! evaluates, trains and evaluates agrees each time with a copy of its tensors that keeps nothing.

use sconce::candle::Var;
use sconce::nn::VarBuilder;
use sconce::prelude::*;

/// Every layer with a weight that kernels repack, and those between them: Winograd's kernel, the direct one,
/// the depthwise one, a dilated and a pointwise convolution, signals, transposed ones, matrix products.
#[derive(Module)]
#[module(forward = |x| {
    let x = relu(norm(first(x)));
    let x = relu(square(x.clone()) + x);
    let x = relu(dilated(x));
    let x = relu6(depthwise(x));
    let x = relu(point(strided(x)));
    let x = relu(up(x));
    let x = flatten(x, 2);
    let x = relu(signal(x));
    let x = relu(up_signal(x));
    head(relu(hidden(flatten(x, 1))))
})]
struct Every {
    #[layer(3, 32, 3, padding = 1)]
    first: Conv2d,
    #[layer(32)]
    norm: BatchNorm,
    #[layer(32, 32, 3, padding = 1)]
    square: Conv2d,
    #[layer(32, 32, 3, padding = 2, dilation = 2)]
    dilated: Conv2d,
    #[layer(32, 32, 3, padding = 1, groups = 32)]
    depthwise: Conv2d,
    #[layer(32, 16, 3, stride = 2)]
    strided: Conv2d,
    #[layer(16, 8, 1)]
    point: Conv2d,
    #[layer(8, 6, 3, stride = 2, padding = 1)]
    up: ConvTranspose2d,
    #[layer(6, 8, 5, padding = 2)]
    signal: Conv1d,
    #[layer(8, 4, 3)]
    up_signal: ConvTranspose1d,
    #[layer(4 * 83, 16)]
    hidden: Linear,
    #[layer(16, 5)]
    head: Linear,
}

/// A fresh network in which every weight counts: activations keep their size from layer to layer, and biases
/// are small beside them.
fn fresh() -> Result<Every> {
    let network = Every::new(&Device::Cpu)?;
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

fn output(network: &Every) -> Result<Tensor> {
    let dtype = network.parameters()[0].dtype();
    Ok(network.forward(&input().to_dtype(dtype)?)?.detach().to_dtype(DType::F64)?)
}

/// The output of a network of copies of these tensors, all of them variables, of which nothing is kept; every
/// operation on its own, and in f64.
fn expected(state: &StateDict) -> Result<Tensor> {
    let mut copy = Every::new(&Device::Cpu)?;
    copy.to_dtype(DType::F64)?;
    copy.load_state_dict(state)?;
    sconce::no_fusion(|| output(&copy))
}

fn distance(a: &Tensor, b: &Tensor) -> Result<f64> {
    let largest = |x: &Tensor| -> Result<f64> { Ok(x.abs()?.max_all()?.to_scalar::<f64>()?) };
    Ok(largest(&(a - b)?)? / largest(b)?)
}

/// What it takes to see that a network is what its tensors say, and that it was something else before.
struct Watch {
    before: Tensor,
}

impl Watch {
    fn new(network: &Every) -> Result<Self> {
        let before = output(network)?;
        Ok(Self { before })
    }

    /// Evaluates `network` twice, so that the second call meets what the first has kept.
    fn check(&self, what: &str, network: &Every, tolerance: f64) -> Result<Tensor> {
        let wanted = expected(&network.state_dict())?;
        for call in ["first", "second"] {
            let error = distance(&output(network)?, &wanted)?;
            assert!(error < tolerance, "{what}, {call} call: {error}");
        }
        Ok(wanted)
    }

    /// As [`check`](Self::check), for a network that has just changed.
    fn changed(&mut self, what: &str, network: &Every) -> Result<()> {
        let wanted = self.check(what, network, 1e-4)?;
        let moved = distance(&self.before, &wanted)?;
        assert!(moved > 1e-3, "{what}: nothing to see, the output moved by {moved}");
        self.before = wanted;
        Ok(())
    }
}

fn train(network: &Every, optimizer: &dyn Optimizer, steps: usize) -> Result<()> {
    let mut step = optimizer.build(network.trainable_parameters())?;
    let x = input().to_dtype(network.parameters()[0].dtype())?;
    for _ in 0..steps {
        let loss = (network.forward_t(&x, true)? - 1.)?.sqr()?.mean_all()?;
        step.step(&loss.backward()?)?;
    }
    Ok(())
}

fn scale_all(network: &Every, factor: f64) -> Result<()> {
    for (_, var) in network.trainable_parameters() {
        var.set(&(var.as_tensor() * factor)?)?;
    }
    Ok(())
}

/// The weights of the layers, of which some kernel may keep a form.
fn weights(network: &Every) -> Vec<(String, Var)> {
    network.trainable_parameters().into_iter().filter(|(_, var)| var.rank() > 1).collect()
}

#[test]
fn training_and_evaluation_in_turns() -> Result<()> {
    sconce::manual_seed(1);
    let network = fresh()?;
    let twin = network.detached();
    let mut watch = Watch::new(&network)?;
    let optimizers: [&dyn Optimizer; 3] =
        [&Sgd::new(0.01).momentum(0.9), &AdamW::new(1e-3), &RmsProp::new(1e-4)];
    for optimizer in optimizers {
        train(&network, optimizer, 3)?;
        watch.changed(&format!("{optimizer:?}"), &network)?;
        watch.check("a detached twin", &twin, 1e-4)?;
        assert!(distance(&output(&twin)?, &watch.before)? < 1e-4);
    }
    for (name, var) in weights(&network) {
        var.set(&((var.as_tensor() * 1.5)? + 0.1)?)?;
        watch.changed(&format!("Var::set of {name}"), &network)?;
        assert!(distance(&output(&twin)?, &watch.before)? < 1e-4);
    }
    Ok(())
}

#[test]
fn loading_in_turns() -> Result<()> {
    sconce::manual_seed(2);
    let mut network = fresh()?;
    let (mut twin, mut copy) = (network.detached(), network.inference()?);
    let mut watch = Watch::new(&network)?;
    let mut copies = Watch::new(&copy)?;
    for _ in 0..3 {
        let state = fresh()?.state_dict();
        network.load_state_dict(&state)?;
        watch.changed("load_state_dict", &network)?;
        assert!(distance(&output(&twin)?, &watch.before)? < 1e-4, "the twin shares storage");
        assert!(distance(&output(&copy)?, &copies.before)? < 1e-4, "the copy has its own");
        copy.load_state_dict(&state)?;
        copies.changed("load_state_dict of an inference copy", &copy)?;
    }
    // A twin has tensors of its own from its first load on.
    twin.load_state_dict(&fresh()?.state_dict())?;
    watch.changed("load_state_dict of a twin", &twin)?;
    scale_all(&network, 1.1)?;
    watch.check("the twin has left", &twin, 1e-4)?;
    Ok(())
}

#[test]
fn other_dtypes_in_turns() -> Result<()> {
    sconce::manual_seed(3);
    let mut network = fresh()?;
    let mut copy = network.inference()?;
    let mut watch = Watch::new(&network)?;
    for (dtype, tolerance) in
        [(DType::F64, 1e-4), (DType::BF16, 6e-2), (DType::F32, 1e-4), (DType::F16, 1e-2), (DType::F32, 1e-4)]
    {
        network.to_dtype(dtype)?;
        copy.to_dtype(dtype)?;
        watch.check(&format!("{dtype:?}"), &network, tolerance)?;
        watch.check(&format!("{dtype:?}, inference"), &copy, tolerance)?;
        if tolerance < 1e-3 {
            train(&network, &AdamW::new(1e-3), 3)?;
            watch.changed(&format!("trained in {dtype:?}"), &network)?;
            copy.load_state_dict(&network.state_dict())?;
            watch.check("loaded", &copy, 1e-4)?;
        }
    }
    Ok(())
}

#[test]
fn freezing_in_turns() -> Result<()> {
    sconce::manual_seed(4);
    let mut network = fresh()?;
    let vars = network.trainable_parameters();
    let mut watch = Watch::new(&network)?;
    network.freeze("**")?;
    watch.check("frozen", &network, 1e-4)?;
    // Whoever has the variables still writes to the frozen network's storage.
    for (_, var) in &vars {
        var.set(&(var.as_tensor() * 1.2)?)?;
    }
    watch.changed("Var::set behind a freeze", &network)?;
    network.unfreeze("**")?;
    train(&network, &AdamW::new(1e-3), 3)?;
    watch.changed("unfrozen and trained", &network)?;
    let mut copy = network.inference()?;
    watch.check("a copy", &copy, 1e-4)?;
    copy.unfreeze("**")?;
    train(&copy, &AdamW::new(1e-3), 3)?;
    Watch::new(&network)?.check("the copy's original", &network, 1e-4)?;
    watch.changed("a copy, unfrozen and trained", &copy)?;
    let again = copy.inference()?.detached();
    watch.check("a twin of a copy", &again, 1e-4)?;
    train(&copy, &AdamW::new(1e-3), 3)?;
    assert!(distance(&output(&again)?, &watch.before)? < 1e-4, "the twin's storage is a copy");
    watch.changed("trained once more", &copy)?;
    Ok(())
}

/// A network built of tensors that another one trains: no variables of its own, and live all the same.
#[test]
fn a_network_of_anothers_tensors() -> Result<()> {
    sconce::manual_seed(5);
    let network = fresh()?;
    let tensors = network.state_dict().into_iter().collect();
    let reader = Every::config().build(VarBuilder::from_tensors(tensors, DType::F32, &Device::Cpu))?;
    let mut watch = Watch::new(&reader)?;
    for (name, var) in weights(&network) {
        var.set(&((var.as_tensor() * 1.5)? + 0.1)?)?;
        watch.changed(&format!("{name}, which another network trains"), &reader)?;
    }
    Ok(())
}

/// A layer moved to a variable's tensor follows that one.
#[test]
fn a_layer_is_given_a_variable() -> Result<()> {
    sconce::manual_seed(6);
    let mut conv = Conv2d::config(32, 32, 3).padding(1).bias(false).init(&Device::Cpu)?.inference()?;
    let x = Tensor::ones((1, 32, 48, 48), DType::F32, &Device::Cpu)?;
    let run = |conv: &Conv2d| conv.call((&x).into(), Mode::Eval).into_tensor();
    let before = run(&conv)?;
    conv.unfreeze("weight")?;
    for (_, var) in conv.trainable_parameters() {
        Var::set(&var, &(var.as_tensor() * 2.)?)?;
    }
    assert!(((before * 2.)? - run(&conv)?)?.abs()?.max_all()?.to_scalar::<f32>()? < 1e-4);
    Ok(())
}
