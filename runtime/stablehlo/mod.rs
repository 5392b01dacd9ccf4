//! Export to StableHLO.
//!
//! The network runs on signals without numbers while its operations are recorded as a graph. Each operation is
//! expressed with those of StableHLO ([`lower`]). The program ([`ir`]) is written as text ([`text`]) and as a portable
//! artifact ([`bytecode`]).

mod attributes;
mod builder;
mod bytecode;
mod gradient;
mod ir;
mod lower;
#[cfg(test)]
mod tests;
mod text;

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
    gradients: bool,
}

impl StableHloOptions {
    /// Lets the device choose how it computes products in f32. A TPU then rounds their operands to bf16, which is
    /// several times faster. By default, products are computed in f32.
    pub fn reduced_precision(mut self, reduced: bool) -> Self {
        self.precision = if reduced { Precision::Default } else { Precision::Highest };
        self
    }

    /// Writes a second program, `net.gradients.stablehlo`, with its text `net.gradients.mlir`, that computes gradients.
    ///
    /// Its arguments are those of the first program and, for each output of floats, a tensor of its shape: the gradient
    /// of the loss. Its results are the outputs, and the gradients of the parameters of floats that the program reads.
    /// The metadata of `net.safetensors` has a JSON list of the names of these parameters, under the key `gradients`.
    /// The network is in evaluation mode. The gradient of a maximum of equal numbers, such as that of ReLU at 0, is
    /// that of one of them.
    ///
    /// ```
    /// use sconce::checkpoint;
    /// use sconce::prelude::*;
    /// use sconce::StableHloOptions;
    /// # fn main() -> Result<()> {
    /// # let directory = tempfile::tempdir()?;
    /// let linear = Linear::config(64, 64).init(&Device::Cpu)?;
    /// let path = directory.path().join("linear.stablehlo");
    /// let options = StableHloOptions::default().gradients(true);
    /// linear.export_stablehlo_with(&path, Signal::meta((8, 64), DType::F32), options)?;
    /// assert!(path.with_extension("gradients.stablehlo").exists());
    /// let metadata = checkpoint::metadata(path.with_extension("safetensors"))?;
    /// assert_eq!(metadata["gradients"], r#"["weight","bias"]"#);
    /// # Ok(())
    /// # }
    /// ```
    pub fn gradients(mut self, gradients: bool) -> Self {
        self.gradients = gradients;
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
    check_sizes(&input)?;
    let trace = trace(network, input)?;
    let weights = weights(network, &trace)?;
    let mut programs = vec![("", Exporter::new(&weights, &trace)?.forward()?)];
    let mut metadata = vec![("arguments", json_names(&weights)?)];
    if options.gradients {
        let differentiated = differentiated(network, &weights);
        programs.push(("gradients.", Exporter::new(&weights, &trace)?.gradients(&differentiated)?));
        metadata.push(("gradients", json_names(&differentiated)?));
    }
    let save = Save::new(path.with_extension("safetensors")).metadata(metadata);
    checkpoint::write(save, weights.iter().map(|(name, tensor)| (name.as_str(), tensor)))?;
    programs.iter().try_for_each(|(kind, function)| write(path, kind, function, options.precision))
}

/// Writes a program as text and as a portable artifact. `kind` is a part of the names of the files.
fn write(path: &Path, kind: &str, function: &Function, precision: Precision) -> Result<()> {
    let text = text::text(function, precision);
    let text_path = path.with_extension(format!("{kind}mlir"));
    write_atomically(text_path, |file| Ok(file.write_all(text.as_bytes())?))?;
    let artifact = bytecode::artifact(function, precision);
    let artifact_path = path.with_extension(format!("{kind}{EXTENSION}"));
    write_atomically(artifact_path, |file| Ok(file.write_all(&artifact)?))
}

/// Checks that no size of an input has a name.
fn check_sizes(input: &impl SummaryInput) -> Result<()> {
    let plan = plan(input)?;
    if !plan.has_names() {
        return Ok(());
    }
    let names: Vec<String> = plan.names().iter().map(|name| format!("`{}`", name.name)).collect();
    let names = names.join(", ");
    Err(Error::msg(format!("expected inputs with fixed sizes, found the named sizes {names}")))
}

/// A parameter or buffer with its path.
type Weight = (String, Tensor);

/// Returns a JSON list of names.
fn json_names(weights: &[Weight]) -> Result<String> {
    let names: Vec<&str> = weights.iter().map(|(name, _)| name.as_str()).collect();
    serde_json::to_string(&names).map_err(|error| Error::msg(error.to_string()))
}

/// Returns the parameters of floats among the weights.
fn differentiated<M: Network>(network: &M, weights: &[Weight]) -> Vec<Weight> {
    let parameters: HashSet<TensorId> =
        network.named_parameters().into_iter().map(|(_, tensor)| tensor.id()).collect();
    let is_differentiated =
        |(_, tensor): &&Weight| parameters.contains(&tensor.id()) && tensor.dtype().is_float();
    weights.iter().filter(is_differentiated).cloned().collect()
}

/// Returns the parameters and the buffers that the operations read, by their paths. Parameters come first.
fn weights<M: Network>(network: &M, trace: &Trace) -> Result<Vec<Weight>> {
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
    fn new(weights: &[Weight], trace: &'a Trace) -> Result<Self> {
        let mut builder = Builder::new();
        for (name, tensor) in weights {
            builder
                .tensor_argument(name, tensor)
                .map_err(|error| Error::msg(format!("`{name}`: {error}")))?;
        }
        let mut values = vec![None; trace.graph.values.len()];
        for (i, input) in trace.graph.values[..trace.inputs].iter().enumerate() {
            let name = numbered("input", i, trace.inputs);
            values[i] = Some(builder.argument(&name, &input.dims, Element::of(input.dtype)?));
        }
        Ok(Self { trace, builder, values })
    }

    /// Returns the program of the forward pass.
    fn forward(mut self) -> Result<Function> {
        let outputs = self.outputs()?;
        self.builder.function.results = outputs.iter().map(|output| output.id).collect();
        Ok(self.builder.function.pruned())
    }

    /// Returns the program of the forward pass and of the gradients of these parameters.
    fn gradients(mut self, parameters: &[Weight]) -> Result<Function> {
        let cotangents = self.cotangents()?;
        let outputs = self.outputs()?;
        let pairs: Vec<(Value, Value)> = outputs
            .iter()
            .zip(&cotangents)
            .filter_map(|(output, cotangent)| Some((output.clone(), cotangent.clone()?)))
            .collect();
        let arguments =
            parameters.iter().map(|(_, tensor)| self.builder.tensor(tensor)).collect::<Result<Vec<_>>>()?;
        let gradients = gradient::differentiate(&mut self.builder, &pairs, &arguments)?;
        self.builder.function.results = outputs.iter().chain(&gradients).map(|result| result.id).collect();
        Ok(self.builder.function.pruned())
    }

    /// Adds an argument for the gradient of each output of floats.
    fn cotangents(&mut self) -> Result<Vec<Option<Value>>> {
        let trace = self.trace;
        let types = trace.outputs.iter().enumerate().map(|(i, output)| {
            let (dims, dtype) = match output {
                GraphOperand::Value(index) => {
                    let SignalType { dims, dtype } = &trace.graph.values[*index];
                    (&dims[..], *dtype)
                }
                GraphOperand::Tensor(tensor) => (tensor.dims(), tensor.dtype()),
                GraphOperand::Unknown => return Err(unknown_operand()),
            };
            let name = numbered("output_gradient", i, trace.outputs.len());
            let element = Element::of(dtype)?;
            Ok(element.is_float().then(|| self.builder.argument(&name, dims, element)))
        });
        types.collect()
    }

    /// Adds the instructions of the forward pass and returns the outputs.
    fn outputs(&mut self) -> Result<Vec<Value>> {
        let trace = self.trace;
        for node in &trace.graph.nodes {
            check_description(node, "StableHLO")?;
            let results = self.lower(node).map_err(|error| error.in_layer(node.name).at(&node.path))?;
            for (output, result) in node.outputs.iter().zip(results) {
                self.values[*output] = Some(result);
            }
        }
        self.builder.path = "".into();
        trace.outputs.iter().map(|output| self.operand(output)).collect()
    }

    /// Returns the results of an operation. Its description exists.
    fn lower(&mut self, node: &Node) -> Result<Vec<Value>> {
        let trace = self.trace;
        let types: Vec<&SignalType> =
            node.outputs.iter().map(|output| &trace.graph.values[*output]).collect();
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

/// Returns `name`, or `name_i` if there are several.
fn numbered(name: &str, i: usize, count: usize) -> String {
    if count == 1 { name.to_string() } else { format!("{name}_{i}") }
}
