//! Decides whether a run has a log, and describes the settings in it.

use serde_json::{Value, json};

use crate::display::text;
use crate::module::Module;
use crate::registry::Network;
use crate::train::log::{self, Start};
use crate::{Result, random};

use super::Trainer;
use super::callback::Callback;
use super::learning_rate::LearningRate;
use super::run::Run;

impl<M: Module, O, T> Trainer<'_, M, O, T> {
    /// Begins the log of a run, if it has a directory. Adds the callbacks that write the log to the list `callbacks`.
    pub(super) fn begin_log(
        &self,
        run: &Run<M>,
        epochs: usize,
        callbacks: &mut Vec<Box<dyn Callback + '_>>,
    ) -> Result<()> {
        let checkpoint_directory = self.checkpoints.as_ref().map(|checkpoints| &checkpoints.directory);
        let Some(directory) = self.log.directory.as_ref().or(checkpoint_directory) else { return Ok(()) };
        let start = Start {
            directory,
            every: self.log.every,
            resume: self.resume,
            steps: run.stepper.steps,
            epochs: run.stepper.epochs,
        };
        log::begin(&start, self.describe(run, epochs), callbacks)
    }

    /// Describes the network and the settings. The loss has no description.
    fn describe(&self, run: &Run<M>, epochs: usize) -> Value {
        let trainable = run.stepper.parameters.iter().map(|(_, var)| var.elem_count()).sum::<usize>();
        let step = &self.step;
        let settings = &self.run_settings;
        json!({
            "network": {
                "kind": self.model.kind(),
                "parameters": self.model.num_parameters(),
                "trainable_parameters": trainable,
                "layers": text(self.model).lines().collect::<Vec<_>>(),
            },
            "optimizer": format!("{:?}", self.optimizer),
            "schedule": step.learning_rate.as_ref().map(LearningRate::describe),
            "epochs": epochs,
            "batches_per_epoch": run.batches_of_epoch,
            "accumulate": step.accumulate,
            "clip_norm": step.clip_norm.map(|clip| clip.max_norm),
            "clip_value": step.clip_value,
            "ema": step.ema,
            "precision": format!("{:?}", step.precision),
            "metrics": self.metrics.iter().map(|metric| metric.name()).collect::<Vec<_>>(),
            "monitor": settings.monitor,
            "patience": settings.patience.map(|patience| patience.0),
            "keep_best": settings.keep_best,
            "seed": random::seed(),
            "resumed_from": run.history.resumed_from,
            "versions": {
                "sconce": env!("CARGO_PKG_VERSION"),
                "target": format!("{}-{}", std::env::consts::ARCH, std::env::consts::OS),
            },
        })
    }
}
