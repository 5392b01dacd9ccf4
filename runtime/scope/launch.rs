//! Launches, which a trace, a profile or an execution records.

use candle_core::Device;

use crate::kernels::trace;

use super::execution::{DeferredId, LaunchId};
use super::{Path, is_execution_recorded};

/// A launch that has not ended. Dropping it ends the launch.
#[must_use]
pub(crate) struct OpenLaunch {
    traced: trace::OpenLaunch,
    executed: Option<LaunchId>,
}

/// Begins a launch on `device` and records it if the thread is being recorded. Does not call the closures otherwise.
/// The launch ends when the result is dropped.
pub(crate) fn begin_launch(
    device: &Device,
    path: impl FnOnce() -> Path,
    operations: impl FnOnce() -> String,
) -> OpenLaunch {
    if !is_execution_recorded() {
        return OpenLaunch {
            traced: trace::begin(device, || path().to_string(), operations),
            executed: None,
        };
    }
    let path = path().to_string();
    let operations = operations();
    let executed = LaunchId::begin(&path, &operations);
    OpenLaunch { traced: trace::begin(device, || path, || operations), executed }
}

impl OpenLaunch {
    /// Returns `true` if the thread is being traced.
    pub fn is_traced(&self) -> bool {
        self.traced.is_recorded()
    }

    /// Records that the launch also computes the deferred operation `id`.
    pub fn also_computes(&self, id: Option<DeferredId>) {
        if let (Some(launch), Some(id)) = (self.executed, id) {
            launch.add_chain(id);
        }
    }

    /// Removes the launch from all records, because nothing was computed. Launches in it remain.
    pub fn cancel(self) {
        if let Some(launch) = self.executed {
            launch.cancel();
        }
        self.traced.cancel();
    }
}
