use sconce::prelude::*;

type Alias = Linear;

#[derive(Module)]
struct Net {
    #[layer(3, 3; for _ in 0..2)]
    list: Alias,
}

fn main() {}
