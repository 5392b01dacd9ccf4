use sconce::prelude::*;

/// The derive cannot change a call through a reference.
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

/// The output has two signals.
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
