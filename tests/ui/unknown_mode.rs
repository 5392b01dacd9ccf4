use sconce::prelude::*;

#[derive(Module)]
struct Net {
    #[module(mode = evaluate)]
    dropout: Dropout,
}

fn main() {}
