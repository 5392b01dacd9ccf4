use sconce::prelude::*;

/// A network with type and const parameters.
#[derive(Module)]
#[module(args(width: usize, eps: f64 = 1e-5), forward = |x| {
    let [first, rest @ ..] = &blocks[..] else { return Err(Error::msg("expected at least one block")) };
    rest.iter().fold(act(first(x)), |x, block| act(block(x)))
})]
pub struct Generic<L: Layer + Default, const N: usize>
where
    L: Send,
{
    #[layer(width, eps = eps; for _ in 0..N)]
    #[module(rename = "block{N}_{1..}")]
    blocks: [LayerNorm; N],
    act: L,
}
