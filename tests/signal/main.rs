//! Signals: fusion, memory layouts, methods, and the operations that signals share with tensors.

mod blocked;
#[path = "../common/mod.rs"]
mod common;
mod fusion;
mod methods;
mod operations;
mod summary;
