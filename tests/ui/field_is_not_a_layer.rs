use sconce::prelude::*;

#[derive(Default)]
struct Vocabulary;

#[derive(Module)]
#[module(forward = |x| fc(x))]
struct Net {
    #[layer(10, 20)]
    fc: Linear,
    _words: Vocabulary,
}

fn main() {}
