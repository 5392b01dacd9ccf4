//! Checkpoint files: every format read and written, loading into networks, a fuzzer's files.

mod agreement;
#[path = "../common/mod.rs"]
mod common;
mod corpus;
mod files;
mod formats;
mod load;
