use sconce::prelude::*;

#[derive(Module)]
#[module(frobnicate)]
struct UnknownKey {
    #[layer(3, 3)]
    fc: Linear,
}

#[derive(Module)]
#[module(args(width: usize), forward = |x| fc(x))]
struct Layers {
    #[layer(3 3)]
    #[module(rename = "x.{0..}", mode = eval)]
    fc: Linear,
    #[layer(width, 3, bias = )]
    last: Linear,
    #[layer(width, 3; for i in)]
    list: Vec<Linear>,
}

#[derive(Module)]
#[module(froward = |x, y| fc(x))]
struct UnknownClosure {
    #[layer(3, 3)]
    fc: Linear,
}

#[derive(Module)]
#[module(args(width, #[allow(x)] depth: usize = , last: , end: bool = true))]
struct Arguments {
    #[layer(3, 3)]
    fc: Linear,
}

#[derive(Module)]
#[module(loss = mse_loss +, optimizer = Sgd::new(0.1), schedule = (StepLr::new(10), Every::Epoch))]
struct Values {
    #[layer(3, 3)]
    fc: Linear,
    #[module(skip = 3 +)]
    n: usize,
    #[param(3 +)]
    w: Tensor,
}

#[derive(Module)]
enum Variants {
    #[module(when = )]
    A(#[layer(3, 3)] Linear),
    B(#[layer(3 4)] Linear),
}

#[derive(Module)]
enum OneVariant {
    A(#[layer(3 4)] Linear),
}

fn main() -> Result<()> {
    let x = Tensor::new(1f32, &Device::Cpu)?;
    UnknownKey::new(&Device::Cpu)?.forward(&x)?;
    Layers::new(3, &Device::Cpu)?.forward(&x)?;
    UnknownClosure::new(&Device::Cpu)?.forward(&x)?;
    Arguments::config(3, 3).depth(2).end(false).init(&Device::Cpu)?.forward(&x)?;
    let _ = Values::new(&Device::Cpu)?.trainer();
    Variants::new(&Device::Cpu)?.forward(&x)?;
    OneVariant::new(&Device::Cpu)?.forward(&x)?;
    Ok(())
}
