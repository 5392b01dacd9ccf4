//! The operations of a network as a graph: in which launches they run, and why operations are not fused.

mod build;
mod call_tree;
mod dot;
mod html;
mod table;

use std::collections::HashMap;

use crate::scope::NotFused;

/// The operations of a forward pass, the launches in which they ran, and why operations were not fused. Returned by
/// [`Network::graph`](crate::Network::graph).
///
/// `Display` prints the *fusion plan*: the launches with the operations that each of them computes.
/// [`to_dot`](Self::to_dot) and [`to_html`](Self::to_html) draw the graph. With the feature `serde`, the graph
/// implements `serde::Serialize`.
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
/// let x = Tensor::zeros((2, 1, 8, 8), DType::F32, &Device::Cpu)?;
/// let graph = net.graph(Signal::from(x))?;
/// println!("{graph}");
/// let operations: Vec<&str> = graph.nodes.iter().map(|node| node.operation.as_str()).collect();
/// assert_eq!(operations, ["input", "conv2d", "relu", "flatten", "linear", "output"]);
/// // The convolution and the ReLU run in the first launch.
/// let launch = &graph.launches[0];
/// assert_eq!((launch.operations.as_str(), &launch.nodes[..]), ("conv2d + bias + relu", &[1, 2][..]));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Graph {
    /// The type of the network, such as `Net`.
    pub network: String,
    /// The inputs, operations and outputs, in the order in which they ran.
    pub nodes: Vec<GraphNode>,
    /// The values that operations read.
    pub edges: Vec<GraphEdge>,
    /// The launches, in the order in which they began.
    pub launches: Vec<GraphLaunch>,
    /// The type of each module, by the names of the fields that lead to it.
    #[cfg_attr(feature = "serde", serde(skip))]
    modules: HashMap<Vec<String>, String>,
}

/// An input, operation or output in a [`Graph`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct GraphNode {
    /// The operation as in [`trace`](crate::trace), such as `conv2d`. `input` and `output` stand for the inputs and
    /// outputs of the network, `parameter` and `buffer` for its tensors, and `tensor` for any other tensor that no
    /// operation of the graph computed: a constant, or the result of a layer's own operations on tensors. The weights
    /// of layers have no nodes.
    pub operation: String,
    /// The path of the layer that ran the operation, such as `Net.conv`, or the path of the parameter or buffer.
    pub path: String,
    /// The type of this layer, such as `Conv2d`. Empty if it is unknown.
    pub layer: String,
    /// The shapes of the results.
    pub output_shapes: Vec<Vec<usize>>,
    /// The dtypes of the results, such as `f32`.
    pub output_dtypes: Vec<String>,
    /// The indices of the launches that computed the operation, with the layout changes of its operands. An operation
    /// that was fused has the launch of the operation before it.
    pub launches: Vec<usize>,
    /// Why an activation, batch norm, addition, pooling or depthwise convolution was not fused into the operation that
    /// computes its input. `None` if it was fused, and for all other operations.
    pub not_fused: Option<NotFused>,
    /// The names of the fields and the indices of the elements that lead to the layer.
    #[cfg_attr(feature = "serde", serde(skip))]
    names: Vec<String>,
}

/// A value that an operation in a [`Graph`] reads.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct GraphEdge {
    /// The index of the node that computed the value.
    pub from: usize,
    /// The index of the node that reads it.
    pub to: usize,
    /// The shape of the value.
    pub shape: Vec<usize>,
}

/// A launch in a [`Graph`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct GraphLaunch {
    /// The path of the layer that started the launch, such as `Net.conv`.
    pub path: String,
    /// The operations that ran in the launch, such as `conv2d + bias + relu`.
    pub operations: String,
    /// The indices of the nodes that the launch computed, or for which it changed the layout of an operand. Empty if
    /// the launch changed the layout of an output of the network.
    pub nodes: Vec<usize>,
    /// Whether the launch only converted an activation to or from the channel-blocked layout.
    pub changes_layout: bool,
}

impl Graph {
    /// Returns the operations that could have been fused but were not, each with the reason.
    ///
    /// ```
    /// use sconce::prelude::*;
    ///
    /// #[derive(Module)]
    /// #[module(forward = |x| sigmoid(relu(head(x))))]
    /// struct Net {
    ///     #[layer(4, 2)]
    ///     head: Linear,
    /// }
    /// # fn main() -> Result<()> {
    /// let x = Tensor::zeros((1, 4), DType::F32, &Device::Cpu)?;
    /// let graph = Net::new(&Device::Cpu)?.graph(Signal::from(x))?;
    /// let reasons: Vec<_> = graph.not_fused().map(|(node, reason)| format!("{}: {reason}", node.operation)).collect();
    /// assert_eq!(reasons, ["sigmoid: `linear` at `Net.head` already ends with an activation"]);
    /// # Ok(())
    /// # }
    /// ```
    pub fn not_fused(&self) -> impl Iterator<Item = (&GraphNode, &NotFused)> {
        self.nodes.iter().filter_map(|node| Some((node, node.not_fused.as_ref()?)))
    }

    /// Returns the launch that computed a node, without the launches in it and those that only changed a layout.
    fn main_launch(&self, node: &GraphNode) -> Option<usize> {
        node.launches.iter().copied().find(|&launch| !self.launches[launch].changes_layout)
    }
}

impl GraphNode {
    /// Returns `true` for an operation, and `false` for an input, output, parameter, buffer or tensor.
    fn is_operation(&self) -> bool {
        !["input", "output", "parameter", "buffer", "tensor"].contains(&self.operation.as_str())
    }

    /// Returns the shapes of the results: `2×8×6×6`. Abbreviates long lists: `16 of 2×8×6×6`.
    fn shapes(&self) -> String {
        let shapes: Vec<String> = self.output_shapes.iter().map(|dims| format_dims(dims)).collect();
        match shapes.as_slice() {
            [first, rest @ ..] if rest.len() > 2 && rest.iter().all(|shape| shape == first) => {
                format!("{} of {first}", shapes.len())
            }
            [first, second, rest @ ..] if rest.len() > 1 => {
                format!("{first}, {second} and {} more", rest.len())
            }
            shapes => shapes.join(", "),
        }
    }

    /// Returns the dtypes of the results: `f32`, or `f32, u32` if they differ.
    fn dtypes(&self) -> String {
        match self.output_dtypes.as_slice() {
            [first, rest @ ..] if rest.iter().all(|dtype| dtype == first) => first.clone(),
            dtypes => dtypes.join(", "),
        }
    }
}

/// Formats a shape: `2×8×6×6`.
fn format_dims(dims: &[usize]) -> String {
    match dims {
        [] => "scalar".to_string(),
        dims => dims.iter().map(usize::to_string).collect::<Vec<_>>().join("×"),
    }
}
