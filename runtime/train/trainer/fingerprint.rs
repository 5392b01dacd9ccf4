//! The settings that a resumed run must share with the run that saved the checkpoint.

use serde_json::{Value, json};

use crate::module::Module;
use crate::{Error, Result};

use super::Trainer;
use super::learning_rate::LearningRate;
use super::record::{array, text};
use super::run::Run;

/// The names of settings that may differ if the number of ranks does.
pub(super) const ACCUMULATE: &str = "setting `accumulate`";
pub(super) const SCHEDULE: &str = "learning-rate schedule";

/// The names and values of settings, as text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fingerprint(Vec<(&'static str, String)>);

impl Fingerprint {
    /// Describes the settings of `trainer` for a run after `steps` steps of the schedule and `epochs` finished epochs.
    /// The loss is not described, because it may be a closure.
    pub fn new<M: Module, O, T>(
        trainer: &Trainer<'_, M, O, T>,
        run: &Run<M>,
        steps: usize,
        epochs: usize,
    ) -> Self {
        let step = &trainer.step;
        let schedule = step.learning_rate.as_ref();
        let names = run.stepper.parameters.iter().map(|(name, _)| name.as_str());
        let metrics = trainer.metrics.iter().map(|metric| metric.name());
        Self(vec![
            ("network", trainer.model.kind().into_owned()),
            ("list of trainable parameters", names.collect::<Vec<_>>().join(", ")),
            ("optimizer", format!("{:?}", trainer.optimizer)),
            (ACCUMULATE, step.accumulate.to_string()),
            ("setting `clip_norm`", format!("{:?}", step.clip_norm)),
            ("setting `clip_value`", format!("{:?}", step.clip_value)),
            ("setting `ema`", format!("{:?}", step.ema)),
            ("setting `precision`", format!("{:?}", step.precision)),
            ("setting `monitor`", trainer.run_settings.monitor.clone()),
            ("list of metrics", metrics.collect::<Vec<_>>().join(", ")),
            (
                "number of batches of an epoch",
                run.batches_of_epoch.map_or("unknown".into(), |batches| batches.to_string()),
            ),
            // The schedule is last: a different number of batches changes its description, and the error names the
            // first difference, which should be the cause.
            (SCHEDULE, schedule.map_or("constant".into(), |rate| describe(rate, steps, epochs))),
        ])
    }

    /// Returns the names and values of the settings.
    pub fn into_settings(self) -> Vec<(&'static str, String)> {
        self.0
    }

    pub fn to_json(&self) -> Value {
        self.0.iter().map(|(name, value)| json!([name, value])).collect()
    }

    /// Returns an error if a setting differs from that of a checkpoint, unless it is one of `free`. The error names the
    /// first such setting.
    pub fn check(&self, saved: &Value, free: &[&str]) -> Result<()> {
        let saved = array(saved)?;
        for (name, value) in self.0.iter().filter(|(name, _)| !free.contains(name)) {
            let saved = saved.iter().find(|pair| pair[0] == *name);
            let saved = text(saved.map_or(&Value::Null, |pair| &pair[1]))?;
            if saved != value {
                return Err(Error::msg(format!(
                    "the {name} differs: expected `{saved}` as in the checkpoint, found `{value}`; use the same \
                     settings, or another directory for a new run"
                )));
            }
        }
        Ok(())
    }
}

/// Describes a schedule by its factors at the steps 0, 1, 2, 4, 8, …, up to the last step so far. Later steps are left
/// out, because a closure may be defined only for the steps of the run.
fn describe(learning_rate: &LearningRate<'_>, steps: usize, epochs: usize) -> String {
    match learning_rate {
        LearningRate::Plateau(plateau) => format!("{plateau:?}"),
        LearningRate::Schedule(schedule, every) => {
            let last = every.count(steps, epochs).saturating_sub(1);
            let powers = (0..usize::BITS).map(|power| 1 << power).take_while(|step| *step < last);
            let samples = std::iter::once(0).chain(powers).chain([last]);
            let factors = samples.map(|step| format!("{step}: {}", schedule.rate(1., step)));
            format!("every {every:?}, factors {}", factors.collect::<Vec<_>>().join(", "))
        }
    }
}
