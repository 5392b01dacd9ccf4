//! Why operations are not fused.

use std::fmt;

use crate::kernels::internal::blocked::policy::Refusal;

/// Why an operation was not fused into the operation that computes its input. `Display` prints the message.
///
/// ```
/// use sconce::NotFusedKind;
/// use sconce::prelude::*;
///
/// #[derive(Module)]
/// #[module(forward = |x| {
///     let y = conv(x);
///     relu(&y) + y
/// })]
/// struct Net {
///     #[layer(3, 8, 3)]
///     conv: Conv2d,
/// }
/// # fn main() -> Result<()> {
/// let x = Tensor::zeros((1, 3, 8, 8), DType::F32, &Device::Cpu)?;
/// let graph = Net::new(&Device::Cpu)?.graph(Signal::from(x))?;
/// let relu = graph.nodes.iter().find(|node| node.operation == "relu").unwrap();
/// let reason = relu.not_fused.as_ref().unwrap();
/// assert_eq!(reason.kind, NotFusedKind::SharedResult);
/// assert_eq!(reason.to_string(), "the result of `conv2d` at `Net.conv` is also used elsewhere");
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct NotFused {
    /// The rule that prevented the fusion.
    pub kind: NotFusedKind,
    /// The reason in one line, with the path of the layer that computes the input.
    pub message: String,
}

impl fmt::Display for NotFused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

/// Defines the reasons with the messages for a producer, the operation that computes the input.
macro_rules! kinds {
    (|$producer:ident| $($(#[$doc:meta])* $kind:ident => $message:expr;)*) => {
        /// The rules that prevent a fusion. The *producer* is the operation that computes the input.
        ///
        /// ```
        /// use sconce::NotFusedKind;
        ///
        /// assert_ne!(NotFusedKind::SharedResult, NotFusedKind::NoProducer);
        /// ```
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[cfg_attr(feature = "serde", derive(serde::Serialize), serde(rename_all = "snake_case"))]
        #[non_exhaustive]
        pub enum NotFusedKind {
            $($(#[$doc])* $kind,)*
        }

        impl NotFusedKind {
            /// All reasons.
            pub const ALL: &[Self] = &[$(Self::$kind),*];

            /// Returns the reason with a message for the producer, such as `` `conv2d` at `Net.conv` ``.
            pub(crate) fn with_producer(self, $producer: &str) -> NotFused {
                let message = match self {
                    $(Self::$kind => format!($message),)*
                };
                NotFused { kind: self, message }
            }
        }
    };
}

kinds! { |producer|
    /// Fusion is disabled by [`no_fusion`](crate::no_fusion).
    FusionDisabled => "fusion is disabled by `sconce::no_fusion`";
    /// The input is not the result of a convolution, linear layer or batch norm.
    NoProducer => "its input is {producer}, into which no operation is fused";
    /// Another operation reads the result of the producer too, or the network keeps it.
    SharedResult => "the result of {producer} is also used elsewhere";
    /// The producer has run before, because its result was read.
    AlreadyRun => "{producer} has already run, because its result was read";
    /// The producer already applies an activation, which is the last operation of a kernel.
    ActivationApplied => "{producer} already ends with an activation";
    /// The producer already adds a residual, after which a kernel only applies an activation.
    ResidualApplied => "{producer} already adds a residual";
    /// The producer already applies a batch norm.
    BatchNormApplied => "{producer} already applies a batch norm";
    /// The kernel of the producer applies no such operation to its results.
    UnsupportedByKernel => "the kernel of {producer} cannot apply it";
    /// No kernel applies this activation to its results.
    UnfusedActivation => "no kernel applies this activation to its results";
    /// No kernel computes this pooling together with the producer. Kernels exist for max pooling of images.
    UnfusedPooling => "no kernel computes this pooling together with the producer";
    /// The two operands of an addition have different shapes.
    ShapeMismatch => "its operands have different shapes, and the kernel of {producer} adds no residual that broadcasts";
    /// The batch norm uses the statistics of its input.
    BatchStatistics => "it normalizes with the statistics of its input, which must be computed first";
    /// The running statistics have another dtype than the input.
    DtypeMismatch => "the running statistics have another dtype than its input";
    /// The batch norm, as a scale and a shift, is not finite in the dtype of the input.
    NotFinite => "the scale or the shift of the batch norm is not finite in this dtype";
    /// The bias of the producer, scaled by the batch norm, is not finite in the dtype of the input.
    BiasOverflow => "the bias of {producer}, scaled by the batch norm, is not finite in this dtype";
    /// An operand has another dtype than f32.
    UnsupportedDtype => "the channel-blocked kernels, which fuse it, support only f32";
    /// An operand is not on the CPU.
    UnsupportedDevice => "the channel-blocked kernels, which fuse it, run only on the CPU";
    /// An operand tracks gradients. [`inference`](crate::Network::inference) returns a network without them.
    GradientTracked => "an operand tracks gradients, which the channel-blocked kernels do not support; \
                        call `inference()`";
    /// The weight of a convolution is not packed. [`inference`](crate::Network::inference) returns a network with
    /// packed weights.
    WeightNotPacked => "a weight is not packed, which the channel-blocked kernels need; call `inference()`";
    /// The input of a convolution is not available in the channel-blocked layout, or the convolution is not over
    /// images.
    UnsupportedLayout => "the channel-blocked kernels, which fuse it, do not compute {producer}";
    /// A convolution has several groups.
    GroupedConvolution => "{producer} has several groups, which this fusion does not support";
    /// The kernel of the convolution covers its input, so that it runs as a linear layer.
    CoveringKernel => "the kernel of {producer} covers its input, so it runs as a linear layer";
    /// The number of output channels is not close to a multiple of the lanes of a vector.
    FewChannels => "the output channels do not fill the vectors of the channel-blocked layout";
    /// An operand or the result is empty.
    EmptyTensor => "an operand or the result is empty";
    /// Another algorithm computes the convolution faster than the algorithm that supports this fusion.
    OtherAlgorithm => "{producer} uses a faster algorithm that does not support this fusion";
    /// The dilation or the padding of the operation is not supported.
    UnsupportedWindow => "its dilation or padding is not supported in one launch with {producer}";
    /// The depthwise convolution has another kernel than 3×3, or weights that are not finite.
    UnsupportedDepthwise => "only depthwise convolutions with 3×3 kernels and finite weights are fused";
    /// The input channels of the convolution do not fit into the cache at once.
    ManyChannels => "the input channels of {producer} do not fit into the cache at once";
}

impl From<Refusal> for NotFusedKind {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Dtype => Self::UnsupportedDtype,
            Refusal::Device => Self::UnsupportedDevice,
            Refusal::Gradients => Self::GradientTracked,
            Refusal::NotPacked => Self::WeightNotPacked,
            Refusal::Layout => Self::UnsupportedLayout,
            Refusal::Groups => Self::GroupedConvolution,
            Refusal::CoversInput => Self::CoveringKernel,
            Refusal::FewChannels => Self::FewChannels,
            Refusal::Empty => Self::EmptyTensor,
            Refusal::Residual => Self::ResidualApplied,
            Refusal::Algorithm => Self::OtherAlgorithm,
            Refusal::Windows => Self::UnsupportedWindow,
            Refusal::Depthwise => Self::UnsupportedDepthwise,
            Refusal::Chunks => Self::ManyChannels,
        }
    }
}
