use sconce::prelude::*;

#[derive(Module)]
struct Net {
    #[module(skip = "three")]
    depth: usize,
    #[module(skip = vec![0.5])]
    rate: f64,
}

fn main() {}
