use sconce::prelude::*;

#[derive(Module)]
enum Net {
    #[module(when = true, forward = |x, mask| fc(x) * mask)]
    Masked {
        #[layer(10, 10)]
        fc: Linear,
    },
    Plain(#[layer(10, 10)] Linear),
}

fn main() {}
