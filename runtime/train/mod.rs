//! Training: losses, optimisers, and the loop that ties them to a network.

pub mod data;
pub mod loss;
pub mod metrics;
pub mod optim;
