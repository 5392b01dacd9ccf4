//! Training: data, transforms, losses, metrics, optimizers, schedules, averages, mixed precision, `recompute`,
//! `audit_gradients`, the trainer and its log.

mod audit;
mod average;
mod clip;
#[path = "../common/mod.rs"]
mod common;
mod ctc;
mod data;
mod deep;
mod distributed;
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
