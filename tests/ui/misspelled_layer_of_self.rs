use sconce::prelude::*;

#[derive(Module)]
#[module(forward = |x| self.classifer(self.scale(x)))]
struct Net {
    #[layer(10, 10)]
    classifier: Linear,
    scales: Relu,
}

impl Net {
    fn scale(&self, x: Signal) -> Signal {
        x * 2.0
    }
}

fn main() {}
