//! What the features `hub` and `serde` add.

mod hub;
mod serde;
