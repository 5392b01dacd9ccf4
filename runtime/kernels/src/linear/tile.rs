//! Dot products of some rows with some weights, all in registers at once.

use crate::simd::Simd;

/// Weights that meet the same rows at once.
pub(super) const OUTPUTS: usize = 4;

/// Rows that meet the same weights at once.
pub(super) const ROWS: usize = 4;

/// The products of the first `count` rows with every weight, all of one length.
///
/// Each sum takes the same additions whatever stands beside it.
#[inline(always)]
pub(super) fn dots<S: Simd>(
    simd: S,
    x: [&[f32]; ROWS],
    weights: [&[f32]; OUTPUTS],
    count: usize,
) -> [[f32; OUTPUTS]; ROWS] {
    match count {
        1 => tile::<S, 1>(simd, x, weights),
        2 => tile::<S, 2>(simd, x, weights),
        // With fewer registers the sums of four rows would not stay in them.
        4 if S::REGISTERS > 16 => tile::<S, 4>(simd, x, weights),
        4 => {
            let [a, b, c, d] = x;
            let [first, second] = [[a, b, b, b], [c, d, d, d]].map(|x| (x, weights));
            let [a, b, ..] = tile::<S, 2>(simd, first.0, first.1);
            let [c, d, ..] = tile::<S, 2>(simd, second.0, second.1);
            [a, b, c, d]
        }
        _ => tile::<S, 3>(simd, x, weights),
    }
}

#[inline(always)]
fn tile<S: Simd, const COUNT: usize>(
    simd: S,
    x: [&[f32]; ROWS],
    weights: [&[f32]; OUTPUTS],
) -> [[f32; OUTPUTS]; ROWS] {
    let len = weights.iter().chain(&x).map(|of| of.len()).min().unwrap_or(0);
    let mut sums = [[simd.zero(); OUTPUTS]; ROWS];
    let whole = len - len % S::LANES;
    // SAFETY: every slice has `len` elements.
    unsafe {
        for at in (0..whole).step_by(S::LANES) {
            let mut w = [simd.zero(); OUTPUTS];
            for (w, weight) in w.iter_mut().zip(&weights) {
                *w = simd.load(weight.as_ptr().add(at));
            }
            for (sums, x) in sums.iter_mut().zip(&x).take(COUNT) {
                let x = simd.load(x.as_ptr().add(at));
                for (sum, w) in sums.iter_mut().zip(w) {
                    *sum = simd.fma(x, w, *sum);
                }
            }
        }
        if whole < len {
            for (sums, x) in sums.iter_mut().zip(&x).take(COUNT) {
                let x = simd.load_partial(x.as_ptr().add(whole), len - whole);
                for (sum, weight) in sums.iter_mut().zip(&weights) {
                    let w = simd.load_partial(weight.as_ptr().add(whole), len - whole);
                    *sum = simd.fma(x, w, *sum);
                }
            }
        }
    }
    let mut results = [[0.; OUTPUTS]; ROWS];
    for (results, sums) in results.iter_mut().zip(sums).take(COUNT) {
        *results = across(simd, sums);
    }
    results
}

/// The sum of all lanes of each vector. Neighbours are added until each vector has only one left of each of
/// its four, and then those that are left.
#[inline(always)]
fn across<S: Simd>(simd: S, [a, b, c, d]: [S::V; OUTPUTS]) -> [f32; OUTPUTS] {
    let mut all = join(simd, join(simd, a, b), join(simd, c, d));
    let mut lanes = S::LANES / OUTPUTS;
    while lanes > 1 {
        all = join(simd, all, all);
        lanes /= 2;
    }
    let mut results = [0.; 16];
    // SAFETY: no vector has more than 16 lanes.
    unsafe { simd.store(results.as_mut_ptr(), all) };
    [results[0], results[1], results[2], results[3]]
}

/// The sums of neighbouring lanes of `a`, then of `b`.
#[inline(always)]
fn join<S: Simd>(simd: S, a: S::V, b: S::V) -> S::V {
    let [even, odd] = simd.deinterleave(a, b);
    simd.add(even, odd)
}
