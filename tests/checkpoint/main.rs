//! Checkpoint files: reading and writing every format, loading into networks, and a fuzzer's files.

mod agreement;
#[path = "../common/archive.rs"]
mod archive;
#[path = "../common/mod.rs"]
mod common;
mod corpus;
mod engines;
mod files;
mod formats;
mod load;
mod modules;
mod objects;
mod proposals;
mod report;
mod wrapped;
mod wrappers;
