//! Writes a profile as a trace for Chrome.

use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use crate::checkpoint::write_atomically;
use crate::{Error, Result};

use super::{LaunchProfile, Profile};

impl Profile {
    /// Writes one run as a JSON file in Chrome's trace event format, which `chrome://tracing` and
    /// [Perfetto](https://ui.perfetto.dev) show. Of the measured runs, it is the one with the median time.
    ///
    /// The forward pass and each launch are complete events, with `ts` and `dur` in microseconds. The name of a launch
    /// is its operations. Its arguments are the path of the layer, the multiply-adds and the bytes. The category is
    /// `layout` for a launch that only changes a layout, and `launch` for the others. The file is replaced atomically.
    ///
    /// # Examples
    /// ```
    /// use sconce::prelude::*;
    /// # fn main() -> Result<()> {
    /// # let directory = tempfile::tempdir()?;
    /// # let path = directory.path().join("trace.json");
    /// let linear = Linear::config(4, 2).init(&Device::Cpu)?;
    /// let x = Tensor::zeros((1, 4), DType::F32, &Device::Cpu)?;
    /// linear.profile(Signal::from(x))?.write_chrome_trace(&path)?;
    /// assert!(std::fs::read_to_string(&path)?.contains("linear + bias"));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// Fails if the file cannot be written.
    pub fn write_chrome_trace(&self, path: impl AsRef<Path>) -> Result<()> {
        let trace = self.chrome_trace();
        write_atomically(path, |file| serde_json::to_writer(file, &trace).map_err(Error::msg))
    }

    fn chrome_trace(&self) -> Value {
        let forward = event(&self.network, "forward", Duration::ZERO, self.run_time, json!({}));
        let events: Vec<Value> =
            std::iter::once(forward).chain(self.launches.iter().map(LaunchProfile::event)).collect();
        json!({ "displayTimeUnit": "ms", "traceEvents": events })
    }
}

impl LaunchProfile {
    fn event(&self) -> Value {
        let category = if self.changes_layout { "layout" } else { "launch" };
        let arguments = json!({
            "path": self.path,
            "multiply_adds": self.multiply_adds,
            "bytes_read": self.bytes_read,
            "bytes_written": self.bytes_written,
        });
        event(&self.operations, category, self.start, self.duration, arguments)
    }
}

/// Returns a complete event.
fn event(name: &str, category: &str, start: Duration, duration: Duration, arguments: Value) -> Value {
    let microseconds = |time: Duration| time.as_secs_f64() * 1e6;
    json!({
        "name": name,
        "cat": category,
        "ph": "X",
        "ts": microseconds(start),
        "dur": microseconds(duration),
        "pid": 1,
        "tid": 1,
        "args": arguments,
    })
}
