//! Runs a network without numbers and records its operations.

use std::borrow::Cow;

use crate::graph::{Graph, GraphOperand, Node, record_graph};
use crate::module::{Forward, Mode};
use crate::scope::Scope;
use crate::signal::{IntoTensors, Signal};
use crate::summary::SummaryInput;
use crate::{Error, Result};

/// The graph of one run and its outputs. The first values of the graph are the inputs.
pub(crate) struct Trace {
    pub graph: Graph,
    pub inputs: usize,
    pub outputs: Vec<GraphOperand>,
}

/// Runs a network in evaluation mode and records its operations.
pub(crate) fn trace<I, M>(network: &M, input: I) -> Result<Trace>
where
    I: SummaryInput,
    M: Forward<I, Output: IntoTensors>,
{
    let mut graph = Graph::default();
    input.for_each_signal(&mut |signal| {
        // A signal that is passed several times is one input.
        if let (Some(id), Some(signal_type)) = (signal.meta_id(), signal.signal_type())
            && graph.value_of(id).is_none()
        {
            graph.add_value(id, signal_type);
        }
    });
    let inputs = graph.values.len();
    let _scope = match network.kind() {
        Cow::Borrowed(name) => Scope::root(name),
        Cow::Owned(_) => None,
    };
    let (outputs, graph) = record_graph(graph, || outputs(network.call(input, Mode::Eval)));
    Ok(Trace { graph, inputs, outputs: outputs? })
}

/// Returns the signals of the output of a network.
fn outputs(output: impl IntoTensors) -> Result<Vec<GraphOperand>> {
    let mut operands = Vec::new();
    output.for_each_signal(&mut |signal: &Signal| operands.push(signal.graph_operand()));
    output.check()?;
    if operands.is_empty() {
        return Err(Error::msg("expected an output with at least one signal, found none"));
    }
    Ok(operands)
}

/// Checks that an operation says what it computes. `format` is the name of the format in the error.
pub(crate) fn check_description(node: &Node, format: &str) -> Result<()> {
    if node.op.is_some() && !node.outputs.is_empty() {
        return Ok(());
    }
    let error = Error::msg(format!("the operation `{}` cannot be exported to {format} yet", node.name));
    Err(error.in_layer(node.name).at(&node.path))
}

/// Returns the error of an operand that no recorded operation computed.
pub(crate) fn unknown_operand() -> Error {
    Error::msg(
        "expected operands that are inputs of the network or results of its operations, found a signal without \
         numbers from elsewhere",
    )
}
