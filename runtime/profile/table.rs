//! Prints a profile as a table.

use std::fmt;

use crate::text_table::{Align, NONE, write_table};

use super::{LaunchProfile, Profile};

const COLUMNS: [(&str, Align); 6] = [
    ("Layer", Align::Left),
    ("Operations", Align::Left),
    ("Time (ms)", Align::Right),
    ("Share", Align::Right),
    ("GFLOP/s", Align::Right),
    ("GB/s", Align::Right),
];

/// Prints the launches in their order, the time outside of launches, and the totals. A launch that only changes a
/// layout is marked with `*`.
impl fmt::Display for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rows: Vec<Vec<String>> = self.launches.iter().map(row).chain([self.outside_row()]).collect();
        let line = write_table(f, &COLUMNS, &rows)?;
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
    fn outside_row(&self) -> Vec<String> {
        let time = format!("{:.3}", self.outside_milliseconds);
        let share = percent(self.outside_share());
        let none = NONE.to_string();
        vec!["outside of launches".to_string(), none.clone(), time, share, none.clone(), none]
    }
}

fn row(launch: &LaunchProfile) -> Vec<String> {
    let mark = if launch.changes_layout { " *" } else { "" };
    vec![
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
