use sconce::prelude::*;

#[derive(Module)]
#[module(args(width: usize), forwad = |x| x)]
struct Net {
    #[layer(width, width)]
    #[module(mode = evl)]
    fc: Linear,
}

fn main() {}
