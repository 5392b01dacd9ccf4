//! NumPy's `.npz` files as data sets.

use std::path::Path;

use candle_core::Device;

use crate::checkpoint::{ReadOptions, StateDict, open_regular, with_context};
use crate::{Error, Result};

use super::super::TensorDataset;
use super::compressed::default_limit;

/// Reads the arrays of a `.npz` file, compressed or not, to tensors on the CPU, ordered by name.
///
/// [`checkpoint::read`](crate::checkpoint::read) reads the same files with a lower limit for the memory of the arrays,
/// because checkpoints hardly compress.
///
/// ```
/// use sconce::checkpoint;
/// use sconce::prelude::*;
/// use sconce::train::data::read_npz;
/// # fn main() -> Result<()> {
/// # let directory = tempfile::tempdir()?;
/// # let path = directory.path().join("data.npz");
/// # checkpoint::write(Save::new(&path), [("x", &Tensor::zeros((5, 3), DType::F32, &Device::Cpu)?)])?;
/// let arrays = read_npz(&path)?;
/// assert_eq!(arrays.get("x").map(Tensor::dims), Some([5, 3].as_slice()));
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// Fails if the file cannot be read, is truncated or damaged, or contains arrays of an unsupported type. The arrays may
/// have at most 64 times the bytes of the file, plus 8 MiB; see [`read_npz_with_limit`]. The message begins with the
/// path.
pub fn read_npz(path: impl AsRef<Path>) -> Result<StateDict> {
    let path = path.as_ref();
    let length = with_context(path.display(), open_regular(path).map(|(_, length)| length))?;
    read_npz_with_limit(path, default_limit(length))
}

/// Like [`read_npz`], with a limit of `bytes` for the memory of the arrays.
///
/// ```
/// use sconce::checkpoint;
/// use sconce::prelude::*;
/// use sconce::train::data::read_npz_with_limit;
/// # fn main() -> Result<()> {
/// # let directory = tempfile::tempdir()?;
/// # let path = directory.path().join("data.npz");
/// # checkpoint::write(Save::new(&path), [("x", &Tensor::zeros((5, 3), DType::F32, &Device::Cpu)?)])?;
/// assert!(read_npz_with_limit(&path, 1_000_000).is_ok());
/// assert!(read_npz_with_limit(&path, 60).is_err());
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// Fails under the same conditions as [`read_npz`], and if the arrays need more memory than the limit.
pub fn read_npz_with_limit(path: impl AsRef<Path>, bytes: usize) -> Result<StateDict> {
    let path = path.as_ref();
    let options = ReadOptions { limit: Some(bytes), ..ReadOptions::default() };
    let contents = options.read(path, &Device::Cpu)?;
    with_context(path.display(), contents.into_state())
}

impl TensorDataset {
    /// Creates a data set from two arrays of a `.npz` file. `inputs` and `targets` are their names. See [`read_npz`].
    ///
    /// ```
    /// use sconce::checkpoint;
    /// use sconce::prelude::*;
    /// # fn main() -> Result<()> {
    /// # let directory = tempfile::tempdir()?;
    /// # let path = directory.path().join("data.npz");
    /// # let x = Tensor::zeros((5, 3), DType::F32, &Device::Cpu)?;
    /// # checkpoint::write(Save::new(&path), [("x", &x), ("y", &x)])?;
    /// let data = TensorDataset::from_npz(&path, "x", "y")?;
    /// assert_eq!(data.len(), 5);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// Fails under the same conditions as [`read_npz`] and [`TensorDataset::new`], and if the file does not contain
    /// both arrays.
    pub fn from_npz(path: impl AsRef<Path>, inputs: &str, targets: &str) -> Result<Self> {
        let path = path.as_ref();
        let arrays = read_npz(path)?;
        let array = |name: &str| {
            arrays.get(name).cloned().ok_or_else(|| {
                let names: Vec<&str> = arrays.iter().map(|(name, _)| name).collect();
                Error::msg(format!("expected an array `{name}`, found {names:?}"))
            })
        };
        let data = array(inputs).and_then(|inputs| Self::new(inputs, array(targets)?));
        with_context(path.display(), data)
    }
}
