//! The chapters of the guide and the documentation of the derives, so that `cargo test` compiles and runs their
//! listings. [`Module`](crate::Module) contains the chapter `layers.md`.
//!
//! The documentation of the derives is tested here, because doc tests in `sconce-macros` would compile sconce and its
//! dependencies a second time: cargo builds the dependencies of a procedural macro for the host. The published package
//! lacks the files of `sconce-macros`, so its doc tests do not compile.
//!
//! This test checks that every chapter is included:
//!
//! ```
//! use std::fs;
//! # fn main() -> std::io::Result<()> {
//! let included = fs::read_to_string("runtime/guide.rs")? + &fs::read_to_string("runtime/module/mod.rs")?;
//! let summary = fs::read_to_string("docs/src/SUMMARY.md")?;
//! for entry in fs::read_dir("docs/src")? {
//!     let file = entry?.file_name().into_string().expect("the names of the chapters are UTF-8");
//!     if file.ends_with(".md") && file != "SUMMARY.md" {
//!         assert!(included.contains(&format!("docs/src/{file}")), "{file} is not included");
//!         assert!(summary.contains(&format!("({file})")), "{file} is not in the summary");
//!     }
//! }
//! # Ok(())
//! # }
//! ```

#[doc = include_str!("../docs/src/introduction.md")]
mod introduction {}

#[doc = include_str!("../docs/src/neuron.md")]
mod neuron {}

#[doc = include_str!("../docs/src/networks.md")]
mod networks {}

#[doc = include_str!("../docs/src/gradients.md")]
mod gradients {}

#[doc = include_str!("../docs/src/training.md")]
mod training {}

#[doc = include_str!("../docs/src/images.md")]
mod images {}

#[doc = include_str!("../docs/src/data.md")]
mod data {}

#[doc = include_str!("../docs/src/modes.md")]
mod modes {}

#[doc = include_str!("../docs/src/structure.md")]
mod structure {}

#[doc = include_str!("../docs/src/checkpoints.md")]
mod checkpoints {}

#[doc = include_str!("../docs/src/distributed.md")]
mod distributed {}

#[doc = include_str!("../docs/src/sequences.md")]
mod sequences {}

#[cfg(feature = "onnx")]
#[doc = include_str!("../docs/src/onnx.md")]
mod onnx {}

#[cfg(feature = "stablehlo")]
#[doc = include_str!("../docs/src/stablehlo.md")]
mod stablehlo {}

#[doc = include_str!("../docs/src/mistakes.md")]
mod mistakes {}

#[doc = include_str!("../docs/src/summary.md")]
mod summary {}

#[doc = include_str!("../docs/src/profile.md")]
mod profile {}

#[doc = include_str!("../docs/src/graph.md")]
mod graph {}

#[doc = include_str!("../docs/src/next.md")]
mod next {}

#[doc = include_str!("../macros/src/module.md")]
mod derive_module {}

#[doc = include_str!("../macros/src/batch.md")]
mod derive_batch {}
