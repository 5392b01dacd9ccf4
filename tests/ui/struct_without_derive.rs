use sconce::prelude::*;

/// A struct of layers whose `#[derive(Module)]` is missing.
pub struct Block {
    pub conv: Conv2d,
}

type Blocks = Vec<Block>;

#[derive(Module)]
#[module(forward = |x| {
    let mut x = last(stem(x));
    for block in blocks {
        x = block(x);
    }
    let (first, second) = pair;
    let x = second(first(x));
    let x = if let Some(extra) = extra { extra(x) } else { x };
    stages[0](x)
})]
struct Called {
    #[layer(3, 8, stride = 2)]
    stem: Block,
    #[layer(8)]
    last: Box<Block>,
    #[layer(8; for _ in 0..4)]
    blocks: Vec<Block>,
    #[layer((8), (8, 16))]
    pair: (Block, Block),
    #[layer(8)]
    extra: Option<Block>,
    #[layer(8; for _ in 0..2)]
    stages: Blocks,
}

#[derive(Module)]
struct InOrder {
    #[layer(8)]
    first: Block,
    #[layer(8; for _ in 0..4)]
    rest: Blocks,
}

#[derive(Module)]
enum Either {
    #[module(when = true, forward = |x| block(x))]
    Closure {
        #[layer(8)]
        block: Block,
    },
    InOrder(#[layer(8)] Block),
}

#[derive(Module)]
#[module(forward = |x| self.last(self.first(x)))]
struct CalledThroughSelf {
    #[layer(8)]
    first: Block,
    #[layer(8)]
    last: Box<Block>,
}

fn main() {}
