use sconce::prelude::*;

#[derive(Module)]
#[module(args(rate: f64), forward = |x| fc(x) * rate)]
struct Net {
    #[layer(3, 3)]
    fc: Linear,
}

fn main() {}
