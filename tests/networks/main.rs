//! Tests whole networks, whose parameters must have the names of the published checkpoints. torchvision's networks,
//! BERT and the face detector MTCNN are compared with PyTorch's outputs. U-Net, a small ViT and a small GPT are
//! compared with the same networks built from candle's operations.

// Two of the examples below include the same file, which parses their arguments.
#![allow(clippy::duplicate_mod)]

mod bert;
mod blocked;
mod capture;
#[path = "../common/mod.rs"]
mod common;
mod face_detection;
mod gpt;
mod graph;
mod meta;
#[allow(dead_code)] // The tests use the networks but not `main`.
#[path = "../../examples/networks/main.rs"]
mod networks;
mod op_table;
mod packed_weights;
mod reference;
mod summary;
mod torchvision;
mod unet;
mod vit;
#[path = "../common/without_fusion.rs"]
mod without_fusion;

use sconce::prelude::*;

/// Asserts ‖actual − expected‖ ≤ tolerance ‖expected‖.
pub fn assert_close(label: &str, actual: &Tensor, expected: &Tensor, tolerance: f64) -> Result<()> {
    let norm = |t: &Tensor| -> Result<f64> { Ok(t.sqr()?.sum_all()?.to_scalar::<f64>()?.sqrt()) };
    let (actual, expected) = (actual.to_dtype(DType::F64)?, expected.to_dtype(DType::F64)?);
    let error = norm(&(actual - &expected)?)? / norm(&expected)?;
    assert!(error <= tolerance, "{label}: relative error {error:e}");
    Ok(())
}
