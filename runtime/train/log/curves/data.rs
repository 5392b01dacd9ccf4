//! The curves of a run, read from its tables.

use std::path::Path;

use crate::Result;
use crate::train::log::table::read_numbers;
use crate::train::log::{LEARNING_RATE, LOSS, METRICS, STEP, STEPS, TRAIN_PREFIX, VALID_PREFIX};

/// The largest number of charts in a picture.
const MOST_CHARTS: usize = 24;

/// The curves of one value, such as the loss.
pub(super) struct Chart {
    pub title: String,
    pub curves: Vec<Curve>,
}

/// The quantity that a curve shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Values of single steps.
    Steps,
    /// Values of training, one for each epoch, or the learning rate.
    Train,
    /// Values of the validation, one for each epoch.
    Valid,
}

/// One value over the optimizer steps.
pub(super) struct Curve {
    pub kind: Kind,
    points: Points,
}

impl Curve {
    /// Returns the points, each with the step and the value.
    pub fn points(&self) -> &[(f64, f64)] {
        &self.points.finished
    }
}

#[cfg(test)]
impl Chart {
    /// Returns a chart of the given curves.
    pub fn with_curves(title: &str, curves: &[(Kind, Vec<(f64, f64)>)]) -> Self {
        let mut charts = Charts::default();
        for (kind, points) in curves {
            points.iter().for_each(|(step, value)| charts.push(title, *kind, *step, *value));
        }
        charts.finish().remove(0)
    }
}

/// Reads the charts of the run in `directory`. Returns an empty list if no epoch is finished.
pub(super) fn read(directory: &Path) -> Result<Vec<Chart>> {
    let mut charts = Charts::default();
    let mut has_step_rows = false;
    read_numbers(&directory.join(STEPS), |row| {
        let step = row.get(STEP);
        has_step_rows = true;
        charts.push(LOSS, Kind::Steps, step, row.get(LOSS));
        charts.push(LEARNING_RATE, Kind::Train, step, row.get(LEARNING_RATE));
    })?;
    let mut epochs = 0;
    read_numbers(&directory.join(METRICS), |row| {
        epochs += 1;
        let step = row.get(STEP);
        for (column, value) in row.iter() {
            if let Some(name) = column.strip_prefix(TRAIN_PREFIX) {
                charts.push(name, Kind::Train, step, value);
            } else if let Some(name) = column.strip_prefix(VALID_PREFIX) {
                charts.push(name, Kind::Valid, step, value);
            } else if column == LEARNING_RATE && !has_step_rows {
                charts.push(LEARNING_RATE, Kind::Train, step, value);
            }
        }
    })?;
    Ok(if epochs == 0 { Vec::new() } else { charts.finish() })
}

#[derive(Default)]
struct Charts(Vec<Chart>);

impl Charts {
    fn push(&mut self, title: &str, kind: Kind, step: f64, value: f64) {
        let index = self.0.iter().position(|chart| chart.title == title).unwrap_or_else(|| {
            self.0.push(Chart { title: title.to_owned(), curves: Vec::new() });
            self.0.len() - 1
        });
        let curves = &mut self.0[index].curves;
        let index = curves.iter().position(|curve| curve.kind == kind).unwrap_or_else(|| {
            curves.push(Curve { kind, points: Points::default() });
            curves.len() - 1
        });
        curves[index].points.push(step, value);
    }

    /// Returns the charts with the learning rate last. If there are too many, drops the last metrics.
    fn finish(mut self) -> Vec<Chart> {
        self.0.sort_by_key(|chart| chart.title == LEARNING_RATE);
        let excess = self.0.len().saturating_sub(MOST_CHARTS);
        if excess > 0 {
            self.0.drain(MOST_CHARTS - 1..MOST_CHARTS - 1 + excess);
        }
        self.0.iter_mut().flat_map(|chart| &mut chart.curves).for_each(|curve| curve.points.finish_group());
        self.0
    }
}

/// A limited number of points. If there are more, the means of 2, 4, 8, … consecutive points are kept.
struct Points {
    finished: Vec<(f64, f64)>,
    /// The points of an incomplete group.
    group: Vec<(f64, f64)>,
    group_size: usize,
}

impl Default for Points {
    fn default() -> Self {
        Self { finished: Vec::new(), group: Vec::new(), group_size: 1 }
    }
}

impl Points {
    /// The maximum number of points of a curve. A chart is fewer pixels wide.
    const LIMIT: usize = 2048;

    fn push(&mut self, x: f64, y: f64) {
        self.group.push((x, y));
        if self.group.len() < self.group_size {
            return;
        }
        self.finish_group();
        if self.finished.len() == Self::LIMIT {
            self.finished = self.finished.chunks(2).map(mean).collect();
            self.group_size *= 2;
        }
    }

    /// Adds the mean of the incomplete group.
    fn finish_group(&mut self) {
        if !self.group.is_empty() {
            self.finished.push(mean(&self.group));
            self.group.clear();
        }
    }
}

/// Returns a point: the mean of all steps, and the mean of the finite values, or NaN if there are none.
fn mean(points: &[(f64, f64)]) -> (f64, f64) {
    let mean_of = |values: Vec<f64>| values.iter().map(|value| value / values.len() as f64).sum::<f64>();
    let finite: Vec<f64> = points.iter().map(|(_, y)| *y).filter(|y| y.is_finite()).collect();
    let y = if finite.is_empty() { f64::NAN } else { mean_of(finite) };
    (mean_of(points.iter().map(|(x, _)| *x).collect()), y)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_picture_has_a_limited_number_of_charts() {
        let mut charts = Charts::default();
        for title in
            [LOSS, LEARNING_RATE].map(str::to_owned).into_iter().chain((0..100).map(|i| i.to_string()))
        {
            charts.push(&title, Kind::Train, 1., 1.);
        }
        let charts = charts.finish();
        assert_eq!((charts.len(), charts[0].title.as_str()), (MOST_CHARTS, LOSS));
        assert_eq!(charts[MOST_CHARTS - 1].title, LEARNING_RATE);
    }

    #[test]
    fn a_long_curve_keeps_a_limited_number_of_means() {
        let mut points = Points::default();
        for step in 0..100_000 {
            points.push(f64::from(step), if step < 50_000 { f64::NAN } else { f64::from(step) * 2. });
            assert!(points.finished.len() < Points::LIMIT && points.group.len() < points.group_size);
        }
        points.finish_group();
        assert_eq!(points.finished.len(), 100_000usize.div_ceil(points.group_size));
        assert!(points.finished.len() > Points::LIMIT / 2 && points.finished[0].1.is_nan());
        assert!(points.finished.iter().rev().take(100).all(|(x, y)| (y - 2. * x).abs() < 1e-6));
    }
}
