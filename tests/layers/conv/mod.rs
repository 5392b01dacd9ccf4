//! Convolutions, transposed convolutions and padding: agreement with plain loops, gradients by finite differences,
//! launches, and error messages.

mod launches;
mod layers;
mod messages;
mod padding;
mod random;
mod setting;
