//! Pseudorandom tensors, and the comparison of a result with the expected tensor.
#![allow(dead_code)] // The shared modules have items that these tests do not use.

#[path = "../../../common/config.rs"]
mod config;
#[path = "../../../common/conv_case.rs"]
pub mod conv_case;
#[path = "../../../common/lists.rs"]
pub mod lists;
#[path = "../../../common/magnitude.rs"]
pub mod magnitude;

use candle_core::{DType, Device, Result, Tensor};

pub use config::config;

/// A reproducible generator of pseudorandom numbers.
pub struct Rng(pub u64);

impl Rng {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        self.0 >> 33
    }

    /// Returns a tensor of numbers that are uniformly distributed in -1..1.
    pub fn uniform(&mut self, shape: &[usize], dtype: DType) -> Result<Tensor> {
        self.tensor(shape, dtype, |x| x as f64 / (1u64 << 30) as f64 - 1.)
    }

    /// Returns a tensor of integers from -3 to 3.
    pub fn integers(&mut self, shape: &[usize], dtype: DType) -> Result<Tensor> {
        self.tensor(shape, dtype, |x| (x % 7) as f64 - 3.)
    }

    fn tensor(&mut self, shape: &[usize], dtype: DType, f: impl Fn(u64) -> f64) -> Result<Tensor> {
        let count = shape.iter().product::<usize>();
        let values: Vec<f64> = (0..count).map(|_| f(self.next())).collect();
        Tensor::from_vec(values, shape, &Device::Cpu)?.to_dtype(dtype)
    }
}

/// Returns the elements in row-major order, in f64.
pub fn values(tensor: &Tensor) -> Result<Vec<f64>> {
    tensor.to_dtype(DType::F64)?.flatten_all()?.to_vec1()
}

/// Asserts that the norm of `actual - expected` is at most `bound` times the norm of `expected`, with NaN and
/// infinities at the same positions.
pub fn check_close(label: &str, actual: &Tensor, expected: &Tensor, bound: f64) -> Result<()> {
    let (actual, expected) = (values(actual)?, values(expected)?);
    assert_eq!(actual.len(), expected.len(), "{label}: number of elements");
    let (mut difference, mut scale) = (0., 0.);
    for (i, (actual, expected)) in actual.iter().zip(&expected).enumerate() {
        if !expected.is_finite() {
            let same = actual == expected || (actual.is_nan() && expected.is_nan());
            assert!(same, "{label}: element {i}: expected {expected}, found {actual}");
            continue;
        }
        difference += (actual - expected).powi(2);
        scale += expected.powi(2);
    }
    assert!(
        difference.sqrt() <= bound * scale.sqrt(),
        "{label}: the difference has norm {:e}, the expected tensor has norm {:e}",
        difference.sqrt(),
        scale.sqrt()
    );
    Ok(())
}
