//! Export to StableHLO. The tests write programs with inputs and outputs to a directory, where `.ci/stablehlo.sh` runs
//! the programs with XLA. The networks and the layers are those of the tests of ONNX export.

// Two of the examples below include the same file, which parses their arguments.
#![allow(clippy::duplicate_mod)]

#[path = "../onnx/arrays.rs"]
mod arrays;
#[allow(dead_code)] // All programs are those of evaluation mode, so the mode of a case is not used.
#[path = "../golden/cases.rs"]
mod cases;
#[path = "../common/mod.rs"]
mod common;
mod errors;
#[allow(dead_code)] // The list of kinds is only used by the tests in `tests/golden/`.
#[path = "../onnx/golden/mod.rs"]
mod golden;
mod gradients;
#[path = "../onnx/layer.rs"]
mod layer;
#[path = "../onnx/layers.rs"]
mod layers;
mod models;
#[allow(dead_code)] // The tests use the networks but not `main`.
#[path = "../../examples/networks/main.rs"]
mod networks;
#[path = "../onnx/operations.rs"]
mod operations;
#[path = "../onnx/random/mod.rs"]
mod random;
#[path = "../onnx/sequences.rs"]
mod sequences;
#[path = "../onnx/whole_networks.rs"]
mod whole_networks;
