//! Signals: fusion, memory layouts, methods, and the operations that signals share with tensors.

mod blocked;
#[path = "../common/mod.rs"]
mod common;
mod fusion;
mod graph;
mod graph_page;
mod meta;
mod methods;
mod operations;
mod profile;
mod summary;
#[path = "../common/without_fusion.rs"]
mod without_fusion;
