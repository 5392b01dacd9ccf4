//! Pictures of the losses, the metrics and the learning rate of a run.
//!
//! `data.rs` reads the tables of a run, `axis.rs` chooses the ticks of an axis, `chart.rs` draws one chart, and
//! `figure.rs` arranges the charts. `png.rs` encodes pictures. `drawer.rs` draws during training.

mod axis;
mod chart;
mod data;
mod drawer;
mod figure;
mod png;

use std::io::Write;
use std::path::Path;

use crate::checkpoint::write_atomically;
use crate::{Error, Result};

pub(super) use drawer::CurveDrawer;

/// Draws the curves of the run in `directory` from its files `metrics.csv` and `steps.csv`, as `curves.svg` and
/// `curves.png`. Needs the feature `plots`.
///
/// There is a chart for the loss, for each metric and for the learning rate, up to 24 charts. The loss has a
/// logarithmic scale if its values differ by a factor of 100 or more. Values that are not finite interrupt a curve.
///
/// With the feature `plots`, [`Trainer::log`](crate::train::Trainer::log) draws the curves during training and at its
/// end. This function draws them again, for example after the process was killed.
///
/// # Errors
/// Fails if there are no rows yet, or if a file cannot be read or written.
///
/// # Examples
/// ```
/// use sconce::prelude::*;
/// use sconce::train::log::plot_curves;
/// # fn main() -> Result<()> {
/// # let directory = tempfile::tempdir()?;
/// # let runs = directory.path();
/// # let line = Linear::config(1, 1).init(&Device::Cpu)?;
/// # let x = Tensor::arange(-4f32, 4., &Device::Cpu)?.reshape((8, 1))?;
/// # let data = (x.clone(), x);
/// let mut trainer = Trainer::new(&line, mse_loss, Sgd::new(0.01)).quiet(true).log(runs.join("a"));
/// trainer.fit(&data, &data, Epochs(3))?;
/// plot_curves(runs.join("a"))?;
/// assert!(runs.join("a/curves.png").exists());
/// # Ok(())
/// # }
/// ```
pub fn plot_curves(directory: impl AsRef<Path>) -> Result<()> {
    let directory = directory.as_ref();
    if draw(directory)? {
        return Ok(());
    }
    let directory = directory.display();
    Err(Error::msg(format!("{directory}: expected a run with at least one row in metrics.csv")))
}

/// Draws the curves of the run in `directory`. Returns `false` if there are no rows yet.
fn draw(directory: &Path) -> Result<bool> {
    let charts = data::read(directory)?;
    if charts.is_empty() {
        return Ok(false);
    }
    let title = directory.file_name().unwrap_or(directory.as_os_str()).to_string_lossy();
    let svg = figure::svg(&title, &charts)?;
    let png = figure::png(&title, &charts)?;
    write_atomically(directory.join("curves.svg"), |file| Ok(file.write_all(svg.as_bytes())?))?;
    write_atomically(directory.join("curves.png"), |file| Ok(file.write_all(&png)?))?;
    Ok(true)
}
