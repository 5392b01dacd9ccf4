//! Export to ONNX.
//!
//! The network runs on signals without numbers while its operations are recorded as a graph, with several numbers for
//! each name of a size, from which follows how shapes depend on the names ([`symbolic`]). Each operation is then
//! expressed with the operators of ONNX ([`lower`]).

mod builder;
mod lower;
mod proto;
mod symbolic;
#[cfg(test)]
mod tests;
mod write;

use std::collections::HashMap;
use std::path::Path;

use candle_core::TensorId;

use crate::export::trace;
use crate::graph::Node;
use crate::module::Forward;
use crate::registry::Network;
use crate::signal::IntoTensors;
use crate::summary::{SummaryInput, plan};
use crate::symbolic::{Plan, SymbolicSize};
use crate::{Error, Result};

use builder::{Builder, SizeSource, Value};
use lower::Operands;
use symbolic::{ArithmeticProgression, Size, SymbolicGraph, SymbolicOperand, ValueType};

/// Settings of [`Network::export_onnx_with`].
///
/// ```
/// use sconce::OnnxOptions;
/// use sconce::prelude::*;
/// # fn main() -> Result<()> {
/// # let directory = tempfile::tempdir()?;
/// let linear = Linear::config(64, 64).init(&Device::Cpu)?;
/// let path = directory.path().join("linear.onnx");
/// let options = OnnxOptions::default().max_inline_bytes(1 << 10);
/// linear.export_onnx_with(&path, Signal::symbolic(("batch", 64), DType::F32), options)?;
/// assert_eq!(std::fs::metadata(directory.path().join("linear.onnx.data"))?.len(), 64 * 64 * 4);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Default)]
pub struct OnnxOptions {
    max_inline_bytes: Option<u64>,
}

impl OnnxOptions {
    /// Writes the weights of a model whose weights have more than `bytes` bytes to a second file, with `.data` at the
    /// end of its name. Without this setting, only the weights of models that exceed the limit of the format, 2 GB, are
    /// written to a second file.
    pub fn max_inline_bytes(mut self, bytes: u64) -> Self {
        self.max_inline_bytes = Some(bytes);
        self
    }
}

/// Writes a network as an ONNX model.
pub(crate) fn export<I, M>(network: &M, path: &Path, input: I, options: OnnxOptions) -> Result<()>
where
    I: SummaryInput + Clone,
    M: Forward<I, Output: IntoTensors> + Network,
{
    let plan = plan(&input)?;
    let graph = SymbolicGraph::new(&plan, plan.run(|| trace(network, input.clone()))?)?;
    let name = network.kind();
    let (model, weights) = Exporter::new(&graph, &plan, parameter_names(network)).model(&name)?;
    write::write(path, model, weights, options.max_inline_bytes)
}

/// Returns the paths of the parameters and buffers.
fn parameter_names<M: Network>(network: &M) -> HashMap<TensorId, String> {
    let tensors = network.buffers().into_iter().chain(network.named_parameters());
    tensors.map(|(path, tensor)| (tensor.id(), path)).collect()
}

/// Translates a graph.
struct Exporter<'a> {
    graph: &'a SymbolicGraph,
    plan: &'a Plan,
    builder: Builder,
    /// The names of the inputs.
    inputs: Vec<String>,
    /// The names of the values of the graph so far.
    names: Vec<Option<String>>,
}

impl<'a> Exporter<'a> {
    fn new(graph: &'a SymbolicGraph, plan: &'a Plan, parameters: HashMap<TensorId, String>) -> Self {
        let mut builder = Builder::new(parameters);
        let inputs =
            numbered("input", graph.inputs).iter().map(|name| builder.unique(name)).collect::<Vec<_>>();
        let source = |index: usize| size_source(graph, &inputs, index, &plan.names()[index].name);
        builder.sources = (0..plan.names().len()).map(source).collect();
        let mut names: Vec<Option<String>> = inputs.iter().cloned().map(Some).collect();
        names.resize(graph.values.len(), None);
        Self { graph, plan, builder, inputs, names }
    }

    /// Returns the model without its weights, and the weights.
    fn model(mut self, name: &str) -> Result<(proto::Model, Vec<(String, candle_core::Tensor)>)> {
        let graph = self.graph;
        for node in &graph.nodes {
            let names =
                self.lower(node).map_err(|error| error.in_layer(node.node.name).at(&node.node.path))?;
            for (output, name) in node.node.outputs.iter().zip(names) {
                self.names[*output] = Some(name);
            }
        }
        let output_names = numbered("output", graph.outputs.len());
        let output_names: Vec<String> = output_names.iter().map(|name| self.builder.unique(name)).collect();
        let mut outputs = Vec::new();
        for (operand, name) in graph.outputs.iter().zip(&output_names) {
            let value = self.operand(operand)?;
            outputs.push(value_info(name, &self.plan.sizes(&value.dims), value.dtype)?);
            let is_named = output_names.contains(&value.name);
            if is_named || !self.builder.rename(&value.name, name) {
                self.builder.identity(value.name, name);
            } else if let SymbolicOperand::Value(index) = operand {
                self.names[*index] = Some(name.clone());
            }
        }
        let inputs = graph.values.iter().zip(&self.inputs);
        let inputs = inputs.map(|(value, name)| value_info(name, &self.plan.sizes(&value.dims), value.dtype));
        let graph = proto::Graph {
            node: self.builder.nodes,
            name: Some(name.to_string()),
            initializer: Vec::new(),
            input: inputs.collect::<Result<_>>()?,
            output: outputs,
        };
        let model = proto::Model {
            ir_version: Some(proto::IR_VERSION),
            producer_name: Some("sconce".to_string()),
            producer_version: Some(env!("CARGO_PKG_VERSION").to_string()),
            graph: Some(graph),
            opset_import: vec![proto::OperatorSet { domain: None, version: Some(proto::OPSET) }],
        };
        Ok((model, self.builder.initializers))
    }

    fn lower(&mut self, node: &symbolic::SymbolicNode) -> Result<Vec<String>> {
        let Node { name, op, outputs, path, .. } = &node.node;
        let (Some(op), Some(output)) = (op, outputs.first()) else {
            return Err(Error::msg(format!("the operation `{name}` cannot be exported to ONNX yet")));
        };
        let dims = outputs.iter().map(|output| &self.graph.values[*output].dims);
        if let Some(dims) = dims.into_iter().find(|dims| dims.contains(&Size::constant(0))) {
            let sizes = self.plan.sizes(dims);
            return Err(Error::msg(format!("expected sizes of at least 1, found {sizes:?}")));
        }
        self.builder.prefix.clone_from(path);
        let values = node.operands.iter().map(|operand| match operand {
            Some(operand) => self.operand(operand).map(Some),
            None => Ok(None),
        });
        let values = values.collect::<Result<_>>()?;
        lower::lower(&mut self.builder, op, &Operands { values, output: &self.graph.values[*output] })
    }

    /// Returns a value with positions.
    fn progression(&mut self, progression: &ArithmeticProgression) -> Result<Value> {
        let ArithmeticProgression { dims, count, start, step, dtype } = progression;
        let b = &mut self.builder;
        let mut name = b.range(*count)?;
        if *step != 1 {
            let step = b.ints(&[*step])?;
            name = b.op("Mul", &[name, step]);
        }
        if *start != 0 {
            let start = b.ints(&[*start])?;
            name = b.op("Add", &[name, start]);
        }
        if *dtype != candle_core::DType::I64 {
            name = b.cast(&name, proto::data_type(*dtype)?.into());
        }
        b.reshape(&Value { name, dims: vec![*count], dtype: *dtype }, dims)
            .map(|value| Value { dims: dims.clone(), ..value })
    }

    /// Returns the value that an operand stands for.
    fn operand(&mut self, operand: &SymbolicOperand) -> Result<Value> {
        match operand {
            SymbolicOperand::Value(index) => {
                let ValueType { dims, dtype } = self.graph.values[*index].clone();
                let name = self.names[*index].clone();
                let name = name.ok_or_else(|| Error::msg("expected an operand that was computed before"))?;
                Ok(Value { name, dims, dtype })
            }
            SymbolicOperand::Tensor(tensor, None) => self.builder.constant(tensor),
            SymbolicOperand::Progression(progression) => self.progression(progression),
            SymbolicOperand::Tensor(tensor, Some(dims)) => {
                let constant = self.builder.constant(tensor)?;
                let shape = self.builder.sizes(dims)?;
                let name = self.builder.op("Expand", &[constant.name, shape]);
                Ok(Value { name, dims: dims.clone(), dtype: constant.dtype })
            }
        }
    }
}

/// Returns `name`, or `name_0` and so on if there are several.
fn numbered(name: &str, count: usize) -> Vec<String> {
    match count {
        1 => vec![name.to_string()],
        count => (0..count).map(|i| format!("{name}_{i}")).collect(),
    }
}

/// Returns the input whose size is the smallest multiple of a name.
fn size_source(graph: &SymbolicGraph, inputs: &[String], index: usize, prefix: &str) -> Option<SizeSource> {
    let sizes = graph.values.iter().zip(inputs).flat_map(|(value, name)| {
        value.dims.iter().enumerate().map(move |(dim, size)| (name, dim, size.as_multiple()))
    });
    let multiples = sizes.filter_map(|(name, dim, multiple)| match multiple {
        Some((other, factor)) if other == index && factor > 0 => Some((name, dim, factor)),
        _ => None,
    });
    let (name, dim, factor) = multiples.min_by_key(|(.., factor)| *factor)?;
    Some(SizeSource::Input { name: name.clone(), dim, factor, prefix: prefix.to_string() })
}

fn value_info(name: &str, sizes: &[SymbolicSize], dtype: candle_core::DType) -> Result<proto::ValueInfo> {
    let dim = sizes.iter().map(|size| proto::Dimension {
        dim_value: size.number().map(|size| size as i64),
        dim_param: size.number().is_none().then(|| size.to_string()),
    });
    let shape = proto::Shape { dim: dim.collect() };
    let tensor_type = proto::TensorType { elem_type: Some(proto::data_type(dtype)?), shape: Some(shape) };
    let kind = proto::Type { tensor_type: Some(tensor_type) };
    Ok(proto::ValueInfo { name: Some(name.to_string()), r#type: Some(kind) })
}
