//! Files from a fuzzer, and files on which a naive reader would spend too much time or memory. Reading one of them
//! succeeds or gives an error, and takes little time.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use sconce::__private::readers;
use sconce::Result;
use sconce::checkpoint::StateDict;

use crate::archive::legacy;

fn files(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).unwrap_or_else(|error| panic!("{}: {error}", directory.display()));
    let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths
}

/// Reads the files in `fuzz/regressions/<name>` with `read`. Returns how many of them `read` accepts and how many it
/// rejects.
fn replay(name: &str, read: impl Fn(&[u8]) -> Result<StateDict>) -> (usize, usize) {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/regressions").join(name);
    let (mut accepted, mut rejected) = (0, 0);
    for path in files(&directory) {
        let bytes = fs::read(&path).unwrap();
        match within_seconds(&path.display().to_string(), || read(&bytes)) {
            Ok(state) => {
                accepted += 1;
                for (name, tensor) in &state {
                    assert!(tensor.is_contiguous(), "{}: {name}", path.display());
                }
            }
            Err(error) => {
                rejected += 1;
                assert!(!error.to_string().is_empty(), "{}", path.display());
            }
        }
    }
    (accepted, rejected)
}

/// Runs `work` and asserts that it takes less than 5 seconds. Even a debug build should take only milliseconds for
/// these small files: if one of them took seconds, a larger file of the same kind would take far too long.
fn within_seconds<T>(label: &str, work: impl FnOnce() -> T) -> T {
    let start = Instant::now();
    let outcome = work();
    assert!(start.elapsed() < Duration::from_secs(5), "{label}: {:?}", start.elapsed());
    outcome
}

#[test]
fn fuzzed_safetensors_files_are_read_or_rejected() {
    let (accepted, rejected) = replay("safetensors", readers::safetensors);
    assert!(
        accepted > 0 && rejected > 0,
        "expected accepted and rejected files, found {accepted} accepted and {rejected} rejected ones"
    );
}

#[test]
fn fuzzed_zip_files_are_read_or_rejected() {
    let (accepted, rejected) = replay("torch_zip", readers::torch_zip);
    assert!(
        accepted > 0 && rejected > 0,
        "expected accepted and rejected files, found {accepted} accepted and {rejected} rejected ones"
    );
}

#[test]
fn fuzzed_legacy_files_are_read_or_rejected() {
    let (accepted, rejected) = replay("torch_legacy", readers::torch_legacy);
    assert!(
        accepted > 0 && rejected > 0,
        "expected accepted and rejected files, found {accepted} accepted and {rejected} rejected ones"
    );
}

#[test]
fn fuzzed_npz_files_are_read_or_rejected() {
    let (accepted, rejected) = replay("npz", readers::npz);
    assert!(
        accepted > 0 && rejected > 0,
        "expected accepted and rejected files, found {accepted} accepted and {rejected} rejected ones"
    );
}

#[test]
fn fuzzed_shard_indices_are_read_or_rejected() {
    let shards = tempfile::tempdir().unwrap();
    let seeds = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds/safetensors");
    for shard in ["one", "types"] {
        fs::copy(seeds.join(shard), shards.path().join(shard)).unwrap();
    }
    let (accepted, rejected) = replay("index", |bytes| readers::index(bytes, shards.path()));
    assert!(
        accepted > 0 && rejected > 0,
        "expected accepted and rejected files, found {accepted} accepted and {rejected} rejected ones"
    );
}

#[test]
fn tensors_with_large_metadata_are_errors() {
    // The last argument of `_rebuild_tensor_v2` is a dictionary of metadata. A large file could contain thousands of
    // calls of this function, all with the same dictionary of millions of entries.
    let dictionary = [&b"}q\x01("[..], &b"K\x01N".repeat(1 << 12), b"u0"].concat();
    let storage = b"(U\x07storagectorch\nFloatStorage\nU\x010U\x03cpuK\x01NtQ";
    let arguments = [&b"("[..], storage, b"K\0))\x89Nh\x01t"].concat();
    let function = b"ctorch._utils\n_rebuild_tensor_v2\n";
    let object = [&b"\x80\x02"[..], &dictionary, function, &arguments, b"R."].concat();
    let error = readers::torch_legacy(&legacy(&object)).expect_err("expected an error").to_string();
    assert!(error.contains("at most 64 metadata entries of a tensor"), "{error}");
}

#[test]
fn containers_that_share_their_items_take_linear_time() {
    const COUNT: usize = 1 << 15;
    // The length of a file limits the memory of its objects. A long string makes these files long enough.
    let padding = [&b"\x80\x02T\0\0\0\x01"[..], &b" ".repeat(1 << 24), b"0"].concat();
    // Many keys for one dictionary without tensors. Searching the dictionary once per key would take quadratic time.
    let shared = [&b"}q\x01("[..], &b"K\x01N".repeat(COUNT), b"u0"].concat();
    let dictionaries = [&padding[..], &shared, b"}(", &b"K\x01h\x01".repeat(COUNT), b"u."].concat();
    // Many sets, all built from one list.
    let list = [&b"]q\x01("[..], &b"K\x01".repeat(60), b"e0c__builtin__\nset\nq\x020"].concat();
    let sets = [&padding[..], &list, b"](", &b"h\x02h\x01\x85R".repeat(COUNT), b"e."].concat();
    // Many objects that share one dictionary of attributes.
    let attributes = [&b"}q\x01("[..], &b"K\x01N".repeat(COUNT), b"U\x08_modulesNu0"].concat();
    let object = b"c__main__\nNet\n)\x81h\x01b0";
    let objects = [&padding[..], &attributes, &object.repeat(COUNT / 4), b"}."].concat();
    // An empty text stands for success.
    for (name, object, expected) in [
        ("dictionaries", dictionaries, "found a dictionary with the entries"),
        ("sets", sets, "found a list with the items `0` (a set), "),
        ("objects", objects, ""),
    ] {
        let file = legacy(&object);
        let outcome = within_seconds(name, || readers::torch_legacy(&file)).err();
        let error = outcome.map(|error| error.to_string()).unwrap_or_default();
        assert!(error.contains(expected) && error.is_empty() == expected.is_empty(), "{name}: {error}");
    }
}
