//! Builds a graph from a recorded run.

use std::collections::HashMap;

use candle_core::{Tensor, TensorId};

use crate::kernels::trace::Launch;
use crate::module::{Forward, Mode, Module, Visitor};
use crate::registry::Network;
use crate::scope::{
    Execution, NodeKind, Path, ValueId, add_input, add_output, format_path, record_execution,
};
use crate::signal::IntoTensors;
use crate::summary::{SummaryInput, enter_root};
use crate::{Error, Result};

use super::{Graph, GraphEdge, GraphLaunch, GraphNode};

impl Graph {
    /// Runs the network in evaluation mode and records its operations.
    pub(crate) fn new<I, M>(network: &M, input: I) -> Result<Self>
    where
        I: SummaryInput,
        M: Forward<I, Output: IntoTensors>,
    {
        check_numbers(&input)?;
        let _scope = enter_root(network);
        let names = Names::new(network);
        let (result, execution) = record_execution(|| {
            input.for_each_signal(&mut |signal| signal.value().into_iter().for_each(add_input));
            let output = network.call(input, Mode::Eval);
            output.for_each_signal(&mut |signal| signal.value().into_iter().for_each(add_output));
            output.into_tensors().map(drop)
        });
        result?;
        Ok(Self::from_execution(network.kind().into_owned(), execution, names))
    }

    fn from_execution(network: String, execution: Execution, names: Names) -> Self {
        let kept = used_nodes(&execution);
        let indices: HashMap<usize, usize> = kept.iter().enumerate().map(|(new, old)| (*old, new)).collect();
        let mut nodes: Vec<GraphNode> = kept.iter().map(|&old| names.node(&execution, old)).collect();
        let edges = kept.iter().flat_map(|&old| {
            let edge =
                |from: usize, dims: &[usize]| GraphEdge { from, to: indices[&old], shape: dims.to_vec() };
            let operands = execution.nodes[old].operands.iter();
            operands
                .filter_map(|operand| Some(edge(*indices.get(&operand.node)?, &operand.signal_type.dims)))
                .collect::<Vec<_>>()
        });
        let edges = edges.collect();
        let launches = execution.launches.iter().map(|launch| {
            let computed = execution.operations_of(launch).into_iter();
            let nodes = computed.filter_map(|old| indices.get(&old).copied()).collect();
            let (path, operations) = (launch.path.clone(), launch.operations.clone());
            let changes_layout =
                Launch { path: path.clone(), operations: operations.clone() }.changes_layout();
            GraphLaunch { path, operations, nodes, changes_layout }
        });
        let launches: Vec<GraphLaunch> = launches.collect();
        for (i, launch) in launches.iter().enumerate() {
            launch.nodes.iter().for_each(|&node| nodes[node].launches.push(i));
        }
        Self { network, nodes, edges, launches, modules: names.kinds }
    }
}

/// Returns an error if a signal of the input has no numbers.
fn check_numbers(input: &impl SummaryInput) -> Result<()> {
    let mut has_numbers = true;
    input.for_each_signal(&mut |signal| has_numbers &= !signal.is_meta());
    if has_numbers {
        return Ok(());
    }
    Err(Error::msg(
        "graph: expected inputs with numbers, found a signal that only has a shape (`Signal::meta`); which operations \
         are fused depends on the numbers of parameters and inputs and on their layouts",
    ))
}

/// Returns the nodes without the tensors that no operation reads.
fn used_nodes(execution: &Execution) -> Vec<usize> {
    let mut is_used: Vec<bool> =
        execution.nodes.iter().map(|node| !matches!(node.kind, NodeKind::Tensor(_))).collect();
    for node in &execution.nodes {
        node.operands.iter().for_each(|operand| is_used[operand.node] = true);
    }
    (0..is_used.len()).filter(|&node| is_used[node]).collect()
}

/// The names of a network's layers and tensors.
struct Names {
    /// The path of the network itself.
    root: Vec<String>,
    /// The type of each layer, by the names of the fields that lead to it.
    kinds: HashMap<Vec<String>, String>,
    /// `parameter` or `buffer`, and the path of each tensor.
    tensors: HashMap<TensorId, (&'static str, String)>,
}

impl Names {
    /// Lists the names of a network. The network must be at the current path.
    fn new<M: Network>(network: &M) -> Self {
        let mut lister = KindLister { kinds: HashMap::new(), path: Vec::new() };
        lister.push(network);
        let tensors = |kind: &'static str, named: Vec<(String, Tensor)>| {
            named.into_iter().map(move |(path, tensor)| (tensor.id(), (kind, path)))
        };
        let parameters = tensors("parameter", network.named_parameters());
        let tensors = parameters.chain(tensors("buffer", network.buffers())).collect();
        Self { root: Path::current().names(), kinds: lister.kinds, tensors }
    }

    fn node(&self, execution: &Execution, index: usize) -> GraphNode {
        let node = &execution.nodes[index];
        let path = node.path.names();
        // The layer of another network has the path of its caller, which begins with the root.
        let names = path.strip_prefix(&self.root[..]).unwrap_or(&path).to_vec();
        let is_operation = matches!(node.kind, NodeKind::Operation(_));
        let layer = self.kinds.get(&names).filter(|_| is_operation).cloned().unwrap_or_default();
        let mut path = node.path.to_string();
        let operation = match node.kind {
            NodeKind::Input => "input",
            NodeKind::Output => "output",
            NodeKind::Operation(name) => name,
            NodeKind::Tensor(id) => match self.tensor(id) {
                None => "tensor",
                Some((kind, name)) => {
                    let segments = name.split('.').map(str::to_string);
                    path = format_path(&self.root.iter().cloned().chain(segments).collect::<Vec<_>>());
                    kind
                }
            },
        };
        GraphNode {
            operation: operation.to_string(),
            path,
            layer,
            output_shapes: node.outputs.iter().map(|output| output.dims.clone()).collect(),
            output_dtypes: node.outputs.iter().map(|output| output.dtype.as_str().to_string()).collect(),
            launches: Vec::new(),
            not_fused: node.not_fused.clone(),
            names,
        }
    }

    fn tensor(&self, id: ValueId) -> Option<(&'static str, &str)> {
        let ValueId::Tensor(id) = id else { return None };
        self.tensors.get(&id).map(|(kind, path)| (*kind, path.as_str()))
    }
}

/// A visitor that lists the types of all modules by the names of the fields that lead to them.
struct KindLister {
    kinds: HashMap<Vec<String>, String>,
    path: Vec<String>,
}

impl KindLister {
    fn push(&mut self, module: &dyn Module) {
        self.kinds.insert(self.path.clone(), module.kind().into_owned());
        module.visit_fields(self);
    }
}

impl<'a> Visitor<'a> for KindLister {
    fn parameter(&mut self, _: &str, _: &'a Tensor) {}

    fn buffer(&mut self, _: &str, _: &'a Tensor) {}

    fn child(&mut self, name: &str, child: &'a dyn Module) {
        if child.is_present() {
            self.path.push(name.to_string());
            self.push(child);
            self.path.pop();
        }
    }
}
