//! Numbers to compute with, and how close results have to come.
#![allow(dead_code)] // Each test file uses its part.

#[path = "../../../common/conv_case.rs"]
pub mod conv_case;
#[path = "../../../common/lists.rs"]
pub mod lists;

use candle_core::{DType, Device, Result, Tensor};

/// Numbers that a seed determines.
pub struct Numbers(pub u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        self.0 >> 33
    }

    /// In -1..1, evenly.
    pub fn even(&mut self, shape: &[usize], dtype: DType) -> Result<Tensor> {
        self.tensor(shape, dtype, |x| x as f64 / (1u64 << 30) as f64 - 1.)
    }

    /// Small whole numbers, of which many are equal.
    pub fn whole(&mut self, shape: &[usize], dtype: DType) -> Result<Tensor> {
        self.tensor(shape, dtype, |x| (x % 7) as f64 - 3.)
    }

    fn tensor(&mut self, shape: &[usize], dtype: DType, f: impl Fn(u64) -> f64) -> Result<Tensor> {
        let count = shape.iter().product::<usize>();
        let values: Vec<f64> = (0..count).map(|_| f(self.next())).collect();
        Tensor::from_vec(values, shape, &Device::Cpu)?.to_dtype(dtype)
    }
}

pub fn values(tensor: &Tensor) -> Result<Vec<f64>> {
    tensor.to_dtype(DType::F64)?.flatten_all()?.to_vec1()
}

/// Checks the distance of `given` from `expected` relative to the size of `expected`; NaN and infinities have to be
/// in the same places.
pub fn check_close(what: &str, given: &Tensor, expected: &Tensor, bound: f64) -> Result<()> {
    let (given, expected) = (values(given)?, values(expected)?);
    assert_eq!(given.len(), expected.len(), "{what}: elements");
    let (mut apart, mut size) = (0., 0.);
    for (i, (given, expected)) in given.iter().zip(&expected).enumerate() {
        if !expected.is_finite() {
            let same = given == expected || (given.is_nan() && expected.is_nan());
            assert!(same, "{what}: {given} at {i}, expected {expected}");
            continue;
        }
        apart += (given - expected).powi(2);
        size += expected.powi(2);
    }
    assert!(apart.sqrt() <= bound * size.sqrt(), "{what}: apart by {:e} of {:e}", apart.sqrt(), size.sqrt());
    Ok(())
}
