//! How far to go along a direction: a step that fulfils the strong Wolfe conditions.
//!
//! Nocedal and Wright, "Numerical Optimization", 2nd edition 2006, algorithms 3.5 and 3.6.

use candle_core::Tensor;

use crate::Result;

/// How [`Lbfgs`](super::Lbfgs) finds the length of its steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LineSearch {
    /// As long as the loss falls enough and its slope flattens enough: the strong Wolfe conditions.
    StrongWolfe,
}

/// The share of the fall that the slope at the start promises which a step has to keep.
const FALL: f64 = 1e-4;

/// The share of the slope at the start that may be left.
const FLATTEN: f64 = 0.9;

/// The most evaluations of the loss.
const EVALUATIONS: usize = 25;

/// The loss somewhere on the line.
#[derive(Clone, Debug)]
pub(super) struct Point {
    /// How far along the direction.
    pub at: f64,
    pub loss: f64,
    /// The derivative of the loss along the direction.
    pub slope: f64,
    pub gradient: Tensor,
}

/// A search from `start`, which lies at 0 and slopes down.
pub(super) struct Search<'a> {
    pub start: &'a Point,
    /// The distance between two points that is no longer worth an evaluation.
    pub resolution: f64,
    pub evaluate: &'a mut dyn FnMut(f64) -> Result<Point>,
    /// How often the loss was evaluated.
    pub evaluations: usize,
}

impl Search<'_> {
    /// The point where the conditions hold, tried first at `first`; the best one where the evaluations are
    /// used up.
    pub fn run(&mut self, first: f64) -> Result<Point> {
        let (mut before, mut at) = (self.start.clone(), first);
        while self.evaluations < EVALUATIONS {
            let point = self.look(at)?;
            let rises = before.at > 0. && point.loss >= before.loss;
            if rises || !self.falls(&point) {
                return self.zoom(before, point);
            }
            if self.is_flat(&point) {
                return Ok(point);
            }
            if point.slope >= 0. {
                return self.zoom(point, before);
            }
            // The loss still falls here; where the cubic sees no lowest place ahead, that is far.
            let (near, far) = (at + 0.01 * (at - before.at), 10. * at);
            let next = minimum(&before, &point);
            at = if next > near { next.min(far) } else { far };
            before = point;
        }
        Ok(before)
    }

    /// Narrows down an interval around such a point: at `low` the loss is the least so far that falls
    /// enough, and it falls on towards `high`.
    fn zoom(&mut self, mut low: Point, mut high: Point) -> Result<Point> {
        while self.evaluations < EVALUATIONS && (high.at - low.at).abs() >= self.resolution {
            let (from, to) = (low.at.min(high.at), low.at.max(high.at));
            // Not at the ends, where nothing is to be learnt.
            let margin = 0.1 * (to - from);
            let point = self.look(minimum(&low, &high).max(from + margin).min(to - margin))?;
            if !self.falls(&point) || point.loss >= low.loss {
                high = point;
                continue;
            }
            if self.is_flat(&point) {
                return Ok(point);
            }
            if point.slope * (high.at - low.at) >= 0. {
                high = low;
            }
            low = point;
        }
        Ok(low)
    }

    fn look(&mut self, at: f64) -> Result<Point> {
        self.evaluations += 1;
        (self.evaluate)(at)
    }

    /// Whether the loss has fallen enough; one that is NaN never has.
    fn falls(&self, point: &Point) -> bool {
        point.loss <= self.start.loss + FALL * point.at * self.start.slope
    }

    fn is_flat(&self, point: &Point) -> bool {
        point.slope.abs() <= -FLATTEN * self.start.slope
    }
}

/// Where the cubic through two points and their slopes is least; halfway where it has no minimum.
fn minimum(a: &Point, b: &Point) -> f64 {
    let curve = a.slope + b.slope - 3. * (a.loss - b.loss) / (a.at - b.at);
    let root = (curve * curve - a.slope * b.slope).sqrt().copysign(b.at - a.at);
    let at = b.at - (b.at - a.at) * (b.slope + root - curve) / (b.slope - a.slope + 2. * root);
    if at.is_finite() { at } else { (a.at + b.at) / 2. }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::{DType, Device};

    /// Searches from 0 down a curve, and checks the conditions.
    fn search(curve: fn(f64) -> (f64, f64), first: f64) -> Point {
        let gradient = Tensor::zeros(0, DType::F64, &Device::Cpu).expect("a tensor");
        let point = |at: f64| {
            let (loss, slope) = curve(at);
            Point { at, loss, slope, gradient: gradient.clone() }
        };
        let (start, mut evaluate) = (point(0.), |at: f64| Ok(point(at)));
        let mut search = Search { start: &start, resolution: 1e-9, evaluate: &mut evaluate, evaluations: 0 };
        let found = search.run(first).expect("a point");
        assert!(search.evaluations <= EVALUATIONS && found.loss.is_finite());
        assert!(search.falls(&found) && search.is_flat(&found), "{found:?} from {first}");
        found
    }

    #[test]
    fn the_strong_wolfe_conditions_hold() {
        for first in [1e-6, 1e-2, 0.3, 1., 7., 1e3] {
            search(|t| ((t - 2.).powi(2), 2. * (t - 2.)), first);
            search(|t| (-t / (t * t + 2.), (t * t - 2.) / (t * t + 2.).powi(2)), first);
            search(|t| (t.powi(4) - t, 4. * t.powi(3) - 1.), first);
            search(|t| ((3. * t).cos() + 0.1 * t * t - t, -3. * (3. * t).sin() + 0.2 * t - 1.), first);
            // Nothing beyond 5: infinite, and without a slope.
            let wall =
                |t: f64| if t < 5. { (-(5. - t).ln() - t, 1. / (5. - t) - 1.) } else { (f64::NAN, f64::NAN) };
            search(wall, first);
        }
    }
}
