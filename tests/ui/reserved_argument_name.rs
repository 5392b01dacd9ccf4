use sconce::prelude::*;

#[derive(Module)]
#[module(args(load_with: bool = false))]
struct Net {
    #[layer(3, 3; if load_with)]
    fc: Option<Linear>,
}

fn main() {}
