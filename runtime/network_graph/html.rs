//! Draws a graph as a page.

use serde_json::{Value, json};

use super::Graph;
use super::call_tree::{CallTree, Child};

const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");

impl Graph {
    /// Returns the graph as a page for a browser, which needs no other file and no network.
    ///
    /// The page draws modules as boxes, which fold and unfold with a click or with the Enter key. Operations of the
    /// same launch have the same color. An operation that could have been fused but was not has a dashed border. A
    /// tooltip has the shapes, the launches, and the reason. The colors follow the light or dark mode of the browser.
    ///
    /// ```no_run
    /// use sconce::prelude::*;
    /// # fn main() -> Result<()> {
    /// let linear = Linear::config(4, 2).init(&Device::Cpu)?;
    /// let graph = linear.graph(Signal::from(Tensor::zeros((1, 4), DType::F32, &Device::Cpu)?))?;
    /// std::fs::write("net.html", graph.to_html()).map_err(Error::msg)?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn to_html(&self) -> String {
        // In a script, `<` could end the element.
        let data = self.page_data().to_string().replace('<', "\\u003c");
        format!(
            include_str!("page.html"),
            title = escaped(&self.network),
            style = STYLE,
            data = data,
            script = SCRIPT
        )
    }

    fn page_data(&self) -> Value {
        let nodes: Vec<Value> = (0..self.nodes.len()).map(|node| self.page_node(node)).collect();
        let edges: Vec<Value> = self.edges.iter().map(|edge| json!([edge.from, edge.to])).collect();
        let calls = CallTree::new(self);
        json!({
            "network": self.network,
            "launches": self.launches.len(),
            "nodes": nodes,
            "edges": edges,
            "children": self.page_children(&calls),
        })
    }

    fn page_node(&self, index: usize) -> Value {
        let node = &self.nodes[index];
        let launch = self.main_launch(node);
        let is_shared = launch.is_some_and(|launch| self.launches[launch].nodes.len() > 1);
        json!({
            "launch": launch,
            "fused": is_shared,
            "operation": node.is_operation(),
            "refused": node.not_fused.is_some(),
            "tooltip": self.tooltip(index),
        })
    }

    fn page_children(&self, call: &CallTree) -> Value {
        let children = call.children.iter().map(|child| match child {
            Child::Node { node, layer } => {
                json!({ "node": node, "lines": self.nodes[*node].lines(layer.as_deref()) })
            }
            Child::Call(call) => {
                let label = call.label(self);
                json!({ "label": label, "children": self.page_children(call) })
            }
        });
        children.collect()
    }
}

/// Escapes text for the content of an HTML element.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    #[test]
    fn text_cannot_end_the_elements_around_it() {
        let network = "</script><b>&".to_string();
        let graph = Graph {
            network,
            nodes: Vec::new(),
            edges: Vec::new(),
            launches: Vec::new(),
            modules: HashMap::new(),
        };
        let page = graph.to_html();
        assert!(page.contains("<h1>&lt;/script&gt;&lt;b&gt;&amp;</h1>"));
        assert!(page.contains(r#""network":"\u003c/script>\u003cb>&""#));
        assert_eq!(page.matches("</script>").count(), 2);
    }
}
