//! Writing of a safetensors checkpoint that is split into shards if it is large.
//!
//! A checkpoint `model.safetensors` is a family of files: either `model.safetensors` alone, or the shards
//! `model-00001-of-00003.safetensors`, … and the index `model.safetensors.index.json`, which lists the tensors of each
//! shard. A save replaces the whole family. A save is a list of [`Step`]s, each of which is durable before the next one
//! begins. If the process stops between two steps, the path loads the complete old checkpoint or the complete new one.
//!
//! A save with several shards has these steps:
//!
//! 1. The shards are written under names that the old index does not mention. These are the usual names, or the staged
//!    names `model-00001-of-00003.new.safetensors` if the old checkpoint has the same number of shards.
//! 2. The index is replaced. From then on the new checkpoint is loaded, unless an old `model.safetensors` exists.
//! 3. Hard links give the staged shards their usual names, and the index is replaced again.
//! 4. All other files of the family are removed, an old `model.safetensors` first.
//!
//! A save that needs no shards writes `model.safetensors`, and then removes the index and the shards. The new
//! checkpoint is loaded from the first step on.

use std::collections::{BTreeMap, HashSet};
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::path::{Path, PathBuf};

use crate::{Error, Result};

use super::super::atomic::{Directory, write_atomically};
use super::super::output::OutputTensor;
use super::super::sharded::{MAX_INDEX, for_each_shard};
use super::super::temporary::TemporaryFile;
use super::super::with_context;
use super::write::{Json, write};

/// Writes the tensors to the family of `path`, in shards of at most `max_size` bytes.
pub(in super::super) fn write_family(
    path: &Path,
    tensors: Vec<OutputTensor>,
    metadata: &BTreeMap<&str, &str>,
    max_size: u64,
) -> Result<()> {
    let family = with_context(path.display(), Family::from_path(path))?;
    let _lock = with_context(path.display(), family.lock())?;
    let steps = with_context(path.display(), family.plan(tensors, max_size))?;
    let is_index = |step: &Step| matches!(step, Step::Index(_));
    // After the first index, or after the only file, the new checkpoint is complete.
    let commit = steps.iter().position(is_index).unwrap_or_default();
    for (number, step) in steps.iter().enumerate() {
        let Err(error) = family.run(step, metadata) else { continue };
        if number > commit {
            return Err(Error::msg(format!(
                "{}: the new checkpoint is written, but its path may still load the old one, because renaming the \
                 new files or removing the old ones failed: {error}",
                path.display()
            )));
        }
        family.remove_unused(&steps[..number]);
        return Err(error);
    }
    Ok(())
}

/// The names of the files of a checkpoint.
struct Family {
    directory: PathBuf,
    /// The file name without its extension.
    stem: String,
    /// The extension with its dot, or an empty string.
    extension: String,
}

/// A durable step of a save.
enum Step<'a> {
    /// Writes a shard, or the whole checkpoint.
    Shard { name: String, tensors: Vec<OutputTensor<'a>> },
    /// Replaces the index.
    Index(Index),
    /// Hard-links `from` as `to`, so that both are names of one file.
    Link { from: String, to: String },
    /// Removes a file if it exists.
    Remove(String),
}

/// The shards of a checkpoint, each with the names of its tensors.
struct Index {
    shards: Vec<(String, Vec<String>)>,
    /// The number of bytes of all tensors.
    total_size: u64,
}

impl Family {
    fn from_path(path: &Path) -> Result<Self> {
        if path.is_dir() {
            return Err(Error::msg("expected the path of a file, found a directory"));
        }
        let name = path.file_name().and_then(|name| name.to_str());
        let name = name.ok_or_else(|| Error::msg("expected the path of a file with a name in UTF-8"))?;
        let (stem, extension) = match Path::new(name).extension().and_then(|extension| extension.to_str()) {
            Some(extension) => name.split_at(name.len() - extension.len() - 1),
            None => (name, ""),
        };
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
        let directory = parent.unwrap_or(Path::new(".")).to_path_buf();
        Ok(Self { directory, stem: stem.to_owned(), extension: extension.to_owned() })
    }

    /// Waits until no other process saves the family.
    fn lock(&self) -> Result<Lock> {
        Directory::open(&self.directory)?;
        let (lock_file, handle) =
            TemporaryFile::create(&self.directory, format!("{}.lock", self.plain()).as_ref())?;
        Ok(Lock { _lock_file: lock_file, _handle: handle })
    }

    /// Returns the name of a checkpoint that is not split.
    fn plain(&self) -> String {
        format!("{}{}", self.stem, self.extension)
    }

    fn index(&self) -> String {
        format!("{}.index.json", self.plain())
    }

    fn shard(&self, number: usize, count: usize, naming: Naming) -> String {
        let (stem, extension) = (&self.stem, &self.extension);
        let staged = if naming == Naming::Staged { STAGED } else { "" };
        format!("{stem}-{:05}-of-{count:05}{staged}{extension}", number + 1)
    }

    /// Returns `true` if `name` is the name of a shard, or of the temporary file of a shard, which an interrupted save
    /// leaves.
    fn is_shard(&self, name: &str) -> bool {
        let hidden = name.strip_prefix('.').and_then(|name| name.strip_suffix(".tmp"));
        let numbers = hidden.unwrap_or(name).strip_prefix(&self.stem).and_then(|rest| rest.strip_prefix('-'));
        let numbers = numbers.and_then(|rest| rest.strip_suffix(&self.extension));
        let numbers = numbers.map(|rest| rest.strip_suffix(STAGED).unwrap_or(rest));
        let is_number = |text: &str| text.len() >= 5 && text.bytes().all(|byte| byte.is_ascii_digit());
        let numbers = numbers.and_then(|rest| rest.split_once("-of-"));
        numbers.is_some_and(|(number, count)| is_number(number) && is_number(count))
    }

    /// Returns the names of the shards in the directory.
    fn existing_shards(&self) -> Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.directory)? {
            names.extend(entry?.file_name().into_string().ok().filter(|name| self.is_shard(name)));
        }
        names.sort();
        Ok(names)
    }

    /// Returns the names of the shards in the current index. If the index is missing or damaged, there is no old
    /// checkpoint to keep, so errors are ignored.
    fn indexed_shards(&self) -> HashSet<String> {
        let mut shards = HashSet::new();
        let mut index = Vec::new();
        let file = File::open(self.directory.join(self.index()));
        let _ = file.and_then(|file| file.take(MAX_INDEX).read_to_end(&mut index));
        let _ = for_each_shard(&index, &mut |name| {
            shards.insert(name.to_owned());
            Ok(())
        });
        shards
    }

    /// Returns the steps of a save.
    fn plan<'a>(&self, tensors: Vec<OutputTensor<'a>>, max_size: u64) -> Result<Vec<Step<'a>>> {
        let total_size = tensors.iter().map(OutputTensor::byte_count).sum();
        let mut shards = split(tensors, max_size);
        let count = shards.len();
        if count <= 1 {
            let tensors = shards.pop().unwrap_or_default();
            let mut steps = vec![Step::Shard { name: self.plain(), tensors }, Step::Remove(self.index())];
            steps.extend(self.existing_shards()?.into_iter().map(Step::Remove));
            return Ok(steps);
        }

        let indexed = self.indexed_shards();
        let named = |naming| (0..count).map(|number| self.shard(number, count, naming)).collect::<Vec<_>>();
        let is_free = |names: &Vec<String>| names.iter().all(|name| !indexed.contains(name));
        let usual_names = named(Naming::Usual);
        let written =
            [Naming::Usual, Naming::Staged].map(named).into_iter().find(is_free).ok_or_else(|| {
                Error::msg(format!(
                    "the old index `{}` mentions both usual and staged names of the new shards; expected an \
                     index that sconce or huggingface_hub wrote",
                    self.index()
                ))
            })?;
        let index = |names: &[String]| {
            let tensors =
                shards.iter().map(|shard| shard.iter().map(|tensor| tensor.name.to_owned()).collect());
            Step::Index(Index { shards: names.iter().cloned().zip(tensors).collect(), total_size })
        };

        let mut steps = vec![index(&written)];
        if written != usual_names {
            let links = written.iter().zip(&usual_names);
            steps.extend(links.map(|(from, to)| Step::Link { from: from.clone(), to: to.clone() }));
            steps.push(index(&usual_names));
        }
        steps.push(Step::Remove(self.plain()));
        let shard_files: HashSet<String> =
            self.existing_shards()?.into_iter().chain(written.iter().cloned()).collect();
        steps.extend(shard_files.into_iter().filter(|name| !usual_names.contains(name)).map(Step::Remove));
        let shards = written.into_iter().zip(shards).map(|(name, tensors)| Step::Shard { name, tensors });
        Ok(shards.chain(steps).collect())
    }

    /// Removes the shards of `steps` that the index does not mention. Ignores errors in favor of the error that stopped
    /// the save.
    fn remove_unused(&self, steps: &[Step]) {
        let indexed = self.indexed_shards();
        for step in steps {
            if let Step::Shard { name, .. } = step
                && !indexed.contains(name)
            {
                let _ = fs::remove_file(self.directory.join(name));
            }
        }
    }

    fn run(&self, step: &Step, metadata: &BTreeMap<&str, &str>) -> Result<()> {
        let path = |name: &str| self.directory.join(name);
        match step {
            Step::Shard { name, tensors } => {
                return write_atomically(path(name), |file| write(file, tensors.clone(), metadata));
            }
            Step::Index(index) => {
                return write_atomically(path(&self.index()), |file| {
                    Ok(file.write_all(index.json()?.as_bytes())?)
                });
            }
            Step::Link { from, to } => with_context(path(to).display(), link(&path(from), &path(to)))?,
            Step::Remove(name) => with_context(path(name).display(), remove(&path(name)))?,
        }
        Directory::open(&self.directory)?.sync()
    }
}

/// The suffix of a staged name, before the extension.
const STAGED: &str = ".new";

/// How the shards are named.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Naming {
    Usual,
    Staged,
}

/// A lock that is released when it is dropped. The fields are dropped in order, so the lock file is removed before the
/// lock is released.
struct Lock {
    /// Removes the lock file when it is dropped.
    _lock_file: TemporaryFile,
    /// The open lock file. Closing it releases the lock.
    _handle: File,
}

/// Splits tensors into shards of at most `max_size` bytes, as `huggingface_hub` does: a larger tensor has a shard of
/// its own, and a tensor that does not fit into the current shard begins a new one.
fn split(tensors: Vec<OutputTensor>, max_size: u64) -> Vec<Vec<OutputTensor>> {
    let mut shards = Vec::new();
    let mut current = Vec::new();
    let mut current_size = 0;
    for tensor in tensors {
        let size = tensor.byte_count();
        if size > max_size {
            shards.push(vec![tensor]);
            continue;
        }
        if current_size + size > max_size {
            shards.push(std::mem::take(&mut current));
            current_size = 0;
        }
        current.push(tensor);
        current_size += size;
    }
    if !current.is_empty() {
        shards.push(current);
    }
    shards
}

impl Index {
    /// Returns the JSON that `huggingface_hub` writes.
    fn json(&self) -> Result<String> {
        let mut json = String::new();
        let total = self.total_size;
        write!(json, "{{\n  \"metadata\": {{\n    \"total_size\": {total}\n  }},\n  \"weight_map\": {{")
            .map_err(Error::msg)?;
        let tensors =
            self.shards.iter().flat_map(|(shard, tensors)| tensors.iter().map(move |name| (name, shard)));
        for (i, (name, shard)) in tensors.enumerate() {
            let comma = if i == 0 { "" } else { "," };
            write!(json, "{comma}\n    {}: {}", Json(name), Json(shard)).map_err(Error::msg)?;
        }
        json.push_str("\n  }\n}");
        Ok(json)
    }
}

/// Hard-links `from` as `to`. Replaces `to` if it exists. Copies the file if the file system has no hard links.
fn link(from: &Path, to: &Path) -> Result<()> {
    remove(to)?;
    if fs::hard_link(from, to).is_ok() {
        return Ok(());
    }
    let mut source = File::open(from)?;
    write_atomically(to, |file| Ok(io::copy(&mut source, file).map(|_| ())?))
}

fn remove(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error.into()),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{Device, Tensor};

    use super::super::super::{StateDict, read};
    use super::*;

    const MAX_SIZE: u64 = 8;

    /// Returns a state dict that is saved as `count` shards. All its values are `value`.
    fn state(count: usize, value: f32) -> StateDict {
        let tensor = Tensor::new(&[value; 2], &Device::Cpu).unwrap();
        (0..count).map(|i| (format!("layers.{i}"), tensor.clone())).collect()
    }

    fn tensors(state: &StateDict) -> Vec<OutputTensor<'_>> {
        state.iter().map(|(name, tensor)| OutputTensor::new(name, tensor, None).unwrap()).collect()
    }

    /// Runs the first `steps` steps of a save, or all steps if there are fewer. Returns `true` if it runs all steps.
    fn save_partly(directory: &Path, state: &StateDict, steps: usize) -> bool {
        let family = Family::from_path(&directory.join("model.safetensors")).unwrap();
        let plan = family.plan(tensors(state), MAX_SIZE).unwrap();
        plan.iter().take(steps).try_for_each(|step| family.run(step, &BTreeMap::new())).unwrap();
        steps >= plan.len()
    }

    fn save(directory: &Path, state: &StateDict) {
        write_family(&directory.join("model.safetensors"), tensors(state), &BTreeMap::new(), MAX_SIZE)
            .unwrap();
    }

    /// Returns the number of tensors and the only value in the directory's checkpoint.
    fn loaded(directory: &Path) -> (usize, f32) {
        let state = read(directory, &Device::Cpu).unwrap();
        let values: Vec<f32> =
            state.iter().flat_map(|(_, tensor)| tensor.to_vec1::<f32>().unwrap()).collect();
        assert!(values.iter().all(|&value| value == values[0]), "the checkpoint mixes two saves: {values:?}");
        (state.len(), values[0])
    }

    fn files(directory: &Path) -> Vec<String> {
        let entries = fs::read_dir(directory).unwrap();
        let mut names: Vec<_> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    /// Returns the names of the files of a checkpoint of `count` shards.
    fn expected_files(count: usize) -> Vec<String> {
        match count {
            1 => vec!["model.safetensors".to_owned()],
            _ => {
                let shard = |number| format!("model-{number:05}-of-{count:05}.safetensors");
                (1..=count).map(shard).chain(["model.safetensors.index.json".to_owned()]).collect()
            }
        }
    }

    #[test]
    fn a_save_that_stops_after_any_step_leaves_the_old_or_the_new_checkpoint() {
        for (old, new) in [(1, 2), (2, 1), (2, 2), (2, 3)] {
            for steps in 0.. {
                let directory = tempfile::tempdir().unwrap();
                let path = directory.path();
                save(path, &state(old, 1.));
                let is_complete = save_partly(path, &state(new, 2.), steps);
                let first = loaded(path);
                assert!([(old, 1.), (new, 2.)].contains(&first), "{old} {new} {steps}: {first:?}");
                // The next saves find what the interrupted save has left.
                save_partly(path, &state(new, 3.), steps);
                let second = loaded(path);
                assert!([first, (new, 3.)].contains(&second), "{old} {new} {steps}: {second:?}");
                save(path, &state(old, 4.));
                assert_eq!(loaded(path), (old, 4.));
                assert_eq!(files(path), expected_files(old));
                if is_complete {
                    assert_eq!(first, (new, 2.));
                    break;
                }
            }
        }
    }

    #[test]
    fn a_failing_step_leaves_the_old_checkpoint() {
        for blocked in expected_files(3) {
            let directory = tempfile::tempdir().unwrap();
            let path = directory.path();
            save(path, &state(1, 1.));
            // A directory cannot be replaced by a file.
            fs::create_dir(path.join(&blocked)).unwrap();
            let model = path.join("model.safetensors");
            let error = write_family(&model, tensors(&state(3, 2.)), &BTreeMap::new(), MAX_SIZE).unwrap_err();
            assert!(error.to_string().contains(&blocked), "{error}");
            assert_eq!(loaded(path), (1, 1.));
            // The old checkpoint and the directory.
            assert_eq!(files(path).len(), 2, "{:?}", files(path));
        }
    }

    #[test]
    fn only_the_names_of_shards_are_recognized() {
        let family = Family::from_path(Path::new("out/model.safetensors")).unwrap();
        for shard in [
            "model-00001-of-00003.safetensors",
            "model-100000-of-100000.safetensors",
            "model-00001-of-00003.new.safetensors",
            ".model-00001-of-00003.safetensors.tmp",
        ] {
            assert!(family.is_shard(shard), "{shard}");
        }
        for other in [
            "model.safetensors",
            "model.safetensors.index.json",
            "model-00001-of-00003.bin",
            "model-1-of-3.safetensors",
            "model-best-of-00003.safetensors",
            "other-00001-of-00003.safetensors",
            "model-00001-of-00003.safetensors.backup",
        ] {
            assert!(!family.is_shard(other), "{other}");
        }
    }
}
