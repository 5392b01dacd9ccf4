//! Builds files as `torch.save` and NumPy write them, from the bytes of a fuzzer.

use arbitrary::{Result, Unstructured};
use sconce::__private::readers;
use sconce::checkpoint::StateDict;

use crate::pickle::{Pickle, Storage, pickle};
use crate::{rarely, zip_archive};

/// A function that builds a file.
pub type Generate = fn(&mut Unstructured) -> Result<Vec<u8>>;

/// A function that reads a file.
pub type Read = fn(&[u8]) -> sconce::Result<StateDict>;

/// Returns the functions that build and read the files of a target, or an error that names the targets.
pub fn target(name: &str) -> std::result::Result<(Generate, Read), String> {
    match name {
        "objects_zip" => Ok((torch_zip, readers::torch_zip)),
        "objects_legacy" => Ok((torch_legacy, readers::torch_legacy)),
        "arrays" => Ok((npz, readers::npz)),
        other => Err(format!("expected `objects_zip`, `objects_legacy` or `arrays`, found `{other}`")),
    }
}

/// The maximum number of bytes of a storage.
const MAX_STORAGE: usize = 1 << 10;

/// Returns a legacy file of `torch.save`: five pickles and the storages. The pickles are the magic number, the protocol
/// version, the system information, the object, and the keys of the storages.
pub fn torch_legacy(u: &mut Unstructured) -> Result<Vec<u8>> {
    let Pickle { bytes, storages } = pickle(u, true)?;
    let mut file = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.".to_vec();
    file.extend(b"\x80\x02M\xe9\x03.\x80\x02}.");
    file.extend(bytes);
    file.extend(b"\x80\x02](");
    for key in 0..storages.len() {
        file.extend(format!("U\x01{key}").as_bytes());
    }
    file.extend(b"e.");
    for storage in &storages {
        file.extend((storage.elements as u64).to_le_bytes());
        file.extend(data(u, storage)?);
    }
    Ok(file)
}

/// Returns a zip archive of `torch.save` or of TorchScript.
pub fn torch_zip(u: &mut Unstructured) -> Result<Vec<u8>> {
    let Pickle { bytes, storages } = pickle(u, false)?;
    let mut entries = vec![("archive/data.pkl".to_owned(), bytes)];
    for (key, storage) in storages.iter().enumerate() {
        entries.push((format!("archive/data/{key}"), data(u, storage)?));
    }
    if u.arbitrary()? {
        entries.push(("archive/code/__torch__.py".into(), source(u)?));
    }
    if rarely(u, 4)? {
        entries.push(("archive/byteorder".into(), b"little".to_vec()));
    }
    zip_archive::archive(u, &entries)
}

/// Returns the source of a TorchScript class.
fn source(u: &mut Unstructured) -> Result<Vec<u8>> {
    let kind = u.choose(&["(Module):", "(NamedTuple):", ":"])?;
    let mut source = format!("class Net{kind}\n");
    for list in ["parameters", "buffers"] {
        if u.ratio(3, 4)? {
            let names = u.choose(&["\"weight\", ", "\"weight\", \"bias\", ", "", "\"fc"])?;
            source += &format!("  __{list}__ = [{names}]\n");
        }
    }
    Ok(source.into_bytes())
}

/// Returns the data of a storage. Its length is wrong in some cases.
fn data(u: &mut Unstructured, storage: &Storage) -> Result<Vec<u8>> {
    let length = storage.element_size * storage.elements;
    let length = if rarely(u, 32)? { u.int_in_range(0..=64)? } else { length.min(MAX_STORAGE) };
    let byte = u.arbitrary()?;
    Ok(vec![byte; length])
}

/// Returns an `.npz` archive.
pub fn npz(u: &mut Unstructured) -> Result<Vec<u8>> {
    let mut entries = Vec::new();
    for i in 0..u.int_in_range(0..=4)? {
        entries.push((format!("array{i}.npy"), npy(u)?));
    }
    if rarely(u, 16)? {
        entries.push(("readme.txt".into(), Vec::new()));
    }
    zip_archive::archive(u, &entries)
}

/// Returns a `.npy` file.
fn npy(u: &mut Unstructured) -> Result<Vec<u8>> {
    let types =
        [("<f4", 4), ("<f8", 8), ("<i8", 8), ("|b1", 1), ("|i1", 1), ("<u2", 2), ("<c8", 8), (">f4", 4)];
    let (code, element_size) = *u.choose(&types)?;
    let order = if u.arbitrary()? { "True" } else { "False" };
    let shape: Vec<usize> =
        (0..u.int_in_range(0..=3)?).map(|_| u.int_in_range(0..=5)).collect::<Result<_>>()?;
    let dimensions: String = shape.iter().map(|length| format!("{length},")).collect();
    let header = format!("{{'descr': '{code}', 'fortran_order': {order}, 'shape': ({dimensions})}}\n");
    let elements = shape.iter().product();
    let mut file = b"\x93NUMPY\x01\0".to_vec();
    file.extend((header.len() as u16).to_le_bytes());
    file.extend(header.as_bytes());
    file.extend(data(u, &Storage { element_size, elements })?);
    Ok(file)
}
