use sconce::prelude::*;

#[derive(Module)]
#[module(schedule = (StepLr::new(10), Every::Epoch))]
struct Net {
    #[layer(3, 3)]
    fc: Linear,
}

fn main() {}
