use sconce::prelude::*;

#[derive(Module)]
#[module(args(width: usize), forward = |x| fc2(x))]
struct Net {
    #[layer(width, width)]
    fc1: Linear,
}

fn main() -> Result<()> {
    let net = Net::config(3).init(&Device::Cpu)?;
    println!("{net} {}", net.num_parameters());
    let boxed: Box<dyn Layer> = Box::new(Net::new(3, &Device::Cpu)?);
    let _ = relu(boxed.call(net.forward(&Tensor::new(1f32, &Device::Cpu)?)?.into(), Mode::Eval));
    Ok(())
}
