//! What the emulator has of compute capability 9.0: it runs what is right, and tells what is wrong.

use candle_core::{DType, Result, Tensor};
use sconce::kernels::testing::cuda::{Arg, Buffer, Launch, Program};
use sconce_cuda_tests::run;

use crate::common::{Numbers, check_close};

/// As in `hopper_check.cu`.
const ROWS: usize = 128;
const STEP_BYTES: usize = 64;
const SHARED: u32 = 2 * (3 * 8192 + 4 * 8);

const STEPS: usize = 5;

fn ring(kernel: &'static str, operands: [&Tensor; 2], fault: i32) -> Result<Tensor> {
    let args =
        vec![Arg::Operand(0), Arg::Operand(1), Arg::Output(0), Arg::Int(STEPS as i32), Arg::Int(fault)];
    let launch =
        Launch { module: "hopper_check", kernel, grid: [1, 1, 1], block: [416, 1, 1], shared: SHARED, args };
    let outputs = vec![Buffer { elements: ROWS * ROWS, dtype: DType::F32 }];
    let program = Program { outputs, scratch: vec![], launches: vec![launch] };
    run(&program, &operands).map(|mut outcome| outcome.outputs.remove(0))
}

/// `[depth, columns]` in the order of the bricks of eight columns by 16 bytes: step, depth, columns, column, element.
fn bricks(w: &Tensor) -> Result<Tensor> {
    let (depth, columns) = w.dims2()?;
    let brick = 16 / w.dtype().size_in_bytes();
    let w = w.reshape((depth / brick, brick, columns / 8, 8))?;
    w.permute((0, 2, 3, 1))?.contiguous()
}

/// What a tensor core sees of a float.
fn cut(x: &Tensor) -> Result<Tensor> {
    let seen: Vec<f32> = x
        .flatten_all()?
        .to_vec1::<f32>()?
        .iter()
        .map(|x| f32::from_bits(x.to_bits() & 0xffff_e000))
        .collect();
    Tensor::from_vec(seen, x.shape(), x.device())
}

fn operands(dtype: DType) -> Result<[Tensor; 2]> {
    let depth = STEPS * STEP_BYTES / dtype.size_in_bytes();
    let mut numbers = Numbers(1);
    Ok([numbers.even(&[depth, ROWS], dtype)?, numbers.even(&[depth, ROWS], dtype)?])
}

#[test]
#[cfg_attr(not(emulator), ignore = "no C++ compiler was found")]
fn warpgroups_multiply() -> Result<()> {
    for (kernel, dtype) in
        [("check_ring_f16", DType::F16), ("check_ring_bf16", DType::BF16), ("check_ring_tf32", DType::F32)]
    {
        let [x, w] = operands(dtype)?;
        let got = ring(kernel, [&x, &bricks(&w)?], 0)?;
        let (x, w) = if dtype == DType::F32 { (cut(&x)?, cut(&w)?) } else { (x, w) };
        let expected = x.to_dtype(DType::F64)?.t()?.matmul(&w.to_dtype(DType::F64)?)?;
        check_close(kernel, &got, &expected, 1e-6)?;
    }
    Ok(())
}

#[test]
#[cfg_attr(not(emulator), ignore = "no C++ compiler was found")]
#[cfg_attr(emulator_asan, ignore = "AddressSanitizer ends the process at the first of them")]
fn faults_are_told() -> Result<()> {
    let expected = [
        "nothing",
        "which a product by warp 7 read with no barrier in between",
        "which a product by warp",
        "a deadlock: thread",
        "misaligned global address",
        "with no fence_async_proxy() in between",
        "a deadlock: thread",
        "read with no barrier in between",
        "more arrivals than the 1 of the barrier",
        "where none was made",
        "NaN",
        "disagree on its products",
        "a deadlock: thread",
        "more arrivals than the 1 of the barrier",
        "before fence_barrier_init()",
        "out of bounds: reads 8208 bytes",
        "the block ends while a bulk copy is under way",
        "which a product by warp",
    ];
    let [x, w] = operands(DType::BF16)?;
    let w = bricks(&w)?;
    let mut unexpected = vec![];
    for (fault, expected) in expected.iter().enumerate() {
        let told = match ring("check_ring_bf16", [&x, &w], fault as i32) {
            Err(error) => error.to_string(),
            Ok(y) if y.to_vec1::<f32>()?.iter().all(|y| y.is_nan()) => "NaN".into(),
            Ok(_) => "nothing".into(),
        };
        if !told.contains(expected) {
            unexpected.push(format!("{fault}: {told}"));
        }
    }
    assert!(unexpected.is_empty(), "{unexpected:#?}");
    Ok(())
}
