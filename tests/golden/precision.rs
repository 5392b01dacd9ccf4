//! Compares training in mixed precision with PyTorch's `autocast` and `GradScaler`.

use sconce::prelude::*;
use sconce::train::{GradScaler, mixed_precision};

use crate::cases::{Case, golden_tests};

/// The network of `make_precision.py`. Its layers are named by their indices, as in PyTorch's `nn.Sequential`.
#[derive(Module)]
struct Net(
    #[layer(1, 4, 3, padding = 1)] Conv2d,
    Relu,
    Flatten,
    #[layer(144, 16)] Linear,
    Relu,
    #[layer(16, 5)] Linear,
);

const NAMES: [&str; 6] = ["0.weight", "0.bias", "3.weight", "3.bias", "5.weight", "5.bias"];

/// Trains with the settings of `case`. Compares the loss and the scale factor of each step, and the final parameters,
/// with PyTorch's.
fn check(case: &Case) -> Result<()> {
    let dtype = match case.args["dtype"].as_str() {
        Some("bf16") => DType::BF16,
        Some("f16") => DType::F16,
        _ => DType::F32,
    };
    // About the relative rounding error of one operation in the half-precision dtypes.
    let epsilon = [(DType::BF16, 4e-3), (DType::F16, 5e-4)].into_iter().find(|(half, _)| *half == dtype);
    let tolerance = 4. * epsilon.map_or(1e-6, |(_, epsilon)| epsilon);
    let tensor = |name: &str| case.tensor(name)?.to_dtype(DType::F32);
    let mut net = Net::new(&Device::Cpu)?;
    let initial = NAMES.iter().map(|name| Ok((name.to_string(), tensor(&format!("initial.{name}"))?)));
    net.load_state_dict(&initial.collect::<Result<StateDict>>()?)?;
    let x = tensor("x")?.to_dtype(dtype)?;
    let classes = tensor("classes")?.to_dtype(DType::U32)?;
    let losses = tensor("losses")?.to_vec1::<f32>()?;
    let scales = tensor("scales")?.to_vec1::<f32>()?;
    let mut scaler = match case.number("init_scale") {
        Some(factor) => {
            GradScaler::new().initial_factor(factor).growth_interval(case.size("growth_interval") as u64)
        }
        None => GradScaler::new().initial_factor(1.),
    };
    let mut optimizer = Sgd::new(0.05).momentum(0.9).build(net.trainable_parameters())?;
    for (step, (expected, scale)) in losses.into_iter().zip(scales).enumerate() {
        let output = mixed_precision(&net, dtype)?.forward_t(&x, true)?;
        assert_eq!(output.dtype(), dtype);
        let loss = cross_entropy(&output.to_dtype(DType::F32)?, &classes)?;
        let mut grads = sconce::backward(&scaler.scale(&loss)?)?;
        let finite = scaler.unscale(&net, &mut grads)?;
        if finite {
            optimizer.step(&grads)?;
        }
        scaler.update(finite);
        let found = loss.to_scalar::<f32>()?;
        let label = case.label();
        assert!(
            (found - expected).abs() <= tolerance,
            "{label}, step {step}: expected {expected}, found {found}"
        );
        assert_eq!(scaler.factor(), f64::from(scale), "{label}, step {step}");
    }
    for (name, found) in net.state_dict().iter() {
        let expected = tensor(&format!("final.{name}"))?;
        assert_eq!(found.dtype(), DType::F32);
        let error = (found - &expected)?.abs()?.max_all()?.to_scalar::<f32>()?;
        assert!(error <= tolerance, "{} {name}: an error of {error}", case.label());
    }
    Ok(())
}

golden_tests! {
    mixed_precision_follows_autocast: "precision", 3 => check;
}
