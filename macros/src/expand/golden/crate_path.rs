use framework::sconce::layers::{Linear, Relu};

/// Exports sconce under another path.
mod framework {
    pub use sconce;
}

type Shortcut = Option<Box<Linear>>;

/// A network that finds sconce at another path, recomputes a block, and has an alias of an optional boxed layer.
#[derive(sconce::Module)]
#[module(
    crate = framework::sconce,
    args(width: usize, residual: bool = true),
    forward = |x| {
        let y = block(x);
        let y = if let Some(shortcut) = shortcut { y + shortcut(x) } else { y };
        relu(y)
    },
)]
pub struct CratePath {
    #[layer(width, width)]
    #[module(recompute)]
    block: Linear,
    #[layer(width, width; if residual)]
    shortcut: Shortcut,
    relu: Relu,
}
