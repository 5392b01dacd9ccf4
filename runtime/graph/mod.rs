//! The operations of a symbolic run as a graph.
//!
//! While a graph is recorded, every operation on signals adds a [`Node`] that says what the operation is ([`Op`]) and
//! which operands it has. Each signal without numbers has an id, by which later operations find the value that it
//! stands for. Signals and tensors with numbers are constants.

mod op;
mod record;
mod view;

pub(crate) use op::{Comparison, Description, MultiheadAttention, Op, Recurrent, Reduction};
#[cfg(any(feature = "onnx", feature = "stablehlo"))]
pub(crate) use record::record_graph;
pub(crate) use record::{add_node, is_recorded, operand_of};
pub(crate) use view::View;

use std::collections::HashMap;

use candle_core::Tensor;

use crate::scope::SignalType;

/// The operations of one run, in the order in which they ran.
#[derive(Debug, Default)]
pub(crate) struct Graph {
    /// The shape and the dtype of every input and of every result.
    pub values: Vec<SignalType>,
    pub nodes: Vec<Node>,
    by_signal: HashMap<MetaId, usize>,
}

/// One operation.
#[derive(Debug)]
pub(crate) struct Node {
    /// The name of the operation in traces.
    pub name: &'static str,
    /// The description of the operation, if it has one.
    pub op: Option<Op>,
    /// The operands, in the order that [`Op`] states. Missing optional operands are `None`.
    pub operands: Vec<Option<GraphOperand>>,
    /// The indices of the results in [`Graph::values`].
    pub outputs: Vec<usize>,
    /// The path of the layer that ran the operation.
    pub path: String,
}

/// An operand of an operation.
#[derive(Clone, Debug)]
pub(crate) enum GraphOperand {
    /// An input of the network or the result of an operation: an index into [`Graph::values`].
    Value(usize),
    /// A parameter, a buffer or a constant.
    Tensor(Tensor),
    /// A signal without numbers that no recorded operation computed.
    Unknown,
}

/// The identity of a signal without numbers. Its clones have the same identity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct MetaId(u64);

impl MetaId {
    /// Returns an id that no other signal has.
    pub fn new() -> Self {
        use std::sync::atomic::{AtomicU64, Ordering};
        static NEXT: AtomicU64 = AtomicU64::new(0);
        Self(NEXT.fetch_add(1, Ordering::Relaxed))
    }
}

impl Graph {
    /// Adds a value for the signal with this id.
    pub fn add_value(&mut self, id: MetaId, signal_type: SignalType) -> usize {
        self.values.push(signal_type);
        self.by_signal.insert(id, self.values.len() - 1);
        self.values.len() - 1
    }

    /// Returns the value that a signal without numbers stands for.
    pub fn value_of(&self, id: MetaId) -> Option<usize> {
        self.by_signal.get(&id).copied()
    }
}
