use sconce::prelude::*;

#[derive(Module)]
#[module(crate = sconcee, args(width: usize), forward = |x| relu(fc(x)), loss = mse_loss, optimizer = Sgd::new(0.1))]
struct Net {
    #[layer(width, 3)]
    fc: Linear,
    #[module(skip = 3)]
    depth: usize,
}

fn main() {}
