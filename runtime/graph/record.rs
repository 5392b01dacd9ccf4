//! Records a graph on the current thread.

use std::cell::RefCell;

#[cfg(any(feature = "onnx", feature = "stablehlo"))]
use crate::scope::record_calls;
use crate::scope::{Path, SignalType};

use super::{Description, Graph, GraphOperand, MetaId, Node, Op};

thread_local! {
    static GRAPH: RefCell<Option<Graph>> = const { RefCell::new(None) };
}

/// Runs `f` and returns its result and `graph` with the operations that ran. The values of `graph` are the inputs.
#[cfg(any(feature = "onnx", feature = "stablehlo"))]
pub(crate) fn record_graph<T>(graph: Graph, f: impl FnOnce() -> T) -> (T, Graph) {
    /// Restores the outer graph on drop, even after a panic.
    struct Restore(Option<Graph>);
    impl Drop for Restore {
        fn drop(&mut self) {
            GRAPH.set(self.0.take());
        }
    }
    let _restore = Restore(GRAPH.replace(Some(graph)));
    // Operations report themselves while calls are recorded.
    let (result, _) = record_calls(f);
    (result, GRAPH.take().unwrap_or_default())
}

/// Returns `true` if the thread records a graph.
pub(crate) fn is_recorded() -> bool {
    GRAPH.with_borrow(Option::is_some)
}

/// Returns the operand that stands for a signal without numbers.
pub(crate) fn operand_of(id: MetaId) -> GraphOperand {
    let value = GRAPH.with_borrow(|graph| graph.as_ref().and_then(|graph| graph.value_of(id)));
    value.map_or(GraphOperand::Unknown, GraphOperand::Value)
}

/// Adds an operation with its results. An identity adds nothing. Another operation that returned one of its operands,
/// for example dropout in training mode on a signal without numbers, is added without results and without a
/// description.
pub(crate) fn add_node(
    description: Description<'_>,
    mut operands: Vec<Option<GraphOperand>>,
    results: Vec<(MetaId, SignalType)>,
) {
    GRAPH.with_borrow_mut(|graph| {
        let Some(graph) = graph else { return };
        let returns_operand = results.iter().any(|(id, _)| graph.value_of(*id).is_some());
        if results.is_empty() || returns_operand && description.op == Some(Op::Identity) {
            return;
        }
        let results = if returns_operand { Vec::new() } else { results };
        let outputs = results.into_iter().map(|(id, signal_type)| graph.add_value(id, signal_type)).collect();
        let parameters = description.parameters.into_iter();
        operands.extend(parameters.map(|tensor| tensor.cloned().map(GraphOperand::Tensor)));
        let Description { name, op, .. } = description;
        let op = op.filter(|_| !returns_operand);
        graph.nodes.push(Node { name, op, operands, outputs, path: Path::current().to_string() });
    });
}
