use std::ops::Deref;

use sconce::prelude::*;

#[derive(Module)]
#[module(forward = |x| self.classifer(x))]
struct Net {
    #[layer(10, 10)]
    classifier: Linear,
}

impl Deref for Net {
    type Target = Linear;

    fn deref(&self) -> &Linear {
        &self.classifier
    }
}

#[derive(Module)]
#[module(forward = |x| act(self.classifer(x)))]
struct Generic<L: Layer + Default> {
    #[layer(10, 10)]
    classifier: Linear,
    act: L,
}

fn main() {}
