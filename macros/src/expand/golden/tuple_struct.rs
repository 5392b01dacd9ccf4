use sconce::prelude::*;

/// A network whose fields have no names. The forward closure accesses them through `self`.
#[derive(Module)]
#[module(forward = |x| (self.1)((self.0)(x)) + (self.0)(x))]
struct TupleStruct(#[layer(4, 4)] Linear, Relu);
