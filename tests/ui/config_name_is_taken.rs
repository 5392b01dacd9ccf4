use sconce::prelude::*;

#[derive(Clone)]
pub struct NetConfig {
    pub size: usize,
}

#[derive(Module)]
#[module(args(width: usize, bias: bool = true))]
pub struct Net {
    #[layer(width, width, bias = bias)]
    fc: Linear,
}

fn main() -> Result<()> {
    let net = Net::config(3).bias(false).init(&Device::Cpu)?;
    net.forward(&Tensor::new(1f32, &Device::Cpu)?)?;
    let _ = NetConfig { size: 3 };
    Ok(())
}
