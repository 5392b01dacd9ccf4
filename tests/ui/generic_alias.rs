use std::sync::Arc;

use sconce::prelude::*;

type Two<T> = (T, T);
type Shared<T> = Arc<T>;
type Maybe<T> = Option<Wrapper<T>>;

#[derive(Module)]
struct Net<L: Layer + Default + 'static> {
    #[layer((3, 4), (4, 5))]
    tuple: Two<Wrapper<L>>,
    #[layer(3, 4)]
    pointer: Shared<Wrapper<L>>,
    #[layer(3, 4, bias = false)]
    option: Maybe<L>,
    // No errors: a list with `bias = true` can only belong to a layer of a tuple, and a condition only to an option.
    #[layer((3, 4), (4, 5, bias = true))]
    named: Two<Wrapper<L>>,
    #[layer(3, 4; if true)]
    conditional: Maybe<L>,
}

#[derive(Module)]
#[module(args(inputs: usize, outputs: usize, bias: bool = true))]
struct Wrapper<L: Layer + Default> {
    #[layer(inputs, outputs, bias = bias)]
    fc: Linear,
    act: L,
}

fn main() {}
