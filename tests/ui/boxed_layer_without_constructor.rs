use sconce::prelude::*;

#[derive(Module)]
struct Net {
    #[layer(10, 10)]
    head: Box<dyn Layer>,
}

fn main() {}
