//! Convolutions, transposed convolutions and padding: plain loops, finite differences,
//! what runs as one kernel, and what bad input is told.

mod launches;
mod layers;
mod messages;
mod padding;
mod random;
mod setting;
