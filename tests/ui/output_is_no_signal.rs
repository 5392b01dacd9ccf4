use sconce::prelude::*;

struct Out {
    y: Signal,
}

#[derive(Module)]
#[module(forward = |x| -> Out { Out { y: fc(x) } })]
struct Net {
    #[layer(3, 3)]
    fc: Linear,
}

fn main() {}
