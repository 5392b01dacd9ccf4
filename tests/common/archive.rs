//! Builds zip archives whose headers may contradict their data, and small `.npy`, pickle and safetensors files.
#![allow(dead_code)] // Each test binary uses only some of these functions.

use std::io::Write;

use flate2::{Compression, Crc, write::DeflateEncoder};

/// An entry of an archive: the fields of its headers, and its data as stored in the file.
pub struct Entry {
    pub name: String,
    pub method: u16,
    pub checksum: u32,
    pub size: u32,
    pub data: Vec<u8>,
    /// The offset that the central directory states for the local header. `None` stands for the true offset.
    pub header_offset: Option<u32>,
}

impl Entry {
    /// Returns an entry whose data is not compressed.
    pub fn stored(name: &str, content: &[u8]) -> Self {
        Self::new(name, content, 0, content.to_vec())
    }

    /// Returns an entry whose data is compressed.
    pub fn deflated(name: &str, content: &[u8]) -> Self {
        let mut encoder = DeflateEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(content).unwrap();
        Self::new(name, content, 8, encoder.finish().unwrap())
    }

    fn new(name: &str, content: &[u8], method: u16, data: Vec<u8>) -> Self {
        let mut crc = Crc::new();
        crc.update(content);
        let (checksum, size) = (crc.sum(), content.len() as u32);
        Self { name: name.into(), method, checksum, size, data, header_offset: None }
    }

    /// Returns the fields that the central directory and the local header have in common.
    fn common_fields(&self) -> Vec<u8> {
        // The fields are: version, flags, method, time, date; checksum, compressed size, size; lengths of the name and
        // of the extra fields.
        let mut bytes = [20_u16, 0, self.method, 0, 0].map(u16::to_le_bytes).concat();
        bytes.extend([self.checksum, self.data.len() as u32, self.size].map(u32::to_le_bytes).concat());
        bytes.extend([self.name.len() as u16, 0].map(u16::to_le_bytes).concat());
        bytes
    }
}

/// Returns a zip archive of `entries`.
pub fn archive(entries: &[Entry]) -> Vec<u8> {
    let (mut file, mut directory) = (Vec::new(), Vec::new());
    for entry in entries {
        let header_offset = entry.header_offset.unwrap_or(file.len() as u32);
        let common_fields = entry.common_fields();
        file.extend([b"PK\x03\x04", &common_fields[..], entry.name.as_bytes(), &entry.data].concat());
        let mut rest = [0_u8; 14];
        rest[10..].copy_from_slice(&header_offset.to_le_bytes());
        directory.extend([b"PK\x01\x02\0\0", &common_fields[..], &rest, entry.name.as_bytes()].concat());
    }
    let count = (entries.len() as u16).to_le_bytes();
    let position = [directory.len() as u32, file.len() as u32].map(u32::to_le_bytes).concat();
    let end = [&b"PK\x05\x06\0\0\0\0"[..], &count, &count, &position, &[0, 0]].concat();
    [file, directory, end].concat()
}

/// Returns a zip64 archive of `entries`, as PyTorch writes for more than 4 GiB.
pub fn archive_64(entries: &[Entry]) -> Vec<u8> {
    let (mut file, mut directory) = (Vec::new(), Vec::new());
    // If a header field has this value, the actual value is in the zip64 extra field.
    let in_zip64_extra = u32::MAX.to_le_bytes();
    for entry in entries {
        let mut common_fields = entry.common_fields();
        let sizes =
            [entry.size as usize, entry.data.len(), file.len()].map(|size| (size as u64).to_le_bytes());
        file.extend([b"PK\x03\x04", &common_fields[..], entry.name.as_bytes(), &entry.data].concat());
        common_fields[14..22].copy_from_slice(&[in_zip64_extra, in_zip64_extra].concat());
        common_fields[24..26].copy_from_slice(&28_u16.to_le_bytes());
        let rest = [&[0; 10][..], &in_zip64_extra].concat();
        let extra = [&[1, 0, 24, 0], &sizes.concat()[..]].concat();
        directory
            .extend([b"PK\x01\x02\0\0", &common_fields[..], &rest, entry.name.as_bytes(), &extra].concat());
    }
    let u64_bytes = |number: usize| (number as u64).to_le_bytes();
    let (count, start) = (u64_bytes(entries.len()), u64_bytes(file.len()));
    let end =
        [&b"PK\x06\x06"[..], &u64_bytes(44), &[0; 12], &count, &count, &u64_bytes(directory.len()), &start];
    let locator = [&b"PK\x06\x07\0\0\0\0"[..], &u64_bytes(file.len() + directory.len()), &[1, 0, 0, 0]];
    let last = [&b"PK\x05\x06\0\0\0\0"[..], &[0xff; 12], &[0, 0]];
    [file, directory, end.concat(), locator.concat(), last.concat()].concat()
}

/// Returns a `.npy` file whose header has the given `descr` and `shape`, followed by `bytes` zero bytes of data.
pub fn npy(descr: &str, shape: &str, bytes: usize) -> Vec<u8> {
    let header = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}\n");
    let length = (header.len() as u16).to_le_bytes();
    [&b"\x93NUMPY\x01\0"[..], &length, header.as_bytes(), &vec![0; bytes]].concat()
}

/// Returns a pickle of `{"w": tensor}`. The tensor covers all `elements` floats of storage `0`.
pub fn pickle_of_floats(elements: u32) -> Vec<u8> {
    let count = [b"J", &elements.to_le_bytes()[..]].concat();
    let storage = [&b"(X\x07\0\0\0storagectorch\nFloatStorage\nU\x010U\x03cpu"[..], &count, b"tQ"].concat();
    let arguments = [&b"("[..], &storage, b"K\0", &count, b"\x85K\x01\x85\x89}t"].concat();
    [&b"\x80\x02}U\x01wctorch._utils\n_rebuild_tensor_v2\n"[..], &arguments, b"Rs."].concat()
}

/// Returns a file in the format that PyTorch used before version 1.6, with the pickle `object` and without storages.
pub fn legacy(object: &[u8]) -> Vec<u8> {
    legacy_with_storages(object, b"\x80\x02].", &[])
}

/// Returns a file in the format that PyTorch used before version 1.6: the pickle `object`, the pickle `keys` (a list of
/// the keys of the storages), and the storages `data`.
pub fn legacy_with_storages(object: &[u8], keys: &[u8], data: &[u8]) -> Vec<u8> {
    let magic = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.";
    [&magic[..], b"\x80\x02M\xe9\x03.", b"\x80\x02}.", object, keys, data].concat()
}

/// Returns a safetensors file with the given header and `bytes` zero bytes of data.
pub fn safetensors(header: &str, bytes: usize) -> Vec<u8> {
    [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), &vec![0; bytes]].concat()
}
