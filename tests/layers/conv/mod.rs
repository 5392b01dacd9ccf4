//! Convolutions, transposed convolutions and padding: plain loops, finite differences, launches, and error
//! messages.

mod launches;
mod layers;
mod messages;
mod padding;
mod random;
mod setting;
