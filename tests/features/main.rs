//! The optional features `hub` and `serde`.

#[path = "../common/mod.rs"]
mod common;
mod hub;
mod serde;
