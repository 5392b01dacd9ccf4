//! Checks and times sconce's CUDA kernels on this machine's GPU. The binary needs no other files: build it on a machine
//! with a CUDA toolkit and copy it to a machine with a GPU.

#[cfg_attr(not(feature = "cuda"), expect(dead_code, reason = "without a GPU, only `--short` has an effect"))]
mod arguments;
#[cfg(feature = "cuda")]
mod check;
#[cfg(feature = "cuda")]
mod clock;
#[path = "../common/arguments.rs"]
mod command_line;
#[cfg(feature = "cuda")]
mod kernels;
#[cfg(feature = "cuda")]
mod table;
#[cfg(feature = "cuda")]
mod train;

use std::process::ExitCode;

const HELP: &str = "\
Checks every CUDA kernel against the CPU, trains Fashion-MNIST on both, and times layers against candle.

usage: cargo run --release --features cuda --example cuda_check -- [OPTIONS]

--device N   the index of the GPU (default: 0)
--only PART  run only one part: check, train, time, or kernels (times each layer with every kernel that supports it)
--cases N    random settings per operation (default: 200)
--seed N     the seed of the random settings (default: 0)
--budget MS  milliseconds of measurement per layer (default: 200)
--batches N  comma-separated batch sizes (default: 1,32,256)
--formats F  comma-separated formats (default: f32,tf32,f16,bf16)
--csv FILE   also write the times to FILE, for pytorch.py
--short      a few cases of each part, to check that the program runs; succeeds without a GPU

exit code: 0 if all checks pass, 1 if a check fails, 2 without a GPU or the feature `cuda`, or for an invalid command
line";

/// Reports that no check can run. With `--short`, the exit code is 0, because tests run this example on every machine.
fn skip(arguments: &arguments::Arguments, reason: &str) -> ExitCode {
    println!("nothing was checked: {reason}");
    ExitCode::from(if arguments.short { 0 } else { 2 })
}

#[cfg(not(feature = "cuda"))]
fn main() -> ExitCode {
    skip(&command_line::parse(HELP, arguments::parse), "this binary was built without the feature `cuda`")
}

#[cfg(feature = "cuda")]
fn main() -> ExitCode {
    let arguments = command_line::parse(HELP, arguments::parse);
    let device = match sconce::cuda(arguments.device) {
        Ok(device) => device,
        Err(error) => return skip(&arguments, &error.to_string()),
    };
    match run(&arguments, &device) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// Runs the requested parts. Returns `true` if all checks passed.
#[cfg(feature = "cuda")]
fn run(arguments: &arguments::Arguments, device: &sconce::candle::Device) -> sconce::Result<bool> {
    println!("{}", clock::describe(device)?);
    let mut passed = true;
    if arguments.runs("check") {
        passed &= check::all(arguments, device)?;
    }
    if arguments.runs("train") {
        passed &= train::compare(arguments.short, device)?;
    }
    if arguments.runs("time") {
        table::print(arguments, device)?;
    }
    if arguments.runs("kernels") {
        kernels::print(arguments, device)?;
    }
    Ok(passed)
}
