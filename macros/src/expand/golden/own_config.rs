use sconce::prelude::*;

#[derive(Clone)]
pub struct Sizes {
    inputs: usize,
    classes: usize,
}

/// A network that is built from a user-defined struct, and whose forward pass is a function.
#[derive(Module)]
#[module(config = Sizes, forward = Self::run)]
pub struct OwnConfig {
    #[layer(config.inputs, config.classes)]
    fc: Linear,
    #[layer(with = |vb| sconce::nn::linear(config.classes, config.classes, vb))]
    candle: sconce::nn::Linear,
}

impl OwnConfig {
    fn run(&self, x: Signal, mode: Mode) -> Signal {
        self.candle.call(self.fc.call(x, mode), mode)
    }
}
