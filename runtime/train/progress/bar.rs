//! A progress bar on a terminal.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::status::Status;

/// The progress bar of one epoch. Dropping it clears the bar.
pub(super) struct Bar(ProgressBar);

impl Bar {
    /// Returns a bar, or `None` if standard error is not a terminal.
    pub fn new(status: &Status) -> Option<Self> {
        let target = ProgressDrawTarget::stderr();
        if target.is_hidden() {
            return None;
        }
        let bar = ProgressBar::with_draw_target(status.batches.map(|batches| batches as u64), target);
        let template = match status.batches {
            Some(_) => "{prefix} {bar:10} {pos}/{len}  {wide_msg}",
            None => "{prefix} {spinner} {pos} batches  {wide_msg}",
        };
        let bar = match ProgressStyle::with_template(template) {
            Ok(style) => bar.with_style(style.progress_chars("━╸─")),
            Err(_) => bar,
        };
        Some(Self(bar.with_prefix(status.name.clone())))
    }

    /// Shows the number of finished batches.
    pub fn show_position(&self, status: &Status) {
        self.0.set_position(status.batch as u64);
    }

    /// Shows the loss, the metrics and the speed.
    pub fn show_text(&self, status: &Status) {
        self.0.set_message(status.text());
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}
