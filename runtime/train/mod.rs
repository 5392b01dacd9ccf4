//! Training: losses, optimisers, and the loop that ties them to a network.
