//! Tensors of every dtype, and their comparison.

use proptest::prelude::*;
use sconce::candle::{DType, Device, Tensor};
use sconce::checkpoint::StateDict;

pub fn names(state: &StateDict) -> Vec<&str> {
    state.keys().collect()
}

/// Returns the values as bytes, so that NaN equals NaN and -0 does not equal 0.
pub fn bits(tensor: &Tensor) -> Vec<u8> {
    match tensor.elem_count() {
        0 => Vec::new(),
        _ => safetensors::tensor::View::data(tensor).into_owned(),
    }
}

pub fn assert_same(one: &Tensor, other: &Tensor, name: &str) {
    assert_eq!((one.dtype(), one.dims()), (other.dtype(), other.dims()), "{name}");
    assert_eq!(bits(one), bits(other), "{name}");
}

/// The dtypes of [`any_tensor`].
const DTYPES: [DType; 10] = [
    DType::U8,
    DType::U32,
    DType::I16,
    DType::I32,
    DType::I64,
    DType::BF16,
    DType::F16,
    DType::F32,
    DType::F64,
    DType::F8E4M3,
];

/// Generates tensors of every dtype with up to four dimensions, some of them views.
pub fn any_tensor() -> impl Strategy<Value = Tensor> {
    let shape = prop::collection::vec(0usize..5, 0..=4);
    (prop::sample::select(&DTYPES[..]), shape, any::<bool>(), any::<bool>()).prop_map(
        |(dtype, shape, transposed, narrowed)| {
            let elements: usize = shape.iter().product();
            let values = (0..elements).map(|i| (i % 100) as f32).collect::<Vec<_>>();
            let mut tensor = Tensor::from_vec(values, shape.clone(), &Device::Cpu).unwrap();
            tensor = tensor.to_dtype(dtype).unwrap();
            if transposed && shape.len() >= 2 {
                tensor = tensor.transpose(0, shape.len() - 1).unwrap();
            }
            match tensor.dims().last() {
                Some(&length) if narrowed && length > 1 => {
                    tensor.narrow(tensor.rank() - 1, 1, length - 1).unwrap()
                }
                _ => tensor,
            }
        },
    )
}
