//! One generator from which initialisation, shuffling and dropout draw.
//!
//! candle's own generator cannot be seeded on the CPU. This one can: after [`manual_seed`] a program that
//! runs on one thread draws the same numbers again. Numbers are drawn on the CPU and moved, so a network's
//! initial parameters do not depend on its device; only dropout masks are drawn where they are used.

use std::collections::HashSet;
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};

use candle_core::{DType, Device, DeviceLocation, Shape, Tensor};
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{Rng, RngCore, SeedableRng};

use crate::{Error, Result};

/// The process-wide generator, at first seeded by the operating system.
static GENERATOR: LazyLock<Mutex<Generator>> =
    LazyLock::new(|| Mutex::new(Generator { rng: StdRng::from_os_rng(), seeded: None }));

struct Generator {
    rng: StdRng,
    /// After [`manual_seed`], the devices whose own generators have been seeded since.
    seeded: Option<HashSet<DeviceLocation>>,
}

/// Makes initialisation, shuffling and dropout reproducible from here on, as `torch.manual_seed`.
///
/// The numbers are not PyTorch's, and threads that draw at once share them in the order of their calls.
///
/// ```
/// use sconce::candle::{DType, Device};
/// use sconce::random;
///
/// let draw = || random::normal(4, 0., 1., DType::F64, &Device::Cpu);
/// sconce::manual_seed(7);
/// let first = draw()?.to_vec1::<f64>()?;
/// sconce::manual_seed(7);
/// assert_eq!(first, draw()?.to_vec1::<f64>()?);
/// # Ok::<(), sconce::Error>(())
/// ```
pub fn manual_seed(seed: u64) {
    *generator() = Generator { rng: StdRng::seed_from_u64(seed), seeded: Some(HashSet::new()) };
}

/// A tensor of numbers spread evenly over `low..high`.
pub fn uniform(
    shape: impl Into<Shape>,
    low: f64,
    high: f64,
    dtype: DType,
    device: &Device,
) -> Result<Tensor> {
    let shape = shape.into();
    let mut rng = branch();
    let values: Vec<f64> =
        (0..shape.elem_count()).map(|_| low + (high - low) * rng.random::<f64>()).collect();
    tensor(values, shape, dtype, device)
}

/// A tensor of normally distributed numbers.
pub fn normal(shape: impl Into<Shape>, mean: f64, std: f64, dtype: DType, device: &Device) -> Result<Tensor> {
    let shape = shape.into();
    let mut rng = branch();
    let mut values = Vec::with_capacity(shape.elem_count() + 1);
    while values.len() < shape.elem_count() {
        // Box and Muller, "A Note on the Generation of Random Normal Deviates", 1958.
        let radius = (-2. * (1. - rng.random::<f64>()).ln()).sqrt();
        let (sin, cos) = (std::f64::consts::TAU * rng.random::<f64>()).sin_cos();
        values.extend([mean + std * radius * cos, mean + std * radius * sin]);
    }
    values.truncate(shape.elem_count());
    tensor(values, shape, dtype, device)
}

/// A tensor of ones with the probability `p` and zeros otherwise.
pub fn bernoulli(shape: impl Into<Shape>, p: f64, dtype: DType, device: &Device) -> Result<Tensor> {
    if !(0. ..=1.).contains(&p) {
        return Err(Error::msg(format!("expected a probability between 0 and 1, got {p}")));
    }
    let shape = shape.into();
    if device.is_cpu() {
        let mut rng = branch();
        let ones: Vec<u8> =
            (0..shape.elem_count()).map(|_| u8::from(rng.random::<f32>() < p as f32)).collect();
        return Ok(Tensor::from_vec(ones, shape, device)?.to_dtype(dtype)?);
    }
    seed_device(device)?;
    Ok(Tensor::rand(0f32, 1f32, shape, device)?.lt(p)?.to_dtype(dtype)?)
}

/// The numbers `0..n` in random order.
pub fn permutation(n: u32) -> Vec<u32> {
    let mut order: Vec<u32> = (0..n).collect();
    order.shuffle(&mut branch());
    order
}

/// A generator of one call's own, so that drawing a large tensor holds up nobody else.
fn branch() -> StdRng {
    StdRng::from_rng(&mut generator().rng)
}

/// Hands the seed on to the generator of `device`, once after each [`manual_seed`].
fn seed_device(device: &Device) -> Result<()> {
    let mut generator = generator();
    let Generator { rng, seeded: Some(seeded) } = &mut *generator else { return Ok(()) };
    if seeded.insert(device.location()) {
        device.set_seed(rng.next_u64())?;
    }
    Ok(())
}

fn generator() -> MutexGuard<'static, Generator> {
    // A generator is whole even if a thread that held it panicked.
    GENERATOR.lock().unwrap_or_else(PoisonError::into_inner)
}

fn tensor(values: Vec<f64>, shape: Shape, dtype: DType, device: &Device) -> Result<Tensor> {
    Ok(Tensor::from_vec(values, shape, &Device::Cpu)?.to_dtype(dtype)?.to_device(device)?)
}
