//! A graph with named sizes, combined from the graphs of several runs.

use candle_core::{DType, Tensor};
use safetensors::View as _;

use crate::export::{Trace, check_description, unknown_operand};
use crate::graph::{Graph, GraphOperand, Node};
use crate::symbolic::Plan;
pub(super) use crate::symbolic::Polynomial as Size;
use crate::{Error, Result};

use super::proto::data_type;

/// A graph that is valid for all values of the named sizes.
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
    /// A constant. If the sizes are `Some`, the tensor has size 1 in each dimension with a named size, along which it
    /// is broadcast.
    Tensor(Tensor, Option<Vec<Size>>),
    Progression(ArithmeticProgression),
}

/// A constant of integers `start, start + step, …`, with one named size. The other sizes are 1.
#[derive(Clone)]
pub(super) struct ArithmeticProgression {
    pub dims: Vec<Size>,
    pub count: Size,
    pub start: i64,
    pub step: i64,
    pub dtype: DType,
}

impl ValueType {
    /// Returns the type of a tensor.
    pub fn of(tensor: &Tensor) -> Self {
        Self { dims: tensor.dims().iter().map(|size| Size::constant(*size)).collect(), dtype: tensor.dtype() }
    }
}

impl SymbolicGraph {
    /// Combines the graphs of the runs of `plan`.
    pub fn new(plan: &Plan, mut traces: Vec<Trace>) -> Result<Self> {
        traces[0].graph.nodes.iter().try_for_each(|node| check_description(node, "ONNX"))?;
        let structure =
            |trace: &Trace| (trace.graph.values.len(), trace.graph.nodes.len(), trace.outputs.len());
        if traces.iter().any(|trace| structure(trace) != structure(&traces[0])) {
            return Err(differs("other operations"));
        }
        let values = (0..traces[0].graph.values.len())
            .map(|i| {
                let dims: Vec<&[usize]> =
                    traces.iter().map(|trace| &trace.graph.values[i].dims[..]).collect();
                Ok(ValueType {
                    dims: fit(plan, &dims, &traces[0].graph, i)?,
                    dtype: traces[0].graph.values[i].dtype,
                })
            })
            .collect::<Result<Vec<_>>>()?;
        let outputs = (0..traces[0].outputs.len())
            .map(|i| operand(plan, &traces.iter().map(|trace| &trace.outputs[i]).collect::<Vec<_>>()))
            .collect::<Result<Vec<_>>>()?;
        let first = traces.remove(0);
        let nodes = first.graph.nodes.into_iter().enumerate().map(|(i, node)| {
            let others: Vec<&Node> = traces.iter().map(|trace| &trace.graph.nodes[i]).collect();
            symbolic_node(plan, node, &others)
        });
        Ok(Self { values, inputs: first.inputs, nodes: nodes.collect::<Result<_>>()?, outputs })
    }
}

/// Returns the shape of a value from its shapes in the runs.
fn fit(plan: &Plan, runs: &[&[usize]], graph: &Graph, value: usize) -> Result<Vec<Size>> {
    plan.fit_dims(runs).ok_or_else(|| {
        let error = plan.misfit(runs);
        match graph.nodes.iter().find(|node| node.outputs.contains(&value)) {
            Some(node) => error.in_layer(node.name).at(&node.path),
            None => error,
        }
    })
}

/// Combines a node of the first run with `others`, its counterparts in the other runs.
fn symbolic_node(plan: &Plan, node: Node, others: &[&Node]) -> Result<SymbolicNode> {
    let is_same = |other: &Node| {
        (other.name, &other.op, &other.outputs) == (node.name, &node.op, &node.outputs)
            && other.operands.len() == node.operands.len()
    };
    let at_node = |error: Error| error.in_layer(node.name).at(&node.path);
    if !others.iter().all(|other| is_same(other)) {
        return Err(at_node(differs("an operation whose settings depend on a named size")));
    }
    let operands = (0..node.operands.len()).map(|i| {
        let runs = [&node].into_iter().chain(others.iter().copied()).map(|node| node.operands[i].as_ref());
        let present: Vec<&GraphOperand> = runs.flatten().collect();
        match present.len() {
            0 => Ok(None),
            count if count == others.len() + 1 => operand(plan, &present).map(Some),
            _ => Err(differs("an operand that depends on a named size")),
        }
    });
    let operands = operands.collect::<Result<_>>().map_err(at_node)?;
    Ok(SymbolicNode { operands, node })
}

/// Combines the values of an operand in the runs.
fn operand(plan: &Plan, runs: &[&GraphOperand]) -> Result<SymbolicOperand> {
    if runs.iter().any(|operand| matches!(operand, GraphOperand::Unknown)) {
        return Err(unknown_operand());
    }
    let value =
        |operand: &&GraphOperand| if let GraphOperand::Value(value) = operand { Some(*value) } else { None };
    let values: Vec<usize> = runs.iter().filter_map(value).collect();
    let tensor = |operand: &&'_ GraphOperand| {
        if let GraphOperand::Tensor(tensor) = operand { Some(tensor.clone()) } else { None }
    };
    let tensors: Vec<Tensor> = runs.iter().filter_map(tensor).collect();
    match (&values[..], &tensors[..]) {
        ([value, others @ ..], []) if others.iter().all(|other| other == value) => {
            Ok(SymbolicOperand::Value(*value))
        }
        ([], tensors) => constant(plan, tensors),
        _ => Err(differs("an operand that depends on a named size")),
    }
}

/// Combines the values of a constant in the runs. They must be equal, repeat along dimensions with named sizes, or be
/// an arithmetic progression.
fn constant(plan: &Plan, runs: &[Tensor]) -> Result<SymbolicOperand> {
    let first = &runs[0];
    data_type(first.dtype())?;
    if runs.iter().all(|tensor| tensor.id() == first.id()) {
        return Ok(SymbolicOperand::Tensor(first.clone(), None));
    }
    let dims = plan.fit_dims(&runs.iter().map(Tensor::dims).collect::<Vec<_>>());
    if let Some(progression) = dims.as_ref().and_then(|dims| progression(runs, dims)) {
        return Ok(SymbolicOperand::Progression(progression));
    }
    let parts = dims.and_then(|dims: Vec<Size>| {
        let parts = runs.iter().map(|tensor| without_repetition(tensor, &dims));
        Some((parts.collect::<Option<Vec<_>>>()?, dims))
    });
    let Some((parts, dims)) = parts else { return Err(differs("a constant that depends on a named size")) };
    let first = &parts[0];
    if parts.iter().any(|part| part.dtype() != first.dtype() || !has_same_bytes(part, first)) {
        return Err(differs("a constant that depends on a named size"));
    }
    let repeats = dims.iter().any(|size| size.number().is_none());
    Ok(SymbolicOperand::Tensor(first.clone(), repeats.then_some(dims)))
}

/// Returns the arithmetic progression that a constant is in all runs, or `None` if it is none.
fn progression(runs: &[Tensor], dims: &[Size]) -> Option<ArithmeticProgression> {
    let named: Vec<Size> = dims.iter().copied().filter(|size| size.number().is_none()).collect();
    let others = dims.iter().filter_map(|size| size.number());
    let dtype = runs[0].dtype();
    let is_vector = named.len() == 1 && others.into_iter().all(|size| size == 1);
    if !is_vector || dtype.is_float() || runs.iter().any(|tensor| tensor.dtype() != dtype) {
        return None;
    }
    let numbers =
        |tensor: &Tensor| tensor.to_dtype(DType::I64).ok()?.flatten_all().ok()?.to_vec1::<i64>().ok();
    let runs = runs.iter().map(numbers).collect::<Option<Vec<_>>>()?;
    let [start, second, ..] = runs.iter().max_by_key(|numbers| numbers.len())?[..] else { return None };
    let step = second.checked_sub(start)?;
    let expected = |i: usize| step.checked_mul(i64::try_from(i).ok()?)?.checked_add(start);
    let is_same =
        |numbers: &Vec<i64>| numbers.iter().enumerate().all(|(i, number)| expected(i) == Some(*number));
    let is_progression = step != 0 && runs.iter().all(is_same);
    is_progression.then(|| ArithmeticProgression { dims: dims.to_vec(), count: named[0], start, step, dtype })
}

/// Narrows each dimension with a named size to size 1. Returns `None` if the tensor is not constant along these
/// dimensions.
fn without_repetition(tensor: &Tensor, dims: &[Size]) -> Option<Tensor> {
    let mut part = tensor.clone();
    for (dim, size) in dims.iter().enumerate() {
        if size.number().is_none() {
            part = part.narrow(dim, 0, 1).ok()?;
        }
    }
    let repeated = part.broadcast_as(tensor.shape()).ok()?;
    has_same_bytes(&repeated.contiguous().ok()?, tensor).then_some(part)
}

fn has_same_bytes(a: &Tensor, b: &Tensor) -> bool {
    a.data() == b.data()
}

fn differs(what: &str) -> Error {
    let expected = "expected the same operations and constants for all values of the named sizes";
    Error::msg(format!("{expected}, found {what}"))
}
