//! A layer with the parameters of one of PyTorch's cases, and the comparison with its answers.

use sconce::candle::Var;
use sconce::prelude::*;

use super::golden::Case;

/// A layer of f64 with the case's parameters and buffers.
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

/// Whether a tensor of the case is what PyTorch had.
pub fn close(what: &str, case: &Case, got: &Tensor, expected: &Tensor) -> Result<()> {
    Ok(super::check_close(&format!("{what} of {}", case.label()), got, expected, 1e-5)?)
}

/// Output, gradients and, after training, buffers of one case.
pub fn check<C: Config<Output: Forward<Signal, Output = Signal>>>(config: C, case: &Case) -> Result<()> {
    let layer = layer(config, case)?;
    let mode = Mode::from(case.mode == "train");
    let x = Var::from_tensor(&case.tensor("input")?)?;
    let y = layer.call(x.as_tensor().into(), mode).into_tensor()?;
    close("output", case, &y, &case.tensor("output")?)?;
    let grads = (&y * case.tensor("grad_output")?)?.sum_all()?.backward()?;
    let gradient = |tensor: &Tensor| grads.get(tensor).cloned().ok_or_else(|| Error::msg("no gradient"));
    close("grad.input", case, &gradient(x.as_tensor())?, &case.tensor("grad.input")?)?;
    for (name, parameter) in layer.named_parameters() {
        close(&name, case, &gradient(&parameter)?, &case.tensor(&format!("grad.{name}"))?)?;
    }
    for (name, buffer) in layer.buffers() {
        if let Some(after) = case.find(&format!("after.{name}"))? {
            close(&name, case, &buffer, &after)?;
        }
    }
    Ok(())
}

/// An argument that is a size; 0 where there is none.
pub fn count(case: &Case, name: &str) -> usize {
    case.number(name).unwrap_or_default() as usize
}
