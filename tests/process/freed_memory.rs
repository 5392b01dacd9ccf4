//! From the first backward pass on, the C library keeps freed memory for the next training step.

use sconce::candle::Var;
use sconce::prelude::*;
use sconce::train::{keep_memory, release_memory};

use crate::common::process::{assert_passes, command_with_path};
use crate::{measured, passed_in_own_process};

/// The number of elements of each tensor: 48 MiB in f32.
const ELEMENTS: usize = 12 << 20;
/// The number of bytes of such a tensor.
const TENSOR: u64 = (ELEMENTS * size_of::<f32>()) as u64;
/// The number of pages of such a tensor.
const PAGES: u64 = (ELEMENTS * size_of::<f32>() / 4096) as u64;
/// The memory that glibc cannot return to the system if a thread other than the main thread has allocated it, and some
/// memory for anything else.
const MAX_HELD: u64 = (64 + 16) << 20;
/// The number of steps after which the memory use no longer changes.
const WARM_UP: usize = 5;

/// Returns a number of the process from a file of the Linux kernel.
fn kernel_number(file: &str, find: impl Fn(&str) -> Option<u64>) -> u64 {
    let text = std::fs::read_to_string(file).expect("Linux should have this file");
    find(&text).expect("the file should have this number")
}

/// Returns the number of page faults so far.
fn page_faults() -> u64 {
    // The name of the program, in parentheses, may contain spaces. The number of minor faults is the eighth after it.
    kernel_number("/proc/self/stat", |text| text.rsplit_once(')')?.1.split_whitespace().nth(7)?.parse().ok())
}

/// Returns the resident memory in bytes.
fn resident_bytes() -> u64 {
    let kilobytes = |text: &str| text.split_once("VmRSS:")?.1.split_whitespace().next()?.parse::<u64>().ok();
    1024 * kernel_number("/proc/self/status", kilobytes)
}

/// A training step with four tensors: two outputs and two gradients.
fn step(x: &Var) -> Result<()> {
    let y = relu(tanh(x.as_tensor())).tensor()?;
    let gradients = sconce::backward(&y)?;
    assert!(gradients.get(x).is_some());
    Ok(())
}

/// Returns the page faults of a step after the first steps, and by how much these steps have increased the resident
/// memory.
fn after_steps(x: &Var) -> Result<(u64, u64)> {
    let memory_before = resident_bytes();
    (0..WARM_UP).try_for_each(|_| step(x))?;
    let before = page_faults();
    step(x)?;
    Ok((page_faults() - before, resident_bytes().saturating_sub(memory_before)))
}

fn variable() -> Result<Var> {
    Ok(Var::from_tensor(&Tensor::arange(0f32, ELEMENTS as f32, &Device::Cpu)?)?)
}

#[test]
fn training_keeps_freed_memory_until_it_is_released() -> Result<()> {
    if passed_in_own_process() {
        return Ok(());
    }
    let x = variable()?;
    let before = resident_bytes();
    let (faults, kept) = after_steps(&x)?;
    assert!(faults < PAGES / 4, "{faults} faults, {PAGES} pages");
    assert!(kept > 2 * TENSOR, "{kept} bytes are kept");
    release_memory();
    let held = resident_bytes().saturating_sub(before);
    assert!(held < MAX_HELD && held < kept / 2, "{held} bytes of {kept} are still held");
    Ok(())
}

#[test]
fn a_program_can_decide_before_its_first_step() -> Result<()> {
    if passed_in_own_process() {
        return Ok(());
    }
    assert!(keep_memory(false));
    let (_, held) = after_steps(&variable()?)?;
    assert!(held < TENSOR, "{held} bytes are held");
    Ok(())
}

#[test]
fn an_environment_variable_turns_keeping_off() -> Result<()> {
    const NAME: &str = "freed_memory::an_environment_variable_turns_keeping_off";
    if std::env::var_os("SCONCE_KEEP_MEMORY").is_none() {
        assert_passes(command_with_path(NAME).env("SCONCE_KEEP_MEMORY", "0"));
        return Ok(());
    }
    let (_, held) = after_steps(&variable()?)?;
    assert!(held < 2 * TENSOR, "{held} bytes are held");
    Ok(())
}

#[test]
fn fit_releases_the_memory_of_its_steps() -> Result<()> {
    if passed_in_own_process() {
        return Ok(());
    }
    let net = Linear::config(1, ELEMENTS / 64).init(&Device::Cpu)?;
    let x = Tensor::ones((64, 1), DType::F32, &Device::Cpu)?;
    let y = Tensor::zeros((64, ELEMENTS / 64), DType::F32, &Device::Cpu)?;
    let mut trainer = Trainer::new(&net, mse_loss, Sgd::new(0.01)).quiet(true);
    let before = resident_bytes();
    let (result, peak) = measured(|| trainer.fit(&(x, y), &(), Epochs(2)));
    result?;
    let held = resident_bytes().saturating_sub(before);
    assert!(held < MAX_HELD && held < peak as u64 / 2, "{held} bytes of {peak} are still held");
    Ok(())
}
