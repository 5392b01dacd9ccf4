//! Reads PyTorch's answers from `tests/golden/layers`.

use std::collections::HashMap;

use sconce::candle::{DType, Device, Tensor, safetensors};
use serde_json::Value;

/// The cases of one kind of layer, loss or optimiser; floating-point tensors as f64.
pub struct Golden {
    pub cases: Vec<Value>,
    tensors: HashMap<String, Tensor>,
}

impl Golden {
    pub fn read(kind: &str) -> Self {
        let path = format!("{}/tests/golden/layers/{kind}", env!("CARGO_MANIFEST_DIR"));
        let json = std::fs::read_to_string(format!("{path}.json")).unwrap();
        let tensors = safetensors::load(format!("{path}.safetensors"), &Device::Cpu).unwrap();
        Self { cases: serde_json::from_str(&json).unwrap(), tensors }
    }

    /// The tensor `name` of case `i`.
    pub fn tensor(&self, i: usize, name: &str) -> Tensor {
        let tensor = &self.tensors[&format!("{i}/{name}")];
        if tensor.dtype().is_float() { tensor.to_dtype(DType::F64).unwrap() } else { tensor.clone() }
    }

    /// The number that the argument `name` of case `i` is, or else `default`.
    pub fn number(&self, i: usize, name: &str, default: f64) -> f64 {
        self.cases[i]["args"].get(name).map_or(default, |v| v.as_f64().unwrap())
    }
}

/// All elements in order, as f64.
pub fn values(tensor: &Tensor) -> Vec<f64> {
    tensor.to_dtype(DType::F64).unwrap().flatten_all().unwrap().to_vec1().unwrap()
}

/// Fails unless the tensors have one shape and agree within `tolerance`, NaN and infinities included.
pub fn assert_close(given: &Tensor, expected: &Tensor, tolerance: f64, what: &str) {
    assert_eq!(given.dims(), expected.dims(), "{what}");
    for (i, (a, b)) in values(given).into_iter().zip(values(expected)).enumerate() {
        let close = a == b || (a.is_nan() && b.is_nan()) || (a - b).abs() <= tolerance * b.abs().max(1.);
        assert!(close, "{what}: element {i} is {a}, expected {b}");
    }
}
