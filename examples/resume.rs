//! Kills training at random moments, resumes it from its checkpoints, and checks that the network ends with the same
//! bits as without the interruptions.

#[path = "common/arguments.rs"]
mod arguments;

use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use lexopt::prelude::*;
use sconce::prelude::*;
use sconce::train::data::transforms::{RandomCrop, RandomHorizontalFlip};
use sconce::train::data::{Generator, read_idx};
use sconce::train::{Stop, last_checkpoint};

const HELP: &str = "\
Trains on Fashion-MNIST in child processes: once without interruption, and once killed several times (by SIGKILL, on
Windows by TerminateProcess) and resumed. Checks that both networks have the same bits.
usage: cargo run --release --example resume -- [OPTIONS]

--kills N    how often the second training is killed (default: 4)
--epochs N   passes over the training images (default: 3)
--seed N     random seed of the moments at which the training is killed (default: 0)
--train DIR  only train, with the checkpoints, the log and the trained network in the directory DIR
--short      512 training images instead of 4,000, to check that the program runs

To try Ctrl-C, run the example with `--train /tmp/run`. The first Ctrl-C finishes the step, saves a checkpoint and ends
the program, and a second one ends it at once. The same command then continues from the last checkpoint.";

/// The file of the trained network, in the directory of its checkpoints.
const NETWORK: &str = "network.safetensors";

struct Arguments {
    train: Option<PathBuf>,
    kills: usize,
    epochs: usize,
    seed: u64,
    short: bool,
}

/// A network whose training changes all kinds of state: parameters, running statistics and, with dropout, the random
/// number generator.
#[derive(Module)]
#[module(
    loss = cross_entropy,
    optimizer = AdamW::new(4e-3),
    schedule = Cosine::new().warmup(5),
    forward = |x| {
        let x = max_pool2d(relu(bn1(conv1(x))), 2);
        let x = max_pool2d(relu(bn2(conv2(x))), 2);
        fc(dropout(flatten(x, 1)))
    },
)]
struct FashionNet {
    #[layer(1, 16, 3, padding = 1)]
    conv1: Conv2d,
    #[layer(16)]
    bn1: BatchNorm,
    #[layer(16, 32, 3, padding = 1)]
    conv2: Conv2d,
    #[layer(32)]
    bn2: BatchNorm,
    #[layer(0.25)]
    dropout: Dropout,
    #[layer(32 * 7 * 7, 10)]
    fc: Linear,
}

fn main() -> Result<()> {
    let arguments = arguments::parse(HELP, parse);
    match &arguments.train {
        Some(directory) => train(directory, &arguments),
        None => compare(&arguments),
    }
}

/// Trains, or continues to train if `directory` has checkpoints.
fn train(directory: &Path, arguments: &Arguments) -> Result<()> {
    manual_seed(0);
    let [train, test] = if arguments.short { [512, 256] } else { [4_000, 1_000] };
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/data");
    let images = read_idx(data.join("t10k-images-idx3-ubyte.gz"))?.unsqueeze(1)?.to_dtype(DType::F32)?;
    let images = (images / 255.)?;
    let labels = read_idx(data.join("t10k-labels-idx1-ubyte.gz"))?;
    let test = TensorDataset::new(images.narrow(0, 8_000, test)?, labels.narrow(0, 8_000, test)?)?;
    let train = TensorDataset::new(images.narrow(0, 0, train)?, labels.narrow(0, 0, train)?)?
        .transform((RandomHorizontalFlip::new(0.5), RandomCrop::new(28, 28).padding(2)));
    let train = DataLoader::new(train).batch_size(32).shuffle(true).workers(2);

    let model = FashionNet::new(&Device::Cpu)?;
    let history = model.trainer().progress(false).checkpoint(directory, Every::Steps(5)).resume().fit(
        &train,
        &test,
        Epochs(arguments.epochs),
    )?;
    if let Stop::Interrupted(checkpoint) = history.stop() {
        println!("interrupted; the same command continues from {}", checkpoint.display());
        return Ok(());
    }
    model.save(directory.join(NETWORK))
}

/// Trains without and with interruptions. Fails if the networks differ.
fn compare(arguments: &Arguments) -> Result<()> {
    let directory = tempfile::tempdir()?;
    let [uninterrupted, interrupted] =
        ["uninterrupted", "interrupted"].map(|name| directory.path().join(name));

    println!("without interruption:");
    let start = Instant::now();
    finish(&uninterrupted)?;
    let duration = start.elapsed();

    println!("with interruptions:");
    let mut random = Generator::from_seed(arguments.seed);
    let mut delay = || duration.mul_f64(random.uniform(0., 1. / arguments.kills as f64));
    let mut kills = 0;
    while kills < arguments.kills && kill_after_checkpoint(&interrupted, delay())? {
        kills += 1;
    }
    finish(&interrupted)?;

    let expected = std::fs::read(uninterrupted.join(NETWORK))?;
    let found = std::fs::read(interrupted.join(NETWORK))?;
    println!("{:016x}: digest without interruption", digest(&expected));
    println!("{:016x}: digest after {kills} kills", digest(&found));
    if found != expected {
        return Err(Error::msg("the networks differ"));
    }
    println!("the networks have the same bits");
    Ok(())
}

/// Starts this program with the same arguments to train in `directory`.
fn start(directory: &Path) -> Result<Child> {
    let program = std::env::current_exe()?;
    Ok(Command::new(program).args(std::env::args_os().skip(1)).arg("--train").arg(directory).spawn()?)
}

/// Trains in `directory` until the end.
fn finish(directory: &Path) -> Result<()> {
    let status = start(directory)?.wait()?;
    if status.success() { Ok(()) } else { Err(Error::msg(format!("training ended with {status}"))) }
}

/// Trains in `directory`, waits for a new checkpoint and then for `delay`, and kills the process. Returns `false` if
/// training ends before that.
fn kill_after_checkpoint(directory: &Path, delay: Duration) -> Result<bool> {
    let before = last_checkpoint(directory)?;
    let mut child = KilledOnDrop(start(directory)?);
    while last_checkpoint(directory)? == before && child.0.try_wait()?.is_none() {
        std::thread::sleep(Duration::from_millis(1));
    }
    std::thread::sleep(delay);
    if child.0.try_wait()?.is_some() {
        return Ok(false);
    }
    drop(child);
    let checkpoint = last_checkpoint(directory)?.unwrap_or_default();
    println!("killed; the newest checkpoint is {}", checkpoint.display());
    Ok(true)
}

/// A child process that is killed when this value is dropped, for example after an error in this process.
struct KilledOnDrop(Child);

impl Drop for KilledOnDrop {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Returns a hash of the content of a file.
fn digest(bytes: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    bytes.hash(&mut hasher);
    hasher.finish()
}

fn parse(mut parser: lexopt::Parser) -> std::result::Result<Arguments, lexopt::Error> {
    let mut arguments = Arguments { train: None, kills: 4, epochs: 3, seed: 0, short: false };
    while let Some(argument) = parser.next()? {
        match argument {
            Long("train") => arguments.train = Some(parser.value()?.into()),
            Long("kills") => arguments.kills = parser.value()?.parse()?,
            Long("epochs") => arguments.epochs = parser.value()?.parse()?,
            Long("seed") => arguments.seed = parser.value()?.parse()?,
            Long("short") => arguments.short = true,
            _ => return Err(argument.unexpected()),
        }
    }
    Ok(arguments)
}
