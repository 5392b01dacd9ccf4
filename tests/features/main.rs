//! What the features `hub` and `serde` add.

#[path = "../common/mod.rs"]
mod common;
mod hub;
mod serde;
