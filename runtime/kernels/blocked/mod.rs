//! Kernels on activations whose channels lie side by side in blocks of a vector's lanes:
//! `[batch, ⌈channels / lanes⌉, height, width, lanes]`, zeros in the lanes after the last channel.

pub mod conv;
