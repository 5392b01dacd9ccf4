//! The optional features `hub`, `image` and `serde`.

#[path = "../common/mod.rs"]
mod common;
mod hub;
mod image;
mod serde;
