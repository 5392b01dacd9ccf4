//! Training: data, losses, metrics, optimizers, schedules and `audit_gradients`.

mod audit;
mod average;
mod clip;
#[path = "../common/mod.rs"]
mod common;
mod ctc;
mod data;
mod deep;
mod lbfgs;
mod loader;
mod log;
mod losses;
mod metrics;
mod optimizers;
mod precision;
mod readers;
mod recompute;
mod sampling;
mod schedules;
mod trainer;
mod transforms;
