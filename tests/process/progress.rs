//! The lines that training writes to standard error if standard error is not a terminal.

use std::process::Output;

use sconce::prelude::*;

use crate::common::process::test_command;

/// The environment variable that is set in the child process to `quiet` or `lines`.
const OUTPUT: &str = "SCONCE_PROGRESS_TEST_OUTPUT";

/// Runs in the child process: trains for three epochs.
#[test]
#[ignore = "runs in child processes of another test"]
fn trains() -> Result<()> {
    let quiet = std::env::var(OUTPUT).expect("the parent should set the kind of output") == "quiet";
    manual_seed(0);
    let net = Linear::config(3, 2).init(&Device::Cpu)?;
    let x = Tensor::ones((40, 3), DType::F32, &Device::Cpu)?;
    let data = TensorDataset::new(x, Tensor::zeros(40, DType::U32, &Device::Cpu)?)?.batch_size(4);
    let trainer = Trainer::new(&net, cross_entropy, Sgd::new(0.1)).metric(F1::macro_average());
    trainer.quiet(quiet).fit(&data, &data, Epochs(3))?;
    Ok(())
}

/// Returns the lines that a child process with the value `output` of [`OUTPUT`] writes to standard error.
fn lines(output: &str) -> Vec<String> {
    let mut command = test_command(module_path!(), "trains");
    let Output { status, stderr, .. } = command.env(OUTPUT, output).output().expect("the child should start");
    let text = String::from_utf8(stderr).expect("the output should be text");
    assert!(status.success(), "{text}");
    assert!(text.chars().all(|c| c == '\n' || !c.is_control()), "{text:?}");
    text.lines().map(str::to_owned).collect()
}

#[test]
fn each_epoch_has_a_line_unless_training_is_quiet() {
    assert_eq!(lines("quiet"), Vec::<String>::new());
    let lines = lines("lines");
    assert_eq!(lines.len(), 3, "{lines:?}");
    for (index, line) in lines.iter().enumerate() {
        assert!(line.starts_with(&format!("epoch {}  loss ", index + 1)), "{line}");
        for part in ["  accuracy ", "  f1_macro ", "  validation loss ", " examples/s"] {
            assert!(line.contains(part), "{line}");
        }
    }
}
