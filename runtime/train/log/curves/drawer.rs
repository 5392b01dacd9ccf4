//! The callback that draws the curves during training.

use std::ops::ControlFlow;
use std::path::PathBuf;
use std::time::Duration;

use crate::Result;
use crate::train::history::{EpochReport, History};
use crate::train::throttle::Throttle;
use crate::train::trainer::Callback;

use super::draw;

/// Draws the curves at the end of training and after epochs. [`Throttle`] skips epochs if drawing would slow down
/// training.
pub(in crate::train::log) struct CurveDrawer {
    directory: PathBuf,
    throttle: Throttle,
    /// The picture shows the last epoch.
    is_current: bool,
}

impl CurveDrawer {
    /// Creates the callback for the run in `directory`.
    pub fn new(directory: PathBuf) -> Self {
        Self { directory, throttle: Throttle::new(Duration::ZERO), is_current: false }
    }
}

impl Callback for CurveDrawer {
    fn on_epoch(&mut self, _: &EpochReport) -> Result<ControlFlow<()>> {
        self.is_current = self.throttle.run(|| draw(&self.directory)).transpose()?.unwrap_or(false);
        Ok(ControlFlow::Continue(()))
    }

    fn on_fit_end(&mut self, _: &History) -> Result<()> {
        if self.is_current { Ok(()) } else { draw(&self.directory).map(drop) }
    }
}
