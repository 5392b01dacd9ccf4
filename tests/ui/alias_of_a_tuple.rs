use sconce::prelude::*;

type Pair = (Linear, Linear);
type Two<T> = (T, T);

#[derive(Module)]
struct Net {
    #[layer((3, 4), (4, 5), (5, 6))]
    too_many: Pair,
    #[layer((3, 4), (4, "5"))]
    wrong_type: Pair,
    #[layer((3, 4), (4, 5, 6))]
    wrong_count: Two<Linear>,
    #[layer((3, 4), (4, 5))]
    no_tuple: Linear,
    #[layer(3, 4)]
    no_lists: Pair,
}

#[derive(Module)]
struct TooFew {
    #[layer((3, 4))]
    field: Pair,
}

fn main() {}
