//! Training: data, losses, metrics, optimizers, schedules and `audit_gradients`.

mod audit;
mod average;
mod clip;
#[path = "../common/mod.rs"]
mod common;
mod ctc;
mod data;
mod lbfgs;
mod log;
mod losses;
mod metrics;
mod optimizers;
mod schedules;
mod trainer;
