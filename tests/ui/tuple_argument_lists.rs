use sconce::prelude::*;

#[derive(Module)]
struct Net {
    #[layer(3, 4)]
    one_list: (Linear, Relu),
    #[layer((3, 4))]
    too_few: (Linear, Relu),
    #[layer((3, 4), (), ())]
    too_many: (Linear, Relu),
}

fn main() {}
