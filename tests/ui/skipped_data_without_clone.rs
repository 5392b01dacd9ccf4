use sconce::prelude::*;

struct Settings;

#[derive(Module)]
#[module(forward = |x| fc(x))]
struct Net {
    #[layer(3, 3)]
    fc: Linear,
    #[module(skip = Settings)]
    settings: Settings,
}

fn main() {}
