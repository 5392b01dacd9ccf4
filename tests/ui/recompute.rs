use sconce::prelude::*;

/// `block` is a reference to a layer, so the derive cannot recompute its call.
#[derive(Module)]
#[module(forward = |x| {
    for block in &self.blocks {
        x = block(x);
    }
    x
})]
struct Loop {
    #[layer(4, 4; for _ in 0..2)]
    #[module(recompute)]
    blocks: Vec<Linear>,
}

#[derive(Module)]
#[module(forward = Self::run)]
struct Function {
    #[layer(4, 4)]
    #[module(recompute)]
    fc: Linear,
}

impl Function {
    fn run(&self, x: Signal, mode: Mode) -> Signal {
        self.fc.call(x, mode)
    }
}

#[derive(Module)]
struct Data {
    #[layer(4, 4)]
    fc: Linear,
    #[param(4)]
    #[module(recompute)]
    scale: Tensor,
}

/// An LSTM has two outputs, but a recomputed layer can have only one.
#[derive(Module)]
#[module(forward = |x| {
    let (y, _) = lstm(x);
    y
})]
struct Outputs {
    #[layer(4, 4)]
    #[module(recompute)]
    lstm: Lstm,
}

fn main() {}
