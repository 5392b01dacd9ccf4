use sconce::prelude::*;

#[derive(Module)]
#[layer(10, 10)]
struct Net(#[layer(10, 10)] Linear);

fn main() {}
