//! The binary version of CIFAR-10 and CIFAR-100: records of labels and an image of 3×32×32 bytes.

use std::path::Path;

use candle_core::{Device, Tensor};

use crate::checkpoint::with_context;
use crate::{Error, Result};

use super::compressed;

/// The number of bytes of an image.
const IMAGE: usize = 3 * 32 * 32;

/// Reads files of the binary version of CIFAR-10, such as `data_batch_1.bin`. Returns the images `[images, 3, 32, 32]`
/// (u8) and their classes `[images]` (u32).
///
/// ```
/// use sconce::prelude::*;
/// use sconce::train::data::read_cifar10;
/// # fn main() -> Result<()> {
/// # let directory = tempfile::tempdir()?;
/// # let path = directory.path().join("test_batch.bin");
/// # std::fs::write(&path, [vec![7], vec![255; 3072]].concat())?;
/// let (images, classes) = read_cifar10([&path])?;
/// assert_eq!(images.dims(), [1, 3, 32, 32]);
/// assert_eq!(classes.to_vec1::<u32>()?, [7]);
/// let data = TensorDataset::new(images, classes)?;
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// Fails if there are no files, or if a file cannot be read, does not contain whole records, or contains a class above
/// 9. The message begins with the path.
pub fn read_cifar10<P: AsRef<Path>>(paths: impl IntoIterator<Item = P>) -> Result<(Tensor, Tensor)> {
    let (images, [classes]) = read(paths, [10])?;
    Ok((images, classes))
}

/// Reads files of the binary version of CIFAR-100, `train.bin` or `test.bin`. Returns the images `[images, 3, 32, 32]`
/// (u8), their 100 classes `[images]` (u32), and their 20 superclasses `[images]` (u32).
///
/// ```
/// use sconce::prelude::*;
/// use sconce::train::data::read_cifar100;
/// # fn main() -> Result<()> {
/// # let directory = tempfile::tempdir()?;
/// # let path = directory.path().join("train.bin");
/// # std::fs::write(&path, [vec![3, 42], vec![255; 3072]].concat())?;
/// let (images, classes, superclasses) = read_cifar100([&path])?;
/// assert_eq!(images.dims(), [1, 3, 32, 32]);
/// assert_eq!((classes.to_vec1::<u32>()?, superclasses.to_vec1::<u32>()?), (vec![42], vec![3]));
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// Fails if there are no files, or if a file cannot be read, does not contain whole records, or contains a class out of
/// range. The message begins with the path.
pub fn read_cifar100<P: AsRef<Path>>(paths: impl IntoIterator<Item = P>) -> Result<(Tensor, Tensor, Tensor)> {
    let (images, [superclasses, classes]) = read(paths, [20, 100])?;
    Ok((images, classes, superclasses))
}

/// Reads records that start with one byte for each label. `classes` is the number of classes of each label.
fn read<P: AsRef<Path>, const LABELS: usize>(
    paths: impl IntoIterator<Item = P>,
    classes: [u32; LABELS],
) -> Result<(Tensor, [Tensor; LABELS])> {
    let mut images = Vec::new();
    let mut labels = classes.map(|_| Vec::new());
    for path in paths {
        let path = path.as_ref();
        let records = compressed::read(path, None)
            .and_then(|content| append(&content, classes, &mut images, &mut labels));
        with_context(path.display(), records)?;
    }
    let count = images.len() / IMAGE;
    if count == 0 {
        return Err(Error::msg("expected at least one file of CIFAR images, found none"));
    }
    let images = Tensor::from_vec(images, (count, 3, 32, 32), &Device::Cpu)?;
    let mut tensors = Vec::with_capacity(LABELS);
    for labels in labels {
        tensors.push(Tensor::from_vec(labels, count, &Device::Cpu)?);
    }
    let labels = tensors.try_into().map_err(|_| Error::msg("expected one tensor for each label"))?;
    Ok((images, labels))
}

/// Appends the images and the labels of a file with the given content.
fn append<const LABELS: usize>(
    content: &[u8],
    classes: [u32; LABELS],
    images: &mut Vec<u8>,
    labels: &mut [Vec<u32>; LABELS],
) -> Result<()> {
    let record_size = LABELS + IMAGE;
    if content.is_empty() || !content.len().is_multiple_of(record_size) {
        return Err(Error::msg(format!(
            "expected records of {record_size} bytes, found a file of {} bytes",
            content.len()
        )));
    }
    images.reserve(content.len() / record_size * IMAGE);
    for (index, record) in content.chunks_exact(record_size).enumerate() {
        let (found, image) = record.split_at(LABELS);
        for ((labels, label), classes) in labels.iter_mut().zip(found).zip(classes) {
            let label = u32::from(*label);
            if label >= classes {
                return Err(Error::msg(format!(
                    "expected a class below {classes} in record {index}, found {label}"
                )));
            }
            labels.push(label);
        }
        images.extend_from_slice(image);
    }
    Ok(())
}
