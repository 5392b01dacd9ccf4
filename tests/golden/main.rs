//! Compares layers, losses, optimizers, schedules, gradient clipping and averages with the golden data in the directory
//! `layers`. Each kind of golden data has a test that reads all of its cases.

mod averaging;
mod cases;
#[path = "../common/mod.rs"]
mod common;
mod conv;
mod coverage;
mod elementwise;
mod kernels;
mod layer;
mod losses;
mod methods;
mod norm;
mod pool;
mod precision;
mod resample;
mod sequence;
mod training;
