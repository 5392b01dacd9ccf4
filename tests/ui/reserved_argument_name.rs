use sconce::prelude::*;

#[derive(Module)]
#[module(args(load_with: bool = false))]
struct Net {
    #[layer(3, 3; if load_with)]
    fc: Option<Linear>,
}

// No further errors: `load_with` is a setter here.
fn main() -> Result<()> {
    let net = Net::config().load_with(true).init(&Device::Cpu)?;
    net.forward(Tensor::ones((1, 3), DType::F32, &Device::Cpu)?)?;
    Ok(())
}
