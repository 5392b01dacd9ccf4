//! Exports the layers of golden cases. The tests of `tests/golden/` call the functions of this module in place of those
//! that compare with PyTorch.

use std::borrow::Cow;

use sconce::prelude::*;
use sconce::{Visitor, VisitorMut};

use crate::cases::Case;
use crate::models;

/// Exports a layer with one input and one output.
pub fn check<C: Config<Output: Forward<Signal, Output = Signal>>>(config: C, case: &Case) -> Result<()> {
    check_with(config, case, |layer, inputs, mode| Ok(vec![layer.call(inputs[0].clone(), mode)]))
}

/// Exports a layer. `run` calls it with all inputs of the case and returns all outputs. Checks that the export fails
/// exactly for the cases that [`is_unsupported`] states.
pub fn check_with<C: Config>(
    config: C,
    case: &Case,
    run: impl Fn(&C::Output, &[Signal], Mode) -> Result<Vec<Signal>>,
) -> Result<()> {
    sconce::set_exact(true);
    let network = Golden { layer: layer(config, case)?, run: &run };
    let inputs = inputs(case)?;
    let name = format!("{}_{}", case.kind, case.index);
    match models::write_fixed("golden", &name, &network, &inputs) {
        Ok(()) if is_unsupported(case) => panic!("expected an error for {}", case.label()),
        Err(error) if is_unsupported(case) => {
            let message = error.to_string();
            assert!(message.contains(models::UNSUPPORTED), "{}: {message}", case.label());
            Ok(())
        }
        outcome => outcome.map_err(|error| Error::msg(format!("{}: {error}", case.label()))),
    }
}

/// Returns `true` for the settings that the chapter on the export lists as errors.
fn is_unsupported(case: &Case) -> bool {
    match &*case.kind {
        "EmbeddingBag" => case.is_true("offsets"),
        "PackedRecurrent" => true,
        // Positions that are an input.
        "RotaryEmbedding" => matches!(case.find("input.1"), Ok(Some(_))),
        _ => false,
    }
}

/// Builds an f32 layer with the parameters and buffers of the case.
fn layer<C: Config>(config: C, case: &Case) -> Result<C::Output> {
    let mut layer = config.init(&Device::Cpu)?;
    let mut state = layer.state_dict();
    for name in state.keys().map(String::from).collect::<Vec<_>>() {
        if let Some(tensor) = case.find(&format!("param.{name}"))?.or(case.find(&format!("buffer.{name}"))?) {
            state.insert(name, in_f32(&tensor)?);
        }
    }
    layer.load_state_dict(&state)?;
    Ok(layer)
}

/// Returns the case's tensor `input`, or its tensors `input.0`, `input.1` and so on.
fn inputs(case: &Case) -> Result<Vec<Tensor>> {
    if let Some(input) = case.find("input")? {
        return Ok(vec![in_f32(&input)?]);
    }
    let mut inputs = Vec::new();
    while let Some(input) = case.find(&format!("input.{}", inputs.len()))? {
        inputs.push(in_f32(&input)?);
    }
    assert!(!inputs.is_empty(), "expected inputs in {}", case.label());
    Ok(inputs)
}

/// Converts floats to f32: ONNX Runtime has no f64 kernels for convolutions and other layers.
fn in_f32(tensor: &Tensor) -> Result<Tensor> {
    Ok(if tensor.dtype().is_float() { tensor.to_dtype(DType::F32)? } else { tensor.clone() })
}

/// A layer whose inputs and outputs are lists.
struct Golden<'a, L, F> {
    layer: L,
    run: &'a F,
}

impl<L: Module, F> Module for Golden<'_, L, F> {
    fn kind(&self) -> Cow<'static, str> {
        self.layer.kind()
    }

    fn visit<'a>(&'a self, visitor: &mut dyn Visitor<'a>) {
        self.layer.visit(visitor);
    }

    fn visit_mut(&mut self, visitor: &mut dyn VisitorMut) {
        self.layer.visit_mut(visitor);
    }

    fn share(&self) -> Self {
        Self { layer: self.layer.share(), run: self.run }
    }
}

impl<L: Module, F> Forward<Vec<Signal>> for Golden<'_, L, F>
where
    F: Fn(&L, &[Signal], Mode) -> Result<Vec<Signal>>,
{
    type Output = Vec<Signal>;

    fn forward_pass(&self, inputs: Vec<Signal>, mode: Mode) -> Vec<Signal> {
        (self.run)(&self.layer, &inputs, mode).unwrap_or_else(|error| vec![Signal::fail(error)])
    }
}
