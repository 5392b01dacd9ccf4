//! In training, a residual and an activation that follow a batch norm run in its kernel.

use proptest::prelude::*;
use sconce::candle::Result;
use sconce::prelude::{
    BatchNorm, Config, DType, Device, Forward, Mode, Tensor, leaky_relu, relu, relu6, sigmoid, silu, tanh,
};

use crate::common::{Rng, check_close, check_gradients, config, fail, gradients};

/// Generates a shape `[batch, channels, …]`.
fn shape() -> impl Strategy<Value = Vec<usize>> {
    let tail = prop::collection::vec(1..5usize, 0..4);
    (1..5usize, 1..4usize, tail).prop_map(|(n, c, tail)| [vec![n, c], tail].concat())
}

/// Computes `activation(norm(x) + residual)`, where `norm` is a batch norm in training mode, and `activation` is the
/// index of a match arm below. The tensors are `[x, weight, bias]` and optionally a residual.
fn norm_with_activation(x: &[Tensor], activation: usize) -> Result<Tensor> {
    let parameters = [("weight", &x[1]), ("bias", &x[2])];
    let parameters = parameters.into_iter().map(|(name, x)| (name.to_string(), x.clone())).collect();
    let vb = sconce::nn::VarBuilder::from_tensors(parameters, DType::F64, &Device::Cpu);
    let config = BatchNorm::config(x[1].elem_count()).eps(1e-1).track_running_stats(false);
    let norm = config.build(vb).map_err(sconce::candle::Error::wrap)?;
    let y = norm.call((&x[0]).into(), Mode::Train);
    let y = if let Some(residual) = x.get(3) { y + residual } else { y };
    let y = match activation {
        0 => y,
        1 => relu(y),
        2 => relu6(y),
        3 => leaky_relu(y, 0.1),
        4 => sigmoid(y),
        5 => tanh(y),
        _ => silu(y),
    };
    y.into_tensor().map_err(sconce::candle::Error::wrap)
}

proptest! {
    #![proptest_config(config(200))]

    #[test]
    fn operations_fused_into_batch_norm_give_the_same_results(
        shape in shape(), activation in 0..7usize, residual: bool, seed: u64,
    ) {
        // In training, batch norm needs more than one value per channel.
        if shape.iter().product::<usize>() == shape[1] {
            return Ok(());
        }
        let mut numbers = Rng::new(seed);
        let mut inputs = vec![numbers.tensor(&shape, 2.0)];
        inputs.extend([numbers.tensor(&[shape[1]], 8.0), numbers.tensor(&[shape[1]], 4.0)]);
        if residual {
            inputs.push(numbers.tensor(&shape, 2.0));
        }
        let output_grad = numbers.tensor(&shape, 1.0);
        let check = || {
            let run = |x: &[Tensor]| norm_with_activation(x, activation);
            let (fused, dx) = gradients(run, &inputs, &output_grad)?;
            let (unfused, dx_unfused) = gradients(|x| sconce::no_fusion(|| run(x)), &inputs, &output_grad)?;
            check_close("output", &fused, &unfused, 1e-12)?;
            for (fused, unfused) in dx.iter().zip(&dx_unfused) {
                check_close("gradient", fused, unfused, 1e-11)?;
            }
            // Sigmoid, tanh and SiLU have no kinks, so their gradients are also compared with finite differences.
            if activation >= 4 { check_gradients(run, &inputs) } else { Ok(()) }
        };
        check().map_err(fail)?;
    }
}
