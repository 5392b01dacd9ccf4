use sconce::prelude::*;

macro_rules! apply {
    ($f:expr, $x:expr) => {
        $f($x)
    };
}

#[derive(Module)]
#[module(forward = |x| apply!(fc, x))]
struct Net {
    #[layer(3, 3)]
    fc: Linear,
}

fn main() {}
