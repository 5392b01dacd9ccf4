//! Prints a profile as a table.

use std::fmt;

use crate::text_table::{NONE, write_rows};

use super::{LaunchProfile, Profile};

const HEADER: [&str; 6] = ["Layer", "Operations", "Time (ms)", "Share", "GFLOP/s", "GB/s"];

/// Prints the launches in their order, the time outside of launches, and the totals. A launch that only changes a
/// layout is marked with `*`.
impl fmt::Display for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let header = HEADER.map(str::to_string);
        let rows = [header].into_iter().chain(self.launches.iter().map(row)).chain([self.outside_row()]);
        let line = write_rows(f, 2, rows)?;
        writeln!(f, "Time (ms): {:.3}, sum of the medians of {} runs", self.milliseconds, self.runs)?;
        writeln!(f, "Launches: {}", self.launches.len())?;
        let changes = self.launches.iter().filter(|launch| launch.changes_layout).count();
        writeln!(f, "Layout changes (*): {changes}, {:.3} ms", self.layout_milliseconds())?;
        writeln!(f, "GFLOP/s: {}", number(self.gigaflops_per_second()))?;
        writeln!(f, "GB/s: {}", number(self.gigabytes_per_second()))?;
        write!(f, "{line}")
    }
}

impl Profile {
    fn outside_row(&self) -> [String; 6] {
        let time = format!("{:.3}", self.outside_milliseconds);
        let share = percent(self.outside_share());
        ["outside of launches".to_string(), NONE.to_string(), time, share, NONE.to_string(), NONE.to_string()]
    }
}

fn row(launch: &LaunchProfile) -> [String; 6] {
    let mark = if launch.changes_layout { " *" } else { "" };
    [
        launch.path.clone(),
        format!("{}{mark}", launch.operations),
        format!("{:.3}", launch.milliseconds),
        percent(launch.share),
        number(launch.gigaflops_per_second()),
        number(launch.gigabytes_per_second()),
    ]
}

fn percent(share: f64) -> String {
    format!("{:.1}%", share * 100.)
}

fn number(rate: Option<f64>) -> String {
    rate.map_or_else(|| NONE.to_string(), |rate| format!("{rate:.1}"))
}
