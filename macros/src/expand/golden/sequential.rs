use sconce::prelude::*;

/// A network whose fields run in order.
#[derive(Module)]
pub struct Sequential {
    #[layer((1, 8, 3, padding = 1, bias = false), (8), ())]
    stem: (Conv2d, BatchNorm, Relu),
    #[layer(8, 8, 3, padding = "same"; for _ in 0..2)]
    blocks: [Conv2d; 2],
    act: Relu,
    #[layer(0.5; if true)]
    dropout: Option<Dropout>,
    #[layer(8, 10, 1)]
    head: Box<Conv2d>,
}
