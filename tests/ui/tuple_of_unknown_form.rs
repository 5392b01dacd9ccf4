use sconce::prelude::*;

#[derive(Module)]
#[module(forward = |x| {
    let state = cell(x, (x, x));
    (head(state.0), state)
})]
struct Net {
    #[layer(3, 3)]
    cell: LSTMCell,
    #[layer(3, 3)]
    head: Linear,
}

fn main() {}
