//! Whole networks. Published ones have the parameter names of their published checkpoints: torchvision's and
//! the face detector MTCNN are compared with PyTorch's own answers, U-Net, a small ViT and a small GPT with the
//! same networks out of candle's operations.

mod blocked;
mod capture;
#[path = "../common/mod.rs"]
mod common;
mod face_detection;
mod gpt;
#[allow(dead_code)] // The tests take the networks without the program.
#[path = "../../examples/networks/main.rs"]
mod networks;
mod never_stale;
mod reference;
mod torchvision;
mod unet;
mod vit;

use sconce::prelude::*;

/// ‖ours − theirs‖ ≤ tolerance ‖theirs‖
pub fn near(what: &str, ours: &Tensor, theirs: &Tensor, tolerance: f64) -> Result<()> {
    let norm = |t: &Tensor| -> Result<f64> { Ok(t.sqr()?.sum_all()?.to_scalar::<f64>()?.sqrt()) };
    let (ours, theirs) = (ours.to_dtype(DType::F64)?, theirs.to_dtype(DType::F64)?);
    let error = norm(&(ours - &theirs)?)? / norm(&theirs)?;
    assert!(error <= tolerance, "{what}: relative error {error:e}");
    Ok(())
}
