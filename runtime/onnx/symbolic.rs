//! A graph whose sizes depend on the batch size, from the graphs of several runs.

use std::fmt;

use candle_core::{DType, Tensor};
use safetensors::View as _;

use crate::graph::{Graph, GraphOperand, Node};
use crate::{Error, Result};

use super::proto::data_type;

/// The batch sizes of the runs. A run with a batch of one example could not tell the batch from a dimension of size 1.
pub(super) const BATCHES: [usize; 3] = [2, 3, 5];

/// The graph of one run and its outputs. The first values of the graph are the inputs.
pub(super) struct Trace {
    pub graph: Graph,
    pub inputs: usize,
    pub outputs: Vec<GraphOperand>,
}

/// A graph for any batch size.
pub(super) struct SymbolicGraph {
    pub values: Vec<ValueType>,
    pub inputs: usize,
    pub nodes: Vec<SymbolicNode>,
    pub outputs: Vec<SymbolicOperand>,
}

/// The shape and the dtype of a value.
#[derive(Clone, Debug)]
pub(super) struct ValueType {
    pub dims: Vec<Size>,
    pub dtype: DType,
}

/// An operation and its operands.
pub(super) struct SymbolicNode {
    pub node: Node,
    pub operands: Vec<Option<SymbolicOperand>>,
}

#[derive(Clone)]
pub(super) enum SymbolicOperand {
    Value(usize),
    /// A constant. With sizes, it repeats along the dimensions that depend on the batch size.
    Tensor(Tensor, Option<Vec<Size>>),
}

/// The size of a dimension: `per_example · batch + fixed`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Size {
    pub per_example: i64,
    pub fixed: i64,
}

impl Size {
    pub fn fixed(size: usize) -> Self {
        Self { per_example: 0, fixed: size as i64 }
    }

    /// Returns the size from the sizes in the runs, or `None` if it is no linear function of the batch size.
    fn from_runs(sizes: [usize; 3]) -> Option<Self> {
        let [first, second, third] = sizes.map(|size| size as i64);
        let [first_batch, second_batch, third_batch] = BATCHES.map(|batch| batch as i64);
        let per_example = (second - first) / (second_batch - first_batch);
        let fixed = first - per_example * first_batch;
        let size = Self { per_example, fixed };
        (size.at(second_batch) == second && size.at(third_batch) == third).then_some(size)
    }

    fn at(self, batch: i64) -> i64 {
        self.per_example * batch + self.fixed
    }

    /// Returns the size if it does not depend on the batch size.
    pub fn constant(self) -> Option<usize> {
        usize::try_from(self.fixed).ok().filter(|_| self.per_example == 0)
    }

    /// Returns the size, or an error that an operation needs to know it.
    pub fn known(self) -> Result<usize> {
        self.constant().ok_or_else(|| Error::msg("expected a size that does not depend on the batch size"))
    }
}

/// Writes a constant size as a number, and others as `batch`, `4*batch` or `batch+1`.
impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { per_example, fixed } = self;
        match per_example {
            0 => return fixed.fmt(f),
            1 => f.write_str("batch")?,
            factor => write!(f, "{factor}*batch")?,
        }
        if *fixed == 0 { Ok(()) } else { write!(f, "{fixed:+}") }
    }
}

impl ValueType {
    /// Returns the type of a tensor.
    pub fn of(tensor: &Tensor) -> Self {
        Self { dims: tensor.dims().iter().map(|size| Size::fixed(*size)).collect(), dtype: tensor.dtype() }
    }
}

impl SymbolicGraph {
    /// Combines the graphs of the runs with the batch sizes [`BATCHES`].
    pub fn new([first, second, third]: [Trace; 3]) -> Result<Self> {
        first.graph.nodes.iter().try_for_each(check_description)?;
        let structure =
            |trace: &Trace| (trace.graph.values.len(), trace.graph.nodes.len(), trace.outputs.len());
        if structure(&second) != structure(&first) || structure(&third) != structure(&first) {
            return Err(differs("other operations"));
        }
        let values = (0..first.graph.values.len())
            .map(|i| {
                let types = [&first, &second, &third].map(|trace| &trace.graph.values[i]);
                let dims = sizes(types.map(|value| value.dims.as_slice()));
                Ok(ValueType {
                    dims: dims.ok_or_else(|| differs("a shape that is no linear function of it"))?,
                    dtype: types[0].dtype,
                })
            })
            .collect::<Result<Vec<_>>>()?;
        let outputs = (0..first.outputs.len())
            .map(|i| operand([&first, &second, &third].map(|trace| &trace.outputs[i])))
            .collect::<Result<Vec<_>>>()?;
        let others = second.graph.nodes.iter().zip(&third.graph.nodes);
        let nodes = first.graph.nodes.into_iter().zip(others);
        let nodes = nodes.map(|(node, (second, third))| symbolic_node(node, [second, third]));
        Ok(Self { values, inputs: first.inputs, nodes: nodes.collect::<Result<_>>()?, outputs })
    }
}

/// Checks that an operation says what it computes.
fn check_description(node: &Node) -> Result<()> {
    if node.op.is_some() && !node.outputs.is_empty() {
        return Ok(());
    }
    let error = Error::msg(format!("the operation `{}` cannot be exported to ONNX yet", node.name));
    Err(error.in_layer(node.name).at(&node.path))
}

fn symbolic_node(node: Node, others: [&Node; 2]) -> Result<SymbolicNode> {
    let is_same = |other: &Node| {
        (other.name, &other.op, &other.outputs) == (node.name, &node.op, &node.outputs)
            && other.operands.len() == node.operands.len()
    };
    let at_node = |error: Error| error.in_layer(node.name).at(&node.path);
    if !others.iter().all(|other| is_same(other)) {
        return Err(at_node(differs("an operation whose settings depend on it")));
    }
    let operands = (0..node.operands.len()).map(|i| {
        let operands = [&node, others[0], others[1]].map(|node| node.operands[i].as_ref());
        match operands {
            [None, None, None] => Ok(None),
            [Some(a), Some(b), Some(c)] => operand([a, b, c]).map(Some),
            _ => Err(differs("an operand that depends on it")),
        }
    });
    let operands = operands.collect::<Result<_>>().map_err(at_node)?;
    Ok(SymbolicNode { operands, node })
}

/// Combines an operand of the same operation in all runs.
fn operand(runs: [&GraphOperand; 3]) -> Result<SymbolicOperand> {
    match runs {
        [GraphOperand::Value(a), GraphOperand::Value(b), GraphOperand::Value(c)] if a == b && b == c => {
            Ok(SymbolicOperand::Value(*a))
        }
        [GraphOperand::Tensor(a), GraphOperand::Tensor(b), GraphOperand::Tensor(c)] => constant([a, b, c]),
        _ if runs.iter().any(|operand| matches!(operand, GraphOperand::Unknown)) => Err(Error::msg(
            "expected operands that are inputs of the network or results of its operations, found a signal without \
             numbers from elsewhere",
        )),
        _ => Err(differs("an operand that depends on it")),
    }
}

/// Combines a constant in all runs: the same numbers, or the same numbers for each example of the batch.
fn constant(runs: [&Tensor; 3]) -> Result<SymbolicOperand> {
    let [first, second, third] = runs;
    data_type(first.dtype())?;
    if first.id() == second.id() && first.id() == third.id() {
        return Ok(SymbolicOperand::Tensor(first.clone(), None));
    }
    let dims = sizes(runs.map(Tensor::dims)).ok_or_else(|| differs("a constant that depends on it"))?;
    let of_one_example = runs.map(|tensor| without_repetition(tensor, &dims));
    let [Some(first), Some(second), Some(third)] = of_one_example else {
        return Err(differs("a constant that depends on it"));
    };
    if first.dtype() != second.dtype() || !(has_same_bytes(&first, &second) && has_same_bytes(&first, &third))
    {
        return Err(differs("a constant that depends on it"));
    }
    let repeats = dims.iter().any(|size| size.constant().is_none());
    Ok(SymbolicOperand::Tensor(first, repeats.then_some(dims)))
}

/// Returns the first of the equal parts of a tensor along the dimensions that depend on the batch size, or `None` if
/// the parts are not equal.
fn without_repetition(tensor: &Tensor, dims: &[Size]) -> Option<Tensor> {
    let mut part = tensor.clone();
    for (dim, size) in dims.iter().enumerate() {
        if size.constant().is_none() {
            part = part.narrow(dim, 0, 1).ok()?;
        }
    }
    let repeated = part.broadcast_as(tensor.shape()).ok()?;
    has_same_bytes(&repeated.contiguous().ok()?, tensor).then_some(part)
}

fn has_same_bytes(a: &Tensor, b: &Tensor) -> bool {
    a.data() == b.data()
}

/// Returns the sizes of a shape from its sizes in the runs.
fn sizes(runs: [&[usize]; 3]) -> Option<Vec<Size>> {
    let rank = runs[0].len();
    let is_same_rank = runs.iter().all(|dims| dims.len() == rank);
    let sizes = (0..rank).map(|i| Size::from_runs(runs.map(|dims| dims.get(i).copied().unwrap_or_default())));
    sizes.collect::<Option<_>>().filter(|_| is_same_rank)
}

fn differs(what: &str) -> Error {
    Error::msg(format!("expected the same operations and constants for each batch size, found {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_linear_functions_of_the_batch_size() {
        let text = |sizes| Size::from_runs(sizes).map(|size| size.to_string());
        assert_eq!(text([7, 7, 7]).as_deref(), Some("7"));
        assert_eq!(text(BATCHES).as_deref(), Some("batch"));
        assert_eq!(text(BATCHES.map(|batch| 4 * batch)).as_deref(), Some("4*batch"));
        assert_eq!(text(BATCHES.map(|batch| 2 * batch - 1)).as_deref(), Some("2*batch-1"));
        assert_eq!(text(BATCHES.map(|batch| batch * batch)), None);
        assert_eq!(text(BATCHES.map(|batch| batch.min(4))), None);
    }
}
