//! The state of training in a checkpoint: one safetensors file with metadata.

use std::collections::HashMap;
use std::path::Path;

use candle_core::{Device, Tensor};
use serde_json::{Value, json};

use crate::checkpoint::{self, Save, StateDict, checksum};
use crate::module::Module;
use crate::registry::Network;
use crate::train::history::History;
use crate::train::snapshot::write_values;
use crate::train::tally::Tally;
use crate::{Error, Result, random};

use super::Trainer;
use super::fingerprint::{ACCUMULATE, Fingerprint, SCHEDULE};
use super::record::{array, epoch_from_json, epoch_to_json, integer, number, text};
use super::run::{Run, Suspended};

// The keys of the metadata.
const TRAINING: &str = "training";
const CHECKSUM: &str = "checksum";
// The prefixes of the names of tensors.
const MODEL: &str = "model.";
const AVERAGE: &str = "average.";
const OPTIMIZER: &str = "optimizer.";
const SCALER: &str = "scaler.";
const PLATEAU: &str = "plateau.";
const METRIC: &str = "metric.";
/// The name of the tensor with the losses of the current epoch.
const TALLY: &str = "tally";
/// The prefix of the tensors of the averaged network.
const AVERAGED_NETWORK: &str = "average.module.";

/// The tensors and the numbers of a checkpoint.
pub(super) struct TrainingState {
    tensors: StateDict,
    training: Value,
}

impl TrainingState {
    /// Reads a checkpoint.
    ///
    /// # Errors
    /// Fails if the file is truncated or damaged, or is not a checkpoint of a trainer.
    pub fn read(path: &Path) -> Result<Self> {
        let metadata = checkpoint::metadata(path)?;
        let context = |message: String| Error::msg(format!("{}: {message}", path.display()));
        let entry = |key: &str| {
            let missing =
                || context(format!("expected a checkpoint of a trainer, found no metadata `{key}`"));
            metadata.get(key).ok_or_else(missing)
        };
        let text = entry(TRAINING)?;
        let expected = entry(CHECKSUM)?;
        let tensors = checkpoint::read(path, &Device::Cpu)?;
        let found = checksum(text, &tensors)?.to_string();
        if found != *expected {
            return Err(context(format!(
                "the file is damaged: expected the checksum {expected}, found {found}"
            )));
        }
        let training = serde_json::from_str(text).map_err(|error| context(error.to_string()))?;
        Ok(Self { tensors, training })
    }

    /// Writes the checkpoint atomically.
    pub fn write(&self, path: &Path) -> Result<()> {
        let text = self.training.to_string();
        let sum = checksum(&text, &self.tensors)?.to_string();
        let save = Save::new(path).metadata([(TRAINING, text), (CHECKSUM, sum)]);
        checkpoint::write(save, &self.tensors)
    }

    /// Returns the tensors whose names start with `prefix`, and their names without the prefix.
    fn with_prefix(&self, prefix: &str) -> impl Iterator<Item = (String, Tensor)> {
        self.tensors
            .iter()
            .filter_map(move |(name, tensor)| Some((name.strip_prefix(prefix)?.to_owned(), tensor.clone())))
    }

    /// Returns the parameters and buffers that `keep_best` restores if this is the checkpoint of the best epoch. They
    /// belong to the average or, if there is none, to the network in training.
    pub fn best_values(&self) -> StateDict {
        let averaged: StateDict = self.with_prefix(AVERAGED_NETWORK).collect();
        if averaged.is_empty() { self.with_prefix(MODEL).collect() } else { averaged }
    }
}

impl<M: Module, O, T> Trainer<'_, M, O, T> {
    /// Returns the state of training.
    pub(super) fn state(&self, run: &Run<M>) -> Result<TrainingState> {
        let mut tensors = StateDict::new();
        let mut add = |prefix: &str, state: Vec<(String, Tensor)>| {
            tensors.extend(state.into_iter().map(|(name, tensor)| (format!("{prefix}{name}"), tensor)));
        };
        add(MODEL, self.model.state_dict().into_iter().collect());
        if let Some(average) = &run.stepper.average {
            add(AVERAGE, average.state_dict()?.into_iter().collect());
        }
        add(OPTIMIZER, run.stepper.optimizer.state()?);
        if let Some(scaler) = &run.stepper.scaler {
            add(SCALER, scaler.state()?);
        }
        if let Some(plateau) = &run.plateau {
            add(PLATEAU, plateau.state()?);
        }
        for metric in &self.metrics {
            add(METRIC, vec![(metric.name(), list(metric.state()?)?)]);
        }
        add("", vec![(TALLY.to_owned(), list(run.tally.state())?)]);
        let training = json!({
            "settings": Fingerprint::new(self, run, run.stepper.schedule_steps, run.stepper.epochs).to_json(),
            "step": run.stepper.steps,
            "schedule_step": run.stepper.schedule_steps,
            "batches_of_step": self.batches_of_step(),
            "ranks": self.ranks.as_ref().map_or(1, |ranks| ranks.size()),
            "epochs": run.stepper.epochs,
            "batches": run.stepper.batches,
            "random": random::state().to_string(),
            "random_of_epoch": run.random_state_at_epoch_start.to_string(),
            "seconds": run.seconds().to_string(),
            // The names of the parameters without a gradient in the first step.
            "unreached": run.stepper.unreached,
            "history": run.history.epochs.iter().map(epoch_to_json).collect::<Value>(),
        });
        Ok(TrainingState { tensors, training })
    }

    /// Restores a state of training, including the parameters and buffers of the network and the state of the random
    /// number generator.
    ///
    /// # Errors
    /// Fails if the network, the optimizer or a setting differs from the checkpoint. The network and the random number
    /// generator are then unchanged.
    pub(super) fn restore(&mut self, run: &mut Run<M>, state: &TrainingState) -> Result<()> {
        let training = &state.training;
        let [steps, epochs] = [integer(&training["step"])?, integer(&training["epochs"])?];
        let scale = StepScale::new(self, training)?;
        let fingerprint = Fingerprint::new(self, run, scale.saved_schedule_steps, epochs);
        fingerprint.check(&training["settings"], &scale.free_settings())?;
        let values: StateDict = state.with_prefix(MODEL).collect();
        check_network(self.model, &values)?;
        run.stepper.optimizer.load_state(&state.with_prefix(OPTIMIZER).collect::<HashMap<_, _>>())?;
        if let Some(average) = &mut run.stepper.average {
            average.load_state_dict(&state.with_prefix(AVERAGE).collect())?;
        }
        if let Some(scaler) = &mut run.stepper.scaler {
            scaler.load_state(&state.with_prefix(SCALER).collect::<HashMap<_, _>>())?;
        }
        if let Some(plateau) = &mut run.plateau {
            plateau.load_state(&state.with_prefix(PLATEAU).collect::<HashMap<_, _>>())?;
        }
        for metric in &mut self.metrics {
            metric.load_state(&numbers(state, &format!("{METRIC}{}", metric.name()))?)?;
        }
        run.tally = Tally::from_state(&numbers(state, TALLY)?)?;
        run.stepper.steps = steps;
        run.stepper.schedule_steps = scale.schedule_steps(run.batches_of_epoch);
        run.stepper.epochs = epochs;
        run.stepper.batches = integer(&training["batches"])?;
        run.stepper.unreached = unreached(&training["unreached"])?;
        run.earlier_seconds = number(&training["seconds"])?;
        run.random_state_at_epoch_start = text(&training["random_of_epoch"])?.parse()?;
        let epochs = array(&training["history"])?.iter().map(epoch_from_json).collect::<Result<_>>()?;
        let unreached = run.stepper.unreached.clone().unwrap_or_default();
        run.history = History { epochs, unreached, ..run.history.clone() };
        let random_state: random::State = text(&training["random"])?.parse()?;
        write_values(self.model, &values)?;
        random::set_state(&random_state);
        // If the checkpoint was saved in the middle of an epoch, `begin_epoch` asks the data for this epoch again. This
        // draws random numbers, so `begin_epoch` then restores `random_state` once more.
        run.suspended = (run.stepper.batches > 0).then_some(Suspended { random_state });
        Ok(())
    }

    /// Returns an error unless the states of the optimizer and of all metrics can be saved.
    pub(super) fn check_states(&self, run: &Run<M>) -> Result<()> {
        run.stepper.optimizer.state()?;
        self.metrics.iter().try_for_each(|metric| metric.state().map(|_| ()))
    }
}

/// How the steps of a resumed run differ from those of the run that saved the checkpoint.
struct StepScale {
    /// The position in the learning-rate schedule.
    saved_schedule_steps: usize,
    /// The number of batches of a step, on all ranks together.
    saved_batches: usize,
    batches: usize,
    /// Whether the number of ranks differs.
    other_ranks: bool,
}

impl StepScale {
    fn new<M, O, T>(trainer: &Trainer<'_, M, O, T>, training: &Value) -> Result<Self> {
        let batches = trainer.batches_of_step();
        let ranks = trainer.ranks.as_ref().map_or(1, |ranks| ranks.size());
        // Earlier versions saved none of these numbers.
        let or = |name: &str, default: usize| match &training[name] {
            Value::Null => Ok(default),
            value => integer(value),
        };
        Ok(Self {
            saved_schedule_steps: or("schedule_step", integer(&training["step"])?)?,
            saved_batches: or("batches_of_step", batches)?,
            batches,
            other_ranks: or("ranks", 1)? != ranks,
        })
    }

    /// Returns the settings that may differ from those of the checkpoint.
    fn free_settings(&self) -> Vec<&'static str> {
        let differs = self.other_ranks && self.saved_batches != self.batches;
        let schedule = differs.then_some(SCHEDULE);
        self.other_ranks.then_some(ACCUMULATE).into_iter().chain(schedule).collect()
    }

    /// Returns the position in the schedule, after the same number of epochs and batches.
    fn schedule_steps(&self, batches_of_epoch: Option<usize>) -> usize {
        let Self { saved_schedule_steps, saved_batches, batches, .. } = *self;
        if !self.other_ranks || saved_batches == batches {
            return saved_schedule_steps;
        }
        let Some(epoch) = batches_of_epoch.filter(|count| *count > 0) else {
            return saved_schedule_steps * saved_batches / batches;
        };
        // The last step of an epoch may have fewer batches than the others.
        let steps_of_epoch = epoch.div_ceil(saved_batches);
        let (epochs, rest) = (saved_schedule_steps / steps_of_epoch, saved_schedule_steps % steps_of_epoch);
        epochs * epoch.div_ceil(batches) + rest * saved_batches / batches
    }
}

/// Reads the names of the parameters without a gradient in the first step. Returns `None` if the checkpoint was saved
/// before the first step.
fn unreached(value: &Value) -> Result<Option<Vec<String>>> {
    if value.is_null() {
        return Ok(None);
    }
    array(value)?.iter().map(|name| Ok(text(name)?.to_owned())).collect::<Result<_>>().map(Some)
}

/// Returns a list of numbers as a tensor.
fn list(numbers: Vec<f64>) -> Result<Tensor> {
    let length = numbers.len();
    Ok(Tensor::from_vec(numbers, length, &Device::Cpu)?)
}

/// Returns the list of numbers `name` of a checkpoint.
fn numbers(state: &TrainingState, name: &str) -> Result<Vec<f64>> {
    let missing = || Error::msg(format!("`{name}` is missing from the checkpoint"));
    Ok(state.tensors.get(name).ok_or_else(missing)?.to_vec1()?)
}

/// Returns an error unless `values` has the same names, shapes and dtypes as the tensors of `model`. Frozen parameters
/// must also have the same values, because [`write_values`] does not write frozen parameters.
fn check_network(model: &impl Module, values: &StateDict) -> Result<()> {
    let tensors = model.state_dict();
    if let Some(name) = values.keys().find(|name| !tensors.contains_key(name)) {
        return Err(Error::msg(format!(
            "the network differs: the checkpoint has `{name}`, which the network lacks"
        )));
    }
    for (name, tensor) in tensors.iter() {
        let Some(value) = values.get(name) else {
            return Err(Error::msg(format!(
                "the network differs: the network has `{name}`, which the checkpoint lacks"
            )));
        };
        if (value.dims(), value.dtype()) != (tensor.dims(), tensor.dtype()) {
            return Err(Error::msg(format!(
                "the network differs: expected `{name}` of {:?} {:?} as in the checkpoint, found {:?} {:?}",
                value.dtype(),
                value.dims(),
                tensor.dtype(),
                tensor.dims()
            )));
        }
    }
    for (name, tensor) in model.named_parameters().iter().filter(|(_, tensor)| !tensor.is_variable()) {
        let single: StateDict = [(name.clone(), tensor.detach())].into_iter().collect();
        let saved: StateDict =
            values.get(name).map(|value| (name.clone(), value.clone())).into_iter().collect();
        if checksum("", &single)? != checksum("", &saved)? {
            return Err(Error::msg(format!(
                "the network differs: the frozen parameter `{name}` has other values than in the checkpoint; load \
                 those of the checkpoint before training"
            )));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::StepScale;

    #[test]
    fn the_position_in_a_schedule_follows_the_number_of_batches_of_a_step() {
        let steps = |saved_schedule_steps, saved_batches, batches, epoch| {
            let other_ranks = true;
            let scale = StepScale { saved_schedule_steps, saved_batches, batches, other_ranks };
            scale.schedule_steps(epoch)
        };
        // 5 batches in an epoch are 2 steps of 4 batches, the second of which has one batch.
        assert_eq!(steps(14, 4, 1, Some(5)), 7 * 5);
        assert_eq!(steps(15, 4, 1, Some(5)), 7 * 5 + 4);
        assert_eq!(steps(35, 1, 4, Some(5)), 7 * 2);
        assert_eq!(steps(6, 2, 2, Some(5)), 6);
        assert_eq!(steps(6, 2, 3, None), 4);
    }
}
