//! Conversion of random bytes to samples of a distribution.

use std::f64::consts::TAU;

/// The number of random bytes from which [`uniform`] computes a sample.
const UNIFORM_BYTES: usize = 8;

/// The number of random bytes from which [`normal`] computes two samples.
const NORMAL_BYTES: usize = 16;

/// Appends samples of the uniform distribution over `low..high` to `numbers`: one for every 8 random bytes.
pub fn uniform(bytes: &[u8], low: f64, high: f64, numbers: &mut Vec<f64>) {
    let (words, _) = bytes.as_chunks::<UNIFORM_BYTES>();
    numbers.extend(words.iter().map(|word| low + (high - low) * unit(*word)));
}

/// Appends samples of the normal distribution to `numbers`: two for every 16 random bytes.
pub fn normal(bytes: &[u8], mean: f64, std: f64, numbers: &mut Vec<f64>) {
    let (pairs, _) = bytes.as_chunks::<NORMAL_BYTES>();
    for pair in pairs {
        let (words, _) = pair.as_chunks::<UNIFORM_BYTES>();
        // Box and Muller, "A Note on the Generation of Random Normal Deviates", 1958.
        let radius = (-2. * (1. - unit(words[0])).ln()).sqrt();
        let (sin, cos) = (TAU * unit(words[1])).sin_cos();
        numbers.extend([mean + std * radius * cos, mean + std * radius * sin]);
    }
}

/// Converts a random word to a number in `0..1`, a multiple of 2⁻⁵³.
fn unit(word: [u8; UNIFORM_BYTES]) -> f64 {
    const SCALE: f64 = 1. / (1u64 << 53) as f64;
    (u64::from_le_bytes(word) >> 11) as f64 * SCALE
}
