//! `#[derive(Module)]` and networks written by hand.

mod by_hand;
mod forward;
pub mod hygiene;
mod items;
mod launches;
mod ui;
