//! Export to ONNX. The tests write models with inputs and outputs to a directory, where `.ci/onnx.sh` runs the models
//! in ONNX Runtime.

// Two of the examples below include the same file, which parses their arguments.
#![allow(clippy::duplicate_mod)]

mod arrays;
#[allow(dead_code)] // All models are those of evaluation mode, so the mode of a case is not used.
#[path = "../golden/cases.rs"]
mod cases;
#[path = "../common/mod.rs"]
mod common;
mod errors;
#[allow(dead_code)] // The list of kinds is only used by the tests in `tests/golden/`.
mod golden;
mod large;
mod layer;
mod layers;
mod models;
mod named;
#[allow(dead_code)] // The tests use the networks but not `main`.
#[path = "../../examples/networks/main.rs"]
mod networks;
mod operations;
mod random;
mod sequences;
mod whole_networks;
