//! Checkpoint files: reading and writing every format, loading and saving networks, and reading files that a fuzzer
//! found.

mod agreement;
#[path = "../common/archive.rs"]
mod archive;
#[path = "../common/mod.rs"]
mod common;
mod corpus;
mod files;
mod formats;
mod inputs;
mod keys;
mod load_checks;
mod load_options;
mod modules;
mod objects;
mod proposed_options;
mod report;
mod sample_network;
mod save;
mod values;
mod wrapper_prefixes;
