use sconce::prelude::*;

/// A network with three variants. Its arguments select one of them.
#[derive(Module)]
#[module(args(width: usize, depth: usize = 0))]
pub enum Enumeration {
    #[module(when = depth > 1, forward = |x| {
        let mut x = x;
        for layer in layers {
            x = relu(layer(x));
        }
        x
    })]
    Deep {
        #[layer(width, width; for _ in 0..depth)]
        layers: Vec<Linear>,
    },
    #[module(when = depth == 1)]
    Shallow(#[layer(width, width)] Linear),
    Identity,
}
