//! The random number generator for initialization, shuffling and dropout.
//!
//! Unlike candle's generator, it can be seeded on the CPU: after [`manual_seed`], a single-threaded program draws the
//! same numbers again. Numbers are drawn on the CPU and then copied to the device, so the initial parameters of a
//! network do not depend on its device. Only dropout masks are drawn on the device.

use std::cell::RefCell;
use std::collections::HashSet;
use std::fmt;
use std::str::FromStr;
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};

use candle_core::{DType, Device, DeviceLocation, Shape, Tensor};
use rand::seq::SliceRandom;
use rand::{Rng, RngCore, SeedableRng};
use rand_chacha::ChaCha12Rng;

use crate::kernels::internal::distribution;
use crate::{Error, Result};

/// The generator of the process, initially seeded by the operating system.
static GENERATOR: LazyLock<Mutex<Generator>> = LazyLock::new(|| {
    Mutex::new(Generator {
        rng: ChaCha12Rng::from_os_rng(),
        seeded_devices: None,
        seed: None,
        is_repeatable: false,
    })
});

thread_local! {
    /// The generator that replaces [`GENERATOR`] in this thread during [`with_seed`] and [`with_state`].
    static REPLACEMENT: RefCell<Option<Generator>> = const { RefCell::new(None) };
}

struct Generator {
    rng: ChaCha12Rng,
    /// The devices whose generators have been seeded since [`manual_seed`], or `None` before its first call.
    seeded_devices: Option<HashSet<DeviceLocation>>,
    /// The seed of the last call of [`manual_seed`].
    seed: Option<u64>,
    /// Whether the generator is that of [`with_seed`].
    is_repeatable: bool,
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
    *generator() = Generator::seeded(seed);
}

impl Generator {
    fn seeded(seed: u64) -> Self {
        let rng = ChaCha12Rng::seed_from_u64(seed);
        Self { rng, seeded_devices: Some(HashSet::new()), seed: Some(seed), is_repeatable: false }
    }

    fn state(&self) -> State {
        State {
            seed: self.rng.get_seed(),
            stream: self.rng.get_stream(),
            word_position: self.rng.get_word_pos(),
            is_seeded: self.seeded_devices.is_some(),
        }
    }

    /// Restores a state.
    fn set_state(&mut self, state: &State) {
        self.rng = ChaCha12Rng::from_seed(state.seed);
        self.rng.set_stream(state.stream);
        self.rng.set_word_pos(state.word_position);
        self.seeded_devices = state.is_seeded.then(HashSet::new);
    }
}

/// Runs `f` with a generator that is seeded with `seed` and that only this thread uses.
///
/// All threads share the generator of a GPU: `f` draws the same numbers from it only if no other thread draws from it
/// meanwhile. If `f` uses the generator of a GPU, that generator is seeded again when it is next used after `f`.
pub(crate) fn with_seed<T>(seed: u64, f: impl FnOnce() -> T) -> T {
    replaced(Generator { is_repeatable: true, ..Generator::seeded(seed) }, f).0
}

/// Runs `f` with a generator that starts in `state` and that only this thread uses. Also returns the state of that
/// generator after `f`.
pub(crate) fn with_state<T>(state: &State, f: impl FnOnce() -> T) -> (T, State) {
    let mut generator = Generator::seeded(0);
    generator.set_state(state);
    replaced(generator, f)
}

/// Runs `f` with `generator` as the generator of this thread. Also returns the state of `generator` after `f`.
fn replaced<T>(generator: Generator, f: impl FnOnce() -> T) -> (T, State) {
    struct Restore(Option<Generator>);
    impl Drop for Restore {
        fn drop(&mut self) {
            let inner = REPLACEMENT.replace(self.0.take());
            let used = inner.and_then(|generator| generator.seeded_devices).unwrap_or_default();
            if !used.is_empty() {
                with_generator(|outer| {
                    outer.seeded_devices.get_or_insert_default().retain(|device| !used.contains(device));
                });
            }
        }
    }
    let _restore = Restore(REPLACEMENT.replace(Some(generator)));
    let result = f();
    (result, state())
}

/// Returns `true` during [`with_seed`]. The caller of `with_seed` may run the same function again and expect the same
/// random numbers, so a layer must then draw random numbers only with the functions of this module.
pub(crate) fn is_repeatable() -> bool {
    REPLACEMENT.with_borrow(|generator| generator.as_ref().is_some_and(|generator| generator.is_repeatable))
}

/// Returns the seed of the last call of [`manual_seed`], or `None` before the first call.
pub(crate) fn seed() -> Option<u64> {
    generator().seed
}

/// The state of the generator of the process, as returned by [`state`]. PyTorch's `torch.get_rng_state` is similar.
///
/// Formats as text, which [`FromStr`] parses.
///
/// ```
/// use sconce::candle::{DType, Device};
/// use sconce::random;
///
/// let state = random::state();
/// let draw = || random::normal(4, 0., 1., DType::F64, &Device::Cpu);
/// let first = draw()?.to_vec1::<f64>()?;
/// let parsed: random::State = state.to_string().parse()?;
/// assert_eq!(parsed, state);
/// random::set_state(&parsed);
/// assert_eq!(first, draw()?.to_vec1::<f64>()?);
/// # Ok::<(), sconce::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State {
    seed: [u8; 32],
    stream: u64,
    word_position: u128,
    /// Whether [`manual_seed`] was called, so that the generators of devices are seeded too.
    is_seeded: bool,
}

/// Returns the state of the generator, to restore it with [`set_state`]. The states of the GPUs' own generators are not
/// included.
pub fn state() -> State {
    with_generator(|generator| generator.state())
}

impl State {
    /// Returns the numbers of another rank at a position in an epoch that began in this state. They are independent of
    /// those of this state, and of those of other ranks, positions and epochs.
    pub(crate) fn for_rank(&self, rank: usize, position: usize) -> Self {
        /// More numbers than the layers draw for a batch, as a power of 2.
        const BITS_PER_POSITION: u32 = 32;
        let numbers = [rank as u64, self.word_position as u64, (self.word_position >> 64) as u64];
        let stream = numbers.into_iter().fold(self.stream, mixed);
        Self { stream, word_position: (position as u128) << BITS_PER_POSITION, ..self.clone() }
    }
}

/// Returns a number that depends on all bits of both numbers (the finalizer of SplitMix64, Steele et al. 2014).
fn mixed(a: u64, b: u64) -> u64 {
    let mut z = a.wrapping_add(b).wrapping_add(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// Restores a state that [`state`] returned, so that the generator draws the same numbers again. If [`manual_seed`] was
/// called before [`state`], the generator of each GPU is seeded again when it is next used.
pub fn set_state(state: &State) {
    with_generator(|generator| generator.set_state(state));
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { seed, stream, word_position, is_seeded } = self;
        seed.iter().try_for_each(|byte| write!(f, "{byte:02x}"))?;
        write!(f, ":{stream}:{word_position}:{is_seeded}")
    }
}

impl FromStr for State {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        parse_state(text).ok_or_else(|| {
            Error::msg(format!(
                "expected the state of a generator as `seed:stream:position:seeded`, found `{text}`"
            ))
        })
    }
}

fn parse_state(text: &str) -> Option<State> {
    let [seed, stream, word_position, is_seeded] = text.split(':').collect::<Vec<_>>().try_into().ok()?;
    let mut bytes = [0; 32];
    if seed.len() != 2 * bytes.len() || !seed.is_ascii() {
        return None;
    }
    for (i, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&seed[2 * i..2 * i + 2], 16).ok()?;
    }
    Some(State {
        seed: bytes,
        stream: stream.parse().ok()?,
        word_position: word_position.parse().ok()?,
        is_seeded: is_seeded.parse().ok()?,
    })
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
    let values = draw(split_generator(), shape.elem_count(), |bytes, values| {
        distribution::uniform(bytes, low, high, values)
    });
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
    let values = draw(split_generator(), shape.elem_count(), |bytes, values| {
        distribution::normal(bytes, mean, std, values)
    });
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

/// Draws a seed for a separate generator.
pub(crate) fn draw_seed() -> u64 {
    with_generator(|generator| generator.rng.next_u64())
}

/// Draws `count` numbers from `rng`. `convert` converts random bytes to numbers and appends these to a list, in the
/// order of the bytes.
fn draw(mut rng: ChaCha12Rng, count: usize, convert: impl Fn(&[u8], &mut Vec<f64>)) -> Vec<f64> {
    let mut bytes = [0; 1 << 12];
    let mut numbers = Vec::with_capacity(count + bytes.len() / size_of::<f64>());
    while numbers.len() < count {
        rng.fill_bytes(&mut bytes);
        convert(&bytes, &mut numbers);
    }
    numbers.truncate(count);
    numbers
}

/// Returns a new generator that is seeded by the shared one, so that the shared generator is not locked while a large
/// tensor is drawn.
fn split_generator() -> ChaCha12Rng {
    with_generator(|generator| ChaCha12Rng::from_rng(&mut generator.rng))
}

/// Seeds the generator of `device`, once after each [`manual_seed`].
fn seed_device(device: &Device) -> Result<()> {
    with_generator(|Generator { rng, seeded_devices, .. }| {
        let is_new = seeded_devices.as_mut().is_some_and(|seeded| seeded.insert(device.location()));
        if is_new { Ok(device.set_seed(rng.next_u64())?) } else { Ok(()) }
    })
}

/// Passes the generator of this thread to `f`: the generator of [`with_seed`] or, outside of `with_seed`, the shared
/// one.
fn with_generator<T>(f: impl FnOnce(&mut Generator) -> T) -> T {
    REPLACEMENT.with_borrow_mut(|replacement| match replacement {
        Some(generator) => f(generator),
        None => f(&mut generator()),
    })
}

/// Locks the shared generator.
fn generator() -> MutexGuard<'static, Generator> {
    // The generator is valid even if a thread panicked while it held the lock.
    GENERATOR.lock().unwrap_or_else(PoisonError::into_inner)
}

fn tensor(values: Vec<f64>, shape: Shape, dtype: DType, device: &Device) -> Result<Tensor> {
    Ok(Tensor::from_vec(values, shape, &Device::Cpu)?.to_dtype(dtype)?.to_device(device)?)
}

#[cfg(test)]
mod tests {
    use rand::rngs::StdRng;

    use super::*;

    #[test]
    fn ranks_draw_other_numbers_at_every_position_of_every_epoch() {
        let start = State { seed: [7; 32], stream: 0, word_position: 0, is_seeded: true };
        let epochs = [0, 12, 1 << 70].map(|word_position| State { word_position, ..start.clone() });
        let mut draws = Vec::new();
        for epoch in &epochs {
            for rank in 1..4 {
                for position in [0, 1, 1000] {
                    let state = epoch.for_rank(rank, position);
                    assert_eq!(state, epoch.for_rank(rank, position));
                    draws.push(with_state(&state, || with_generator(|generator| generator.rng.next_u64())).0);
                }
            }
        }
        let count = draws.len();
        draws.sort_unstable();
        draws.dedup();
        assert_eq!(draws.len(), count);
    }

    #[test]
    fn uniform_numbers_equal_those_of_the_crate_rand() {
        let mut rng = ChaCha12Rng::seed_from_u64(5);
        let convert = |bytes: &[u8], numbers: &mut Vec<f64>| distribution::uniform(bytes, -1., 3., numbers);
        let numbers = draw(rng.clone(), 1500, convert);
        let expected: Vec<f64> = (0..1500).map(|_| -1. + 4. * rng.random::<f64>()).collect();
        assert_eq!(numbers, expected);
    }

    #[test]
    fn the_generator_draws_the_same_numbers_as_std_rng() {
        let mut standard = StdRng::seed_from_u64(7);
        let mut ours = ChaCha12Rng::seed_from_u64(7);
        assert_eq!(standard.next_u64(), ours.next_u64());
        let mut standard = StdRng::from_rng(&mut standard);
        let mut ours = ChaCha12Rng::from_rng(&mut ours);
        assert!((0..100).all(|_| standard.next_u64() == ours.next_u64()));
    }

    #[test]
    fn invalid_states_are_errors() {
        let valid = state().to_string();
        assert!(valid.parse::<State>().is_ok());
        for text in ["", "00:0:0:true", &valid[1..], &format!("{valid}:1"), &valid.replace(':', "é")] {
            let error = text.parse::<State>().unwrap_err().to_string();
            assert!(error.starts_with("expected the state of a generator"), "{error}");
        }
    }
}
