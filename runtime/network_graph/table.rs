//! Prints the fusion plan of a graph.

use std::fmt;

use super::{Graph, GraphNode};

/// Prints the launches in the order in which they began. The first row of a launch has its number and first operation.
/// The operations that were fused follow after a `+`. `*` marks a launch that only changes a layout. Below an operation
/// that could have been fused, a line has the reason why it was not. Operations that needed no launch, such as views,
/// follow after the launches.
impl fmt::Display for Graph {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rows = self.rows();
        let widths: [usize; 4] = std::array::from_fn(|column| {
            rows.iter().filter_map(Row::cells).map(|cells| cells[column].chars().count()).max().unwrap_or(0)
        });
        let line = "=".repeat(widths.iter().sum::<usize>() + 2 * (widths.len() - 1));
        writeln!(f, "{line}")?;
        for (i, row) in rows.iter().enumerate() {
            match row {
                Row::Cells(cells) => {
                    let cells = cells.iter().zip(widths).map(|(text, width)| format!("{text:width$}"));
                    writeln!(f, "{}", cells.collect::<Vec<_>>().join("  ").trim_end())?;
                }
                Row::Reason(reason) => {
                    writeln!(f, "{:width$}    not fused: {reason}", "", width = widths[0] + 2)?
                }
            }
            if i == 0 {
                writeln!(f, "{line}")?;
            }
        }
        writeln!(f, "{line}")?;
        let changes = self.launches.iter().filter(|launch| launch.changes_layout).count();
        writeln!(f, "Operations: {}", self.nodes.iter().filter(|node| node.is_operation()).count())?;
        writeln!(f, "Launches: {}", self.launches.len())?;
        writeln!(f, "Layout changes (*): {changes}")?;
        writeln!(f, "Not fused: {}", self.not_fused().count())?;
        write!(f, "{line}")
    }
}

/// A line of the table.
enum Row {
    /// The launch, the operation, the layer and the shape of the result.
    Cells([String; 4]),
    Reason(String),
}

impl Row {
    fn cells(&self) -> Option<&[String; 4]> {
        match self {
            Self::Cells(cells) => Some(cells),
            Self::Reason(_) => None,
        }
    }
}

impl Graph {
    fn rows(&self) -> Vec<Row> {
        let header = ["Launch", "Operation", "Layer", "Output Shape"].map(str::to_string);
        let mut rows = vec![Row::Cells(header)];
        for launch in 0..self.launches.len() {
            self.add_launch(&mut rows, launch);
        }
        let has_no_launch = |node: &&GraphNode| node.is_operation() && self.main_launch(node).is_none();
        for node in self.nodes.iter().filter(has_no_launch) {
            rows.push(Row::Cells(["--".to_string(), node.operation.clone(), node.label(), node.shapes()]));
        }
        rows
    }

    fn add_launch(&self, rows: &mut Vec<Row>, index: usize) {
        let launch = &self.launches[index];
        let is_main = |node: &&usize| self.main_launch(&self.nodes[**node]) == Some(index);
        let computed: Vec<&GraphNode> =
            launch.nodes.iter().filter(is_main).map(|&node| &self.nodes[node]).collect();
        if computed.is_empty() {
            let mark = if launch.changes_layout { " *" } else { "" };
            let operation = format!("{}{mark}", launch.operations);
            rows.push(Row::Cells([index.to_string(), operation, launch.path.clone(), String::new()]));
        }
        for (i, node) in computed.into_iter().enumerate() {
            let (number, plus) = if i == 0 { (index.to_string(), "") } else { (String::new(), "+ ") };
            let operation = format!("{plus}{}", node.operation);
            rows.push(Row::Cells([number, operation, node.label(), node.shapes()]));
            rows.extend(node.not_fused.as_ref().map(|reason| Row::Reason(reason.to_string())));
        }
    }
}

impl GraphNode {
    /// Returns the path and the type of the layer: `Net.conv (Conv2d)`.
    fn label(&self) -> String {
        match self.layer.as_str() {
            "" => self.path.clone(),
            layer => format!("{} ({layer})", self.path),
        }
    }
}
