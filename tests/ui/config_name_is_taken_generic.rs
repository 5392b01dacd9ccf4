use sconce::prelude::*;

pub struct NetConfig {
    pub size: usize,
}

impl NetConfig {
    pub fn build(self) -> usize {
        self.size
    }
}

#[derive(Module)]
#[module(args(width: usize))]
pub struct Net<L: Layer + Default> {
    #[layer(width, width)]
    fc: Linear,
    act: L,
}

fn main() {}
