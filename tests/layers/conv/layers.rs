//! The convolution layers: inputs without a batch, changed weights, initial parameters, printing.

use sconce::prelude::*;

use crate::common::{check_close, values};

#[test]
fn an_unbatched_input_gives_the_result_of_a_batch_of_one() -> Result<()> {
    let device = Device::Cpu;
    fn check(layer: impl Layer, shape: &[usize]) -> Result<()> {
        let x = Tensor::randn(0f32, 1., shape, &Device::Cpu)?;
        let unbatched = layer.call((&x).into(), Mode::Eval).into_tensor()?;
        let batch = layer.call(x.unsqueeze(0)?.into(), Mode::Eval).into_tensor()?;
        Ok(check_close("output", &unbatched, &batch.squeeze(0)?, 0.)?)
    }
    check(Conv1d::config(3, 4, 3).padding_mode("reflect").padding(2).init(&device)?, &[3, 7])?;
    check(Conv2d::config(3, 4, 3).init(&device)?, &[3, 7, 5])?;
    check(ConvTranspose1d::config(3, 4, 3).stride(2).init(&device)?, &[3, 7])?;
    check(ConvTranspose2d::config(3, 4, 3).stride(2).init(&device)?, &[3, 7, 5])?;
    check(Conv3d::config(3, 4, 3).padding_mode("circular").padding(1).init(&device)?, &[3, 4, 7, 5])?;
    check(ConvTranspose3d::config(3, 4, 3).stride(2).init(&device)?, &[3, 4, 7, 5])?;
    check(ReflectionPad2d::config(2).init(&device)?, &[3, 7, 5])
}

/// If the weight of a layer changes, the next call packs the new weight.
#[test]
fn a_changed_weight_is_packed_again() -> Result<()> {
    let mut conv = Conv1d::config(2, 3, 3).init(&Device::Cpu)?;
    let x = Tensor::randn(0f32, 1., (1, 2, 6), &Device::Cpu)?;
    let call = |conv: &Conv1d| conv.call((&x).into(), Mode::Eval).into_tensor();
    let (first, second) = (call(&conv)?, call(&conv)?);
    check_close("a second call", &second, &first, 0.)?;
    let mut state = conv.state_dict();
    for name in ["weight", "bias"] {
        let doubled = (state.get(name).expect("the state dict should have the parameter") * 2.)?;
        state.insert(name.to_string(), doubled);
    }
    conv.load_state_dict(&state)?;
    check_close("doubled", &call(&conv)?, &(&first * 2.)?, 1e-5)?;
    conv.to_dtype(DType::F64)?;
    let in_f64 = conv.call(x.to_dtype(DType::F64)?.into(), Mode::Eval).into_tensor()?;
    check_close("in f64", &in_f64, &(&first * 2.)?, 1e-5)?;
    Ok(())
}

#[test]
fn initial_parameters_have_the_distribution_of_pytorch() -> Result<()> {
    fn check(layer: impl Module, fan_in: usize, shape: &[usize]) -> Result<()> {
        let bound = 1. / (fan_in as f64).sqrt();
        let parameters = layer.named_parameters();
        let names: Vec<&str> = parameters.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["weight", "bias"]);
        assert_eq!(parameters[0].1.dims(), shape);
        let weight = values(&parameters[0].1)?;
        let largest = weight.iter().fold(0f64, |max, x| max.max(x.abs()));
        // The mean square of the uniform distribution within ±`bound` is `bound`² / 3.
        let mean_square = weight.iter().map(|x| x * x).sum::<f64>() / weight.len() as f64;
        assert!(
            largest <= bound && largest > 0.95 * bound,
            "expected a maximum of about {bound}, found {largest}"
        );
        assert!((mean_square / (bound * bound / 3.) - 1.).abs() < 0.2, "mean square {mean_square}");
        assert!(values(&parameters[1].1)?.iter().all(|x| x.abs() <= bound));
        Ok(())
    }
    sconce::manual_seed(3);
    let device = Device::Cpu;
    check(Conv1d::config(8, 64, 5).groups(2).init(&device)?, 4 * 5, &[64, 4, 5])?;
    check(ConvTranspose1d::config(64, 8, 5).groups(2).init(&device)?, 4 * 5, &[64, 4, 5])?;
    check(ConvTranspose2d::config(32, 8, (2, 3)).init(&device)?, 8 * 6, &[32, 8, 2, 3])?;
    check(Conv3d::config(8, 32, (2, 1, 3)).groups(2).init(&device)?, 4 * 6, &[32, 4, 2, 1, 3])?;
    check(ConvTranspose3d::config(32, 8, 2).init(&device)?, 8 * 8, &[32, 8, 2, 2, 2])
}

#[test]
fn layers_print_as_in_pytorch() -> Result<()> {
    let device = Device::Cpu;
    let conv = Conv1d::config(4, 6, 3).stride(2).padding(1).dilation(2).groups(2).bias(false);
    assert_eq!(
        conv.padding_mode("reflect").init(&device)?.to_string(),
        "Conv1d(4, 6, kernel_size=(3,), stride=(2,), padding=(1,), dilation=(2,), groups=2, bias=False, \
         padding_mode=reflect)"
    );
    assert_eq!(
        Conv2d::config(1, 2, 4).padding("same").padding_mode("circular").init(&device)?.to_string(),
        "Conv2d(1, 2, kernel_size=(4, 4), stride=(1, 1), padding=same, padding_mode=circular)"
    );
    assert_eq!(
        ConvTranspose1d::config(4, 6, 3).init(&device)?.to_string(),
        "ConvTranspose1d(4, 6, kernel_size=(3,), stride=(1,))"
    );
    let up = ConvTranspose2d::config(4, 6, 3).stride(2).padding(1).output_padding((0, 1)).dilation((1, 2));
    assert_eq!(
        up.groups(2).init(&device)?.to_string(),
        "ConvTranspose2d(4, 6, kernel_size=(3, 3), stride=(2, 2), padding=(1, 1), dilation=(1, 2), \
         output_padding=(0, 1), groups=2)"
    );
    let conv = Conv3d::config(4, 6, (1, 3, 3)).stride((1, 2, 2)).padding((0, 1, 1)).bias(false);
    assert_eq!(
        conv.init(&device)?.to_string(),
        "Conv3d(4, 6, kernel_size=(1, 3, 3), stride=(1, 2, 2), padding=(0, 1, 1), bias=False)"
    );
    let up = ConvTranspose3d::config(4, 6, 3).stride(2).padding(1).output_padding((0, 1, 0));
    assert_eq!(
        up.init(&device)?.to_string(),
        "ConvTranspose3d(4, 6, kernel_size=(3, 3, 3), stride=(2, 2, 2), padding=(1, 1, 1), \
         output_padding=(0, 1, 0))"
    );
    assert_eq!(ZeroPad2d::config(1).init(&device)?.to_string(), "ZeroPad2d((1, 1, 1, 1))");
    assert_eq!(
        ReflectionPad2d::config((1, 2, 3, 4)).init(&device)?.to_string(),
        "ReflectionPad2d((1, 2, 3, 4))"
    );
    assert_eq!(ReplicationPad2d::config((1, 2)).init(&device)?.to_string(), "ReplicationPad2d((1, 2, 0, 0))");
    assert_eq!(CircularPad2d::config(2).init(&device)?.to_string(), "CircularPad2d((2, 2, 2, 2))");
    Ok(())
}
