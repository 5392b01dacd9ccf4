use std::sync::Arc;

use sconce::prelude::*;

#[derive(Module)]
struct Net {
    #[layer(with = |_| Ok(3))]
    layer: Linear,
    #[layer(with = |_| Ok(3); if true)]
    option: Option<Linear>,
    #[layer(with = |_| Ok(3); for _ in 0..2)]
    list: Vec<Linear>,
    // The derive adds the `Option` and the `Box`.
    #[layer(with = |vb| Ok(Some(Box::new(Linear::config(3, 3).build(vb)?))))]
    pointer: Option<Box<Linear>>,
    #[layer(with = |_| Ok(Relu::default()))]
    shared: Arc<Linear>,
}

fn main() {}
