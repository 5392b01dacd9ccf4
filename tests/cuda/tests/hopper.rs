//! Tests the emulation of compute capability 9.0: correct kernels run, and faulty kernels give errors.

use candle_core::{DType, Result, Tensor};
use sconce::kernels::testing::cuda::{Arg, Buffer, Launch, Program};
use sconce_cuda_tests::run;

use crate::common::{Rng, check_close};

// `ROWS`, `STEP_BYTES` and `SHARED` must agree with `hopper_check.cu`.

/// The number of rows and of columns of the product.
const ROWS: usize = 128;
/// The number of bytes along the depth that one step multiplies.
const STEP_BYTES: usize = 64;
/// The number of bytes of the structure `Ring`: two stages, each with three tiles and four barriers.
const SHARED: u32 = 2 * (3 * 8192 + 4 * 8);

/// The number of steps along the depth. The kernels copy the operands of each step to the ring buffer.
const STEPS: usize = 5;

/// Runs a kernel that multiplies two matrices through a ring buffer in shared memory. `fault` selects a fault in the
/// kernel; 0 is a correct kernel.
fn run_ring_buffer(kernel: &'static str, operands: [&Tensor; 2], fault: i32) -> Result<Tensor> {
    let args =
        vec![Arg::Operand(0), Arg::Operand(1), Arg::Output(0), Arg::Int(STEPS as i32), Arg::Int(fault)];
    let launch =
        Launch { module: "hopper_check", kernel, grid: [1, 1, 1], block: [416, 1, 1], shared: SHARED, args };
    let outputs = vec![Buffer { elements: ROWS * ROWS, dtype: DType::F32 }];
    let program = Program { outputs, scratch: vec![], launches: vec![launch] };
    run(&program, &operands).map(|mut outcome| outcome.outputs.remove(0))
}

/// Packs `[depth, columns]` into core matrices of eight columns by 16 bytes. The result is
/// `[depth / n, columns / 8, 8, n]`, where `n` is the number of elements in 16 bytes.
fn core_matrices(w: &Tensor) -> Result<Tensor> {
    let (depth, columns) = w.dims2()?;
    let depth_elements = 16 / w.dtype().size_in_bytes();
    let w = w.reshape((depth / depth_elements, depth_elements, columns / 8, 8))?;
    w.permute((0, 2, 3, 1))?.contiguous()
}

/// Truncates floats to the bits that a tensor core uses in TF32.
fn truncate_to_tf32(x: &Tensor) -> Result<Tensor> {
    let truncated: Vec<f32> = x
        .flatten_all()?
        .to_vec1::<f32>()?
        .iter()
        .map(|x| f32::from_bits(x.to_bits() & 0xffff_e000))
        .collect();
    Tensor::from_vec(truncated, x.shape(), x.device())
}

/// Returns two random matrices `[depth, ROWS]`.
fn operands(dtype: DType) -> Result<[Tensor; 2]> {
    let depth = STEPS * STEP_BYTES / dtype.size_in_bytes();
    let mut numbers = Rng(1);
    Ok([numbers.uniform(&[depth, ROWS], dtype)?, numbers.uniform(&[depth, ROWS], dtype)?])
}

#[test]
#[cfg_attr(not(emulator), ignore = "no C++ compiler was found")]
fn warpgroups_compute_matrix_products() -> Result<()> {
    for (kernel, dtype) in
        [("check_ring_f16", DType::F16), ("check_ring_bf16", DType::BF16), ("check_ring_tf32", DType::F32)]
    {
        let [x, w] = operands(dtype)?;
        let actual = run_ring_buffer(kernel, [&x, &core_matrices(&w)?], 0)?;
        let (x, w) =
            if dtype == DType::F32 { (truncate_to_tf32(&x)?, truncate_to_tf32(&w)?) } else { (x, w) };
        let expected = x.to_dtype(DType::F64)?.t()?.matmul(&w.to_dtype(DType::F64)?)?;
        check_close(kernel, &actual, &expected, 1e-6)?;
    }
    Ok(())
}

#[test]
#[cfg_attr(not(emulator), ignore = "no C++ compiler was found")]
#[cfg_attr(emulator_asan, ignore = "AddressSanitizer ends the process at the first fault")]
fn faults_are_reported() -> Result<()> {
    // For each `Fault` in `hopper_check.cu`, a part of the error message, "NaN" if the product is NaN, or "nothing".
    let expected = [
        "nothing",
        "which a product by warp 7 read with no barrier in between",
        "which a product by warp",
        "a deadlock: thread",
        "misaligned global address",
        "with no fence_async_proxy() in between",
        "a deadlock: thread",
        "read with no barrier in between",
        "more arrivals than the 1 that the barrier",
        "is not initialized",
        "NaN",
        "must start the same products",
        "a deadlock: thread",
        "more arrivals than the 1 that the barrier",
        "before fence_barrier_init()",
        "out of bounds: reads 8208 bytes",
        "the block ends before a bulk copy is complete",
        "which a product by warp",
    ];
    let [x, w] = operands(DType::BF16)?;
    let w = core_matrices(&w)?;
    let mut unexpected = vec![];
    for (fault, expected) in expected.iter().enumerate() {
        let message = match run_ring_buffer("check_ring_bf16", [&x, &w], fault as i32) {
            Err(error) => error.to_string(),
            Ok(y) if y.to_vec1::<f32>()?.iter().all(|y| y.is_nan()) => "NaN".into(),
            Ok(_) => "nothing".into(),
        };
        if !message.contains(expected) {
            unexpected.push(format!("fault {fault}: expected {expected:?}, found {message:?}"));
        }
    }
    assert!(unexpected.is_empty(), "{unexpected:#?}");
    Ok(())
}
