use sconce::prelude::*;

#[derive(Module)]
#[module(args(kind: usize))]
enum Head {
    #[module(when = kind == 0)]
    A(#[layer(3, 3)] Linear),
    B(#[layer(3, 4)] Linear),
    C(#[layer(3, 5)] Linear),
}

fn main() {}
