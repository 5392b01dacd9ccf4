//! Compares convolutions of sequences with candle's.

use candle_core::{Device, Result, Tensor};
use sconce_kernels::{ConvGeometry, Epilogue, conv1d};

#[test]
fn conv1d_agrees_with_candle() -> Result<()> {
    let x = Tensor::randn(0f64, 1., (2, 4, 19), &Device::Cpu)?;
    let weight = Tensor::randn(0f64, 1., (6, 2, 3), &Device::Cpu)?;
    let geometry = ConvGeometry::new().with_stride(2).with_padding(3).with_dilation(2).with_groups(2);
    let expected = x.conv1d(&weight, 3, 2, 2, 2)?;
    let residual = expected.ones_like()?;
    let y = conv1d(&x, &weight, &geometry, &Epilogue::new().with_residual(&residual))?;
    let difference = (y - (expected + residual)?)?.abs()?.max_all()?.to_scalar::<f64>()?;
    assert!(difference < 1e-12, "{difference}");
    Ok(())
}
