use sconce::prelude::*;

#[derive(Module)]
#[module(args(build: usize = 1, init: usize = 1, load: usize = 1, load_with: usize = 1))]
struct Methods {
    #[layer(build + init, load + load_with)]
    fc: Linear,
}

#[derive(Module)]
#[module(args(self: usize))]
struct SelfName {
    #[layer(3, 3)]
    fc: Linear,
}

#[derive(Module)]
#[module(args(fn: usize))]
struct Keyword {
    #[layer(3, 3)]
    fc: Linear,
}

#[derive(Module)]
#[module(args(_: usize))]
struct Underscore {
    #[layer(3, 3)]
    fc: Linear,
}

fn main() {}
