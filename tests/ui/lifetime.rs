use sconce::prelude::*;

#[derive(Module)]
struct Net<'a> {
    #[layer(10, 10)]
    fc: Linear,
    #[module(skip)]
    name: &'a str,
}

fn main() {}
