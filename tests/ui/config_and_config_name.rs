use sconce::prelude::*;

struct Sizes;

#[derive(Module)]
#[module(config = Sizes, config_name = NetSizes)]
struct Net {
    #[layer(3, 3)]
    fc: Linear,
}

fn main() {}
