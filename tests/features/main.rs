//! The optional features `hub`, `image`, `plots` and `serde`.

#[path = "../common/mod.rs"]
mod common;
mod hub;
mod image;
mod plots;
mod serde;
