//! The layers of a network as a table: shapes, parameters and multiply-adds.

mod column;
mod input;
mod layer_list;
mod named;
mod table;

pub use column::SummaryColumn;
pub use input::SummaryInput;
pub(crate) use named::{output_sizes, plan};

use std::borrow::Cow;

use candle_core::Tensor;

use crate::Result;
use crate::module::{Forward, Mode, Module};
use crate::registry::Network;
use crate::scope::{Scope, SignalType, record_calls};
use crate::signal::{self, IntoTensors};
use crate::source::is_meta;
use crate::symbolic::{Name, SymbolicSize};

use layer_list::LayerList;

/// The layers of a network with their shapes, parameters and multiply-adds, as in the package torchinfo. Returned by
/// [`Network::summary`](crate::Network::summary).
///
/// `Display` prints a table. With the feature `serde`, the summary implements `serde::Serialize`.
///
/// ```
/// use sconce::prelude::*;
///
/// #[derive(Module)]
/// #[module(forward = |x| head(flatten(relu(conv(x)), 1)))]
/// struct Net {
///     #[layer(1, 4, 3)]
///     conv: Conv2d,
///     #[layer(4 * 6 * 6, 10)]
///     head: Linear,
/// }
/// # fn main() -> Result<()> {
/// let net = Net::new(&Device::Cpu)?;
/// let summary = net.summary(Signal::meta((2, 1, 8, 8), DType::F32))?;
/// println!("{summary}");
/// assert_eq!(summary.layers[1].path, "conv");
/// assert_eq!(summary.layers[1].output_shape, Some(vec![2, 4, 6, 6]));
/// assert_eq!(summary.layers[1].multiply_adds, 2 * 4 * 6 * 6 * (3 * 3));
/// assert_eq!(summary.parameters, net.num_parameters());
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Summary {
    /// The network, then its layers in the order of the fields. A layer precedes the layers in it. A layer that several
    /// fields share is listed once.
    pub layers: Vec<LayerSummary>,
    /// The number of elements of all parameters. A parameter that several layers share counts once.
    pub parameters: usize,
    /// The number of elements of the parameters that are not frozen.
    pub trainable_parameters: usize,
    /// The multiply-adds of all operations.
    pub multiply_adds: u64,
    /// The size of the inputs in bytes.
    pub input_bytes: u64,
    /// The size in bytes of the outputs of all layers that have parameters and call no other layers. Training keeps
    /// them, and their gradients, for the backward pass.
    pub activation_bytes: u64,
    /// The size of all parameters in bytes.
    pub parameter_bytes: u64,
    /// The names of sizes and their examples, for which the numbers of the summary hold. Empty for an input without
    /// names.
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "Vec::is_empty"))]
    pub examples: Vec<(String, usize)>,
    /// The number of levels of layers that the table shows.
    #[cfg_attr(feature = "serde", serde(skip))]
    max_depth: usize,
    /// The columns of the table, or `None` for the default.
    #[cfg_attr(feature = "serde", serde(skip))]
    columns: Option<Vec<SummaryColumn>>,
}

/// A layer in a [`Summary`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct LayerSummary {
    /// The path of the layer, as in the names of its parameters; empty for the network itself.
    pub path: String,
    /// The last part of the path.
    pub name: String,
    /// The type of the layer, such as `Conv2d`.
    pub kind: String,
    /// The number of layers around this layer: 0 for the network itself.
    pub depth: usize,
    /// The number of elements of the parameters of this layer, without those of the layers in it.
    pub parameters: usize,
    /// The number of elements of those parameters that are not frozen.
    pub trainable_parameters: usize,
    /// The number of calls.
    pub calls: usize,
    /// The shape of the input of the first call: of the first operand of the first operation. `None` if the layer was
    /// not called, or ran no operation.
    pub input_shape: Option<Vec<usize>>,
    /// The shape of the output of the first call: of the result of the last operation.
    pub output_shape: Option<Vec<usize>>,
    /// The sizes of the input of the first call with their names. `None` for a network whose input has no names
    /// ([`Signal::symbolic`](crate::Signal::symbolic)).
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "Option::is_none"))]
    pub input_sizes: Option<Vec<SymbolicSize>>,
    /// The sizes of the output of the first call with their names.
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "Option::is_none"))]
    pub output_sizes: Option<Vec<SymbolicSize>>,
    /// The size in bytes of the outputs of all calls.
    pub output_bytes: u64,
    /// The multiply-adds of all calls, without those of the layers in this layer.
    pub multiply_adds: u64,
    /// The path of the layer in whose launch the first call of this layer ran, such as the convolution before a batch
    /// norm; empty for an operation in the network's own forward pass. `None` if the call had a launch of its own, if
    /// the operation that it was fused into is outside of the network, and for an input without numbers, for which
    /// nothing is launched.
    ///
    /// Calls are identified by their paths. If a layer is called several times, and its calls are fused into different
    /// operations, or into an operation that has no layer of its own, the path can be that of another call.
    pub fused_into: Option<String>,
}

impl Summary {
    /// Runs the network in evaluation mode and summarizes the calls of its layers.
    pub(crate) fn new<I, M>(network: &M, input: I) -> Result<Self>
    where
        I: SummaryInput + Clone,
        M: Forward<I, Output: IntoTensors>,
    {
        let plan = plan(&input)?;
        let mut sizes = Vec::new();
        if plan.has_names() {
            sizes = named::sizes_of_calls(network, &input, &plan)?;
        }
        let mut input_bytes = 0u64;
        let mut has_numbers = true;
        input.for_each_signal(&mut |signal| {
            has_numbers &= !signal.is_meta();
            input_bytes = input_bytes.saturating_add(signal.signal_type().as_ref().map_or(0, byte_size));
        });
        let _scope = enter_root(network);
        let (checked, calls) = record_calls(|| {
            let output = network.call(input, Mode::Eval);
            // Whether a consumer runs in the launch of its producer is known when it runs.
            if has_numbers { output.into_tensors().map(drop) } else { output.check() }
        });
        checked?;
        let mut layers = LayerList::new(network);
        let mut sizes = sizes.into_iter();
        calls.into_iter().for_each(|call| layers.add(call, sizes.next().unwrap_or_default()));
        let example = |name: &Name| (name.name.to_string(), name.example);
        let examples = plan.names().iter().map(example).collect();
        Ok(Self { examples, ..Self::with_totals(layers, network, input_bytes) })
    }

    fn with_totals<M: Network>(layers: LayerList, network: &M, input_bytes: u64) -> Self {
        let parameters = network.parameters();
        let count = |trainable: bool| {
            let counted = parameters.iter().filter(|tensor| !trainable || is_trainable(tensor));
            counted.map(|tensor| tensor.elem_count()).fold(0, usize::saturating_add)
        };
        let bytes = parameters.iter().map(|tensor| tensor.elem_count() * tensor.dtype().size_in_bytes());
        let activation_bytes = layers.activation_bytes();
        let layers = layers.into_layers();
        Self {
            parameters: count(false),
            trainable_parameters: count(true),
            multiply_adds: layers.iter().fold(0, |sum, layer| sum.saturating_add(layer.multiply_adds)),
            input_bytes,
            activation_bytes,
            parameter_bytes: bytes.fold(0, usize::saturating_add) as u64,
            max_depth: usize::MAX,
            columns: None,
            examples: Vec::new(),
            layers,
        }
    }

    /// Limits the table to layers with at most `depth` layers around them. The rows of the last level include the
    /// parameters and the multiply-adds of the layers in them. `layers` and the totals stay the same.
    ///
    /// ```
    /// use sconce::prelude::*;
    /// # fn main() -> Result<()> {
    /// let linear = || Linear::config(4, 4).init(&Device::Cpu);
    /// let net = vec![vec![linear()?, linear()?], vec![linear()?]];
    /// let summary = net.summary(Signal::meta((1, 4), DType::F32))?;
    /// assert!(summary.to_string().contains("Linear"));
    /// assert!(!summary.depth(1).to_string().contains("Linear"));
    /// # Ok(())
    /// # }
    /// ```
    pub fn depth(mut self, depth: usize) -> Self {
        self.max_depth = depth;
        self
    }

    /// Selects the columns of the table and their order. The column with the names of the layers precedes them. By
    /// default, the columns are the shapes, the layer in whose launch a layer ran (if there is one), the parameters
    /// and the multiply-adds.
    ///
    /// ```
    /// use sconce::SummaryColumn::*;
    /// use sconce::prelude::*;
    /// # fn main() -> Result<()> {
    /// let net = Linear::config(4, 8).init(&Device::Cpu)?;
    /// let summary = net.summary(Signal::meta((250_000, 4), DType::F32))?;
    /// let table = summary.columns([OutputShape, OutputMegabytes, Trainable]).to_string();
    /// assert!(table.contains("[250000, 8]          8.00  True"), "{table}");
    /// # Ok(())
    /// # }
    /// ```
    pub fn columns(mut self, columns: impl Into<Vec<SummaryColumn>>) -> Self {
        self.columns = Some(columns.into());
        self
    }

    /// Returns the number of elements of the frozen parameters.
    pub fn non_trainable_parameters(&self) -> usize {
        self.parameters - self.trainable_parameters
    }

    /// Returns torchinfo's estimate of the memory of a training step in bytes: the inputs, the parameters, and twice
    /// the [`activation_bytes`](Self::activation_bytes).
    pub fn total_bytes(&self) -> u64 {
        let activations = self.activation_bytes.saturating_mul(2);
        self.input_bytes.saturating_add(activations).saturating_add(self.parameter_bytes)
    }
}

/// Enters a network that is called directly, so that its name is the root of all paths.
pub(crate) fn enter_root<M: Module>(network: &M) -> Option<Scope> {
    match network.kind() {
        Cow::Borrowed(name) => Scope::root(name),
        Cow::Owned(_) => None,
    }
}

/// Returns the size of a signal in bytes.
fn byte_size(signal: &SignalType) -> u64 {
    signal::byte_size(&signal.dims, signal.dtype)
}

/// Returns `true` if training changes a parameter. A parameter without memory stands for a trainable one.
fn is_trainable(parameter: &Tensor) -> bool {
    parameter.is_variable() || is_meta(parameter)
}
