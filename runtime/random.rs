//! The random number generator for initialization, shuffling and dropout.
//!
//! Unlike candle's generator, it can be seeded on the CPU: after [`manual_seed`], a single-threaded program draws the
//! same numbers again. Numbers are drawn on the CPU and then copied to the device, so the initial parameters of a
//! network do not depend on its device. Only dropout masks are drawn on the device.

use std::collections::HashSet;
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};

use candle_core::{DType, Device, DeviceLocation, Shape, Tensor};
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{Rng, RngCore, SeedableRng};

use crate::{Error, Result};

/// The generator of the process, initially seeded by the operating system.
static GENERATOR: LazyLock<Mutex<Generator>> =
    LazyLock::new(|| Mutex::new(Generator { rng: StdRng::from_os_rng(), seeded_devices: None }));

struct Generator {
    rng: StdRng,
    /// The devices whose generators have been seeded since [`manual_seed`], or `None` before its first call.
    seeded_devices: Option<HashSet<DeviceLocation>>,
}

/// Seeds the generator for initialization, shuffling and dropout, like `torch.manual_seed`.
///
/// The numbers differ from PyTorch's. Threads share the generator, so the numbers of each thread depend on the order of
/// all calls.
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
    *generator() = Generator { rng: StdRng::seed_from_u64(seed), seeded_devices: Some(HashSet::new()) };
}

/// Returns a tensor of numbers from the uniform distribution over `low..high`.
///
/// # Errors
/// Fails if the numbers cannot be converted to `dtype` or moved to `device`.
///
/// # Examples
/// ```
/// use sconce::prelude::*;
/// use sconce::random;
/// # fn main() -> Result<()> {
/// let x = random::uniform(100, -1., 3., DType::F32, &Device::Cpu)?.to_vec1::<f32>()?;
/// assert!(x.iter().all(|x| (-1. ..3.).contains(x)));
/// # Ok(())
/// # }
/// ```
pub fn uniform(
    shape: impl Into<Shape>,
    low: f64,
    high: f64,
    dtype: DType,
    device: &Device,
) -> Result<Tensor> {
    let shape = shape.into();
    let mut rng = split_generator();
    let values: Vec<f64> =
        (0..shape.elem_count()).map(|_| low + (high - low) * rng.random::<f64>()).collect();
    tensor(values, shape, dtype, device)
}

/// Returns a tensor of numbers from the normal distribution.
///
/// # Errors
/// Fails if the numbers cannot be converted to `dtype` or moved to `device`.
///
/// # Examples
/// ```
/// use sconce::prelude::*;
/// use sconce::random;
/// # fn main() -> Result<()> {
/// let x = random::normal((100, 100), 5., 2., DType::F64, &Device::Cpu)?;
/// assert!((x.mean_all()?.to_scalar::<f64>()? - 5.).abs() < 0.2);
/// # Ok(())
/// # }
/// ```
pub fn normal(shape: impl Into<Shape>, mean: f64, std: f64, dtype: DType, device: &Device) -> Result<Tensor> {
    let shape = shape.into();
    let mut rng = split_generator();
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

/// Returns a tensor whose elements are 1 with probability `p` and 0 otherwise.
///
/// # Errors
/// Fails if `p` is not between 0 and 1.
///
/// # Examples
/// ```
/// use sconce::prelude::*;
/// use sconce::random;
/// # fn main() -> Result<()> {
/// let x = random::bernoulli(1000, 0.25, DType::F32, &Device::Cpu)?.to_vec1::<f32>()?;
/// let ones = x.iter().filter(|x| **x == 1.).count();
/// assert!((150..350).contains(&ones));
/// # Ok(())
/// # }
/// ```
pub fn bernoulli(shape: impl Into<Shape>, p: f64, dtype: DType, device: &Device) -> Result<Tensor> {
    if !(0. ..=1.).contains(&p) {
        return Err(Error::msg(format!("expected a probability between 0 and 1, found {p}")));
    }
    let shape = shape.into();
    if device.is_cpu() {
        let mut rng = split_generator();
        let ones: Vec<u8> =
            (0..shape.elem_count()).map(|_| u8::from(rng.random::<f32>() < p as f32)).collect();
        return Ok(Tensor::from_vec(ones, shape, device)?.to_dtype(dtype)?);
    }
    seed_device(device)?;
    Ok(Tensor::rand(0f32, 1f32, shape, device)?.lt(p)?.to_dtype(dtype)?)
}

/// Returns the numbers `0..n` in random order.
///
/// ```
/// let mut order = sconce::random::permutation(4);
/// order.sort();
/// assert_eq!(order, [0, 1, 2, 3]);
/// ```
pub fn permutation(n: u32) -> Vec<u32> {
    let mut order: Vec<u32> = (0..n).collect();
    order.shuffle(&mut split_generator());
    order
}

/// Draws a seed, for generators of their own.
pub(crate) fn seed() -> u64 {
    generator().rng.next_u64()
}

/// Returns a new generator that is seeded by the shared one, so that the shared generator is not locked while a large
/// tensor is drawn.
fn split_generator() -> StdRng {
    StdRng::from_rng(&mut generator().rng)
}

/// Seeds the generator of `device`, once after each [`manual_seed`].
fn seed_device(device: &Device) -> Result<()> {
    let mut generator = generator();
    let Generator { rng, seeded_devices: Some(seeded_devices) } = &mut *generator else { return Ok(()) };
    if seeded_devices.insert(device.location()) {
        device.set_seed(rng.next_u64())?;
    }
    Ok(())
}

/// Locks the shared generator.
fn generator() -> MutexGuard<'static, Generator> {
    // The generator is valid even if a thread panicked while it held the lock.
    GENERATOR.lock().unwrap_or_else(PoisonError::into_inner)
}

fn tensor(values: Vec<f64>, shape: Shape, dtype: DType, device: &Device) -> Result<Tensor> {
    Ok(Tensor::from_vec(values, shape, &Device::Cpu)?.to_dtype(dtype)?.to_device(device)?)
}
