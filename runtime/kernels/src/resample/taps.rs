//! The input positions and weights of the outputs along one axis, with PyTorch's index arithmetic.

use crate::separable::AxisMap;

use super::Filter;

/// The taps of all outputs along one axis. A tap is an input position with a weight.
#[derive(Debug, PartialEq)]
pub(super) struct Taps {
    /// The number of taps for each output.
    pub per_output: usize,
    /// The taps of all outputs, `per_output` for each.
    pub list: Vec<(usize, f64)>,
}

impl Taps {
    /// Returns resampling along an axis of `input` positions as a linear map. Positions beyond an edge have been moved
    /// to the edge; the weights of taps at the same position are added.
    pub fn to_map(&self, input: usize) -> AxisMap {
        let range = |taps: &[(usize, f64)]| taps[0].0..taps[taps.len() - 1].0 + 1;
        let outputs = || self.list.chunks_exact(self.per_output);
        let weights = outputs().flat_map(|taps| {
            let weight_at = |position| taps.iter().filter(|tap| tap.0 == position).map(|tap| tap.1).sum();
            range(taps).map(weight_at).collect::<Vec<f64>>()
        });
        // A single tap has the weight 1.
        let weights = (self.per_output > 1).then(|| weights.collect());
        AxisMap { sources: input, ranges: outputs().map(range).collect(), weights }
    }
}

/// One axis of the resampling.
#[derive(Clone, Copy)]
pub(super) struct Axis {
    pub input: usize,
    pub output: usize,
    /// The scale factor from the input to the output. `None` means the output size divided by the input size.
    pub scale: Option<f64>,
    pub align_corners: bool,
}

impl Axis {
    /// Returns the taps of all outputs. PyTorch computes positions in the precision of the tensor. With
    /// `rounds_to_f32`, the nearest filters round positions to f32 like PyTorch, because a rounding error can change
    /// the nearest position.
    pub fn taps(&self, filter: Filter, rounds_to_f32: bool) -> Taps {
        if self.input == self.output && (self.scale.is_none() || filter == Filter::Linear) {
            return Taps { per_output: 1, list: (0..self.output).map(|at| (at, 1.0)).collect() };
        }
        let outputs = 0..self.output;
        match filter {
            Filter::Nearest => self.nearest(rounds_to_f32, |step, at, round| round(step * at)),
            Filter::NearestExact => self.nearest(rounds_to_f32, |step, at, round| {
                round(round(step * (at + 0.5)) - 0.5).max(0.0) + 0.5
            }),
            Filter::Linear => Taps { per_output: 2, list: outputs.flat_map(|at| self.linear(at)).collect() },
            Filter::Cubic => Taps { per_output: 4, list: outputs.flat_map(|at| self.cubic(at)).collect() },
        }
    }

    /// Returns the taps of a nearest filter. `position(step, output, round)` returns the position of an output in input
    /// coordinates. The closure must call `round` after each operation after which PyTorch rounds.
    fn nearest(&self, rounds_to_f32: bool, position: impl Fn(f64, f64, &dyn Fn(f64) -> f64) -> f64) -> Taps {
        let round = |x: f64| if rounds_to_f32 { f64::from(x as f32) } else { x };
        let step = round(Axis { align_corners: false, ..*self }.step());
        let tap = |at: usize| {
            // PyTorch's `floorf` converts a double to a float first.
            let nearest = (position(step, at as f64, &round) as f32).floor() as usize;
            (nearest.min(self.input - 1), 1.0)
        };
        Taps { per_output: 1, list: (0..self.output).map(tap).collect() }
    }

    /// Returns the taps of linear interpolation.
    fn linear(&self, output: usize) -> [(usize, f64); 2] {
        let (low, fraction) = self.floor_and_fraction(self.position(output).max(0.0));
        let low = low as usize;
        [(low, 1.0 - fraction), ((low + 1).min(self.input - 1), fraction)]
    }

    /// Returns the taps of cubic convolution with a = -3/4 (Keys, "Cubic Convolution Interpolation for Digital Image
    /// Processing", 1981).
    fn cubic(&self, output: usize) -> [(usize, f64); 4] {
        const A: f64 = -0.75;
        let inner = |x: f64| ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0;
        let outer = |x: f64| ((A * x - 5.0 * A) * x + 8.0 * A) * x - 4.0 * A;
        let (low, t) = self.floor_and_fraction(self.position(output));
        let last = self.input as i64 - 1;
        let tap = |offset: i64, weight: f64| ((low + offset).clamp(0, last) as usize, weight);
        [tap(-1, outer(t + 1.0)), tap(0, inner(t)), tap(1, inner(1.0 - t)), tap(2, outer(2.0 - t))]
    }

    /// Returns the index of the input at or before a position, and the fraction of the way to the next input.
    fn floor_and_fraction(&self, position: f64) -> (i64, f64) {
        let low = (position.floor() as i64).min(self.input as i64 - 1);
        (low, (position - low as f64).clamp(0.0, 1.0))
    }

    /// Returns the position of an output in input coordinates. With aligned corners, the centers of the first and last
    /// pixels coincide; otherwise their outer edges coincide.
    fn position(&self, output: usize) -> f64 {
        if self.align_corners {
            self.step() * output as f64
        } else {
            self.step() * (output as f64 + 0.5) - 0.5
        }
    }

    /// Returns the distance between neighboring outputs in input coordinates.
    fn step(&self) -> f64 {
        match (self.align_corners, self.scale) {
            (true, _) if self.output > 1 => (self.input - 1) as f64 / (self.output - 1) as f64,
            (true, _) => 0.0,
            (false, Some(scale)) => 1.0 / scale,
            (false, None) => self.input as f64 / self.output as f64,
        }
    }
}
