//! The calls of modules in a graph, as a tree: the boxes of a drawing.

use super::Graph;

/// A call of a module, with everything that ran in it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct CallTree {
    /// The name of the field, or the index of the element. For the network itself, its type.
    pub name: String,
    /// The names that lead to the module.
    names: Vec<String>,
    pub children: Vec<Child>,
}

/// A part of a call, in the order of execution.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Child {
    /// A node. `layer` is the name of the layer that ran only this operation.
    Node {
        node: usize,
        layer: Option<String>,
    },
    Call(CallTree),
}

impl CallTree {
    /// Returns the calls of a graph. Operations belong to the same call as long as no operation outside of the module
    /// runs. Two calls in succession therefore become one, and calls never overlap.
    pub fn new(graph: &Graph) -> Self {
        let mut root = Self { name: graph.network.clone(), names: Vec::new(), children: Vec::new() };
        for (index, node) in graph.nodes.iter().enumerate() {
            root.add(index, &node.names);
        }
        root.children = root.children.into_iter().map(Child::without_single_calls).collect();
        root
    }

    /// Adds a node that runs after all nodes of this call. `rest` leads from this module to that of the node.
    fn add(&mut self, node: usize, rest: &[String]) {
        let Some((name, rest)) = rest.split_first() else {
            self.children.push(Child::Node { node, layer: None });
            return;
        };
        let is_same_call = matches!(self.children.last(), Some(Child::Call(call)) if call.name == *name);
        if !is_same_call {
            let names = [&self.names[..], std::slice::from_ref(name)].concat();
            self.children.push(Child::Call(Self { name: name.clone(), names, children: Vec::new() }));
        }
        if let Some(Child::Call(call)) = self.children.last_mut() {
            call.add(node, rest);
        }
    }

    /// Returns the type of the module, or an empty string if it is unknown.
    pub fn kind<'a>(&self, graph: &'a Graph) -> &'a str {
        graph.modules.get(&self.names).map_or("", String::as_str)
    }
}

impl Child {
    /// Replaces a call that ran one operation with this operation.
    fn without_single_calls(self) -> Self {
        let Self::Call(mut call) = self else { return self };
        call.children = call.children.into_iter().map(Self::without_single_calls).collect();
        match &call.children[..] {
            [Self::Node { node, layer: None }] => Self::Node { node: *node, layer: Some(call.name) },
            _ => Self::Call(call),
        }
    }
}
