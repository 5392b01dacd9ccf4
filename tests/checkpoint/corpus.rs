//! Files that a fuzzer made of checkpoints, and others that ask for more time or memory than they should
//! get: each is read, or is an error, and soon.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use sconce::__private::readers;
use sconce::Result;
use sconce::checkpoint::StateDict;

fn files(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).unwrap_or_else(|error| panic!("{}: {error}", directory.display()));
    let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths
}

/// Reads what lies under the reader's name in `fuzz/regressions`; how many were read, how many refused.
fn replay(name: &str, read: impl Fn(&[u8]) -> Result<StateDict>) -> (usize, usize) {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/regressions").join(name);
    let (mut whole, mut refused) = (0, 0);
    for path in files(&directory) {
        let bytes = fs::read(&path).unwrap();
        match within_seconds(&path.display().to_string(), || read(&bytes)) {
            Ok(state) => {
                whole += 1;
                for (name, tensor) in &state {
                    assert!(tensor.is_contiguous(), "{}: {name}", path.display());
                }
            }
            Err(error) => {
                refused += 1;
                assert!(!error.to_string().is_empty(), "{}", path.display());
            }
        }
    }
    (whole, refused)
}

/// A debug build needs some milliseconds for these; seconds would be a loop without end of a larger file.
fn within_seconds<T>(what: &str, work: impl FnOnce() -> T) -> T {
    let start = Instant::now();
    let outcome = work();
    assert!(start.elapsed() < Duration::from_secs(5), "{what}: {:?}", start.elapsed());
    outcome
}

#[test]
fn what_a_fuzzer_made_of_safetensors_files() {
    let (whole, refused) = replay("safetensors", readers::safetensors);
    assert!(whole > 0 && refused > 0, "{whole}, {refused}");
}

#[test]
fn what_a_fuzzer_made_of_zip_files() {
    let (whole, refused) = replay("torch_zip", readers::torch_zip);
    assert!(whole > 0 && refused > 0, "{whole}, {refused}");
}

#[test]
fn what_a_fuzzer_made_of_legacy_files() {
    let (whole, refused) = replay("torch_legacy", readers::torch_legacy);
    assert!(whole > 0 && refused > 0, "{whole}, {refused}");
}

#[test]
fn what_a_fuzzer_made_of_npz_files() {
    let (whole, refused) = replay("npz", readers::npz);
    assert!(whole > 0 && refused > 0, "{whole}, {refused}");
}

#[test]
fn what_a_fuzzer_made_of_indices() {
    let shards = tempfile::tempdir().unwrap();
    let seeds = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds/safetensors");
    for shard in ["one", "types"] {
        fs::copy(seeds.join(shard), shards.path().join(shard)).unwrap();
    }
    let (whole, refused) = replay("index", |bytes| readers::index(bytes, shards.path()));
    assert!(whole > 0 && refused > 0, "{whole}, {refused}");
}

/// A legacy file whose object is the pickle `object`, and which has no storages.
fn legacy_file(object: &[u8]) -> Vec<u8> {
    let magic = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.";
    [&magic[..], b"\x80\x02M\xe9\x03.", b"\x80\x02}.", object, b"\x80\x02]."].concat()
}

#[test]
fn notes_that_all_tensors_share_are_not_gone_through_for_each() {
    // In a large file, thousands of calls with a dictionary of millions of entries as their last argument.
    let dictionary = [&b"}q\x01("[..], &b"K\x01N".repeat(1 << 12), b"u0"].concat();
    let storage = b"(U\x07storagectorch\nFloatStorage\nU\x010U\x03cpuK\x01NtQ";
    let arguments = [&b"("[..], storage, b"K\0))\x89Nh\x01t"].concat();
    let function = b"ctorch._utils\n_rebuild_tensor_v2\n";
    let object = [&b"\x80\x02"[..], &dictionary, function, &arguments, b"R."].concat();
    let error = readers::torch_legacy(&legacy_file(&object)).expect_err("an error").to_string();
    assert!(error.contains("at most 64 metadata entries of a tensor"), "{error}");
}
