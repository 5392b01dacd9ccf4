//! Checkpoints: reading and writing the tensors of a network by their names.
