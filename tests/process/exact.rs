//! `sconce::set_exact`: sums of small whole numbers come out without any rounding, which no other way than the
//! definition's gives.

use sconce::candle::{DType, Device, Tensor, Var};
use sconce::kernels::conv::{
    ConvGeometry, Epilogue, PackedCache, TransposeGeometry, conv_transpose2d, conv2d,
};
use sconce::prelude::*;

use crate::alone;

/// Exact convolutions until it is dropped.
struct Exact;

impl Exact {
    fn on() -> Self {
        sconce::set_exact(true);
        Self
    }
}

impl Drop for Exact {
    fn drop(&mut self) {
        sconce::set_exact(false);
    }
}

/// Whole numbers from -8 to 8.
fn whole(dims: &[usize], seed: usize) -> Tensor {
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

/// The output, and the gradients of input and weight, in a dtype.
fn conv(dtype: DType, dilation: usize) -> [Tensor; 3] {
    let var = |dims: &[usize], seed| Var::from_tensor(&whole(dims, seed).to_dtype(dtype).unwrap()).unwrap();
    let (input, weight) = (var(&[2, 64, 40, 40], 1), var(&[64, 64, 3, 3], 2));
    let output = conv2d(&input, &weight, &geometry(dilation), &Epilogue::default(), None).unwrap();
    let cotangent = whole(output.dims(), 3).to_dtype(dtype).unwrap();
    let gradients = (&output * cotangent).unwrap().backward().unwrap();
    let gradient = |var: &Var| gradients.get(var).unwrap().clone();
    [output.detach(), gradient(&input), gradient(&weight)]
}

#[test]
fn sums_of_whole_numbers_are_exact_forward_and_backward() {
    let _alone = alone();
    for dilation in [1, 2] {
        let wanted = conv(DType::F64, dilation);
        let exact = Exact::on();
        let given = conv(DType::F32, dilation);
        drop(exact);
        for (i, (given, wanted)) in given.iter().zip(&wanted).enumerate() {
            assert!(!differ(given, wanted), "dilation {dilation}, tensor {i}");
        }
    }
}

/// Without the switch the same sums are rounded: the test above can fail.
#[test]
fn the_fastest_way_rounds() {
    let _alone = alone();
    assert!(!sconce::is_exact());
    let [wanted, given] = [DType::F64, DType::F32].map(|dtype| conv(dtype, 1));
    assert!(differ(&given[0], &wanted[0]) && differ(&given[1], &wanted[1]));
}

#[test]
fn transposed_sums_are_exact_too() {
    let _alone = alone();
    let run = |dtype| {
        let input = whole(&[2, 64, 40, 40], 4).to_dtype(dtype).unwrap();
        let weight = whole(&[64, 64, 3, 3], 5).to_dtype(dtype).unwrap();
        let geometry = TransposeGeometry { padding: [1; 2], ..TransposeGeometry::default() };
        conv_transpose2d(&input, &weight, None, &geometry).unwrap()
    };
    let wanted = run(DType::F64);
    let exact = Exact::on();
    let given = run(DType::F32);
    drop(exact);
    assert!(!differ(&given, &wanted));
}

/// A layer that has packed its weight for one way runs the other way at the next call.
#[test]
fn packed_weights_follow_the_switch() {
    let _alone = alone();
    let (input, weight) = (whole(&[1, 64, 56, 56], 6), whole(&[64, 64, 3, 3], 7));
    let double = |tensor: &Tensor| tensor.to_dtype(DType::F64).unwrap();
    let none = Epilogue::default();
    let wanted = conv2d(&double(&input), &double(&weight), &geometry(1), &none, None).unwrap();
    let packed = PackedCache::default();
    let run = || conv2d(&input, &weight, &geometry(1), &none, Some(&packed)).unwrap();
    for _ in 0..3 {
        assert!(differ(&run(), &wanted));
        let exact = Exact::on();
        assert!(!differ(&run(), &wanted));
        drop(exact);
    }
}

/// The order of a packed weight depends on the groups that it is taken to be of.
#[test]
fn one_weight_in_other_groups_is_packed_anew() {
    let _alone = alone();
    let weight = whole(&[32, 400, 1, 1], 8);
    let packed = PackedCache::default();
    for groups in [1, 2, 4, 1] {
        let input = whole(&[1, 400 * groups, 6, 6], 9);
        let geometry = ConvGeometry { groups, ..ConvGeometry::default() };
        let run = |packed| conv2d(&input, &weight, &geometry, &Epilogue::default(), packed).unwrap();
        assert!(!differ(&run(Some(&packed)), &run(None)), "{groups} groups");
    }
}

#[test]
fn layers_ask_the_switch_at_every_call() {
    let _alone = alone();
    let conv = Conv2d::config(64, 64, 3).padding(1).bias(false).init(&Device::Cpu).unwrap();
    let x = whole(&[1, 64, 56, 56], 10);
    let mut conv = conv.inference().unwrap();
    conv.load_state_dict(&[("weight".to_string(), whole(&[64, 64, 3, 3], 11))].into_iter().collect())
        .unwrap();
    let run = |conv: &Conv2d| conv.call((&x).into(), Mode::Eval).into_tensor().unwrap();
    let exact = Exact::on();
    let wanted = run(&conv);
    drop(exact);
    assert!(differ(&run(&conv), &wanted));
    let _exact = Exact::on();
    assert!(!differ(&run(&conv), &wanted));
}
