use sconce::prelude::*;

#[derive(Module)]
#[module(forward = |x| {
    let y = fc(x);
    y(x)
})]
struct Net {
    #[layer(3, 3)]
    fc: Linear,
}

fn main() {}
