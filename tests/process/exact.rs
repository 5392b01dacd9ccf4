//! `sconce::set_exact(true)` selects direct convolution. For inputs and weights that are small integers, direct
//! convolution computes exact sums, but Winograd's algorithm rounds.

use sconce::candle::{DType, Device, Tensor, Var};
use sconce::kernels::conv::{
    ConvGeometry, Epilogue, PackedCache, TransposeGeometry, conv_transpose2d, conv2d,
};
use sconce::prelude::*;

use crate::passed_in_own_process;

/// A guard that makes convolutions exact until it is dropped.
struct ExactGuard;

impl ExactGuard {
    fn new() -> Self {
        sconce::set_exact(true);
        Self
    }
}

impl Drop for ExactGuard {
    fn drop(&mut self) {
        sconce::set_exact(false);
    }
}

/// Returns integers from -8 to 8.
fn integers(dims: &[usize], seed: usize) -> Tensor {
    let count = dims.iter().product::<usize>();
    let values = (0..count).map(|i| ((i * 7919 + seed * 104729 + i / 13) % 17) as f32 - 8.);
    Tensor::from_vec(values.collect(), dims, &Device::Cpu).unwrap()
}

fn differ(a: &Tensor, b: &Tensor) -> bool {
    let b = b.to_dtype(DType::F64).unwrap();
    let difference = (a.to_dtype(DType::F64).unwrap() - b).unwrap().abs().unwrap();
    difference.max_all().unwrap().to_scalar::<f64>().unwrap() != 0.
}

fn geometry(dilation: usize) -> ConvGeometry {
    ConvGeometry { padding: [[dilation; 2]; 2], dilation: [dilation; 2], ..ConvGeometry::default() }
}

/// Returns three tensors that are computed in `dtype`: the output, the gradient of the input, and the gradient of the
/// weight.
fn conv(dtype: DType, dilation: usize) -> [Tensor; 3] {
    let var =
        |dims: &[usize], seed| Var::from_tensor(&integers(dims, seed).to_dtype(dtype).unwrap()).unwrap();
    let (input, weight) = (var(&[2, 64, 40, 40], 1), var(&[64, 64, 3, 3], 2));
    let output = conv2d(&input, &weight, &geometry(dilation), &Epilogue::default(), None).unwrap();
    let output_grad = integers(output.dims(), 3).to_dtype(dtype).unwrap();
    let gradients = (&output * output_grad).unwrap().backward().unwrap();
    let gradient = |var: &Var| gradients.get(var).unwrap().clone();
    [output.detach(), gradient(&input), gradient(&weight)]
}

#[test]
fn sums_of_integers_are_exact_forward_and_backward() {
    if passed_in_own_process() {
        return;
    }
    for dilation in [1, 2] {
        let expected = conv(DType::F64, dilation);
        let exact = ExactGuard::new();
        let actual = conv(DType::F32, dilation);
        drop(exact);
        for (i, (actual, expected)) in actual.iter().zip(&expected).enumerate() {
            assert!(!differ(actual, expected), "dilation {dilation}, tensor {i}");
        }
    }
}

/// Without `set_exact(true)`, the previous test would fail: the output and the gradient of the input are rounded.
#[test]
fn the_default_algorithm_rounds() {
    if passed_in_own_process() {
        return;
    }
    assert!(!sconce::is_exact());
    let [expected, actual] = [DType::F64, DType::F32].map(|dtype| conv(dtype, 1));
    assert!(differ(&actual[0], &expected[0]) && differ(&actual[1], &expected[1]));
}

#[test]
fn sums_of_transposed_convolutions_are_exact() {
    if passed_in_own_process() {
        return;
    }
    let run = |dtype| {
        let input = integers(&[2, 64, 40, 40], 4).to_dtype(dtype).unwrap();
        let weight = integers(&[64, 64, 3, 3], 5).to_dtype(dtype).unwrap();
        let geometry = TransposeGeometry { padding: [1; 2], ..TransposeGeometry::default() };
        conv_transpose2d(&input, &weight, None, &geometry).unwrap()
    };
    let expected = run(DType::F64);
    let exact = ExactGuard::new();
    let actual = run(DType::F32);
    drop(exact);
    assert!(!differ(&actual, &expected));
}

/// If `set_exact` changes between two calls, the second call uses the other algorithm, although the cache holds a
/// weight that was packed for the algorithm of the first call.
#[test]
fn packed_weights_follow_set_exact() {
    if passed_in_own_process() {
        return;
    }
    let (input, weight) = (integers(&[1, 64, 56, 56], 6), integers(&[64, 64, 3, 3], 7));
    let double = |tensor: &Tensor| tensor.to_dtype(DType::F64).unwrap();
    let none = Epilogue::default();
    let expected = conv2d(&double(&input), &double(&weight), &geometry(1), &none, None).unwrap();
    let packed = PackedCache::default();
    let run = || conv2d(&input, &weight, &geometry(1), &none, Some(&packed)).unwrap();
    for _ in 0..3 {
        assert!(differ(&run(), &expected));
        let exact = ExactGuard::new();
        assert!(!differ(&run(), &expected));
        drop(exact);
    }
}

/// The layout of a packed weight depends on the number of groups.
#[test]
fn changing_the_number_of_groups_repacks_the_weight() {
    if passed_in_own_process() {
        return;
    }
    let weight = integers(&[32, 400, 1, 1], 8);
    let packed = PackedCache::default();
    for groups in [1, 2, 4, 1] {
        let input = integers(&[1, 400 * groups, 6, 6], 9);
        let geometry = ConvGeometry { groups, ..ConvGeometry::default() };
        let run = |packed| conv2d(&input, &weight, &geometry, &Epilogue::default(), packed).unwrap();
        assert!(!differ(&run(Some(&packed)), &run(None)), "{groups} groups");
    }
}

#[test]
fn layers_check_set_exact_in_every_call() {
    if passed_in_own_process() {
        return;
    }
    let conv = Conv2d::config(64, 64, 3).padding(1).bias(false).init(&Device::Cpu).unwrap();
    let x = integers(&[1, 64, 56, 56], 10);
    let mut conv = conv.inference().unwrap();
    conv.load_state_dict(&[("weight".to_string(), integers(&[64, 64, 3, 3], 11))].into_iter().collect())
        .unwrap();
    let run = |conv: &Conv2d| conv.call((&x).into(), Mode::Eval).into_tensor().unwrap();
    let exact = ExactGuard::new();
    let expected = run(&conv);
    drop(exact);
    assert!(differ(&run(&conv), &expected));
    let _exact = ExactGuard::new();
    assert!(!differ(&run(&conv), &expected));
}
