//! Tests the emulator: correct kernels run, and faulty kernels give errors.

use candle_core::{DType, Device, Result, Tensor};
use sconce::kernels::testing::cuda::{Arg, Buffer, Launch, Program};
use sconce_cuda_tests::run;

use crate::common::magnitude::largest_magnitude;

/// Returns a program with one launch. `shape` has the number of blocks, the number of threads per block, and the bytes
/// of shared memory.
fn program(kernel: &'static str, outputs: &[(usize, DType)], shape: [u32; 3], args: Vec<Arg>) -> Program {
    let [grid, block, shared] = shape;
    let launch =
        Launch { module: "emulator_check", kernel, grid: [grid, 1, 1], block: [block, 1, 1], shared, args };
    let outputs = outputs.iter().map(|(elements, dtype)| Buffer { elements: *elements, dtype: *dtype });
    Program { outputs: outputs.collect(), scratch: vec![], launches: vec![launch] }
}

fn random(count: usize) -> Result<Tensor> {
    Tensor::randn(0f32, 1., count, &Device::Cpu)
}

#[test]
#[cfg_attr(not(emulator), ignore = "no C++ compiler was found")]
fn a_correct_kernel_sums_rows() -> Result<()> {
    let x = Tensor::randn(0f32, 1., (7, 300), &Device::Cpu)?;
    let args = vec![Arg::Operand(0), Arg::Output(0), Arg::Int(300)];
    let sums = run(&program("check_row_sums", &[(7, DType::F32)], [7, 128, 16], args), &[&x])?;
    let difference = largest_magnitude(&(sums.outputs[0].clone() - x.sum(1)?)?)?;
    assert!(difference < 1e-4, "{difference}");
    Ok(())
}

/// Runs the kernel `check_faults` with fault number `fault`; 0 means no fault.
fn run_with_fault(fault: i32) -> Result<Tensor> {
    let x = random(192)?;
    let args = vec![Arg::Operand(0), Arg::Output(0), Arg::Int(fault)];
    let program = program("check_faults", &[(192, DType::F32)], [3, 64, 256], args);
    run(&program, &[&x]).map(|mut outcome| outcome.outputs.remove(0))
}

#[test]
#[cfg_attr(not(emulator), ignore = "no C++ compiler was found")]
#[cfg_attr(emulator_asan, ignore = "AddressSanitizer ends the process at the first fault")]
fn faults_are_reported() {
    // For each fault, a part of the error message, or "nothing" if there is no error. Fault 11 changes the result
    // instead.
    let expected = [
        "nothing",
        "out of bounds: writes 4 bytes at byte 256 of the dynamic shared memory",
        "out of bounds: reads 4 bytes at byte 768 of operand 0",
        "out of bounds: writes 4 bytes at byte -4 of output 0",
        "of the dynamic shared memory, which thread",
        "of static memory, which thread",
        "after some threads of the block have returned",
        "of output 0, which",
        "misaligned access",
        "after some threads of the block have returned",
        "a warp-level call",
        "nothing",
        "the thread order",
    ];
    for (fault, expected) in expected.iter().enumerate() {
        let message =
            run_with_fault(fault as i32).map_or_else(|error| error.to_string(), |_| "nothing".into());
        assert!(message.contains(expected), "fault {fault}: expected {expected:?}, found {message:?}");
    }
}

/// The emulator fills the destination of an asynchronous copy with NaN and writes the data only when the kernel waits,
/// so that a missing wait is noticed.
#[test]
#[cfg_attr(not(emulator), ignore = "no C++ compiler was found")]
fn asynchronous_copies_finish_only_when_the_kernel_waits() -> Result<()> {
    assert!(run_with_fault(0)?.to_vec1::<f32>()?.iter().all(|x| x.is_finite()));
    // This kernel does not wait.
    assert!(run_with_fault(11)?.to_vec1::<f32>()?.iter().all(|x| x.is_nan()));
    Ok(())
}

#[test]
#[cfg_attr(not(emulator), ignore = "no C++ compiler was found")]
fn invalid_launches_are_errors() -> Result<()> {
    let x = random(192)?;
    let valid = vec![Arg::Operand(0), Arg::Output(0), Arg::Int(0)];
    let error_of = |change: &dyn Fn(&mut Program)| {
        let mut program = program("check_faults", &[(192, DType::F32)], [3, 64, 256], valid.clone());
        change(&mut program);
        run(&program, &[&x]).err().map(|error| error.to_string()).unwrap_or_default()
    };
    assert_eq!(error_of(&|_| {}), "");
    let args = |args: Vec<Arg>| error_of(&|program| program.launches[0].args = args.clone());
    assert!(args(vec![Arg::Operand(0), Arg::Output(0)]).contains("expected 3 arguments, found 2"));
    assert!(args(vec![Arg::Operand(0), Arg::Int(0), Arg::Int(0)]).contains("argument 1"));
    assert!(args(vec![Arg::Operand(0), Arg::Output(0), Arg::Float(0.)]).contains("argument 2"));
    assert!(args(vec![Arg::Output(0), Arg::Operand(0), Arg::Int(0)]).contains("argument 0"));
    assert!(args(vec![Arg::Operand(1), Arg::Output(0), Arg::Int(0)]).contains("no operand 1"));
    assert!(error_of(&|program| program.outputs[0].dtype = DType::U32).contains("argument 1"));
    assert!(error_of(&|program| program.launches[0].block = [2048, 1, 1]).contains("the block"));
    assert!(error_of(&|program| program.launches[0].grid = [1, 65_536, 1]).contains("the grid"));
    assert!(error_of(&|program| program.launches[0].grid = [0, 1, 1]).contains("the grid"));
    assert!(error_of(&|program| program.launches[0].shared = 228 << 10).contains("shared memory"));
    assert!(error_of(&|program| program.launches[0].kernel = "check_nothing").contains("unknown kernel"));
    assert!(error_of(&|program| program.launches[0].module = "other").contains("not in the module"));
    Ok(())
}

/// A warp computes the product D of the matrices A and B. The product is correct only if the layouts of all three are
/// consistent.
#[test]
#[cfg_attr(not(emulator), ignore = "no C++ compiler was found")]
fn tensor_cores_compute_matrix_products() -> Result<()> {
    for (kernel, dtype, k) in [
        ("check_mma_tf32", DType::F32, 8),
        ("check_mma_f16", DType::F16, 16),
        ("check_mma_bf16", DType::BF16, 16),
    ] {
        // Small integers are exact in every type.
        let integers =
            |rows, columns| Tensor::rand(-8f32, 8., (rows, columns), &Device::Cpu)?.round()?.to_dtype(dtype);
        let (a, b) = (integers(16, k)?, integers(k, 8)?);
        let args = vec![Arg::Operand(0), Arg::Operand(1), Arg::Output(0)];
        let d = run(&program(kernel, &[(128, DType::F32)], [1, 32, 1024], args), &[&a, &b])?;
        let expected = a.to_dtype(DType::F32)?.matmul(&b.to_dtype(DType::F32)?)?;
        assert_eq!(d.outputs[0].reshape((16, 8))?.to_vec2::<f32>()?, expected.to_vec2::<f32>()?, "{kernel}");
    }
    Ok(())
}

/// Rounding agrees with the crate `half` for values of every exponent, ties and NaN.
#[test]
#[cfg_attr(not(emulator), ignore = "no C++ compiler was found")]
fn rounding_is_to_nearest() -> Result<()> {
    let mut bits: Vec<u32> = (0..=255u32)
        .flat_map(|e| [0, 1, 0x1000, 0x1001, 0x3000, 0x8000, 0x18000, 0x7fffff].map(|m| e << 23 | m))
        .collect();
    bits.extend((0..4000u32).map(|i| i.wrapping_mul(2_654_435_761)));
    bits.extend(bits.clone().iter().map(|bits| bits | 1 << 31));
    let values: Vec<f32> = bits.iter().map(|bits| f32::from_bits(*bits)).collect();
    let n = values.len();
    let args = vec![Arg::Operand(0), Arg::Output(0), Arg::Output(1), Arg::Output(2), Arg::Int(n as i32)];
    let outputs = [(n, DType::F16), (n, DType::BF16), (n, DType::F32)];
    let program = program("check_rounding", &outputs, [n.div_ceil(256) as u32, 256, 0], args);
    let rounded = run(&program, &[&Tensor::new(values.as_slice(), &Device::Cpu)?])?.outputs;
    let (f16, bf16) = (rounded[0].to_vec1::<half::f16>()?, rounded[1].to_vec1::<half::bf16>()?);
    let tf32 = rounded[2].to_vec1::<f32>()?;
    for (i, value) in values.iter().enumerate() {
        if value.is_nan() {
            assert!(f16[i].is_nan() && bf16[i].is_nan() && tf32[i].is_nan(), "{value}");
            continue;
        }
        assert_eq!(f16[i].to_bits(), half::f16::from_f32(*value).to_bits(), "{value:e}");
        assert_eq!(bf16[i].to_bits(), half::bf16::from_f32(*value).to_bits(), "{value:e}");
        assert!(tf32[i].to_bits() & 0x1fff == 0, "{value:e}");
        // TF32 has a mantissa of 10 bits, so the rounding error is at most 2⁻¹¹ of the value.
        let is_close = (tf32[i] - value).abs() <= value.abs() / 2048.0 + f32::from_bits(0x1000);
        assert!(is_close || tf32[i].is_infinite(), "{value:e} {:e}", tf32[i]);
    }
    Ok(())
}
