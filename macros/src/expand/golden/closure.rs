use sconce::prelude::*;

/// A network whose closure calls fields, the elements of a list, and variables that may be layers or functions.
#[derive(Module)]
#[module(forward = |x, mask: Option<&Tensor>| {
    let mut x = relu(stem(x));
    if let Some(mask) = mask {
        x *= mask;
    }
    for (conv, norm) in convs.iter().zip(norms) {
        let shortcut = if let Some(project) = project { project(x) } else { x };
        x = relu(norm(conv(x)) + shortcut);
    }
    let features = blocks[0](x).mean((2, 3));
    (head(features), features)
})]
pub struct Closure {
    #[layer(3, 8, 3, padding = 1)]
    stem: Conv2d,
    #[layer(8, 8, 3, padding = 1; for _ in 0..2)]
    convs: Vec<Conv2d>,
    #[layer(8; for _ in 0..2)]
    norms: Vec<BatchNorm>,
    #[layer(8, 8, 1; if true)]
    project: Option<Conv2d>,
    #[layer(8, 8, 1; for _ in 0..1)]
    blocks: Vec<Conv2d>,
    #[layer(8, 10)]
    head: Linear,
    /// This unused field causes a warning.
    unused: Relu,
}
