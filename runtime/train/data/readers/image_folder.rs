//! Folders of images, one for each class.

use std::fs::{self, DirEntry};
use std::io::{Cursor, Read};
use std::path::{Path, PathBuf};

use candle_core::Tensor;
use image::{ImageFormat, ImageReader, RgbImage};

use crate::checkpoint::{open_regular, with_context};
use crate::{Error, Result};

use super::super::dataset::check_index;
use super::super::transforms::Image;
use super::super::{Dataset, Generator};

/// The extensions of image files.
const EXTENSIONS: [&str; 8] = ["bmp", "jpeg", "jpg", "pbm", "pgm", "png", "pnm", "ppm"];

/// The maximum number of pixels of an image. With three channels of f32, they occupy 768 MiB.
const MAX_PIXELS: u64 = 1 << 26;

/// Images in one folder for each class, like `torchvision.datasets.ImageFolder`.
///
/// The classes are numbered in the order of their names. The images of a class are in its folder and the subfolders of
/// that folder. An example is an image, a tensor `[3, height, width]` (f32, from 0 to 1), and its class. Gray images
/// become images of three equal channels, and transparency is ignored. A file is read when its example is read, so the
/// workers of a [`DataLoader`](super::super::DataLoader) read the files. The formats are PNG, JPEG, BMP and PNM.
///
/// ```
/// use sconce::prelude::*;
/// use sconce::train::data::ImageFolder;
/// use sconce::train::data::transforms::{CenterCrop, Normalize, Resize};
/// # fn main() -> Result<()> {
/// # let directory = tempfile::tempdir()?;
/// # let root = directory.path();
/// # for class in ["cat", "dog"] {
/// #     std::fs::create_dir(root.join(class))?;
/// #     std::fs::write(root.join(class).join("1.pgm"), "P2 2 2 255 0 1 2 3")?;
/// # }
/// let images = ImageFolder::new(root)?; // root/cat/1.pgm, root/dog/1.pgm, …
/// assert_eq!(images.classes(), ["cat", "dog"]);
/// let images = images.transform((
///     Resize::shorter(256),
///     CenterCrop::new(224, 224),
///     Normalize::new(Normalize::IMAGENET_MEAN, Normalize::IMAGENET_STD),
/// ));
/// let loader = DataLoader::new(images).batch_size(32).shuffle(true).workers(2).skip_corrupt(true);
/// for batch in loader.iter()? {
///     let (x, y) = batch?; // [32, 3, 224, 224] and [32]
/// }
/// println!("{} corrupt files", loader.skipped());
/// # Ok(())
/// # }
/// ```
///
/// A corrupt file leads to an error that names its path. A loader with
/// [`skip_corrupt`](super::super::DataLoader::skip_corrupt) skips the file instead. An image may have at most 2²⁶
/// pixels.
#[derive(Clone, Debug)]
pub struct ImageFolder {
    classes: Vec<String>,
    files: Vec<(PathBuf, u32)>,
}

impl ImageFolder {
    /// Lists the files of the folders in `root`.
    ///
    /// # Errors
    /// Fails if a folder cannot be read, if there are no folders, or if a folder has no image. The message begins with
    /// the path.
    pub fn new(root: impl AsRef<Path>) -> Result<Self> {
        let root = root.as_ref();
        let mut classes = Vec::new();
        let mut files = Vec::new();
        for entry in entries(root)? {
            let folder = entry.path();
            if !folder.is_dir() {
                continue;
            }
            let before = files.len();
            list(&folder, classes.len() as u32, &mut files)?;
            if files.len() == before {
                return Err(Error::msg(format!(
                    "{}: expected images with the extensions {EXTENSIONS:?}, found none",
                    folder.display()
                )));
            }
            classes.push(entry.file_name().to_string_lossy().into_owned());
        }
        if classes.is_empty() {
            return Err(Error::msg(format!(
                "{}: expected one folder for each class, found none",
                root.display()
            )));
        }
        Ok(Self { classes, files })
    }

    /// Returns the names of the classes.
    pub fn classes(&self) -> &[String] {
        &self.classes
    }

    /// Returns the path and the class of each example.
    pub fn files(&self) -> &[(PathBuf, u32)] {
        &self.files
    }
}

impl Dataset for ImageFolder {
    type Example = (Tensor, u32);

    fn len(&self) -> usize {
        self.files.len()
    }

    fn get(&self, index: usize, _rng: &mut Generator) -> Result<Self::Example> {
        check_index(index, self.files.len())?;
        let (path, class) = &self.files[index];
        Ok((Image::open(path)?.into_tensor()?, *class))
    }
}

impl Image {
    /// Reads an image file in one of the formats of [`ImageFolder`]. Returns an image of three channels, with pixels
    /// from 0 to 1.
    ///
    /// # Errors
    /// Fails if the file is not an image, is corrupt, or has more than 2²⁶ pixels. The message begins with the path.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        with_context(path.display(), decode(path)).and_then(|image| planar_image(&image))
    }
}

/// Decodes a file. The content determines the format, not the extension.
fn decode(path: &Path) -> Result<RgbImage> {
    let (mut file, _) = open_regular(path)?;
    let mut content = Vec::new();
    file.read_to_end(&mut content)?;
    let reader = || ImageReader::new(Cursor::new(&content)).with_guessed_format();
    if reader()?.format() == Some(ImageFormat::Jpeg) && !is_complete_jpeg(&content) {
        return Err(Error::msg("the JPEG file is truncated: expected an end-of-image marker, found none"));
    }
    let (width, height) = reader()?.into_dimensions().map_err(Error::msg)?;
    if u64::from(width) * u64::from(height) > MAX_PIXELS {
        return Err(Error::msg(format!("expected at most {MAX_PIXELS} pixels, found {width}×{height}")));
    }
    Ok(reader()?.decode().map_err(Error::msg)?.into_rgb8())
}

/// Returns `true` if an end-of-image marker follows the segments and scans. Without the marker, the file is truncated,
/// and the decoder would fill the missing pixels with gray. Other data may follow the marker, such as the video of a
/// motion photo.
fn is_complete_jpeg(content: &[u8]) -> bool {
    const END_OF_IMAGE: u8 = 0xd9;
    // In the data of a scan, the byte after 0xff is 0 (after a data byte 0xff), the code of a restart marker, or a fill
    // byte. None of these begins a segment.
    let is_marker = |pair: &[u8]| pair[0] == 0xff && !matches!(pair[1], 0 | 0xd0..=0xd7 | 0xff);
    let mut rest = content.get(2..).unwrap_or_default();
    while let Some(start) = rest.windows(2).position(is_marker) {
        if rest[start + 1] == END_OF_IMAGE {
            return true;
        }
        let segment = &rest[start + 2..];
        let Some(length) = segment.first_chunk() else { return false };
        rest = segment.get(usize::from(u16::from_be_bytes(*length))..).unwrap_or_default();
    }
    false
}

/// Converts an image of interleaved bytes to one plane of f32 for each channel, with pixels from 0 to 1.
fn planar_image(image: &RgbImage) -> Result<Image> {
    let mut pixels = Vec::with_capacity(image.as_raw().len());
    for channel in 0..3 {
        pixels.extend(image.as_raw().iter().skip(channel).step_by(3).map(|pixel| f32::from(*pixel) / 255.));
    }
    Image::new(pixels, [3, image.height() as usize, image.width() as usize])
}

/// Appends the image files of a folder, ordered by name, and then those of its subfolders. Does not follow links to
/// folders, which may be cyclic.
fn list(folder: &Path, class: u32, files: &mut Vec<(PathBuf, u32)>) -> Result<()> {
    let (folders, entries): (Vec<DirEntry>, Vec<DirEntry>) =
        entries(folder)?.into_iter().partition(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
    for entry in entries {
        let path = entry.path();
        if is_image(&path) && path.is_file() {
            files.push((path, class));
        }
    }
    folders.iter().try_for_each(|entry| list(&entry.path(), class, files))
}

/// Returns the content of a folder, ordered by name.
fn entries(folder: &Path) -> Result<Vec<DirEntry>> {
    let entries = fs::read_dir(folder).and_then(Iterator::collect::<std::io::Result<Vec<_>>>);
    let mut entries = with_context(folder.display(), entries.map_err(Error::from))?;
    entries.sort_by_key(DirEntry::file_name);
    Ok(entries)
}

fn is_image(path: &Path) -> bool {
    let extension = path.extension().and_then(|extension| extension.to_str());
    extension.is_some_and(|found| EXTENSIONS.iter().any(|known| found.eq_ignore_ascii_case(known)))
}
