use sconce::prelude::*;

#[derive(Clone)]
pub struct Sizes {
    pub width: usize,
}

#[derive(Module)]
#[module(config = Sizes)]
struct Net {
    #[layer(config.width, 3)]
    fc: Linear,
}

fn main() {
    let _ = Net::new(Sizes { width: 3 }, &Device::Cpu);
}
