//! Trains a small convolutional network on Fashion-MNIST on several ranks, or measures how long they communicate.

#[path = "../common/arguments.rs"]
mod arguments;
mod measure;
mod train;

use std::sync::Arc;

use lexopt::prelude::*;
use sconce::Result;
use sconce::train::distributed::Communicator;

const HELP: &str = "\
Trains on 8,000 images of Fashion-MNIST and tests on 2,000 further images.
usage: mpirun -n 2 cargo run --release --features mpi --example distributed -- [OPTIONS]
       cargo run --release --example distributed -- --ranks 2 [OPTIONS]

Without the feature `mpi`, the ranks are threads of one process.

--ranks N          number of ranks if they are threads (default: 2)
--epochs N         passes over the training images (default: 15)
--batch N          examples of a step, on all ranks together (default: 64)
--seed N           random seed of the run (default: 0)
--sync-batch-norm  compute the statistics of batch norm over all ranks
--bf16             send gradients in bf16
--measure          time the reduction of gradients instead, and predict it for other networks
--short            a small part of the work, to check that the program runs";

/// The command line.
#[derive(Clone)]
struct Options {
    ranks: usize,
    epochs: Option<usize>,
    batch: usize,
    seed: u64,
    sync_batch_norm: bool,
    bf16: bool,
    measure: bool,
    short: bool,
}

fn main() -> Result<()> {
    let options = arguments::parse(HELP, parse);
    run(&options, |communicator| {
        if options.measure {
            measure::run(communicator, &options)
        } else {
            train::run(communicator, &options)
        }
    })
}

/// Calls `f` on every rank.
#[cfg(feature = "mpi")]
fn run(_: &Options, f: impl Fn(Arc<dyn Communicator>) -> Result<()> + Sync) -> Result<()> {
    divide_cores()?;
    sconce::train::distributed::MpiCommunicator::run(|communicator| f(communicator))
}

/// Divides the cores of this machine among its ranks, unless `RAYON_NUM_THREADS` sets the number of threads.
#[cfg(feature = "mpi")]
fn divide_cores() -> Result<()> {
    let number = |name| std::env::var(name).ok()?.parse::<usize>().ok();
    if number("RAYON_NUM_THREADS").is_some() {
        return Ok(());
    }
    let ranks = number("OMPI_COMM_WORLD_LOCAL_SIZE").or(number("SLURM_NTASKS_PER_NODE")).unwrap_or(1);
    let cores = std::thread::available_parallelism()?.get();
    let threads = rayon::ThreadPoolBuilder::new().num_threads((cores / ranks.max(1)).max(1));
    threads.build_global().map_err(sconce::Error::msg)
}

/// Calls `f` on every rank.
#[cfg(not(feature = "mpi"))]
fn run(options: &Options, f: impl Fn(Arc<dyn Communicator>) -> Result<()> + Sync) -> Result<()> {
    use sconce::train::distributed::ThreadCommunicator;
    ThreadCommunicator::run(options.ranks, |communicator| f(communicator)).into_iter().collect()
}

fn parse(mut parser: lexopt::Parser) -> std::result::Result<Options, lexopt::Error> {
    let mut options = Options {
        ranks: 2,
        epochs: None,
        batch: 64,
        seed: 0,
        sync_batch_norm: false,
        bf16: false,
        measure: false,
        short: false,
    };
    while let Some(argument) = parser.next()? {
        match argument {
            Long("ranks") => options.ranks = parser.value()?.parse()?,
            Long("epochs") => options.epochs = Some(parser.value()?.parse()?),
            Long("batch") => options.batch = parser.value()?.parse()?,
            Long("seed") => options.seed = parser.value()?.parse()?,
            Long("sync-batch-norm") => options.sync_batch_norm = true,
            Long("bf16") => options.bf16 = true,
            Long("measure") => options.measure = true,
            Long("short") => options.short = true,
            _ => return Err(argument.unexpected()),
        }
    }
    Ok(options)
}
