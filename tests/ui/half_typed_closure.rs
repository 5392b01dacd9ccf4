use sconce::prelude::*;

#[derive(Module)]
#[module(forward = |x, y| fc(x).)]
struct Net {
    #[layer(3, 3)]
    fc: Linear,
}

#[derive(Module)]
#[module(forward = |x, y|)]
struct NoBody {
    #[layer(3, 3)]
    fc: Linear,
}

#[derive(Module)]
#[module(args(width: usize), forward = |x| fc(x) + , loss = mse_loss, optimizer = Sgd::new(0.1))]
struct Sum {
    #[layer(width, 3)]
    fc: Linear,
}

#[derive(Module)]
#[module(forward = |x, y)]
struct NoBar {
    #[layer(3, 3)]
    fc: Linear,
}

#[derive(Module)]
#[module(forward = |x, y| -> (Signal, Signal) { let z = fc(x); (z, y. ) })]
struct Typed {
    #[layer(3, 3)]
    fc: Linear,
}

#[derive(Module)]
#[module(forward = )]
struct Nothing {
    #[layer(3, 3)]
    fc: Linear,
}

#[derive(Module)]
#[module(forward = |x, mask: , (a, b): Option<| fc(x))]
struct NoType {
    #[layer(3, 3)]
    fc: Linear,
}

fn main() -> Result<()> {
    let x = Tensor::new(1f32, &Device::Cpu)?;
    Net::new(&Device::Cpu)?.forward(&x, &x)?;
    NoBody::new(&Device::Cpu)?.forward(&x, &x)?;
    Sum::new(3, &Device::Cpu)?.forward(&x)?;
    NoBar::new(&Device::Cpu)?.forward(&x, &x)?;
    let (_a, _b) = Typed::new(&Device::Cpu)?.forward(&x, &x)?;
    NoType::new(&Device::Cpu)?.forward(&x, &x, &x)?;
    Nothing::new(&Device::Cpu)?.forward(&x)?;
    let _ = Sum::new(3, &Device::Cpu)?.trainer();
    Ok(())
}
