use std::sync::Arc;

use sconce::IndexMap;
use sconce::prelude::*;

type Grid = Vec<Vec<Linear>>;
type Pair = (Linear, Linear);

/// A network with optional and nested lists, aliases, a map and a shared layer.
#[derive(Module)]
#[module(
    args(names: Vec<String>, shared: Arc<Linear>, deep: bool = true),
    forward = |x| {
        let x = pair(grid[0][1](x));
        let x = if let Some(tail) = tail { tail[0](x) } else { x };
        let head = heads.get("boxes").ok_or_else(|| Error::msg("no head for boxes"))?;
        head(any(shared(x))) + heads["classes"](x)
    },
)]
pub struct Containers {
    #[layer(4, 4; for _ in 0..2, for _ in 0..2)]
    grid: Grid,
    #[layer((4, 2), (2, 4))]
    pair: Pair,
    #[layer(4, 4; if deep, for i in 0..2, if i > 0)]
    tail: Option<Vec<Option<Linear>>>,
    #[layer(with = |vb| {
        let head = |name: String| Ok((name.clone(), Linear::config(4, 4).build(vb.pp(name))?));
        names.into_iter().map(head).collect()
    })]
    heads: IndexMap<String, Linear>,
    #[layer(with = |_| Ok(shared))]
    shared: Arc<Linear>,
    #[layer(with = |vb| Ok(Linear::config(4, 4).build(vb)?))]
    any: Box<dyn Layer>,
}
