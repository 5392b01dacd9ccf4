//! The tests of all layers with golden data. In this binary, they export the layers.

#[path = "../../golden/conv.rs"]
mod conv;
#[path = "../../golden/elementwise.rs"]
mod elementwise;
#[path = "../../golden/norm.rs"]
mod norm;
#[path = "../../golden/pool.rs"]
mod pool;
#[path = "../../golden/resample.rs"]
mod resample;
#[path = "../../golden/sequence.rs"]
mod sequence;
