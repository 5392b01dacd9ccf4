//! The feature `hub`: requests, the cache, and interrupted connections.

mod server;

use std::collections::BTreeMap;
use std::fs::{self, DirEntry};
use std::path::{Path, PathBuf};

use sconce::checkpoint::{StateDict, write_safetensors};
use sconce::hub::Hub;
use sconce::prelude::*;
use tempfile::TempDir;

use crate::common::message;
use crate::common::process::test_command;

use self::server::{Fault, REPOSITORY, Server};

#[derive(Module)]
struct Net {
    #[layer(3, 4)]
    fc: Linear,
    #[layer(4, 2, bias = false)]
    head: Linear,
}

const MODEL: &str = "model.safetensors";

fn directory() -> TempDir {
    tempfile::tempdir().expect("a temporary directory should be available")
}

/// Returns parameters with the distinct values `first`, `first + 1`, …
fn state(first: f32) -> StateDict {
    let shapes = [("fc.weight", &[4, 3][..]), ("fc.bias", &[4]), ("head.weight", &[2, 4])];
    let mut next = first;
    let tensors = shapes.map(|(name, shape)| {
        let values: Vec<f32> = (0..shape.iter().product()).map(|i: usize| next + i as f32).collect();
        next += values.len() as f32;
        (name, Tensor::from_vec(values, shape, &Device::Cpu).unwrap())
    });
    tensors.into_iter().collect()
}

fn safetensors<'a>(tensors: impl IntoIterator<Item = (&'a str, &'a Tensor)>) -> Vec<u8> {
    let directory = directory();
    let path = directory.path().join("file");
    write_safetensors(&path, tensors, &BTreeMap::new()).unwrap();
    fs::read(path).unwrap()
}

fn checkpoint(first: f32) -> Vec<u8> {
    safetensors(&state(first))
}

fn hub(server: &Server, cache: &TempDir) -> Hub {
    Hub::new(REPOSITORY).endpoint(server.address()).cache(cache.path())
}

fn load(hub: Hub) -> Result<Net> {
    Net::config().from_pretrained(hub, &Device::Cpu)
}

/// Asserts that the parameters equal `state(first)`.
fn assert_loaded(net: &Net, first: f32) {
    let values = |tensor: &Tensor| tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap();
    let expected = state(first);
    let actual = net.named_parameters();
    assert_eq!(actual.len(), expected.len());
    for (name, tensor) in actual {
        assert_eq!(values(&tensor), values(expected.get(&name).unwrap()), "{name}");
    }
}

fn assert_contains(message: &str, parts: &[&str]) {
    for part in parts {
        assert!(message.contains(part), "expected `{part}` in: {message}");
    }
}

/// Returns every file and every link below the directory, without following links.
fn files(directory: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(directory) else { return Vec::new() };
    let files_of = |entry: DirEntry| {
        let path = entry.path();
        if entry.file_type().unwrap().is_dir() { files(&path) } else { vec![path] }
    };
    entries.flat_map(|entry| files_of(entry.unwrap())).collect()
}

#[test]
fn the_second_load_comes_from_the_cache() {
    let (server, cache) = (Server::new([(MODEL, checkpoint(0.)), ("README.md", vec![1])]), directory());
    let hub = hub(&server, &cache);
    assert_loaded(&load(hub.clone()).unwrap(), 0.);
    let requests = server.take_requests();
    assert!(requests.iter().any(|request| request.path == "/owner/name/resolve/main/model.safetensors"));
    assert!(
        !requests.iter().any(|request| request.path.contains("README")),
        "expected no request for the README"
    );

    assert_loaded(&load(hub.clone()).unwrap(), 0.);
    assert!(server.take_requests().is_empty());
    drop(server);
    assert_loaded(&load(hub).unwrap(), 0.);
}

#[test]
fn revision_and_file_can_be_chosen() {
    let commits = [
        ("aaaa", [(MODEL, checkpoint(0.))].into()),
        ("bbbb", [(MODEL, checkpoint(100.)), ("old/epoch_3.bin", checkpoint(200.))].into()),
    ];
    let branches = [("main", "aaaa"), ("refs/pr/1", "bbbb")];
    let (server, cache) = (Server::with_revisions(&branches, commits.into(), None), directory());
    let hub = hub(&server, &cache);
    assert_loaded(&load(hub.clone()).unwrap(), 0.);
    assert_loaded(&load(hub.clone().revision("refs/pr/1")).unwrap(), 100.);
    assert_loaded(&load(hub.clone().revision("refs/pr/1").file("old/epoch_3.bin")).unwrap(), 200.);
    server.take_requests();
    // The file of commit `bbbb` was downloaded through the branch `refs/pr/1`. It is also cached for the commit.
    assert_loaded(&load(hub.clone().revision("bbbb")).unwrap(), 100.);
    assert_loaded(&load(hub).unwrap(), 0.);
    assert!(server.take_requests().is_empty());
}

#[test]
fn without_a_file_name_the_usual_names_are_tried() {
    let (server, cache) = (Server::new([("pytorch_model.bin", checkpoint(7.))]), directory());
    assert_loaded(&load(hub(&server, &cache)).unwrap(), 7.);
    server.take_requests();
    assert_loaded(&load(hub(&server, &cache)).unwrap(), 7.);
    assert!(server.take_requests().is_empty());

    let (server, cache) = (Server::new([("weights.onnx", vec![1]), ("README.md", vec![1])]), directory());
    let error = message(load(hub(&server, &cache)));
    assert_contains(&error, &[REPOSITORY, "main", server.address(), MODEL, "weights.onnx", "Hub::file"]);
}

/// Returns two shards and their index with the given `weight_map` JSON.
fn sharded(weight_map: &str) -> [(&'static str, Vec<u8>); 3] {
    let state = state(5.);
    let shard = |names: &[&str]| safetensors(state.iter().filter(|(name, _)| names.contains(name)));
    [
        ("model.safetensors.index.json", format!(r#"{{"metadata":{{}},"weight_map":{weight_map}}}"#).into()),
        ("model-00001-of-00002.safetensors", shard(&["fc.weight", "fc.bias"])),
        ("model-00002-of-00002.safetensors", shard(&["head.weight"])),
    ]
}

const WEIGHT_MAP: &str = r#"{
    "fc.weight": "model-00001-of-00002.safetensors",
    "fc.bias": "model-00001-of-00002.safetensors",
    "head.weight": "model-00002-of-00002.safetensors"
}"#;

#[test]
fn downloading_an_index_downloads_its_shards() {
    let (server, cache) = (Server::new(sharded(WEIGHT_MAP)), directory());
    let index = hub(&server, &cache).download().unwrap();
    assert_eq!(index.file_name().unwrap(), "model.safetensors.index.json");
    let [_, (first, first_content), (second, second_content)] = sharded(WEIGHT_MAP);
    assert_eq!(fs::read(index.with_file_name(first)).unwrap(), first_content);
    assert_eq!(fs::read(index.with_file_name(second)).unwrap(), second_content);
    // The branch may change while the shards are downloaded, so they are requested by commit.
    let requests = server.take_requests();
    assert!(requests.iter().any(|request| {
        request.path.ends_with(&format!("/resolve/0123456789abcdef0123456789abcdef01234567/{second}"))
    }));

    drop(server);
    let offline = Hub::new(REPOSITORY).cache(cache.path()).endpoint("http://127.0.0.1:1");
    assert_eq!(offline.clone().download().unwrap(), index);
    assert_loaded(&load(offline).unwrap(), 5.);
}

#[test]
fn the_index_of_torch_save_shards_is_found() {
    let [(_, index), (_, first), (_, second)] = sharded(&WEIGHT_MAP.replace(".safetensors", ".bin"));
    let files = [
        ("pytorch_model.bin.index.json", index),
        ("model-00001-of-00002.bin", first),
        ("model-00002-of-00002.bin", second),
    ];
    let (server, cache) = (Server::new(files), directory());
    assert_loaded(&load(hub(&server, &cache)).unwrap(), 5.);
}

#[test]
fn an_index_cannot_name_files_outside_its_directory() {
    for shard in ["../../../../escaped", "/escaped", "a/../../escaped", "..\\escaped", "c:escaped", ""] {
        let map = serde_json::json!({ "fc.weight": shard }).to_string();
        let (server, outer) = (Server::new(sharded(&map)), directory());
        let error = message(hub(&server, &outer).cache(outer.path().join("cache")).download());
        assert_contains(
            &error,
            &["a file in the directory of the index", &format!("`{shard}`"), "model.safetensors.index.json"],
        );
        assert!(files(outer.path()).iter().all(|path| !path.ends_with("escaped")));
    }
    for map in ["[]", r#"{"fc.weight": 3}"#] {
        let (server, cache) = (Server::new(sharded(map)), directory());
        assert_contains(
            &message(hub(&server, &cache).download()),
            &["index", "model.safetensors.index.json"],
        );
    }
}

#[test]
fn invalid_names_are_rejected_before_any_request() {
    let (server, cache) = (Server::new([(MODEL, checkpoint(0.))]), directory());
    for name in ["", "a/b/c", "../b", "a/", "a b/c", "a--b/c", "a/b?c"] {
        let hub = Hub::new(name).endpoint(server.address()).cache(cache.path());
        assert_contains(&message(hub.download()), &["owner/name", &format!("`{name}`")]);
    }
    for name in ["", "../x", "a//b", "a b", "x?y", "/x"] {
        assert_contains(
            &message(hub(&server, &cache).revision(name).download()),
            &["revision", &format!("`{name}`")],
        );
        assert_contains(
            &message(hub(&server, &cache).file(name).download()),
            &["file", &format!("`{name}`")],
        );
    }
    assert!(server.take_requests().is_empty());
    assert!(files(cache.path()).is_empty());
}

#[test]
fn missing_files_revisions_and_repositories_are_not_found() {
    let (server, cache) = (Server::new([(MODEL, checkpoint(0.))]), directory());
    let hub = hub(&server, &cache);
    let error = message(load(hub.clone().file("missing.pt")));
    assert_contains(&error, &["not found", REPOSITORY, "missing.pt", "main", server.address()]);
    let error = message(load(hub.clone().revision("v9")));
    assert_contains(&error, &["not found", REPOSITORY, "v9", server.address()]);
    let error = message(load(Hub::new("nobody/nothing").endpoint(server.address()).cache(cache.path())));
    assert_contains(&error, &["not found", "nobody/nothing", "main", server.address()]);
    assert_loaded(&load(hub).unwrap(), 0.);
}

#[test]
fn a_token_gives_access_to_a_private_repository() {
    let commits = [("aaaa", [(MODEL, checkpoint(0.))].into())];
    let server = Server::with_revisions(&[("main", "aaaa")], commits.into(), Some("hf_secret"));
    let cache = directory();
    // An explicit token takes precedence over a token in the environment.
    let error = message(load(hub(&server, &cache).token("hf_wrong")));
    assert_contains(&error, &["not authorized", "403", REPOSITORY, "main", server.address(), "token"]);
    assert!(!error.contains("hf_wrong"), "{error}");

    let private = hub(&server, &cache).token("hf_secret");
    assert!(!format!("{private:?}").contains("hf_secret"));
    assert_loaded(&load(private).unwrap(), 0.);
}

#[test]
fn an_interrupted_download_is_an_error_and_the_next_call_resumes_it() {
    let (server, cache) = (Server::new([(MODEL, checkpoint(0.))]), directory());
    let hub = hub(&server, &cache).file(MODEL);
    server.set_fault(Fault::Cut(100));
    let error = message(load(hub.clone()));
    assert_contains(&error, &["interrupted", REPOSITORY, MODEL, "main", server.address()]);
    assert!(
        !files(cache.path()).iter().any(|path| path.ends_with(MODEL)),
        "a partial file must not be in the cache"
    );

    server.set_fault(Fault::None);
    server.take_requests();
    assert_loaded(&load(hub).unwrap(), 0.);
    let ranges: Vec<_> = server
        .take_requests()
        .into_iter()
        .filter_map(|request| request.headers.get("range").cloned())
        .collect();
    assert!(ranges.iter().any(|range| range == "bytes=100-"), "{ranges:?}");
}

#[test]
fn a_short_response_without_a_length_is_an_error() {
    let (server, cache) = (Server::new([(MODEL, checkpoint(0.))]), directory());
    let hub = hub(&server, &cache).file(MODEL);
    server.set_fault(Fault::CutSilently(100));
    let error = message(load(hub.clone()));
    assert_contains(&error, &["interrupted", "found 100", REPOSITORY, MODEL, "main", server.address()]);
    assert!(
        !files(cache.path()).iter().any(|path| path.ends_with(MODEL)),
        "a partial file must not be in the cache"
    );
    assert_contains(&message(load(hub.clone())), &["interrupted", "found 100"]);

    server.set_fault(Fault::None);
    assert_loaded(&load(hub).unwrap(), 0.);
}

#[test]
fn partial_files_of_a_killed_process_do_not_prevent_a_download() {
    let (server, cache) = (Server::new([(MODEL, checkpoint(0.))]), directory());
    let hub = hub(&server, &cache).file(MODEL);
    server.set_fault(Fault::Cut(100));
    load(hub.clone()).err().expect("expected an error");
    let part =
        files(cache.path()).into_iter().find(|path| path.extension().is_some_and(|name| name == "part"));
    server.set_fault(Fault::None);
    // The partial file has the whole content, or more bytes than the content.
    for partial in [checkpoint(0.), [checkpoint(0.), vec![0; 50]].concat()] {
        fs::write(part.as_ref().unwrap(), partial).unwrap();
        assert_loaded(&load(hub.clone()).unwrap(), 0.);
        fs::remove_dir_all(cache.path().join("models--owner--name/snapshots")).unwrap();
    }
}

#[test]
fn invalid_responses_are_errors() {
    let (server, cache) = (Server::new([(MODEL, checkpoint(0.))]), directory());
    server.set_fault(Fault::NoLocation);
    let error = message(load(hub(&server, &cache).file(MODEL)));
    assert_contains(&error, &["the hub sent an invalid response", REPOSITORY, MODEL, server.address()]);
}

#[test]
fn a_failed_connection_is_an_error_that_names_the_address() {
    let cache = directory();
    let address = Server::new([]).address().to_owned();
    let hub = Hub::new(REPOSITORY).endpoint(&address).cache(cache.path());
    assert_contains(&message(load(hub.clone())), &["no connection", REPOSITORY, "main", &address]);
    assert_contains(&message(load(hub.file(MODEL))), &["no connection", REPOSITORY, MODEL, "main", &address]);
}

/// Runs `loads_with_settings_from_the_environment` in a new process. `variables` replace the user's environment
/// variables that start with `HF_` or `XDG_`. Returns whether the test passed, and its standard error.
fn with_environment(variables: &[(&str, &str)]) -> (bool, String) {
    let mut command = test_command(module_path!(), "loads_with_settings_from_the_environment");
    for (key, _) in std::env::vars().filter(|(key, _)| key.starts_with("HF_") || key.starts_with("XDG_")) {
        command.env_remove(key);
    }
    let output = command.envs(variables.iter().copied()).output().unwrap();
    (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
}

#[test]
#[ignore = "run by `environment_variables_are_used`"]
fn loads_with_settings_from_the_environment() {
    let net = Net::config().from_pretrained(REPOSITORY, &Device::Cpu);
    assert_loaded(&net.unwrap_or_else(|error| panic!("{error}")), 0.);
}

#[test]
fn environment_variables_are_used() {
    let commits = [("aaaa", [(MODEL, checkpoint(0.))].into())];
    let server = Server::with_revisions(&[("main", "aaaa")], commits.into(), Some("hf_secret"));
    let (first, second) = (directory(), directory());
    let home = |directory: &TempDir| directory.path().to_str().unwrap().to_owned();
    let endpoint = ("HF_ENDPOINT", server.address());

    let (loaded, error) = with_environment(&[endpoint, ("HF_HOME", &home(&first))]);
    assert!(!loaded);
    let token_file = first.path().join("token").display().to_string();
    assert_contains(&error, &["not authorized", "401", "HF_TOKEN", &token_file, "Hub::token"]);

    let (loaded, error) =
        with_environment(&[endpoint, ("HF_HOME", &home(&first)), ("HF_TOKEN", "hf_secret")]);
    assert!(loaded, "{error}");
    assert!(first.path().join("hub/models--owner--name/refs/main").is_file());

    fs::write(second.path().join("token"), "hf_secret\n").unwrap();
    let (loaded, error) = with_environment(&[endpoint, ("HF_HOME", &home(&second))]);
    assert!(loaded, "{error}");

    let offline = ("HF_HUB_OFFLINE", "1");
    server.take_requests();
    let (loaded, error) = with_environment(&[endpoint, offline, ("HF_HOME", &home(&first))]);
    assert!(loaded, "{error}");
    let empty = directory();
    let (loaded, error) = with_environment(&[endpoint, offline, ("HF_HOME", &home(&empty))]);
    assert!(!loaded);
    assert_contains(&error, &["HF_HUB_OFFLINE", REPOSITORY, "main", &home(&empty)]);
    assert!(server.take_requests().is_empty());
}
