//! Methods of signals that have no golden data: errors, and fusion of activations.

use sconce::prelude::*;
use sconce::{Launch, trace};

fn signal(dims: &[usize]) -> Result<Signal> {
    Ok(Tensor::ones(dims, DType::F32, &Device::Cpu)?.into())
}

/// A convolution whose output is used in several ways.
#[derive(Module)]
#[module(forward = |x| {
    let a = conv(x).relu();
    let b = max_pool2d(norm(conv(x)).relu(), 2);
    let y = conv(x);
    (a, b, y.tanh() + y, self.conv(x).sigmoid(), conv(x).softmax(1).log_softmax(-1))
})]
struct Methods {
    #[layer(3, 8, 3, padding = 1)]
    conv: Conv2d,
    #[layer(8)]
    norm: BatchNorm,
}

/// The same network with functions.
#[derive(Module)]
#[module(forward = |x| {
    let a = relu(conv(x));
    let b = max_pool2d(relu(norm(conv(x))), 2);
    let y = conv(x);
    (a, b, tanh(y) + y, sigmoid(self.conv(x)), log_softmax(softmax(conv(x), 1), -1))
})]
struct Functions {
    #[layer(3, 8, 3, padding = 1)]
    conv: Conv2d,
    #[layer(8)]
    norm: BatchNorm,
}

#[test]
fn methods_are_fused_as_functions_are() -> Result<()> {
    let methods = Methods::new(&Device::Cpu)?;
    let mut functions = Functions::new(&Device::Cpu)?;
    functions.load_state_dict(&methods.state_dict())?;
    let x = Tensor::randn(0f32, 1., (1, 3, 8, 8), &Device::Cpu)?;
    let (found, launches) = trace(|| methods.forward(&x));
    let (expected, expected_launches) = trace(|| functions.forward(&x));
    let operations = |launches: &[Launch]| -> Vec<String> {
        launches.iter().map(|launch| launch.operations.clone()).collect()
    };
    assert_eq!(operations(&launches), operations(&expected_launches));
    assert!(operations(&launches).contains(&"conv2d + bias + relu".to_string()));
    let values = |(a, b, c, d, e): (Tensor, Tensor, Tensor, Tensor, Tensor)| {
        [a, b, c, d, e].map(|x| x.flatten_all().and_then(|x| x.to_vec1::<f32>()).ok())
    };
    assert_eq!(values(found?), values(expected?));
    Ok(())
}

/// A user-defined method, which reads its receiver twice.
trait Swish {
    fn swish(&self) -> Signal;
}

impl Swish for Signal {
    fn swish(&self) -> Signal {
        self * self.sigmoid()
    }
}

#[derive(Module)]
#[module(forward = |x| conv(x).swish())]
struct UserMethod {
    #[layer(3, 8, 3)]
    conv: Conv2d,
}

#[test]
fn a_copy_for_fusion_runs_at_most_once_more() -> Result<()> {
    let net = UserMethod::new(&Device::Cpu)?;
    let x = Tensor::randn(0f32, 1., (1, 3, 8, 8), &Device::Cpu)?;
    let (y, launches) = trace(|| net.forward(&x));
    let convolutions = launches.iter().filter(|launch| launch.operations.starts_with("conv2d")).count();
    assert!(convolutions <= 2, "{launches:?}");
    let conv = net.conv.forward(&x)?;
    let expected = (&conv * candle_nn::ops::sigmoid(&conv)?)?;
    let difference = (y? - expected)?.abs()?.flatten_all()?.max(0)?.to_scalar::<f32>()?;
    assert!(difference < 1e-5, "{difference}");
    Ok(())
}

#[test]
fn wrong_arguments_are_errors() -> Result<()> {
    let x = signal(&[2, 3, 4])?;
    let ints = Signal::from(Tensor::new(&[1u32, 2], &Device::Cpu)?);
    let indices = Tensor::new(&[0u32, 7], &Device::Cpu)?;
    let [first, _]: [Signal; 2] = x.split([1, 1], 1);
    let [zero]: [Signal; 1] = x.split(0, 1);
    let [no_chunks]: [Signal; 1] = x.chunk(0, 1);
    let [few]: [Signal; 1] = x.split(1, 1);
    let cases = [
        (x.reshape((5, 5)), "cannot change the shape [2, 3, 4] to [5, 5]"),
        (x.reshape((-1, -1)), "cannot change the shape [2, 3, 4] to [-1, -1]"),
        (x.reshape((-1, 0)), "cannot change the shape [2, 3, 4] to [-1, 0]"),
        (x.reshape((-3, 8)), "expected a size of at least 0, or -1, found -3"),
        (x.reshape(u64::MAX), "expected a size of at most 9223372036854775807, found 18446744073709551615"),
        (x.reshape([isize::MAX, isize::MAX, isize::MAX]), "cannot change the shape"),
        (x.view((7, ())), "cannot change the shape [2, 3, 4] to [7, -1]"),
        (x.expand((2, 3)), "cannot expand the shape [2, 3, 4] to [2, 3]"),
        (x.expand((2, 3, 5)), "cannot expand the shape [2, 3, 4] to [2, 3, 5]"),
        (x.expand((-1, 2, 3, 4)), "cannot expand the shape [2, 3, 4] to [-1, 2, 3, 4]"),
        (x.t(), "expected at most 2 dimensions, found 3"),
        (x.roll([1], 3), "dimension 3 is out of range for a tensor with 3 dimensions"),
        (x.roll([1], (0, 1)), "roll: expected one shift per dimension, found [1] for the dimensions [0, 1]"),
        (x.select(1, 3), "index 3 is out of range for a dimension of size 3"),
        (x.select(1, -4), "index -4 is out of range for a dimension of size 3"),
        (x.select(3, 0), "dimension 3 is out of range for a tensor with 3 dimensions"),
        (x.index_select(2, &indices), "index"),
        (x.i((.., 7)), "start: 7"),
        (first, "expected sizes whose sum is 3, found [1, 1]"),
        (zero, "expected a size of at least 1, found 0"),
        (few, "expected 1 parts, found 3"),
        (x.var(7), "dimension 7 is out of range"),
        (ints.var(0), "expected a floating-point input, found U32"),
        (ints.gt(0.5), "a signal of the type U32 cannot be combined with 0.5"),
        (ints.gt(5_000_000_000u64), "a signal of the type U32 cannot be combined with 5000000000"),
        (no_chunks, "expected at least 1 chunk, found 0"),
        (ints.gt(-1), "a signal of the type U32 cannot be combined with -1"),
        (ints.eq(&x), "expected operands of the same type, found U32 and F32"),
        (x.eq(signal(&[5])?), "broadcast"),
        (x.gt(0).where_cond(1, 2), "expected a signal or tensor, found 1 and 2"),
        (x.gt(0).where_cond(&x, &ints), "expected operands of the same type, found F32 and U32"),
        (x.gt(0).where_cond(&x, signal(&[5])?), "where"),
        (x.where_cond(&x, 1), "where"),
        (x.masked_fill(signal(&[5])?.gt(0), 0.), "where"),
        (Signal::fail(Error::msg("first")).gt(1).masked_fill(x.gt(1), 1.).relu(), "first"),
        (x.gt(Signal::fail(Error::msg("second"))), "second"),
    ];
    for (result, expected) in cases {
        let error = result.error().map(ToString::to_string).unwrap_or_default();
        assert!(error.contains(expected), "expected {expected:?}, found {error:?}");
    }
    Ok(())
}

#[test]
fn empty_signals_have_shapes_too() -> Result<()> {
    let empty = signal(&[0, 3])?;
    assert_eq!(empty.reshape((3, 0)).dims()?, [3, 0]);
    assert_eq!(empty.reshape((-1, 3)).dims()?, [0, 3]);
    assert!(empty.reshape((0, -1)).error().is_some());
    assert_eq!(empty.expand((2, -1, -1)).dims()?, [2, 0, 3]);
    assert_eq!(empty.gt(0).dims()?, [0, 3]);
    let [part]: [Signal; 1] = empty.split(2, 0);
    assert_eq!(part.dims()?, [0, 3]);
    Ok(())
}
