//! Compiles the networks in `macros/src/expand/golden/`. The unit tests of `sconce-macros` compare their expansions
//! with the recorded ones.

#![allow(dead_code, deprecated)]

#[path = "../../macros/src/expand/golden/arguments.rs"]
mod arguments;
#[path = "../../macros/src/expand/golden/closure.rs"]
mod closure;
#[path = "../../macros/src/expand/golden/containers.rs"]
mod containers;
#[path = "../../macros/src/expand/golden/crate_path.rs"]
mod crate_path;
#[path = "../../macros/src/expand/golden/enumeration.rs"]
mod enumeration;
#[path = "../../macros/src/expand/golden/generic.rs"]
mod generic;
#[path = "../../macros/src/expand/golden/own_config.rs"]
mod own_config;
#[path = "../../macros/src/expand/golden/sequential.rs"]
mod sequential;
#[path = "../../macros/src/expand/golden/tensors.rs"]
mod tensors;
#[path = "../../macros/src/expand/golden/training.rs"]
mod training;
#[path = "../../macros/src/expand/golden/tuple_struct.rs"]
mod tuple_struct;
