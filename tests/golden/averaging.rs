//! Compares averaged weights and recomputed running statistics with PyTorch.

use candle_core::{DType, Device};
use sconce::Result;
use sconce::prelude::{BatchNorm, Linear, Module, Network, StateDict};
use sconce::train::{AveragedModel, Ema, Swa, Weighting, update_bn};

use crate::cases::{Case, golden_tests};
use crate::common::check_close;

#[derive(Module)]
struct Net {
    #[layer(3, 4)]
    fc: Linear,
    #[layer(4)]
    norm: BatchNorm,
}

const NAMES: [&str; 7] = [
    "fc.weight",
    "fc.bias",
    "norm.weight",
    "norm.bias",
    "norm.running_mean",
    "norm.running_var",
    "norm.num_batches_tracked",
];

/// Compares the average with PyTorch's after each update, and again after `update_bn`.
fn check_average<W: Weighting>(
    case: &Case,
    create: impl Fn(&Net) -> Result<AveragedModel<Net, W>>,
) -> Result<()> {
    let mut net = Net::new(&Device::Cpu)?;
    let mut average = create(&net)?.use_buffers(case.is_true("use_buffers"));
    for step in 0..6 {
        let state = NAMES.iter().map(|name| {
            let value = case.tensor(&format!("model.{name}"))?.get(step)?;
            let dtype = if value.rank() == 0 { DType::I64 } else { DType::F32 };
            Ok((name.to_string(), value.to_dtype(dtype)?))
        });
        net.load_state_dict(&state.collect::<Result<StateDict>>()?)?;
        average.update(&net)?;
        for (name, tensor) in average.network().state_dict().iter() {
            // With `use_buffers`, PyTorch rounds averages of integers down in each update. They are not compared.
            if !tensor.dtype().is_float() && case.is_true("use_buffers") {
                continue;
            }
            let expected = case.tensor(&format!("average.{name}"))?.get(step)?;
            check_close(&format!("{} {name} step {step}", case.label()), tensor, &expected, 1e-5)?;
        }
    }
    let batches = (0..3).map(|i| {
        let batch = case.tensor(&format!("batch.{i}"))?.to_dtype(DType::F32)?;
        Ok((batch.clone(), batch))
    });
    update_bn(average.network(), &batches.collect::<Result<Vec<_>>>()?)?;
    for (name, tensor) in average.network().state_dict().iter() {
        let expected = case.tensor(&format!("updated.{name}"))?;
        check_close(&format!("{} {name} after update_bn", case.label()), tensor, &expected, 1e-5)?;
    }
    Ok(())
}

golden_tests! {
    averaged_weights: "averages", 5 => |case| match case.number("decay") {
        Some(decay) => check_average(case, |net| Ema::new(net, decay)),
        None => check_average(case, Swa::new),
    };
}
