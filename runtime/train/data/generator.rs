//! The random numbers of a data loader: reproducible for each example, for any number of workers.

use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};

/// A generator of reproducible random numbers, for random transforms.
///
/// A [`DataLoader`](super::DataLoader) creates one for each example, from the loader's seed, the epoch, the index of
/// the example, and how often the index occurred before in the epoch. The numbers therefore depend neither on the
/// number of workers nor on the other examples. Unlike the functions of [`random`](crate::random), generators do not
/// share a state.
///
/// ```
/// use sconce::train::data::Generator;
///
/// let mut a = Generator::from_seed(7);
/// let mut b = Generator::from_seed(7);
/// assert_eq!(a.uniform(-1., 1.), b.uniform(-1., 1.));
/// assert!(a.below(10) < 10);
/// ```
#[derive(Clone, Debug)]
pub struct Generator(StdRng);

impl Generator {
    /// Creates the generator with the given seed.
    pub fn from_seed(seed: u64) -> Self {
        Self(StdRng::seed_from_u64(seed))
    }

    /// Creates the generator with the given key. Generators with different keys are independent.
    pub(super) fn from_key(key: [u64; 4]) -> Self {
        let mut seed = [0; 32];
        for (bytes, word) in seed.chunks_exact_mut(8).zip(key) {
            bytes.copy_from_slice(&word.to_le_bytes());
        }
        Self(StdRng::from_seed(seed))
    }

    /// Returns a number from the uniform distribution over `low..high`.
    pub fn uniform(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * self.0.random::<f64>()
    }

    /// Returns a number from the normal distribution.
    pub fn normal(&mut self, mean: f64, std: f64) -> f64 {
        // Box and Muller, "A Note on the Generation of Random Normal Deviates", 1958.
        let radius = (-2. * (1. - self.0.random::<f64>()).ln()).sqrt();
        mean + std * radius * (std::f64::consts::TAU * self.0.random::<f64>()).cos()
    }

    /// Returns `true` with probability `p`.
    pub fn bernoulli(&mut self, p: f64) -> bool {
        self.0.random::<f64>() < p
    }

    /// Returns a number from `0..n`, each with the same probability, or 0 if `n` is 0.
    pub fn below(&mut self, n: usize) -> usize {
        if n == 0 { 0 } else { self.0.random_range(0..n) }
    }

    /// Returns the numbers `0..n` in random order.
    pub fn permutation(&mut self, n: usize) -> Vec<usize> {
        let mut order: Vec<usize> = (0..n).collect();
        order.shuffle(&mut self.0);
        order
    }
}
