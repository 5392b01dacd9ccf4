use sconce::prelude::*;

/// Has fields without names, which `self` reaches.
#[derive(Module)]
#[module(forward = |x| (self.1)((self.0)(x)) + (self.0)(x))]
struct TupleStruct(#[layer(4, 4)] Linear, Relu);
