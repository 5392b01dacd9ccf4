//! Convolutions, transposed convolutions and padding: PyTorch's answers, plain loops, finite differences,
//! what runs as one kernel, and what bad input is told.

#[path = "../common/mod.rs"]
mod common;
mod golden;
mod launches;
mod layers;
mod messages;
mod padding;
mod random;
mod setting;
