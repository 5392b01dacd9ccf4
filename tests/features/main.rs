//! The optional features `hub`, `plots` and `serde`.

#[path = "../common/mod.rs"]
mod common;
mod hub;
mod plots;
mod serde;
