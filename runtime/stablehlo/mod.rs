//! Export to StableHLO.
//!
//! The network runs on signals without numbers while its operations are recorded as a graph. Each operation is expressed
//! with those of StableHLO ([`lower`]). The program ([`ir`]) is written as text ([`text`]) and as a portable artifact
//! ([`bytecode`]).

mod attributes;
mod builder;
mod bytecode;
mod ir;
mod lower;
mod text;
#[cfg(test)]
mod tests;

use std::collections::HashSet;
use std::io::Write;
use std::path::Path;

use candle_core::{Tensor, TensorId};

use crate::checkpoint::{self, Save, write_atomically};
use crate::export::{Trace, check_description, trace, unknown_operand};
use crate::graph::{GraphOperand, Node};
use crate::module::Forward;
use crate::registry::Network;
use crate::scope::SignalType;
use crate::signal::IntoTensors;
use crate::source::is_meta;
use crate::summary::{SummaryInput, plan};
use crate::{Error, Result};

use attributes::Precision;
use builder::Builder;
use ir::{Element, Function, TensorType, Value};
use lower::Operands;

/// The extension of the portable artifact.
const EXTENSION: &str = "stablehlo";

/// Settings of [`Network::export_stablehlo_with`].
///
/// ```
/// use sconce::StableHloOptions;
/// use sconce::prelude::*;
/// # fn main() -> Result<()> {
/// # let directory = tempfile::tempdir()?;
/// let linear = Linear::config(64, 64).init(&Device::Cpu)?;
/// let path = directory.path().join("linear.stablehlo");
/// let options = StableHloOptions::default().reduced_precision(true);
/// linear.export_stablehlo_with(&path, Signal::meta((8, 64), DType::F32), options)?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Default)]
pub struct StableHloOptions {
    precision: Precision,
}

impl StableHloOptions {
    /// Lets the device choose how it computes products in f32. A TPU then rounds their operands to bf16, which is
    /// several times faster. By default, products are computed in f32.
    pub fn reduced_precision(mut self, reduced: bool) -> Self {
        self.precision = if reduced { Precision::Default } else { Precision::Highest };
        self
    }
}

/// Writes a network as a StableHLO program, as text and with its weights.
pub(crate) fn export<I, M>(network: &M, path: &Path, input: I, options: StableHloOptions) -> Result<()>
where
    I: SummaryInput,
    M: Forward<I, Output: IntoTensors> + Network,
{
    if path.extension().is_none_or(|extension| extension != EXTENSION) {
        let found = path.display();
        return Err(Error::msg(format!("expected a path that ends with `.{EXTENSION}`, found {found}")));
    }
    let names: Vec<String> = plan(&input)?.names().iter().map(|name| format!("`{}`", name.name)).collect();
    if !names.is_empty() {
        let names = names.join(", ");
        return Err(Error::msg(format!("expected inputs with fixed sizes, found the named sizes {names}")));
    }
    let trace = trace(network, input)?;
    let weights = weights(network, &trace)?;
    let function = Exporter::new(&weights, &trace)?.function()?;
    let names: Vec<&str> = weights.iter().map(|(name, _)| name.as_str()).collect();
    let arguments = serde_json::to_string(&names).map_err(|error| Error::msg(error.to_string()))?;
    let save = Save::new(path.with_extension("safetensors")).metadata([("arguments", arguments)]);
    checkpoint::write(save, weights.iter().map(|(name, tensor)| (name.as_str(), tensor)))?;
    let text = text::text(&function, options.precision);
    write_atomically(path.with_extension("mlir"), |file| Ok(file.write_all(text.as_bytes())?))?;
    let artifact = bytecode::artifact(&function, options.precision);
    write_atomically(path, |file| Ok(file.write_all(&artifact)?))
}

/// Returns the parameters and the buffers that the operations read, by their paths. Parameters come first.
fn weights<M: Network>(network: &M, trace: &Trace) -> Result<Vec<(String, Tensor)>> {
    let operands = trace.graph.nodes.iter().flat_map(|node| node.operands.iter().flatten());
    let id = |operand: &GraphOperand| match operand {
        GraphOperand::Tensor(tensor) => Some(tensor.id()),
        GraphOperand::Value(_) | GraphOperand::Unknown => None,
    };
    let read: HashSet<TensorId> = operands.chain(&trace.outputs).filter_map(id).collect();
    let tensors = network.named_parameters().into_iter().chain(network.buffers());
    let weights: Vec<_> = tensors.filter(|(_, tensor)| read.contains(&tensor.id())).collect();
    match weights.iter().find(|(_, tensor)| is_meta(tensor)) {
        Some((name, _)) => {
            Err(Error::msg(format!("expected a parameter with numbers, found a shape: `{name}`")))
        }
        None => Ok(weights),
    }
}

/// Translates a graph.
struct Exporter<'a> {
    trace: &'a Trace,
    builder: Builder,
    /// The values of the graph so far.
    values: Vec<Option<Value>>,
}

impl<'a> Exporter<'a> {
    /// Adds the arguments: the weights, then the inputs.
    fn new(weights: &[(String, Tensor)], trace: &'a Trace) -> Result<Self> {
        let mut builder = Builder::new();
        for (name, tensor) in weights {
            builder.tensor_argument(name, tensor).map_err(|error| Error::msg(format!("`{name}`: {error}")))?;
        }
        let mut values = vec![None; trace.graph.values.len()];
        for (i, input) in trace.graph.values[..trace.inputs].iter().enumerate() {
            let name = if trace.inputs == 1 { "input".to_string() } else { format!("input_{i}") };
            values[i] = Some(builder.argument(&name, &input.dims, Element::of(input.dtype)?));
        }
        Ok(Self { trace, builder, values })
    }

    fn function(mut self) -> Result<Function> {
        let trace = self.trace;
        for node in &trace.graph.nodes {
            check_description(node, "StableHLO")?;
            let results = self.lower(node).map_err(|error| error.in_layer(node.name).at(&node.path))?;
            for (output, result) in node.outputs.iter().zip(results) {
                self.values[*output] = Some(result);
            }
        }
        self.builder.path = "".into();
        for output in &trace.outputs {
            let result = self.operand(output)?;
            self.builder.function.results.push(result.id);
        }
        Ok(self.builder.function)
    }

    /// Returns the results of an operation. Its description exists.
    fn lower(&mut self, node: &Node) -> Result<Vec<Value>> {
        let trace = self.trace;
        let types: Vec<&SignalType> = node.outputs.iter().map(|output| &trace.graph.values[*output]).collect();
        if let Some(signal_type) = types.iter().find(|signal_type| signal_type.dims.contains(&0)) {
            let dims = &signal_type.dims;
            return Err(Error::msg(format!("expected sizes of at least 1, found {dims:?}")));
        }
        let (Some(op), [first, ..]) = (&node.op, &types[..]) else { return Ok(Vec::new()) };
        self.builder.path = node.path.as_str().into();
        let values = node.operands.iter().map(|operand| match operand {
            Some(operand) => self.operand(operand).map(Some),
            None => Ok(None),
        });
        let values = values.collect::<Result<_>>()?;
        let output = TensorType { dims: first.dims.clone(), element: Element::of(first.dtype)? };
        let results = lower::lower(&mut self.builder, op, &Operands { values, output: &output })?;
        for (result, expected) in results.iter().zip(types) {
            let is_expected = result.dims == *expected.dims && result.element == Element::of(expected.dtype)?;
            if !is_expected {
                let found = format!("{:?} {:?}", result.dims, result.element);
                let expected = format!("{:?} {:?}", expected.dims, expected.dtype);
                return Err(Error::msg(format!("expected a result {expected}, found {found}")));
            }
        }
        Ok(results)
    }

    /// Returns the value that an operand stands for.
    fn operand(&mut self, operand: &GraphOperand) -> Result<Value> {
        match operand {
            GraphOperand::Value(index) => {
                let missing = || Error::msg("expected an operand that was computed before");
                self.values[*index].clone().ok_or_else(missing)
            }
            GraphOperand::Tensor(tensor) => self.builder.tensor(tensor),
            GraphOperand::Unknown => Err(unknown_operand()),
        }
    }
}
