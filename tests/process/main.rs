//! What belongs to the whole process: the memory of activations, all allocated memory, the switch for exact
//! convolutions, the seed of random numbers, its death. The tests of this binary run one at a time.

mod against_candle;
mod arena;
mod checkpoint_damage;
mod checkpoint_kill;
mod checkpoint_memory;
#[path = "../common/mod.rs"]
mod common;
mod exact;
mod fit;
#[allow(dead_code)] // One of its networks is enough here.
#[path = "../../examples/networks/resnet.rs"]
mod resnet;
mod seed;

use std::sync::{Mutex, MutexGuard, PoisonError};

use peak_alloc::PeakAlloc;

#[global_allocator]
static MEMORY: PeakAlloc = PeakAlloc;

/// Waits until no other test of this binary runs; they wait until the guard is dropped.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}
