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
mod load;
mod loading;
mod modules;
mod objects;
mod proposals;
mod report;
mod save;
mod values;
mod wrapped;
mod wrappers;
