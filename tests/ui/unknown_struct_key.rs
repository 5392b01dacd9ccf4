use sconce::prelude::*;

#[derive(Module)]
#[module(froward = |x| fc(x))]
struct Net {
    #[layer(10, 10)]
    fc: Linear,
}

fn main() {}
