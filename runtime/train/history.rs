//! What a training run reports: a line an epoch, and all of them as a table.

use std::fmt;

use super::evaluate::Evaluation;

/// What one epoch reached, and how long it took.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct EpochReport {
    /// The number of the epoch, from 1.
    pub epoch: usize,
    /// Loss and accuracy on the training batches, each measured just before the step it led to.
    pub train: Evaluation,
    /// Loss and accuracy on the validation data after the epoch; none without such data.
    pub valid: Option<Evaluation>,
    /// The learning rate of the epoch's last step.
    pub learning_rate: f64,
    /// The duration, validation included.
    pub seconds: f64,
    /// Training examples per second, validation left out.
    pub examples_per_second: f64,
}

impl EpochReport {
    /// What epochs are compared by: the validation loss or, without one, the training loss.
    pub fn loss(&self) -> f64 {
        self.valid.unwrap_or(self.train).loss
    }

    /// Whether this epoch is better than `other`; one whose loss is NaN is never.
    pub(super) fn beats(&self, other: Option<&Self>) -> bool {
        !self.loss().is_nan() && other.is_none_or(|other| self.loss() < other.loss())
    }
}

/// One line: `epoch 1  loss 0.6231  accuracy 78.31 %  validation loss 0.4512  accuracy 84.10 %  …`.
impl fmt::Display for EpochReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "epoch {}  {}", self.epoch, self.train)?;
        if let Some(valid) = self.valid {
            write!(f, "  validation {valid}")?;
        }
        write!(f, "  {:.1} s  {:.0} examples/s", self.seconds, self.examples_per_second)
    }
}

/// The reports of a training run, in the order of the epochs. It prints as a table.
#[derive(Clone, Debug, Default)]
pub struct History {
    pub(super) epochs: Vec<EpochReport>,
    pub(super) unreached: Vec<String>,
}

impl History {
    /// The report of each epoch.
    pub fn epochs(&self) -> &[EpochReport] {
        &self.epochs
    }

    /// The epoch with the least [`loss`](EpochReport::loss), the first of equals.
    pub fn best(&self) -> Option<&EpochReport> {
        self.epochs.iter().fold(None, |best, epoch| if epoch.beats(best) { Some(epoch) } else { best })
    }

    /// The report of the last epoch.
    pub fn last(&self) -> Option<&EpochReport> {
        self.epochs.last()
    }

    /// The trainable parameters that got no gradient in the first step: see
    /// [`audit_gradients`](super::audit_gradients).
    pub fn unreached(&self) -> &[String] {
        &self.unreached
    }
}

/// A row an epoch; the best one has an asterisk.
impl fmt::Display for History {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let head = ["epoch", "train loss", "accuracy", "valid loss", "accuracy", "seconds", "examples/s"];
        write_row(f, ' ', head.map(str::to_owned))?;
        let best = self.best().map(|best| best.epoch);
        for epoch in &self.epochs {
            writeln!(f)?;
            let mark = if best == Some(epoch.epoch) { '*' } else { ' ' };
            write_row(f, mark, cells(epoch))?;
        }
        Ok(())
    }
}

fn cells(epoch: &EpochReport) -> [String; 7] {
    let loss = |of: Option<Evaluation>| of.map_or("–".to_owned(), |of| format!("{:.4}", of.loss));
    let accuracy = |of: Option<Evaluation>| match of.and_then(|of| of.accuracy) {
        Some(accuracy) => format!("{:.2} %", 100. * accuracy),
        None => "–".to_owned(),
    };
    let train = Some(epoch.train);
    [
        epoch.epoch.to_string(),
        loss(train),
        accuracy(train),
        loss(epoch.valid),
        accuracy(epoch.valid),
        format!("{:.1}", epoch.seconds),
        format!("{:.0}", epoch.examples_per_second),
    ]
}

fn write_row(f: &mut fmt::Formatter<'_>, mark: char, [epoch, rest @ ..]: [String; 7]) -> fmt::Result {
    write!(f, "{mark}{epoch:>5}")?;
    rest.iter().try_for_each(|cell| write!(f, "  {cell:>10}"))
}
