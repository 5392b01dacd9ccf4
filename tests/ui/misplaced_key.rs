use sconce::prelude::*;

#[derive(Module)]
#[module(rename = "net")]
struct Net {
    #[layer(10, 10)]
    #[module(forward = |x| x)]
    fc: Linear,
}

fn main() {}
