//! Detects the format of a file and reads it.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

use candle_core::Device;

use crate::kernels::internal::MappedFile;
use crate::{Error, Result};

use super::archive::Archive;
use super::budget::Budget;
use super::input::{Input, ReadSeek};
use super::{Contents, npz, safetensors, sharded, torch, with_context};

/// Options for reading a file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ReadOptions {
    /// The key of the state dict in a PyTorch file.
    pub key: Option<String>,
    /// The maximum memory of the file's content in bytes. By default it depends on the length of the file.
    pub limit: Option<usize>,
    /// Whether to map files into memory instead of reading them through a buffer.
    pub mapped: bool,
}

impl ReadOptions {
    pub fn read(&self, path: &Path, device: &Device) -> Result<Contents> {
        with_context(path.display(), self.read_path(path, device))
    }

    fn read_path(&self, path: &Path, device: &Device) -> Result<Contents> {
        if path.is_dir() {
            let file = find_in_directory(path)?;
            let name = file.file_name().unwrap_or_default().display();
            return with_context(name, self.read_path(&file, device));
        }
        if !path.exists() && index_of(path).is_file() {
            return self.read_path(&index_of(path), device);
        }
        let (file, length) = open_regular(path)?;
        let directory = path.parent().unwrap_or(Path::new(""));
        self.read_file(&mut *self.source(file)?, length, Some(directory), device)
    }

    /// Returns a reader of the file, mapped if requested.
    pub(super) fn source(&self, file: File) -> Result<Box<dyn ReadSeek>> {
        Ok(if self.mapped { Box::new(MappedFile::new(&file)?) } else { Box::new(file) })
    }

    /// Reads a file of `length` bytes. If the file is an index, `directory` must be the directory of its shards.
    pub(super) fn read_file(
        &self,
        file: &mut dyn ReadSeek,
        length: u64,
        directory: Option<&Path>,
        device: &Device,
    ) -> Result<Contents> {
        let format = Format::detect(file)?;
        let input = Input::new(file, length);
        match (format, directory) {
            (Format::Index, Some(directory)) => {
                self.check_no_key()?;
                sharded::read(input, directory, self, device)
            }
            (format, _) => {
                let mut budget = Budget::new(input.size(), self.limit);
                self.read_tensors(&format, input, &mut budget, device)
            }
        }
    }

    /// Reads a shard: a file of `length` bytes in any format except an index.
    pub(super) fn read_shard(
        &self,
        file: &mut dyn ReadSeek,
        length: u64,
        budget: &mut Budget,
        device: &Device,
    ) -> Result<Contents> {
        let format = Format::detect(file)?;
        self.read_tensors(&format, Input::new(file, length), budget, device)
    }

    fn read_tensors(
        &self,
        format: &Format,
        input: Input,
        budget: &mut Budget,
        device: &Device,
    ) -> Result<Contents> {
        let key = self.key.as_deref();
        match format {
            Format::TorchLegacy => torch::read_legacy(input, key, budget, device),
            Format::Zip => {
                let archive = Archive::open(input, budget)?;
                match torch::prefix(&archive) {
                    Some(prefix) => torch::read_zip(archive, prefix, key, budget, device),
                    None if npz::is_npz(&archive) => {
                        self.check_no_key()?;
                        npz::read(archive, budget, device).map(Contents::from)
                    }
                    None => Err(Error::msg(
                        "expected a zip archive of torch.save or of NumPy, found an archive without `data.pkl` or \
                         `.npy` files",
                    )),
                }
            }
            Format::Safetensors => {
                self.check_no_key()?;
                safetensors::read(input, budget, device)
            }
            Format::Index => Err(Error::msg("expected a file of tensors, found an index of shards")),
        }
    }

    fn check_no_key(&self) -> Result<()> {
        match &self.key {
            None => Ok(()),
            Some(key) => Err(Error::msg(format!(
                "the key `{key}` selects a state dict in a file of torch.save, found a file of another format"
            ))),
        }
    }
}

/// Returns the metadata of a safetensors file.
pub(super) fn metadata(path: &Path) -> Result<BTreeMap<String, String>> {
    let (mut file, length) = open_regular(path)?;
    let input = Input::new(&mut file, length);
    let budget = Budget::new(input.size(), None);
    safetensors::metadata(input, budget)
}

/// The names of checkpoints on the Hugging Face hub, in the order in which the library `transformers` tries them.
pub(crate) const HUB_FILES: [&str; 4] = [
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
];

/// Returns the checkpoint in a directory: the first of [`HUB_FILES`] that exists.
fn find_in_directory(directory: &Path) -> Result<PathBuf> {
    let found = HUB_FILES.iter().map(|name| directory.join(name)).find(|path| path.is_file());
    found
        .ok_or_else(|| Error::msg(format!("expected a file, found a directory without any of {HUB_FILES:?}")))
}

/// Returns the path of the index of the checkpoint that would be at `path` if it were not split into shards.
fn index_of(path: &Path) -> PathBuf {
    let mut index = path.as_os_str().to_owned();
    index.push(".index.json");
    index.into()
}

/// Opens a regular file and returns it with its length. Directories, pipes and devices have no reliable length.
pub(crate) fn open_regular(path: &Path) -> Result<(File, u64)> {
    // Check before opening: opening a pipe would block until another process writes to the pipe.
    if !fs::metadata(path)?.is_file() {
        return Err(Error::msg("expected a file, found a directory or a device"));
    }
    let file = File::open(path)?;
    let length = file.metadata()?.len();
    Ok((file, length))
}

/// The format of a file.
enum Format {
    Safetensors,
    Zip,
    TorchLegacy,
    Index,
}

impl Format {
    /// Detects the format from the first bytes and rewinds the file.
    fn detect(file: &mut dyn ReadSeek) -> Result<Self> {
        let mut head = Vec::with_capacity(9);
        Read::take(&mut *file, 9).read_to_end(&mut head)?;
        file.rewind()?;
        match head[..] {
            // A safetensors file begins with eight bytes of header length and a JSON header. Check for it first: the
            // length may look like the start of an archive or a pickle, neither of which has a brace as its ninth byte.
            // The length may also begin with a brace, like a JSON index. But the last byte of every realistic length is
            // 0, which does not occur in JSON.
            [first, .., last_of_length, b'{']
                if head.len() == 9 && (first != b'{' || last_of_length == 0) =>
            {
                Ok(Self::Safetensors)
            }
            [b'P', b'K', 3, 4, ..] => Ok(Self::Zip),
            [0x80, 2..=5, ..] => Ok(Self::TorchLegacy),
            // The magic number of torch.save, as pickle's protocol 1 writes it.
            [b'L', b'1', b'1', b'9', b'5', ..] => Ok(Self::TorchLegacy),
            [b'{', ..] => Ok(Self::Index),
            _ => Err(Error::msg(format!(
                "expected a safetensors file or its index, an .npz, or a file of torch.save (zip or legacy), \
                 found a file that begins with the bytes {head:02x?}"
            ))),
        }
    }
}
