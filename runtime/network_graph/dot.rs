//! Draws a graph in the language of Graphviz.

use std::fmt::{self, Write};

use super::call_tree::{CallTree, Child};
use super::{Graph, GraphNode, format_dims};

impl Graph {
    /// Returns the graph in Graphviz's DOT language, with a cluster for each call of a module.
    ///
    /// Operations of the same launch have the same color, which is pale for a launch of one operation. An operation
    /// that could have been fused but was not has a dashed border, and the reason as its tooltip. `dot -Tsvg net.dot`
    /// draws the graph.
    ///
    /// ```
    /// use sconce::prelude::*;
    /// # fn main() -> Result<()> {
    /// let linear = Linear::config(4, 2).init(&Device::Cpu)?;
    /// let graph = linear.graph(Signal::from(Tensor::zeros((1, 4), DType::F32, &Device::Cpu)?))?;
    /// assert!(graph.to_dot().starts_with("digraph"));
    /// # Ok(())
    /// # }
    /// ```
    pub fn to_dot(&self) -> String {
        let mut dot = String::new();
        // Writing to a string does not fail.
        self.write_dot(&mut dot).ok();
        dot
    }

    fn write_dot(&self, dot: &mut String) -> fmt::Result {
        writeln!(dot, "digraph {} {{", quoted(&self.network))?;
        writeln!(
            dot,
            "  node [shape=box, style=\"rounded,filled\", fillcolor=white, fontname=\"Helvetica\"];"
        )?;
        writeln!(dot, "  graph [style=rounded, color=gray50, fontname=\"Helvetica\"];")?;
        let mut clusters = 0;
        self.write_children(dot, &CallTree::new(self), 1, &mut clusters)?;
        for edge in &self.edges {
            let shape = quoted(&format_dims(&edge.shape));
            writeln!(dot, "  n{} -> n{} [tooltip={shape}];", edge.from, edge.to)?;
        }
        writeln!(dot, "}}")
    }

    fn write_children(
        &self,
        dot: &mut String,
        call: &CallTree,
        depth: usize,
        clusters: &mut usize,
    ) -> fmt::Result {
        let indent = "  ".repeat(depth);
        for child in &call.children {
            match child {
                Child::Node { node, layer } => {
                    let attributes = self.attributes(*node, layer.as_deref());
                    writeln!(dot, "{indent}n{node} [{attributes}];")?;
                }
                Child::Call(call) => {
                    *clusters += 1;
                    writeln!(dot, "{indent}subgraph cluster_{clusters} {{")?;
                    writeln!(dot, "{indent}  label={};", quoted(&call.label(self)))?;
                    self.write_children(dot, call, depth + 1, clusters)?;
                    writeln!(dot, "{indent}}}")?;
                }
            }
        }
        Ok(())
    }

    fn attributes(&self, index: usize, layer: Option<&str>) -> String {
        let node = &self.nodes[index];
        let mut attributes = format!("label={}", quoted(&node.lines(layer).join("\n")));
        attributes.push_str(&format!(", tooltip={}", quoted(&self.tooltip(index))));
        if let Some(launch) = self.main_launch(node) {
            // Multiples of the golden ratio, so that launches in succession have different hues.
            let hue = (launch as f64 * 0.618_034).fract();
            let saturation = if self.launches[launch].nodes.len() > 1 { 0.25 } else { 0.05 };
            attributes.push_str(&format!(", fillcolor=\"{hue:.3} {saturation} 0.97\""));
        }
        if node.not_fused.is_some() {
            attributes.push_str(", style=\"rounded,filled,dashed\", color=red3");
        }
        attributes
    }

    /// Returns what a drawing says about a node: the operation, the layer, the shapes, the launches and the reason why
    /// it was not fused, each in a line.
    pub(super) fn tooltip(&self, index: usize) -> String {
        let node = &self.nodes[index];
        let mut lines = vec![node.operation.clone(), node.path.clone()];
        if !node.layer.is_empty() {
            lines.push(node.layer.clone());
        }
        let inputs = self.edges.iter().filter(|edge| edge.to == index).map(|edge| format_dims(&edge.shape));
        let inputs: Vec<String> = inputs.collect();
        if !inputs.is_empty() {
            lines.push(format!("reads {}", inputs.join(", ")));
        }
        if !node.output_shapes.is_empty() {
            lines.push(format!("returns {} ({})", node.shapes(), node.dtypes()));
        }
        lines.extend(
            node.launches
                .iter()
                .map(|&launch| format!("launch {launch}: {}", self.launches[launch].operations)),
        );
        lines.extend(node.not_fused.as_ref().map(|reason| format!("not fused: {reason}")));
        lines.join("\n")
    }
}

impl GraphNode {
    /// Returns the text of a node in a drawing: the operation, the layer, and the shapes of the results. `layer` is the
    /// name of the layer that ran only this operation.
    pub(super) fn lines(&self, layer: Option<&str>) -> Vec<String> {
        let mut lines = vec![self.operation.clone()];
        match (layer, self.layer.as_str()) {
            (None, _) => {
                // The path of a parameter ends with its name.
                let is_named = ["parameter", "buffer"].contains(&self.operation.as_str());
                lines.extend(self.path.rsplit('.').next().filter(|_| is_named).map(str::to_string));
            }
            (Some(name), "") => lines.push(name.to_string()),
            (Some(name), kind) => lines.push(format!("{name} ({kind})")),
        }
        if !self.output_shapes.is_empty() {
            lines.push(self.shapes());
        }
        lines
    }
}

impl CallTree {
    /// Returns the name and the type of a module: `layer1 (Sequential)`.
    pub(super) fn label(&self, graph: &Graph) -> String {
        match self.kind(graph) {
            "" => self.name.clone(),
            kind => format!("{} ({kind})", self.name),
        }
    }
}

/// Returns a string in the language of Graphviz.
fn quoted(text: &str) -> String {
    // `\n` begins a new line, `\\` is a backslash. All other characters stand for themselves.
    let text = text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
    format!("\"{text}\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_are_quoted() {
        assert_eq!(quoted("a \"b\"\n\\c"), "\"a \\\"b\\\"\\n\\\\c\"");
    }
}
