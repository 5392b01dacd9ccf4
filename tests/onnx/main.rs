//! Export to ONNX. The tests write models with inputs and outputs to a directory, where `.ci/onnx.sh` runs the models
//! in ONNX Runtime.

// Two of the examples below include the same file, which parses their arguments.
#![allow(clippy::duplicate_mod)]

mod cases;
mod errors;
mod layers;
#[allow(dead_code)] // The tests use the networks but not `main`.
#[path = "../../examples/networks/main.rs"]
mod networks;
mod operations;
mod sequences;
mod whole_networks;
