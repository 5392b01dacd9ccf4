//! Checks and times sconce's CUDA kernels on the GPU at hand. One binary that needs no other file: build it
//! where there is a CUDA toolkit, and carry it to where there is a GPU.

#[cfg(feature = "cuda")]
mod arguments;
#[cfg(feature = "cuda")]
mod check;
#[cfg(feature = "cuda")]
mod clock;
#[cfg(feature = "cuda")]
mod plans;
#[cfg(feature = "cuda")]
mod table;
#[cfg(feature = "cuda")]
mod train;

use std::process::ExitCode;

const HELP: &str = "\
Checks every CUDA kernel against the CPU, trains Fashion-MNIST on both, and times layers against candle.

usage: cargo run --release --features cuda --example cuda_check -- [OPTIONS]

--device N   which GPU (0)
--only PART  check, train or time, and nothing else; or plans: the time of every kernel that a layer can have
--cases N    random settings an operation (200)
--seed N     of the random settings (0)
--budget MS  milliseconds for the time of one layer (200)
--batches N  the batch sizes that are timed, by commas (1,32,256)
--formats F  the formats that are timed (f32,tf32,f16,bf16)
--csv FILE   also writes the times, for peers.py
--short      a few cases of everything, only to see that it runs; without a GPU, success

exit code: 0 where all is well, 1 where a check failed, 2 where there is no GPU or no feature `cuda`";

/// There is nothing to check on: a success for `--short`, which tests run everywhere.
fn nothing(reason: &str) -> ExitCode {
    println!("nothing was checked: {reason}");
    ExitCode::from(if std::env::args().any(|word| word == "--short") { 0 } else { 2 })
}

#[cfg(not(feature = "cuda"))]
fn main() -> ExitCode {
    if std::env::args().any(|word| word == "--help" || word == "-h") {
        println!("{HELP}");
        return ExitCode::SUCCESS;
    }
    nothing("this binary was built without the feature `cuda`")
}

#[cfg(feature = "cuda")]
fn main() -> ExitCode {
    let arguments = match arguments::parse(std::env::args().skip(1)) {
        Ok(Some(arguments)) => arguments,
        Ok(None) => {
            println!("{HELP}");
            return ExitCode::SUCCESS;
        }
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::FAILURE;
        }
    };
    let device = match sconce::cuda(arguments.device) {
        Ok(device) => device,
        Err(error) => return nothing(&error.to_string()),
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

/// Whether all that was checked is as it should be.
#[cfg(feature = "cuda")]
fn run(arguments: &arguments::Arguments, device: &sconce::candle::Device) -> sconce::Result<bool> {
    println!("{}", clock::describe(device)?);
    let mut well = true;
    if arguments.runs("check") {
        well &= check::all(arguments, device)?;
    }
    if arguments.runs("train") {
        well &= train::compare(arguments.short, device)?;
    }
    if arguments.runs("time") {
        table::print(arguments, device)?;
    }
    if arguments.runs("plans") {
        plans::print(arguments, device)?;
    }
    Ok(well)
}
