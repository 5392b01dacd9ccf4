//! The error messages of convolutions for invalid settings and inputs.

use sconce::candle;
use sconce::prelude::*;

use crate::common::message;

#[derive(Module)]
#[module(forward = |x, skip| {
    let (_, _, height, width) = skip.dims4()?;
    cat([up(x, (height, width)), skip], 1)
})]
struct Decoder {
    #[layer(4, 2, 3, stride = 2, padding = 1)]
    up: ConvTranspose2d,
}

#[test]
fn forward_closures_set_the_output_size() -> Result<()> {
    let decoder = Decoder::new(&Device::Cpu)?;
    let zeros = |shape: [usize; 4]| Tensor::zeros(&shape, DType::F32, &Device::Cpu);
    for (height, width) in [(7, 9), (8, 10), (7, 10)] {
        let y = decoder.forward(zeros([1, 4, 4, 5])?, zeros([1, 3, height, width])?)?;
        assert_eq!(y.dims(), [1, 5, height, width]);
    }
    let error = message(decoder.forward(zeros([1, 4, 4, 5])?, zeros([1, 3, 9, 9])?));
    assert_eq!(
        error,
        "at Decoder.up (ConvTranspose2d 4→2, 3×3): expected an output_size between (7, 9) and (8, 10) for the input \
         [1, 4, 4, 5], found (9, 9)"
    );
    let up = ConvTranspose1d::config(2, 3, 4).stride(4).init(&Device::Cpu)?;
    let x = Signal::from(Tensor::zeros((2, 5), DType::F32, &Device::Cpu)?);
    assert_eq!(up.call_with((x.clone(), 23), Mode::Eval).dims()?, [3, 23]);
    let error = message(up.call_with((x, 24), Mode::Eval).into_tensor());
    assert!(error.contains("between (20,) and (23,) for the input [2, 5], found (24,)"), "{error}");
    Ok(())
}

#[test]
fn errors_name_the_invalid_setting() {
    let device = &Device::Cpu;
    for (error, part) in [
        (
            message(Conv1d::config(3, 4, 0).init(device)),
            "Conv1d 3→4: expected kernel_size of at least 1, found (0,)",
        ),
        (
            message(Conv1d::config(3, 4, 2).stride(0).init(device)),
            "expected stride of at least 1, found (0,)",
        ),
        (
            message(Conv1d::config(3, 4, 2).padding("full").init(device)),
            "expected padding as a number, \"same\" or \"valid\", found \"full\"",
        ),
        (
            message(Conv1d::config(3, 4, 2).padding("same").stride(2).init(device)),
            "padding = \"same\" requires stride 1, found (2,)",
        ),
        (
            message(Conv1d::config(3, 4, 2).groups(2).init(device)),
            "expected groups to divide the 3 input and 4 output channels, found 2",
        ),
        (
            message(Conv2d::config(3, 4, 2).padding_mode("mirror").init(device)),
            "Conv2d 3→4: expected padding_mode \"zeros\", \"reflect\", \"replicate\" or \"circular\", found \"mirror\"",
        ),
        (
            message(ConvTranspose2d::config(3, 4, 2).output_padding((0, 1)).init(device)),
            "ConvTranspose2d 3→4: expected output_padding smaller than stride or dilation, found output_padding = \
             (0, 1) with stride = (1, 1) and dilation = (1, 1)",
        ),
        (
            message(ConvTranspose1d::config(3, 4, 2).stride(2).output_padding(2).init(device)),
            "found output_padding = (2,) with stride = (2,) and dilation = (1,)",
        ),
        (
            message(ConvTranspose1d::config(3, 4, 2).groups(0).init(device)),
            "expected groups to divide the 3 input and 4 output channels, found 0",
        ),
        (
            message(ConvTranspose2d::config(3, 4, 2).dilation((1, 0)).init(device)),
            "expected dilation of at least 1, found (1, 0)",
        ),
    ] {
        assert!(error.contains(part), "{error}");
    }
    // As in PyTorch, the output padding must be smaller than the stride or the dilation. Here it is smaller than
    // the dilation only.
    assert!(ConvTranspose1d::config(3, 4, 2).dilation(3).output_padding(2).init(device).is_ok());
}

#[test]
fn errors_name_the_invalid_input() -> Result<()> {
    let device = &Device::Cpu;
    let zeros = |shape: &[usize]| Tensor::zeros(shape, DType::F32, device);
    fn error_of(layer: &impl Layer, x: Result<Tensor, candle::Error>) -> Result<String> {
        Ok(message(layer.call(x?.into(), Mode::Eval).into_tensor()))
    }
    let conv = Conv1d::config(3, 4, 5).init(device)?;
    let reflect = Conv2d::config(3, 4, 3).padding(4).padding_mode("reflect").init(device)?;
    let circular = Conv1d::config(3, 4, 3).padding(4).padding_mode("circular").init(device)?;
    let up = ConvTranspose2d::config(3, 4, 1).padding(2).init(device)?;
    for (error, part) in [
        (
            error_of(&conv, zeros(&[1, 2, 9]))?,
            "Conv1d 3→4, 5: expected 3 input channels, found 2 (input [1, 2, 9])",
        ),
        (error_of(&conv, zeros(&[1, 3, 9, 9]))?, "expected an input [batch, 3, length], found [1, 3, 9, 9]"),
        (error_of(&conv, zeros(&[9]))?, "expected an input [batch, 3, length], found [9]"),
        (error_of(&conv, zeros(&[1, 3, 4]))?, "smaller than the dilated kernel"),
        (
            error_of(&conv, zeros(&[1, 3, 9]).and_then(|x| x.to_dtype(DType::F64)))?,
            "Conv1d 3→4, 5: conv2d: expected a weight of dtype F64",
        ),
        (
            error_of(&reflect, zeros(&[1, 3, 5, 4]))?,
            "Conv2d 3→4, 3×3: pad: expected reflect padding smaller than the width (4), found 4 at the left and 4 at \
             the right",
        ),
        (
            error_of(&circular, zeros(&[1, 3, 3]))?,
            "Conv1d 3→4, 3: pad: expected circular padding of at most the width (3), found 4",
        ),
        (
            error_of(&up, zeros(&[1, 4, 9, 9]))?,
            "ConvTranspose2d 3→4, 1×1: expected 3 input channels, found 4",
        ),
        (error_of(&up, zeros(&[1, 3, 9, 4]))?, "the output would be empty (input [1, 3, 9, 4])"),
        (error_of(&up, zeros(&[1, 3, 9, 0]))?, "the output would be empty"),
        (error_of(&up, zeros(&[3, 9]))?, "expected an input [batch, 3, height, width], found [3, 9]"),
        (
            error_of(&up, zeros(&[1, 3, 9, 9]).and_then(|x| x.to_dtype(DType::F64)))?,
            "conv_transpose2d: expected a weight of dtype F64",
        ),
        (
            error_of(&ReflectionPad2d::config(3), zeros(&[1, 1, 3, 9]))?,
            "smaller than the height (3), found 3 at the top and 3 at the bottom",
        ),
        (
            error_of(&CircularPad2d::config((0, 4, 0, 0)), zeros(&[1, 1, 3, 3]))?,
            "of at most the width (3), found 0 at the left and 4 at the right",
        ),
        (
            error_of(&ZeroPad2d::config(-2), zeros(&[1, 1, 9, 4]))?,
            "expected padding that leaves at least one element along the width (4)",
        ),
        (
            error_of(&ZeroPad2d::config(isize::MAX), zeros(&[1, 1, 9, 4]))?,
            "and gives an output that fits in memory",
        ),
        (
            error_of(&ZeroPad2d::config(isize::MAX / 4), zeros(&[0, 1, 9, 4]))?,
            "pad: not enough memory for an output of",
        ),
        (error_of(&ReplicationPad2d::config(1), zeros(&[1, 1, 0, 4]))?, "not empty, found [1, 1, 0, 4]"),
    ] {
        assert!(error.contains(part), "{error}\nshould contain {part}");
    }
    Ok(())
}

#[test]
fn errors_of_functions_name_the_invalid_operand() -> Result<()> {
    let device = &Device::Cpu;
    let zeros = |shape: &[usize]| Tensor::zeros(shape, DType::F32, device);
    let (x, weight, vector) = (zeros(&[1, 4, 9, 9])?, zeros(&[4, 3, 3, 3])?, zeros(&[7])?);
    let defaults = Conv2dOptions::default();
    let up = ConvTranspose2dOptions::default();
    for (signal, part) in [
        (
            conv2d(&x, &vector, None, defaults),
            "conv2d: expected a weight [out_channels, in_channels / groups, height, width], found [7]",
        ),
        (conv2d(&x, &weight, Some(&vector), defaults), "conv2d: expected a bias [4], found [7]"),
        (conv2d(&x, &weight, None, defaults), "expected 3 input channels, found 4"),
        (
            conv2d(&x, &weight, None, defaults.groups(3)),
            "groups do not divide the channels of the weight [4, 3, 3, 3]",
        ),
        (conv2d(&x, &weight, None, defaults.groups(0)), "groups do not divide"),
        (
            conv2d(&x, &zeros(&[4, 4, 0, 3])?, None, defaults),
            "expected kernel_size of at least 1, found (0, 3)",
        ),
        (
            conv1d(&x, &weight, None, Conv1dOptions::default()),
            "conv1d: expected a weight [out_channels, in_channels / groups, length]",
        ),
        (
            conv_transpose2d(&x, &weight, Some(&vector), up),
            "conv_transpose2d: expected a bias [3], found [7]",
        ),
        (conv_transpose2d(&x, &weight, None, up.groups(3)), "groups do not divide"),
        (
            conv_transpose2d(&x, &weight, None, up.output_padding(1)),
            "expected output_padding smaller than stride or dilation",
        ),
        (conv_transpose2d(&x, &weight, None, up.padding(usize::MAX)), "the output would be empty"),
        (conv_transpose2d(&x, &weight, None, up.stride(usize::MAX)), "the output would be empty"),
        (conv_transpose2d(&x, &weight, None, up.stride(1 << 40)), "fits in memory"),
        (
            conv_transpose1d(&x, &vector, None, ConvTranspose1dOptions::default()),
            "conv_transpose1d: expected a weight [in_channels",
        ),
        (
            pad(&x, 1, "mirror"),
            "expected the mode \"zeros\", \"constant\", \"reflect\", \"replicate\" or \"circular\", found \"mirror\"",
        ),
        (pad(zeros(&[])?, 1, "zeros"), "expected an input […, height, width] that is not empty, found []"),
        (pad(x.to_dtype(DType::U8)?, 1, "zeros"), "found U8"),
    ] {
        let error = message(signal.into_tensor());
        assert!(error.contains(part), "{error}\nshould contain {part}");
    }
    Ok(())
}
