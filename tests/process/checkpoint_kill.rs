//! A process that is killed while saving leaves either the old checkpoint or the new one.

use std::path::Path;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant, SystemTime};

use sconce::Save;
use sconce::candle::{DType, Device, Tensor};
use sconce::checkpoint::{StateDict, metadata, read, write, write_safetensors};

use crate::common::process::test_command;
use crate::passed_in_own_process;

type Outcome = Result<(), Box<dyn std::error::Error>>;

/// The environment variable that contains the path to which the child process saves.
const TARGET: &str = "SCONCE_KILL_TEST_TARGET";

const ELEMENTS: usize = 1 << 18;

/// Returns a state whose values are all `value`.
fn state(value: f32) -> sconce::Result<StateDict> {
    let tensor = Tensor::full(value, ELEMENTS, &Device::Cpu)?;
    Ok([("first", tensor.clone()), ("second", tensor)].into_iter().collect())
}

/// Runs in the child process: saves two states alternately until it is killed.
#[test]
#[ignore = "runs in child processes of another test"]
fn saves_until_killed() -> Outcome {
    let target = std::env::var_os(TARGET).expect("the parent should set the path");
    let states = [state(1.)?, state(2.)?];
    // If the parent dies, the child stops after a minute.
    let end = Instant::now() + Duration::from_secs(60);
    while Instant::now() < end {
        for (state, number) in states.iter().zip(["1", "2"]) {
            let metadata = [("number".to_string(), number.to_string())].into();
            write_safetensors(Path::new(&target), state, &metadata)?;
        }
    }
    Ok(())
}

fn spawn(test: &str, target: &Path) -> std::io::Result<Child> {
    test_command(module_path!(), test).env(TARGET, target).stdout(Stdio::null()).stderr(Stdio::null()).spawn()
}

/// The seed of the delays. It is fixed, so that every run uses the same delays.
const SEED: u64 = 0x2545_f491_4f6c_dd1d;

/// Waits until the child has replaced `file`, which was last modified at `before`. Kills the child after a random delay
/// of less than `max_micros` microseconds.
fn kill_after_first_save(
    child: &mut Child,
    file: &Path,
    before: SystemTime,
    max_micros: u64,
    random: &mut u64,
) -> Outcome {
    let deadline = Instant::now() + Duration::from_secs(30);
    while std::fs::metadata(file)?.modified()? == before && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(1));
    }
    *random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    std::thread::sleep(Duration::from_micros((*random >> 40) % max_micros));
    // On Unix, `kill` sends SIGKILL.
    child.kill()?;
    child.wait()?;
    Ok(())
}

/// Returns the number of the state that the file holds, 1 or 2. Returns an error if the file cannot be read, and panics
/// if its tensors are not exactly those of one state.
fn saved_state(target: &Path) -> Result<f32, Box<dyn std::error::Error>> {
    let number = metadata(target)?.remove("number").ok_or("no metadata")?.parse::<f32>()?;
    let state = read(target, &Device::Cpu)?;
    assert_eq!(state.keys().collect::<Vec<_>>(), ["first", "second"]);
    for (name, tensor) in &state {
        assert_eq!((tensor.dtype(), tensor.dims()), (DType::F32, &[ELEMENTS][..]));
        assert!(tensor.to_vec1::<f32>()?.iter().all(|&value| value == number), "`{name}` mixes two states");
    }
    Ok(number)
}

#[cfg(unix)]
#[test]
fn killing_a_process_while_it_saves_leaves_a_complete_file() -> Outcome {
    if passed_in_own_process() {
        return Ok(());
    }
    let directory = tempfile::tempdir()?;
    let target = directory.path().join("state.safetensors");
    write_safetensors(&target, &state(1.)?, &[("number".to_string(), "1".to_string())].into())?;
    let (mut counts, mut interrupted) = ([0; 2], 0);
    let mut random = SEED;
    for _ in 0..100 {
        let before = std::fs::metadata(&target)?.modified()?;
        let mut child = spawn("saves_until_killed", &target)?;
        kill_after_first_save(&mut child, &target, before, 20_000, &mut random)?;
        counts[saved_state(&target)? as usize - 1] += 1;
        let files = std::fs::read_dir(directory.path())?.count();
        assert!(files <= 2, "expected the file and at most one leftover, found {files} files");
        interrupted += files - 1;
    }
    println!("found states 1 and 2 {counts:?} times; {interrupted} saves were interrupted");
    assert!(counts.iter().all(|&count| count > 0), "expected both states, found {counts:?}");
    assert!(interrupted > 10, "expected more than 10 interrupted saves, found {interrupted}");

    // The next save replaces the leftover file.
    write_safetensors(&target, &state(2.)?, &[("number".to_string(), "2".to_string())].into())?;
    assert_eq!(saved_state(&target)?, 2.);
    assert_eq!(std::fs::read_dir(directory.path())?.count(), 1);
    Ok(())
}

/// The size of a shard, which holds one of the two tensors.
const SHARD: u64 = 4 * ELEMENTS as u64;

/// Runs in the child process: saves two states of two shards alternately until it is killed.
#[test]
#[ignore = "runs in child processes of another test"]
fn saves_shards_until_killed() -> Outcome {
    let target = std::env::var_os(TARGET).expect("the parent should set the path");
    let save = Save::new(target).max_shard_size(SHARD);
    let end = Instant::now() + Duration::from_secs(60);
    while Instant::now() < end {
        for value in [1., 2.] {
            write(&save, &state(value)?)?;
        }
    }
    Ok(())
}

#[cfg(unix)]
#[test]
fn killing_a_process_while_it_saves_shards_leaves_a_complete_checkpoint() -> Outcome {
    if passed_in_own_process() {
        return Ok(());
    }
    let directory = tempfile::tempdir()?;
    let target = directory.path().join("model.safetensors");
    let save = Save::new(&target).max_shard_size(SHARD);
    write(&save, &state(1.)?)?;
    let index = directory.path().join("model.safetensors.index.json");
    let (mut counts, mut interrupted) = ([0; 2], 0);
    let mut random = SEED;
    for _ in 0..40 {
        let before = std::fs::metadata(&index)?.modified()?;
        let mut child = spawn("saves_shards_until_killed", &target)?;
        kill_after_first_save(&mut child, &index, before, 100_000, &mut random)?;
        let state = read(directory.path(), &Device::Cpu)?;
        assert_eq!(state.keys().collect::<Vec<_>>(), ["first", "second"]);
        let values: Vec<f32> =
            state.iter().map(|(_, tensor)| tensor.get(0)?.to_scalar()).collect::<Result<_, _>>()?;
        assert_eq!(values[0], values[1], "the shards mix two states");
        counts[values[0] as usize - 1] += 1;
        interrupted += usize::from(std::fs::read_dir(directory.path())?.count() > 3);
    }
    println!("found states 1 and 2 {counts:?} times; {interrupted} saves were interrupted");
    assert!(counts.iter().all(|&count| count > 0), "expected both states, found {counts:?}");
    assert!(interrupted > 5, "expected more than 5 interrupted saves, found {interrupted}");

    // The next save removes the leftover files.
    write(&save, &state(2.)?)?;
    assert_eq!(std::fs::read_dir(directory.path())?.count(), 3);
    Ok(())
}

#[test]
fn concurrent_saves_of_one_file_are_serialized() -> Outcome {
    if passed_in_own_process() {
        return Ok(());
    }
    let directory = tempfile::tempdir()?;
    let target = directory.path().join("state.safetensors");
    std::thread::scope(|scope| {
        let threads = [1., 2.].map(|value| {
            let target = &target;
            scope.spawn(move || -> sconce::Result<()> {
                let state = state(value)?;
                let metadata = [("number".to_string(), value.to_string())].into();
                (0..20).try_for_each(|_| write_safetensors(target, &state, &metadata))
            })
        });
        threads.into_iter().try_for_each(|thread| thread.join().expect("the thread should not panic"))
    })?;
    saved_state(&target)?;
    assert_eq!(std::fs::read_dir(directory.path())?.count(), 1);
    Ok(())
}

#[cfg(unix)]
#[test]
fn a_link_at_the_path_of_the_temporary_file_is_an_error() -> Outcome {
    if passed_in_own_process() {
        return Ok(());
    }
    let directory = tempfile::tempdir()?;
    let (target, other) = (directory.path().join("state"), directory.path().join("other"));
    std::fs::write(&other, "precious")?;
    std::os::unix::fs::symlink(&other, directory.path().join(".state.tmp"))?;
    let outcome = write_safetensors(&target, &state(1.)?, &Default::default());
    assert!(outcome.err().ok_or("expected an error")?.to_string().contains("found a link"));
    assert_eq!(std::fs::read_to_string(&other)?, "precious");
    Ok(())
}
