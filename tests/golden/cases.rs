//! Reads golden cases from `tests/golden/layers/<kind>.{json,safetensors}`.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use candle_core::{DType, Device, Result, Tensor};
use serde_json::Value;

/// One golden case: the arguments and inputs of a layer, loss, optimizer or other operation, and the expected results.
pub struct Case {
    /// What the case tests, such as `Conv2d`: the name of its file, unless the case itself states a kind.
    pub kind: String,
    pub index: usize,
    /// The constructor's arguments, under PyTorch's names.
    pub args: Value,
    /// `train` or `eval`, or empty if the case states no mode.
    pub mode: String,
    tensors: Arc<HashMap<String, Tensor>>,
}

/// Returns all cases of a kind. Fails if its files cannot be read.
pub fn cases(kind: &str) -> Result<Vec<Case>> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/layers");
    let text = std::fs::read_to_string(directory.join(format!("{kind}.json")))?;
    let list: Vec<Value> = serde_json::from_str(&text).map_err(candle_core::Error::wrap)?;
    let tensors =
        candle_core::safetensors::load(directory.join(format!("{kind}.safetensors")), &Device::Cpu)?;
    let tensors = Arc::new(tensors);
    let case = |(index, case): (usize, &Value)| Case {
        kind: case["kind"].as_str().unwrap_or(kind).to_owned(),
        index,
        args: case["args"].clone(),
        mode: case["mode"].as_str().unwrap_or_default().to_owned(),
        tensors: tensors.clone(),
    };
    Ok(list.iter().enumerate().map(case).collect())
}

/// Calls `check` with every case of `kind`. Asserts that there are `count` cases.
pub fn check(kind: &str, count: usize, check: impl Fn(&Case) -> sconce::Result<()>) -> sconce::Result<()> {
    let cases = cases(kind)?;
    assert_eq!(cases.len(), count, "number of cases of {kind}");
    cases.iter().try_for_each(check)
}

/// Declares one test per kind, and the list `KINDS` for coverage.rs.
///
/// `relu: "ReLU", 2 => check` reads the 2 cases of kind `ReLU` and calls `check` with each.
macro_rules! golden_tests {
    ($($test:ident: $kind:literal, $count:literal => $check:expr;)+) => {
        /// The kinds that the tests of this module check.
        pub const KINDS: &[&str] = &[$($kind),+];

        $(
            #[test]
            fn $test() -> sconce::Result<()> {
                $crate::cases::check($kind, $count, $check)
            }
        )+
    };
}
pub(crate) use golden_tests;

impl Case {
    /// Returns a tensor of this case by name (`input`, `param.weight`, `grad.input`, …), with floats converted
    /// to f64.
    pub fn tensor(&self, name: &str) -> Result<Tensor> {
        match self.find(name)? {
            Some(tensor) => Ok(tensor),
            None => candle_core::bail!("{}: expected a tensor `{name}`", self.label()),
        }
    }

    /// Like [`tensor`](Self::tensor), but returns `None` if the case has no tensor of that name.
    pub fn find(&self, name: &str) -> Result<Option<Tensor>> {
        let Some(tensor) = self.tensors.get(&format!("{}/{name}", self.index)) else { return Ok(None) };
        let widened = if tensor.dtype().is_float() { tensor.to_dtype(DType::F64)? } else { tensor.clone() };
        Ok(Some(widened))
    }

    /// Returns the name of this case for failure messages.
    pub fn label(&self) -> String {
        format!("{} case {} {}", self.kind, self.index, self.args)
    }

    /// Returns an argument that is a size, or 0 if the case has no argument of that name.
    pub fn size(&self, name: &str) -> usize {
        self.number(name).unwrap_or_default() as usize
    }

    /// Returns a numeric argument, or `None` if the case has no number of that name.
    pub fn number(&self, name: &str) -> Option<f64> {
        self.args[name].as_f64()
    }

    /// Returns `true` if an argument exists and is true.
    pub fn is_true(&self, name: &str) -> bool {
        self.boolean(name) == Some(true)
    }

    /// Returns a boolean argument, or `None` if the case has no boolean of that name.
    pub fn boolean(&self, name: &str) -> Option<bool> {
        self.args[name].as_bool()
    }

    /// Returns an argument as one size per axis, or `None` if the case has no sizes of that name. The case may state a
    /// single size for all axes.
    pub fn sizes<const AXES: usize>(&self, name: &str) -> Option<[usize; AXES]> {
        let size = |value: &Value| value.as_u64().map(|size| size as usize);
        match &self.args[name] {
            Value::Array(sizes) => sizes.iter().map(size).collect::<Option<Vec<_>>>()?.try_into().ok(),
            value => size(value).map(|size| [size; AXES]),
        }
    }
}
