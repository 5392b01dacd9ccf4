//! A line search for a step that satisfies the strong Wolfe conditions.
//!
//! Follows Nocedal and Wright, "Numerical Optimization", 2nd edition 2006, algorithms 3.5 and 3.6.

use candle_core::Tensor;

use crate::Result;

/// The line search of [`Lbfgs`](super::Lbfgs).
///
/// ```
/// use sconce::candle::{Device, Var};
/// use sconce::train::optim::{Lbfgs, LineSearch, Optimizer};
///
/// let x = Var::new(&[4f32, -2.], &Device::Cpu)?;
/// let settings = Lbfgs::new(1.).line_search_fn(LineSearch::StrongWolfe);
/// let mut optimizer = settings.build(vec![("x".into(), x.clone())])?;
/// optimizer.step_with(&mut || Ok(x.sqr()?.sum_all()?))?;
/// assert!(x.abs()?.max_all()?.to_scalar::<f32>()? < 1e-3);
/// # Ok::<(), sconce::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LineSearch {
    /// Finds a step that satisfies the strong Wolfe conditions: a sufficient decrease of the loss and of the
    /// magnitude of its slope.
    StrongWolfe,
}

/// The constant c₁ of the sufficient decrease condition.
const C1: f64 = 1e-4;

/// The constant c₂ of the curvature condition.
const C2: f64 = 0.9;

/// The maximum number of loss evaluations.
const MAX_EVALUATIONS: usize = 25;

/// A point on the search line.
#[derive(Clone, Debug)]
pub(super) struct Point {
    /// The step length, as a multiple of the search direction.
    pub step_length: f64,
    pub loss: f64,
    /// The derivative of the loss along the direction.
    pub slope: f64,
    pub gradient: Tensor,
}

/// A search from `start`, the point with step length 0 and a negative slope.
pub(super) struct Search<'a> {
    pub start: &'a Point,
    /// The interval length at which the search stops.
    pub resolution: f64,
    /// Evaluates the loss at a step length.
    pub evaluate: &'a mut dyn FnMut(f64) -> Result<Point>,
    /// The number of evaluations so far.
    pub evaluations: usize,
}

impl Search<'_> {
    /// Returns a point at which the strong Wolfe conditions hold, or the best point found within the maximum number of
    /// evaluations. The first step length tried is `first`.
    pub fn run(&mut self, first: f64) -> Result<Point> {
        let mut previous = self.start.clone();
        let mut step_length = first;
        while self.evaluations < MAX_EVALUATIONS {
            let point = self.evaluate(step_length)?;
            let loss_rises = previous.step_length > 0. && point.loss >= previous.loss;
            if loss_rises || !self.decreases(&point) {
                return self.zoom(previous, point);
            }
            if self.is_flat(&point) {
                return Ok(point);
            }
            if point.slope >= 0. {
                return self.zoom(point, previous);
            }
            // The loss still decreases. Continue at the minimum of the cubic through the last two points. If the cubic
            // has no minimum ahead, continue at the maximum step length.
            let min_next = step_length + 0.01 * (step_length - previous.step_length);
            let max_next = 10. * step_length;
            let next = minimum(&previous, &point);
            step_length = if next > min_next { next.min(max_next) } else { max_next };
            previous = point;
        }
        Ok(previous)
    }

    /// Narrows the interval between `low` and `high` until a point satisfies both strong Wolfe conditions. Returns this
    /// point, or `low` if the search reaches the resolution or the maximum number of evaluations first.
    ///
    /// The caller must establish three invariants: the interval contains such a point; `low` has the lowest loss of all
    /// points so far with sufficient decrease; and at `low`, the loss decreases toward `high`.
    fn zoom(&mut self, mut low: Point, mut high: Point) -> Result<Point> {
        while self.evaluations < MAX_EVALUATIONS
            && (high.step_length - low.step_length).abs() >= self.resolution
        {
            let left = low.step_length.min(high.step_length);
            let right = low.step_length.max(high.step_length);
            // Stay away from the end points, whose losses are already known.
            let margin = 0.1 * (right - left);
            let point = self.evaluate(minimum(&low, &high).max(left + margin).min(right - margin))?;
            if !self.decreases(&point) || point.loss >= low.loss {
                high = point;
                continue;
            }
            if self.is_flat(&point) {
                return Ok(point);
            }
            if point.slope * (high.step_length - low.step_length) >= 0. {
                high = low;
            }
            low = point;
        }
        Ok(low)
    }

    /// Evaluates the loss at a step length and counts the evaluation.
    fn evaluate(&mut self, step_length: f64) -> Result<Point> {
        self.evaluations += 1;
        (self.evaluate)(step_length)
    }

    /// Checks the sufficient decrease condition. Returns `false` if the loss is NaN.
    fn decreases(&self, point: &Point) -> bool {
        point.loss <= self.start.loss + C1 * point.step_length * self.start.slope
    }

    /// Checks the curvature condition.
    fn is_flat(&self, point: &Point) -> bool {
        point.slope.abs() <= -C2 * self.start.slope
    }
}

/// Returns the step length at the minimum of the cubic that has the losses and slopes of both points, or the midpoint
/// if this cubic has no minimum. Computes equation 3.59 of Nocedal and Wright.
fn minimum(a: &Point, b: &Point) -> f64 {
    let d1 = a.slope + b.slope - 3. * (a.loss - b.loss) / (a.step_length - b.step_length);
    let d2 = (d1 * d1 - a.slope * b.slope).sqrt().copysign(b.step_length - a.step_length);
    let minimum =
        b.step_length - (b.step_length - a.step_length) * (b.slope + d2 - d1) / (b.slope - a.slope + 2. * d2);
    if minimum.is_finite() { minimum } else { (a.step_length + b.step_length) / 2. }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::{DType, Device};

    /// Runs a search on `curve` and checks the strong Wolfe conditions. `curve` returns the loss and the slope.
    fn search(curve: fn(f64) -> (f64, f64), first: f64) -> Point {
        let gradient = Tensor::zeros(0, DType::F64, &Device::Cpu).expect("an empty tensor can be allocated");
        let point = |step_length: f64| {
            let (loss, slope) = curve(step_length);
            Point { step_length, loss, slope, gradient: gradient.clone() }
        };
        let start = point(0.);
        let mut evaluate = |step_length: f64| Ok(point(step_length));
        let mut search = Search { start: &start, resolution: 1e-9, evaluate: &mut evaluate, evaluations: 0 };
        let found = search.run(first).expect("the search finds a point");
        assert!(search.evaluations <= MAX_EVALUATIONS && found.loss.is_finite());
        assert!(search.decreases(&found) && search.is_flat(&found), "{found:?} from {first}");
        found
    }

    #[test]
    fn satisfies_the_strong_wolfe_conditions() {
        for first in [1e-6, 1e-2, 0.3, 1., 7., 1e3] {
            search(|t| ((t - 2.).powi(2), 2. * (t - 2.)), first);
            search(|t| (-t / (t * t + 2.), (t * t - 2.) / (t * t + 2.).powi(2)), first);
            search(|t| (t.powi(4) - t, 4. * t.powi(3) - 1.), first);
            search(|t| ((3. * t).cos() + 0.1 * t * t - t, -3. * (3. * t).sin() + 0.2 * t - 1.), first);
            // The loss is NaN at step lengths of 5 and more.
            let wall =
                |t: f64| if t < 5. { (-(5. - t).ln() - t, 1. / (5. - t) - 1.) } else { (f64::NAN, f64::NAN) };
            search(wall, first);
        }
    }
}
