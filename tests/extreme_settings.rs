//! Sizes of nothing and operands that do not fit: a result or an error that says why.

mod common;

use candle_core::{DType, Device, Tensor};
use common::values;
use sconce::prelude::*;

#[test]
fn nothing_is_normalised() -> Result<()> {
    for dims in [[2, 0, 6, 6], [0, 4, 6, 6], [2, 4, 0, 6]] {
        let norm =
            InstanceNorm2d::config(dims[1]).affine(true).track_running_stats(true).init(&Device::Cpu)?;
        let x = Tensor::ones(&dims, DType::F32, &Device::Cpu)?;
        assert_eq!(norm.call((&x).into(), Mode::Train).into_tensor()?.dims(), dims);
        assert!(
            norm.buffers().iter().all(|(_, buffer)| values(buffer).is_ok_and(|x| x.iter().all(|x| *x < 2.)))
        );
    }
    Ok(())
}

/// Also of an input of nothing.
#[test]
fn a_linear_map_names_the_operand_of_another_type() -> Result<()> {
    let weight = Tensor::ones((3, 6), DType::F32, &Device::Cpu)?;
    for (rows, dtype) in [(0, DType::I64), (2, DType::U8), (2, DType::F64)] {
        let x = Tensor::ones((rows, 6), dtype, &Device::Cpu)?;
        let error = linear(&x, &weight, None).into_tensor().unwrap_err();
        let expected = format!("Linear 6→3: expected a weight of {dtype:?} as the input, got F32");
        assert_eq!(error.to_string(), expected);
    }
    Ok(())
}
