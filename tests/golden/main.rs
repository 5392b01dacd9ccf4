//! PyTorch's answers in the folder `layers` beside this file.

#[path = "../common/mod.rs"]
mod common;
mod coverage;
mod kernels;
mod parameters;
