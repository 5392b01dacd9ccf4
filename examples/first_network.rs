//! The example network of PyTorch's documentation of `nn.Module`, written in sconce's two styles.
//!
//! Shows that both styles give the same network, and that each convolution runs together with its bias and activation,
//! as one launch.

#[path = "common/arguments.rs"]
mod arguments;

use sconce::prelude::*;

const HELP: &str = "\
Builds a small introductory network in two styles and runs it on one image.

usage: cargo run --release --example first_network -- [--short]

--short: no effect; accepted because every example accepts it";

/// The network with an explicit forward pass, as in PyTorch.
#[derive(Module)]
#[module(forward = |x| {
    let x = relu(conv1(x));
    relu(conv2(x))
})]
struct Model {
    #[layer(1, 20, 5)]
    conv1: Conv2d,
    #[layer(20, 20, 5)]
    conv2: Conv2d,
}

/// The network without `forward`: the layers run in the order of their declaration.
#[derive(Module)]
struct InOrder {
    #[layer(1, 20, 5)]
    conv1: Conv2d,
    act1: Relu,
    #[layer(20, 20, 5)]
    conv2: Conv2d,
    act2: Relu,
}

fn main() -> Result<()> {
    arguments::parse(HELP, arguments::only_short);
    let device = Device::cuda_if_available(0)?;
    let model = Model::new(&device)?;
    println!("{model}\n{} parameters", model.num_parameters());
    for (name, tensor) in model.named_parameters() {
        println!("  {name:<13} {:?}", tensor.dims());
    }

    let x = Tensor::randn(0f32, 1., (1, 1, 28, 28), &device)?;
    let (y, launches) = sconce::trace(|| model.forward(&x));
    let y = y?;
    println!("\n{:?} -> {:?} in {} launches:", x.dims(), y.dims(), launches.len());
    for launch in &launches {
        println!("  {launch}");
    }

    let mut in_order = InOrder::new(&device)?;
    in_order.load_state_dict(&model.state_dict())?;
    let difference = (in_order.forward(&x)? - y)?.abs()?.max_all()?.to_scalar::<f32>()?;
    println!(
        "\nlargest difference from the network without a forward closure, with the same parameters: {difference}"
    );

    let wrong = Tensor::zeros((1, 3, 28, 28), DType::F32, &device)?;
    if let Err(error) = model.forward(&wrong) {
        println!("with three channels instead of one: {error}");
    }
    Ok(())
}
