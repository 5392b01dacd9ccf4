use sconce::prelude::*;

#[derive(Module)]
struct Net {
    #[layer(3, 3; if true, for _ in 0..2)]
    some: Vec<Option<Linear>>,
    #[layer(3, 3; for _ in 0..2)]
    grid: Vec<Vec<Linear>>,
}

fn main() {}
