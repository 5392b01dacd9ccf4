//! Builds layers with the parameters of golden cases, and compares their results with PyTorch's.

use sconce::candle::Var;
use sconce::prelude::*;

use crate::cases::Case;
use crate::common::check_close;

/// Builds an f64 layer with the case's parameters and buffers.
pub fn layer<C: Config>(config: C, case: &Case) -> Result<C::Output> {
    let mut layer = config.init(&Device::Cpu)?;
    layer.to_dtype(DType::F64)?;
    let mut state = layer.state_dict();
    for name in state.keys().map(String::from).collect::<Vec<_>>() {
        if let Some(tensor) = case.find(&format!("param.{name}"))?.or(case.find(&format!("buffer.{name}"))?) {
            state.insert(name, tensor);
        }
    }
    layer.load_state_dict(&state)?;
    Ok(layer)
}

/// Compares a tensor with the golden tensor.
pub fn check_golden(label: &str, case: &Case, actual: &Tensor, expected: &Tensor) -> Result<()> {
    Ok(check_close(&format!("{label} of {}", case.label()), actual, expected, 1e-5)?)
}

/// Checks the output and the gradients of a layer with one input and one output. Also checks its buffers after the
/// forward pass, if the case contains them.
pub fn check<C: Config<Output: Forward<Signal, Output = Signal>>>(config: C, case: &Case) -> Result<()> {
    check_with(config, case, |layer, inputs, mode| {
        let [x] = inputs else { return Err(Error::msg("expected one input")) };
        Ok(vec![layer.call(x.clone(), mode)])
    })
}

/// Like [`check`], but for a layer with several inputs or outputs. `run` calls the layer with all inputs of the case
/// and returns all outputs, both in PyTorch's order. Also checks the shapes of the outputs for signals without numbers.
pub fn check_with<C: Config>(
    config: C,
    case: &Case,
    run: impl Fn(&C::Output, &[Signal], Mode) -> Result<Vec<Signal>>,
) -> Result<()> {
    let layer = layer(config, case)?;
    let inputs = numbered(case, "input")?;
    let tracked: Vec<Tensor> = inputs.iter().map(|(_, x)| track(x)).collect::<Result<_>>()?;
    let mode = Mode::from(case.mode == "train");
    let signals: Vec<Signal> = tracked.iter().map(Signal::from).collect();
    let outputs =
        run(&layer, &signals, mode)?.into_iter().map(Signal::into_tensor).collect::<Result<Vec<_>>>()?;
    let metas: Vec<Signal> = tracked.iter().map(|x| Signal::meta(x.dims(), x.dtype())).collect();
    for (shape, output) in run(&layer, &metas, mode)?.iter().zip(&outputs) {
        assert!(shape.is_meta(), "{shape:?} of {}", case.label());
        assert_eq!((shape.dims()?, shape.dtype()?), (output.dims(), output.dtype()), "{}", case.label());
    }

    let expected = numbered(case, "output")?;
    assert_eq!(outputs.len(), expected.len(), "number of outputs of {}", case.label());
    let mut loss = Tensor::zeros((), DType::F64, &Device::Cpu)?;
    for (y, (name, expected)) in outputs.iter().zip(&expected) {
        check_golden(name, case, y, expected)?;
        loss = (loss + (y * case.tensor(&name.replace("output", "grad_output"))?)?.sum_all()?)?;
    }
    let grads = loss.backward()?;

    let gradient =
        |tensor: &Tensor| grads.get(tensor).cloned().ok_or_else(|| Error::msg("expected a gradient"));
    for (x, (name, _)) in tracked.iter().zip(&inputs).filter(|(x, _)| x.is_variable()) {
        let name = format!("grad.{name}");
        check_golden(&name, case, &gradient(x)?, &case.tensor(&name)?)?;
    }
    for (name, parameter) in layer.named_parameters() {
        check_golden(&name, case, &gradient(&parameter)?, &case.tensor(&format!("grad.{name}"))?)?;
    }
    for (name, buffer) in layer.buffers() {
        if let Some(after) = case.find(&format!("after.{name}"))? {
            check_golden(&name, case, &buffer, &after)?;
        }
    }
    Ok(())
}

/// Returns the case's tensor `name`, or its tensors `name.0`, `name.1`, …, each with its name.
fn numbered(case: &Case, name: &str) -> Result<Vec<(String, Tensor)>> {
    if let Some(tensor) = case.find(name)? {
        return Ok(vec![(name.to_string(), tensor)]);
    }
    let mut all = Vec::new();
    while let Some(tensor) = case.find(&format!("{name}.{}", all.len()))? {
        all.push((format!("{name}.{}", all.len()), tensor));
    }
    assert!(!all.is_empty(), "expected {name} in {}", case.label());
    Ok(all)
}

/// Returns a float tensor as a variable. Returns an integer tensor unchanged, because it has no gradient.
fn track(x: &Tensor) -> Result<Tensor> {
    Ok(if x.dtype().is_float() { Var::from_tensor(x)?.into_inner() } else { x.clone() })
}
