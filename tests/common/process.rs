//! Runs tests in new processes.

use std::process::Command;

/// The values of `SCONCE_ISA` that select an instruction set with narrower vectors than AVX-512. A process selects its
/// instruction set only once, so each value needs a new process.
pub const NARROWER_INSTRUCTION_SETS: [&str; 2] = ["portable", "avx2"];

/// Returns a command that runs only the test `name` of this binary, in a new process, even if the test is ignored.
///
/// `module` is the `module_path!()` of the test.
pub fn test_command(module: &str, name: &str) -> Command {
    let path = match module.split_once("::") {
        Some((_, module)) => format!("{module}::{name}"),
        None => name.to_string(),
    };
    command_with_path(&path)
}

/// Like [`test_command`], for a test with this path in the binary, such as `module::name`.
pub fn command_with_path(path: &str) -> Command {
    let mut command =
        Command::new(std::env::current_exe().expect("the path of this test binary should be known"));
    command.args(["--exact", path, "--include-ignored", "--nocapture"]);
    command
}

/// Runs a command from [`test_command`]. Panics with the command's output unless the test ran and passed.
pub fn assert_passes(command: &mut Command) {
    let output = command.output().expect("the test process should start");
    let stdout = String::from_utf8_lossy(&output.stdout);
    let passed = output.status.success() && stdout.contains("test result: ok. 1 passed");
    assert!(passed, "{command:?}: {stdout}{}", String::from_utf8_lossy(&output.stderr));
}

/// Runs a test in a new process for each of the narrower instruction sets. Panics unless the test passes in all of
/// them.
pub fn assert_passes_with_narrower_vectors(module: &str, name: &str) {
    for set in NARROWER_INSTRUCTION_SETS {
        assert_passes(test_command(module, name).env("SCONCE_ISA", set));
    }
}
