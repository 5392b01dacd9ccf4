//! The log of a run: tables, settings and event files.

use std::fs;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use sconce::prelude::*;
use sconce::train::log::EventWriter;
use sconce::train::schedule::{ChainedLr, SequentialLr};
use sconce::train::{Callback, EpochReport, Evaluation, StepReport};
use serde_json::{Value, json};

use crate::common::message;

const CPU: Device = Device::Cpu;

#[derive(Module, Clone)]
struct Net {
    #[layer(3, 8)]
    hidden: Linear,
    relu: Relu,
    #[layer(8, 2)]
    head: Linear,
}

/// Returns data with fixed values in a fixed order, because all tests of this binary share one random number generator.
fn data(count: usize) -> Result<TensorDataset> {
    let x = Tensor::arange(0f32, count as f32 * 3., &CPU)?.sqr()?.sin()?.reshape((count, 3))?;
    let y = x.narrow(1, 0, 1)?.gt(0f32)?.squeeze(1)?.to_dtype(DType::U32)?;
    Ok(TensorDataset::new(x, y)?.batch_size(4))
}

/// Fails in the first callback after this step, to imitate a process that is killed.
struct FailAt(usize);

impl Callback for FailAt {
    fn on_step(&mut self, step: &StepReport) -> Result<ControlFlow<()>> {
        if step.step == self.0 { Err(Error::msg("killed")) } else { Ok(ControlFlow::Continue(())) }
    }
}

/// Trains a copy of a network for 4 epochs of 5 batches, with 3 steps in each epoch. Fails in the first callback after
/// step `fail_at`.
fn train(net: &Net, directory: &Path, fail_at: usize) -> Result<History> {
    let (train, valid) = (data(20)?, data(12)?);
    let net = net.deep_clone()?;
    let mut trainer = Trainer::new(&net, cross_entropy, AdamW::new(0.05))
        .quiet(true)
        .schedule(StepLr::new(4))
        .accumulate(2)
        .clip_norm(1.)
        .metric(F1::macro_average())
        .log_every(2)
        .checkpoint(directory, Every::Steps(2))
        .resume()
        .callback(FailAt(fail_at));
    trainer.fit(&train, &valid, Epochs(4))
}

/// Returns the cells of a CSV file that has no quotes. Leaves out the columns that contain durations.
fn table(path: &Path) -> Result<Vec<Vec<String>>> {
    let text = fs::read_to_string(path)?;
    let mut rows: Vec<Vec<String>> =
        text.lines().map(|line| line.split(',').map(str::to_owned).collect()).collect();
    for name in ["seconds", "examples_per_second"] {
        if let Some(column) = rows[0].iter().position(|column| column == name) {
            rows.iter_mut().for_each(|row| drop(row.remove(column)));
        }
    }
    Ok(rows)
}

/// Returns the newest event file in a directory.
fn event_file(directory: &Path) -> Result<PathBuf> {
    let paths = fs::read_dir(directory)?.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
    let is_event_file = |path: &PathBuf| path.to_string_lossy().contains("/events.out.tfevents.");
    Ok(paths.into_iter().filter(is_event_file).max().unwrap())
}

#[test]
fn a_resumed_run_has_the_log_of_one_that_was_never_killed() -> Result<()> {
    // `.ci/event-files.py` reads this directory.
    let root = Path::new(env!("CARGO_TARGET_TMPDIR")).join("tensorboard");
    let _ = fs::remove_dir_all(&root);
    let (whole, parts) = (root.join("whole"), root.join("parts"));
    let net = Net::new(&CPU)?;
    let history = train(&net, &whole, usize::MAX)?;
    for fail_at in [1, 4, 5, 6, 9, 11] {
        assert_eq!(message(train(&net, &parts, fail_at)), "killed", "step {fail_at}");
    }
    let resumed = train(&net, &parts, usize::MAX)?;
    assert_eq!(resumed.epochs().len(), 4);
    for name in ["metrics.csv", "steps.csv"] {
        assert_eq!(table(&whole.join(name))?, table(&parts.join(name))?, "{name}");
    }
    let metrics = table(&whole.join("metrics.csv"))?;
    let [train, valid] =
        ["train", "valid"].map(|kind| format!("{kind}_loss,{kind}_accuracy,{kind}_f1_macro"));
    assert_eq!(metrics[0].join(","), format!("epoch,step,{train},{valid},learning_rate"));
    assert_eq!(metrics.len(), 5);
    for (row, epoch) in metrics[1..].iter().zip(history.epochs()) {
        let numbers = row.iter().map(|cell| cell.parse::<f64>().unwrap()).collect::<Vec<_>>();
        let EpochReport { train, valid, learning_rate, steps, .. } = epoch;
        let valid = valid.as_ref().unwrap();
        let values = |e: &Evaluation| [e.loss, e.accuracy.unwrap(), e.metrics["f1_macro"]];
        assert_eq!(*steps, epoch.epoch * 3);
        let expected =
            [&[epoch.epoch as f64, *steps as f64][..], &values(train), &values(valid), &[*learning_rate]];
        assert_eq!(numbers, expected.concat());
    }
    // The third step of each epoch is taken after the callback of the last batch, so steps 6 and 12 have no row.
    let steps = table(&whole.join("steps.csv"))?;
    assert_eq!(steps[0].join(","), "step,epoch,batch,loss,learning_rate,gradient_norm");
    let positions: Vec<String> = steps[1..].iter().map(|row| row[..3].join(" ")).collect();
    assert_eq!(positions, ["2 1 4", "4 2 2", "8 3 4", "10 4 2"]);
    assert!(steps[1..].iter().all(|row| row[3..].iter().all(|cell| cell.parse::<f64>().unwrap() > 0.)));
    Ok(())
}

#[test]
fn config_json_describes_the_settings() -> Result<()> {
    let directory = tempfile::tempdir()?;
    manual_seed(5);
    train(&Net::new(&CPU)?, directory.path(), usize::MAX)?;
    let config: Value =
        serde_json::from_str(&fs::read_to_string(directory.path().join("config.json"))?).unwrap();
    let layers = ["Net(", "  (hidden): Linear", "  (relu): ReLU", "  (head): Linear", ")"];
    let found = config["network"]["layers"].as_array().unwrap();
    assert!(found.iter().zip(layers).all(|(a, b)| a.as_str().unwrap().starts_with(b)), "{found:?}");
    assert_eq!(config["network"]["kind"], "Net");
    assert_eq!(config["network"]["parameters"], 3 * 8 + 8 + 8 * 2 + 2);
    let optimizer = config["optimizer"].as_str().unwrap();
    assert!(optimizer.starts_with("AdamW") && optimizer.contains("rate: 0.05"), "{optimizer}");
    assert_eq!(config["schedule"], "StepLr { step_size: 4, gamma: 0.1 }");
    for (name, value) in [
        ("epochs", json!(4)),
        ("batches_per_epoch", json!(5)),
        ("batch_size", json!(4)),
        ("accumulate", json!(2)),
        ("clip_norm", json!(1.)),
        ("clip_value", json!(null)),
        ("metrics", json!(["f1_macro"])),
    ] {
        assert_eq!(config[name], value, "{name}");
    }
    // Another test of this binary may have set another seed.
    assert!(config["seed"].is_u64(), "{config}");
    Ok(())
}

#[test]
fn schedules_describe_their_settings() {
    let sequence =
        SequentialLr::new(LinearLr::new()).then(5, ChainedLr::new(StepLr::new(3)).and(|_: usize| 1.));
    let text = sequence.describe();
    assert!(text.starts_with("SequentialLr [LinearLr {"), "{text}");
    assert!(text.contains("from step 5: ChainedLr [StepLr { step_size: 3, gamma: 0.1 }, "), "{text}");
}

#[test]
fn a_log_without_checkpoints_is_not_overwritten() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let data = data(40)?;
    let net = Net::new(&CPU)?;
    let trainer = || Trainer::new(&net, cross_entropy, Sgd::new(0.1)).quiet(true).log(directory.path());
    trainer().fit(&data, &(), Epochs(2))?;
    let rows = table(&directory.path().join("metrics.csv"))?;
    assert_eq!(rows[0].join(","), "epoch,step,train_loss,train_accuracy,learning_rate");
    // Every tenth step has a row by default.
    assert_eq!(table(&directory.path().join("steps.csv"))?.len(), 1 + 2);
    let error = message(trainer().fit(&data, &(), Epochs(2)));
    assert!(error.starts_with("expected a directory without a log, found "), "{error}");
    assert_eq!(table(&directory.path().join("metrics.csv"))?, rows);
    let error = message(trainer().log_every(0).fit(&data, &(), Epochs(2)));
    assert_eq!(error, "log_every: expected an interval of at least 1 step, found 0");
    Ok(())
}

/// Reads records as TensorFlow's documentation describes them. Skips the checksums, which have their own tests.
fn records(bytes: &[u8]) -> Vec<&[u8]> {
    let mut records = Vec::new();
    let mut rest = bytes;
    while let Some((length, after)) = rest.split_first_chunk::<8>() {
        let length = u64::from_le_bytes(*length) as usize;
        records.push(&after[4..4 + length]);
        rest = &after[8 + length..];
    }
    assert!(rest.is_empty());
    records
}

#[test]
fn event_files_have_the_values_of_the_run() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let history = train(&Net::new(&CPU)?, directory.path(), usize::MAX)?;
    let bytes = fs::read(event_file(directory.path())?)?;
    let records = records(&bytes);
    // The records are the file version, the session start, 4 rows of steps and 4 rows of epochs.
    assert_eq!(records.len(), 2 + 4 + 4);
    assert!(records[0].ends_with(b"brain.Event:2"));
    let has = |record: &[u8], part: &[u8]| record.windows(part.len()).any(|window| window == part);
    let last = records.last().unwrap();
    let report = history.last().unwrap();
    for (tag, value) in [
        ("loss/train", report.train.loss),
        ("loss/valid", report.loss()),
        ("accuracy/valid", report.value("accuracy").unwrap()),
        ("f1_macro/valid", report.value("f1_macro").unwrap()),
    ] {
        // In the protocol buffer of a value, field 1 is the tag, and field 2 is a number in single precision.
        let mut part = vec![0x0a, tag.len() as u8];
        part.extend(tag.bytes());
        part.push(0x15);
        part.extend((value as f32).to_le_bytes());
        assert!(has(last, &part), "{tag}");
    }
    // In the protocol buffer of an event, field 2 is the step.
    assert_eq!(last[9..11], [0x10, 12]);
    assert!(has(records[2], b"loss/step") && has(records[2], b"lr") && has(records[2], b"gradient_norm"));
    Ok(())
}

#[test]
fn scalars_are_written_immediately() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let mut events = EventWriter::create(directory.path().join("a"))?;
    let length = || Ok::<_, Error>(fs::metadata(event_file(&directory.path().join("a"))?)?.len());
    let before = length()?;
    events.scalars(300, &[("loss/train", 0.5), ("lr", 0.1)])?;
    assert!(length()? > before);
    assert_eq!(events.path(), event_file(&directory.path().join("a"))?);
    let file = directory.path().join("file");
    fs::write(&file, "")?;
    assert!(message(EventWriter::create(&file)).starts_with(&file.display().to_string()));
    Ok(())
}
