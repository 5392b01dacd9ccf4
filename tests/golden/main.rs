//! PyTorch's answers, the files of the folder `layers` beside this one: each kind has a test, which reads every case.

mod cases;
#[path = "../common/mod.rs"]
mod common;
mod conv;
mod elementwise;
mod kernels;
mod layer;
mod losses;
mod norm;
mod pool;
mod registry;
mod resample;
mod sequence;
mod training;
