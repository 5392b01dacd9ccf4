//! `#[derive(Module)]` and networks written by hand.

mod by_hand;
mod config;
mod containers;
mod copies;
mod dispatch;
mod forward;
mod fragments;
mod golden;
pub mod hygiene;
mod items;
mod launches;
pub mod lints;
mod modes;
mod paths;
mod renames;
mod repeats;
mod ties;
mod training;
mod ui;
mod values;
