//! Readers of the file formats of data sets. Files are treated as untrusted input.

mod cifar;
mod compressed;
mod csv_table;
mod idx;
#[cfg(feature = "image")]
mod image_folder;
mod npz;

pub use cifar::{read_cifar10, read_cifar100};
pub use csv_table::{CsvReader, CsvTable};
pub use idx::{read_idx, read_idx_with_limit};
#[cfg(feature = "image")]
pub use image_folder::ImageFolder;
pub use npz::{read_npz, read_npz_with_limit};
