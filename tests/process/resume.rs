//! Training that is killed, interrupted or resumed from damaged files ends with the same bits as uninterrupted
//! training.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use sconce::checkpoint::{metadata, read};
use sconce::prelude::*;
use sconce::random;
use sconce::train::{Callback, EpochReport, StepReport, Stop, best_checkpoint, last_checkpoint};

use crate::common::message;
use crate::common::process::test_command;
use crate::passed_in_own_process;

const CPU: Device = Device::Cpu;

/// The environment variable that contains the directory of the child process.
const DIRECTORY: &str = "SCONCE_RESUME_TEST_DIRECTORY";

/// A network with running statistics and random masks.
#[derive(Module)]
struct Net {
    #[layer(4, 16)]
    hidden: Linear,
    #[layer(16)]
    norm: BatchNorm,
    relu: Relu,
    #[layer(0.2)]
    dropout: Dropout,
    #[layer(16, 3)]
    head: Linear,
}

fn data(count: usize) -> Result<TensorDataset> {
    let x = random::normal((count, 4), 0., 1., DType::F32, &CPU)?;
    let y =
        (x.narrow(1, 0, 1)?.gt(0f32)? + x.narrow(1, 1, 1)?.gt(0f32)?)?.squeeze(1)?.to_dtype(DType::U32)?;
    Ok(TensorDataset::new(x, y)?.batch_size(4).shuffle(true))
}

/// Returns a loader that adds noise to the inputs. The order and the noise do not depend on the number of workers.
fn loader(data: &TensorDataset, workers: usize) -> Loader {
    let noisy = data.clone().map(|(x, y), rng| Ok((x.affine(1., rng.uniform(-0.1, 0.1))?, y)));
    Box::new(DataLoader::new(noisy).batch_size(4).shuffle(true).seed(5).workers(workers))
}

type Loader = Box<dyn Batches<Batch = (Tensor, Tensor)>>;

/// The number of epochs of a run.
const EPOCHS: usize = 6;

/// The network, the data and the settings of a run.
struct Setup {
    net: Net,
    data: TensorDataset,
    train: Loader,
    valid: Loader,
}

impl Setup {
    fn new() -> Result<Self> {
        manual_seed(3);
        let data = self::data(90)?;
        let valid = loader(&self::data(20)?, 1);
        // The number of workers depends on the process, but must not affect the batches.
        let train = loader(&data, std::process::id() as usize % 4);
        Ok(Self { net: Net::new(&CPU)?, data, train, valid })
    }

    fn trainer(&self, directory: &Path) -> Trainer<'_, Net> {
        Trainer::new(&self.net, cross_entropy, AdamW::new(0.02).group("**.bias", |g| g.weight_decay(0.)))
            .quiet(true)
            .schedule(Cosine::new().warmup(3))
            .accumulate(2)
            .clip_norm(1.)
            .ema(0.9)
            .metric(F1::macro_average())
            .metric(Auroc::macro_average())
            .metric(Perplexity::new())
            .monitor("f1_macro")
            .keep_best(true)
            .checkpoint(directory, Every::Steps(5))
            .resume()
    }

    fn fit(&self, mut trainer: Trainer<'_, Net>) -> Result<History> {
        trainer.fit(&self.train, &self.valid, Epochs(EPOCHS))
    }
}

/// Trains until the end, in a run that may have begun in another process.
fn train(directory: &Path) -> Result<(Net, History)> {
    let setup = Setup::new()?;
    let history = setup.fit(setup.trainer(directory))?;
    Ok((setup.net, history))
}

/// Returns the numbers in the parameters and buffers of the network, and all values of the history that do not measure
/// time.
fn outcome(net: &Net, history: &History) -> Result<(Vec<f64>, Vec<u64>)> {
    let mut values = Vec::new();
    for (_, tensor) in &net.state_dict() {
        values.extend(tensor.to_dtype(DType::F64)?.flatten_all()?.to_vec1::<f64>()?);
    }
    let mut numbers = Vec::new();
    for epoch in history.epochs() {
        numbers.push(epoch.learning_rate);
        for evaluation in [&epoch.train, epoch.valid.as_ref().unwrap()] {
            numbers.extend([evaluation.loss, evaluation.accuracy.unwrap(), evaluation.examples as f64]);
            numbers.extend(evaluation.metrics.values());
        }
    }
    Ok((values, numbers.into_iter().map(f64::to_bits).collect()))
}

/// Returns the tensors of a checkpoint.
fn tensors(path: &Path) -> Result<Vec<(String, Vec<f64>)>> {
    let state = read(path, &CPU)?;
    let flat = |tensor: &Tensor| tensor.to_dtype(DType::F64)?.flatten_all()?.to_vec1::<f64>();
    let mut tensors: Vec<_> =
        state.iter().map(|(name, tensor)| Ok((name.to_owned(), flat(tensor)?))).collect::<Result<_>>()?;
    tensors.sort_by(|a, b| a.0.cmp(&b.0));
    Ok(tensors)
}

/// Returns the rows of the log in a directory without the last columns, which contain durations.
fn log_rows(directory: &Path) -> Result<Vec<String>> {
    let mut rows = Vec::new();
    for (name, durations) in [("metrics.csv", 2), ("steps.csv", 1)] {
        let text = std::fs::read_to_string(directory.join(name))?;
        let row = |line: &str| line.rsplitn(durations + 1, ',').last().map(str::to_owned);
        rows.extend(text.lines().filter_map(row));
    }
    Ok(rows)
}

fn last(directory: &Path) -> PathBuf {
    last_checkpoint(directory).unwrap().expect("there should be a checkpoint")
}

/// Runs in the child process: trains, more slowly than the parent, until it is killed or finished.
#[test]
#[ignore = "runs in child processes of another test"]
fn trains_until_killed() -> Result<()> {
    let directory = PathBuf::from(std::env::var_os(DIRECTORY).expect("the parent should set the directory"));
    let setup = Setup::new()?;
    setup.fit(setup.trainer(&directory).callback(SleepInEachStep(Duration::from_millis(1))))?;
    Ok(())
}

/// Sleeps for this duration in each step, so that the parent can kill or interrupt the process at any step.
struct SleepInEachStep(Duration);

impl Callback for SleepInEachStep {
    fn on_step(&mut self, _: &StepReport) -> Result<ControlFlow<()>> {
        std::thread::sleep(self.0);
        Ok(ControlFlow::Continue(()))
    }
}

fn spawn(directory: &Path) -> Child {
    let mut command = test_command(module_path!(), "trains_until_killed");
    command.env(DIRECTORY, directory).stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().expect("the child process should start")
}

/// Waits until the newest checkpoint is not `before`, or the child has ended. Returns `false` if the child has ended.
fn wait_for_save(child: &mut Child, directory: &Path, before: Option<&Path>) -> bool {
    let deadline = Instant::now() + Duration::from_secs(30);
    while Instant::now() < deadline {
        if child.try_wait().unwrap().is_some() {
            return false;
        }
        // The child may remove a file while the directory is read.
        if last_checkpoint(directory).is_ok_and(|last| last.is_some() && last.as_deref() != before) {
            return true;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    panic!("expected a new checkpoint in {} within 30 seconds", directory.display());
}

#[cfg(unix)]
#[test]
fn killed_training_resumes_with_the_same_bits() -> Result<()> {
    const KILLS: usize = 50;
    if passed_in_own_process() {
        return Ok(());
    }
    let directory = tempfile::tempdir()?;
    let (net, history) = train(&directory.path().join("uninterrupted"))?;
    let expected = outcome(&net, &history)?;
    let expected_tensors = tensors(&last(&directory.path().join("uninterrupted")))?;
    let expected_rows = log_rows(&directory.path().join("uninterrupted"))?;
    assert!(expected_rows.len() > 2 + EPOCHS);
    let mut random = 0x2545_f491_4f6c_dd1d_u64;
    let (mut kills, mut checkpoints, mut runs) = (0, std::collections::BTreeSet::new(), 0);
    while kills < KILLS {
        let run = directory.path().join(format!("killed {runs}"));
        runs += 1;
        let mut before = None;
        loop {
            let mut child = spawn(&run);
            if !wait_for_save(&mut child, &run, before.as_deref()) {
                break;
            }
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            std::thread::sleep(Duration::from_micros((random >> 40) % 12_000));
            // On Unix, `kill` sends SIGKILL.
            child.kill()?;
            let status = child.wait()?;
            if status.success() {
                break;
            }
            kills += 1;
            before = Some(last(&run));
            checkpoints.insert(before.clone().unwrap().file_name().unwrap().to_owned());
        }
        let (net, history) = train(&run)?;
        assert!(history.resumed_from().is_some());
        assert_eq!(outcome(&net, &history)?, expected, "run {runs}");
        assert_eq!(tensors(&last(&run))?, expected_tensors, "run {runs}");
        assert_eq!(log_rows(&run)?, expected_rows, "run {runs}");
    }
    println!("{kills} kills in {runs} runs, after {} different checkpoints", checkpoints.len());
    assert!(
        checkpoints.len() > 5,
        "expected kills after more than 5 different checkpoints, found {checkpoints:?}"
    );
    Ok(())
}

/// Runs in the child process: trains until Ctrl-C, and prints the history.
#[cfg(unix)]
#[test]
#[ignore = "runs in child processes of another test"]
fn trains_until_interrupted() -> Result<()> {
    let directory = PathBuf::from(std::env::var_os(DIRECTORY).expect("the parent should set the directory"));
    let setup = Setup::new()?;
    // The signal must arrive before the last step, even on a busy machine.
    let sleep = SleepInEachStep(Duration::from_millis(100));
    let history = setup.fit(setup.trainer(&directory).callback(sleep))?;
    assert_eq!(history.stop(), &Stop::Interrupted(last(&directory)));
    println!("{history}");
    Ok(())
}

/// Returns `true` if this process ignores SIGINT, as background jobs of a shell script do. Its child processes then
/// also start with SIGINT ignored, and in such a process, training does not handle Ctrl-C. Other systems than Linux
/// have no `/proc/self/status`; there, the function returns `false`.
#[cfg(unix)]
fn is_sigint_ignored() -> bool {
    // SIGINT is signal 2. Bit 0 stands for signal 1.
    const SIGINT_BIT: u64 = 1 << (2 - 1);
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    ignored
        .and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
        .is_some_and(|mask| mask & SIGINT_BIT != 0)
}

#[cfg(unix)]
#[test]
fn ctrl_c_saves_the_state_and_says_how_to_resume() -> Result<()> {
    if passed_in_own_process() {
        return Ok(());
    }
    if is_sigint_ignored() {
        println!("skipped: SIGINT is ignored");
        return Ok(());
    }
    let root = tempfile::tempdir()?;
    let (net, history) = train(&root.path().join("uninterrupted"))?;
    let expected = outcome(&net, &history)?;
    let directory = root.path().join("interrupted");
    let mut command = test_command(module_path!(), "trains_until_interrupted");
    let mut child = command.env(DIRECTORY, &directory).stdout(Stdio::piped()).spawn()?;
    assert!(wait_for_save(&mut child, &directory, None));
    let interrupted = std::process::Command::new("kill").args(["-INT", &child.id().to_string()]).status()?;
    assert!(interrupted.success());
    let output = child.wait_with_output()?;
    let printed = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{printed}");
    let path = last(&directory);
    let hint = format!("interrupted; saved {}; call `resume()` before `fit` to continue", path.display());
    assert!(printed.contains(&hint), "expected {hint:?} in {printed}");
    let (net, history) = train(&directory)?;
    assert_eq!(history.resumed_from(), Some(&*path));
    assert_eq!(outcome(&net, &history)?, expected);
    Ok(())
}

/// Stops training at a step.
struct StopAt(usize);

impl Callback for StopAt {
    fn on_step(&mut self, step: &StepReport) -> Result<ControlFlow<()>> {
        Ok(if step.step >= self.0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
    }
}

#[test]
fn training_resumes_after_any_step() -> Result<()> {
    if passed_in_own_process() {
        return Ok(());
    }
    let directory = tempfile::tempdir()?;
    let (net, history) = train(&directory.path().join("uninterrupted"))?;
    let expected = outcome(&net, &history)?;
    // An epoch has 23 batches and 12 steps, the last with one batch.
    for stop in [1, 2, 11, 12, 13, 24, 25, 40] {
        let directory = directory.path().join(stop.to_string());
        let setup = Setup::new()?;
        let stopped = setup.fit(setup.trainer(&directory).callback(StopAt(stop)))?;
        assert_eq!(stopped.stop(), &Stop::Callback);
        manual_seed(99);
        let (net, history) = train(&directory)?;
        assert_eq!(outcome(&net, &history)?, expected, "stopped after step {stop}");
    }
    Ok(())
}

#[test]
fn a_damaged_checkpoint_is_set_aside() -> Result<()> {
    if passed_in_own_process() {
        return Ok(());
    }
    let root = tempfile::tempdir()?;
    let (net, history) = train(&root.path().join("undamaged"))?;
    let expected = outcome(&net, &history)?;
    type Damage = fn(&mut Vec<u8>);
    let damages: [(&str, Damage); 4] = [
        ("truncated", |bytes| bytes.truncate(bytes.len() / 2)),
        ("flipped", |bytes| {
            let position = bytes.len() - 300;
            bytes[position] ^= 4;
        }),
        ("empty", Vec::clear),
        ("zeroed", |bytes| bytes.fill(0)),
    ];
    for (name, damage) in damages {
        let directory = root.path().join(name);
        let setup = Setup::new()?;
        setup.fit(setup.trainer(&directory).callback(StopAt(33)))?;
        let newest = last(&directory);
        let mut bytes = std::fs::read(&newest)?;
        damage(&mut bytes);
        std::fs::write(&newest, &bytes)?;
        let (net, history) = train(&directory)?;
        assert_eq!(outcome(&net, &history)?, expected, "{name}");
        let resumed_from = history.resumed_from().unwrap();
        assert!(resumed_from.ends_with("step-00000030.safetensors"), "{name}: {}", resumed_from.display());
        let set_aside = format!("{}.damaged", newest.display());
        assert_eq!(std::fs::read(set_aside)?, bytes, "{name}");
    }
    let directory = root.path().join("none");
    std::fs::create_dir(&directory)?;
    std::fs::write(directory.join("step-00000003.safetensors"), "")?;
    let error = message(train(&directory).map(|_| ()));
    assert!(error.starts_with("none of the checkpoints in "), "{error}");
    assert!(error.contains("can be read: ") && error.contains("step-00000003.safetensors"), "{error}");
    Ok(())
}

#[test]
fn the_newest_and_the_best_checkpoints_are_kept() -> Result<()> {
    if passed_in_own_process() {
        return Ok(());
    }
    let directory = tempfile::tempdir()?;
    let setup = Setup::new()?;
    std::fs::write(directory.path().join("notes.txt"), "kept")?;
    std::fs::write(directory.path().join(".step-00000004.safetensors.tmp"), "left by a killed process")?;
    let mut seen = Vec::new();
    let watch = |_: &EpochReport| {
        let names = std::fs::read_dir(directory.path()).unwrap();
        let mut names: Vec<_> = names.map(|name| name.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        seen.push(names);
    };
    let trainer = setup.trainer(directory.path()).keep(2).on_epoch(watch);
    let history = setup.fit(trainer)?;
    let best = history.best().unwrap().epoch;
    for (epoch, names) in (1..).zip(&seen) {
        let files = names.iter().filter(|name| name.starts_with("step-")).count();
        assert!((1..=3).contains(&files), "epoch {epoch}: {names:?}");
        assert!(names.contains(&"notes.txt".to_owned()) && !names.iter().any(|name| name.ends_with(".tmp")));
    }
    let path = best_checkpoint(directory.path())?.expect("there should be a best checkpoint");
    assert!(
        path.to_str().unwrap().ends_with(&format!("-epoch-{best}-best.safetensors")),
        "{}",
        path.display()
    );
    // `keep_best` restored the average of the best epoch.
    let average = read(&path, &CPU)?;
    for (name, tensor) in &setup.net.state_dict() {
        let saved = average.get(&format!("average.module.{name}")).unwrap();
        let flat = |tensor: &Tensor| tensor.to_dtype(DType::F64)?.flatten_all()?.to_vec1::<f64>();
        assert_eq!(flat(tensor)?, flat(saved)?, "{name}");
    }
    assert!(metadata(&path)?.contains_key("training"));
    Ok(())
}

#[test]
fn resuming_another_run_is_an_error_that_names_the_difference() -> Result<()> {
    if passed_in_own_process() {
        return Ok(());
    }
    let root = tempfile::tempdir()?;
    let directory = root.path().join("run");
    train(&directory)?;
    let setup = Setup::new()?;
    let assert_error = |trainer: Trainer<'_, Net>, expected: &str| {
        let error = message(setup.fit(trainer));
        assert!(error.contains(expected), "expected {expected:?} in: {error}");
    };
    let trainer = || setup.trainer(&directory);
    assert_error(trainer().optimizer(AdamW::new(0.03)), "the optimizer differs: expected `Groups");
    assert_error(trainer().accumulate(3), "the setting `accumulate` differs");
    assert_error(trainer().schedule(ExponentialLr::new(0.9)), "the learning-rate schedule differs");
    assert_error(trainer().clip_norm(2.), "the setting `clip_norm` differs: expected `Some(ClipGradNorm");
    assert_error(trainer().clip_value(2.), "the setting `clip_value` differs: expected `None`");
    assert_error(
        trainer().ema(0.5),
        "the setting `ema` differs: expected `Some(0.9)` as in the checkpoint, found",
    );
    assert_error(trainer().metric(Recall::micro_average()), "the list of metrics differs");
    assert_error(trainer().monitor("loss"), "the setting `monitor` differs: expected `f1_macro`");
    let smaller = setup.data.clone().batch_size(90);
    let error = message(trainer().schedule((StepLr::new(9), Every::Epoch)).fit(&smaller, &(), Epochs(1)));
    assert!(error.contains("the number of batches of an epoch differs"), "{error}");

    #[derive(Module)]
    struct OtherNet {
        #[layer(4, 16)]
        hidden: Linear,
        relu: Relu,
        #[layer(16, 4)]
        head: Linear,
    }
    let other_run = root.path().join("other");
    let fit = |net: &OtherNet| {
        let trainer = Trainer::new(net, cross_entropy, Sgd::new(0.1)).quiet(true);
        trainer.checkpoint(&other_run, Every::Epoch).resume().fit(&setup.train, &(), Epochs(1))
    };
    let mut net = OtherNet::new(&CPU)?;
    fit(&net)?;
    net.freeze("hidden.weight")?;
    assert!(message(fit(&net)).contains("the list of trainable parameters differs"));
    net.unfreeze("hidden.weight")?;
    net.to_dtype(DType::F64)?;
    let error = message(fit(&net));
    assert!(
        error.contains("expected `hidden.weight` of F32 [16, 4] as in the checkpoint, found F64"),
        "{error}"
    );

    let without_resume = Trainer::new(&setup.net, cross_entropy, Sgd::new(0.1)).quiet(true);
    let error = message(setup.fit(without_resume.checkpoint(&directory, Every::Epoch)));
    assert!(error.starts_with("expected a directory without checkpoints, found"), "{error}");
    let error =
        message(setup.fit(Trainer::new(&setup.net, cross_entropy, Sgd::new(0.1)).quiet(true).resume()));
    assert!(error.starts_with("resume: no directory of checkpoints is set"), "{error}");
    let trainer =
        Trainer::new(&setup.net, cross_entropy, Sgd::new(0.1)).checkpoint(&other_run, Every::Epochs(0));
    assert_eq!(
        message(setup.fit(trainer)),
        "checkpoint: expected an interval of at least 1, found Epochs(0)"
    );
    Ok(())
}
