use sconce::prelude::*;

#[derive(Module)]
#[module(forward = |x| {
    for _ in depth {
        fc(x).dims()?;
    }
    x
})]
struct Net {
    #[layer(3, 3)]
    fc: Linear,
    #[module(skip)]
    depth: usize,
}

fn main() {}
