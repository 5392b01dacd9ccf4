use sconce::prelude::*;

#[derive(Default)]
struct Vocabulary;

#[derive(Module)]
struct Net {
    #[layer(10, 20)]
    fc: Linear,
    words: Vocabulary,
}

fn main() {}
