//! Convolutions that have not run yet.

mod blocked;
mod nchw;

pub(crate) use blocked::{BlockedConvolution, BlockedParameters};
pub(crate) use nchw::NchwConvolution;

use std::fmt;

use candle_core::{DType, Device, Result, Tensor};

use crate::kernels::internal::blocked::policy::{self, Refusal};
use crate::kernels::internal::{Axes, ImageForm};
use crate::kernels::trace::Work;

use super::epilogue::{Epilogue, EpilogueOp, FuseError};
use super::launch_work::tensor_bytes;
use super::{Layout, Layouts, Value, convolution_products};

/// A convolution that has not run. The variants differ in the layouts that they support for the result.
#[derive(Clone)]
pub(crate) enum Convolution {
    Nchw(NchwConvolution),
    /// A convolution that can run in either layout: the channel-blocked kernels support its parameters and the tensors
    /// of its epilogue.
    Either(BlockedConvolution),
}

impl Convolution {
    /// Returns the layouts in which the convolution and its epilogue can be computed without reordering an operand.
    pub(super) fn layouts(&self, epilogue: &Epilogue) -> Layouts {
        let Self::Either(convolution) = self else { return Layouts::Only(Layout::Nchw) };
        match (&convolution.input, &epilogue.residual) {
            (Value::Blocked(_), _) => Layouts::Only(Layout::Nchwc),
            (Value::Tensor(_), Some(Value::Tensor(_))) => Layouts::Only(Layout::Nchw),
            (Value::Tensor(_), Some(Value::Blocked(_)) | None) => Layouts::Either,
        }
    }

    /// Appends an operation to the convolution's epilogue. If the channel-blocked kernels do not support the operation,
    /// for example because one of its tensors needs a gradient, `self` becomes [`Self::Nchw`].
    pub(super) fn fuse(
        &mut self,
        epilogue: &mut Epilogue,
        op: EpilogueOp,
    ) -> std::result::Result<(), FuseError> {
        let checked = check_blocked(&op);
        epilogue.fuse(op)?;
        if let Self::Either(convolution) = self
            && let Err(refusal) = checked
        {
            *self = Self::Nchw(convolution.to_nchw(refusal)?);
        }
        Ok(())
    }

    /// Computes the result in `layout`, which must be one of [`layouts`](Self::layouts).
    pub(super) fn run(&self, epilogue: &Epilogue, layout: Layout) -> Result<Value> {
        match (self, layout) {
            (Self::Nchw(convolution), _) => convolution.run(epilogue).map(Value::Tensor),
            (Self::Either(convolution), Layout::Nchw) => {
                convolution.to_nchw(Refusal::Layout)?.run(epilogue).map(Value::Tensor)
            }
            (Self::Either(convolution), Layout::Nchwc) => convolution.run(epilogue).map(Value::from),
        }
    }

    /// Returns the multiply-adds and the bytes of this launch, whose result is `output`.
    pub(super) fn work(&self, epilogue: &Epilogue, output: &Value) -> Work {
        let (input, weight) = match self {
            Self::Nchw(convolution) => (tensor_bytes(&convolution.input), &convolution.weight),
            Self::Either(convolution) => (convolution.input.byte_size(), &convolution.parameters.weight),
        };
        let mut work = parameter_work(output.shape().dims(), weight, epilogue);
        work += Work { bytes_read: input, bytes_written: output.byte_size(), ..Work::default() };
        work
    }

    pub(super) fn dtype(&self) -> DType {
        match self {
            Self::Nchw(convolution) => convolution.input.dtype(),
            Self::Either(convolution) => convolution.input.dtype(),
        }
    }

    pub(super) fn device(&self) -> Device {
        match self {
            Self::Nchw(convolution) => convolution.input.device().clone(),
            Self::Either(convolution) => convolution.input.device(),
        }
    }

    /// Returns the name of the operation in traces.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Nchw(convolution) => match convolution.form.axes() {
                Axes::One => "conv1d",
                Axes::Two => "conv2d",
                Axes::Three => "conv3d",
            },
            Self::Either(_) => "conv2d",
        }
    }
}

/// Returns the multiply-adds of a convolution and the sizes of its weight and of the operands of its epilogue.
fn parameter_work(output: &[usize], weight: &Tensor, epilogue: &Epilogue) -> Work {
    Work {
        multiply_adds: convolution_products(output, weight.dims()),
        bytes_read: tensor_bytes(weight).saturating_add(epilogue.byte_size()),
        bytes_written: 0,
    }
}

/// Returns an error if the channel-blocked kernels do not support the tensors of an operation.
pub(super) fn check_blocked(op: &EpilogueOp) -> std::result::Result<(), Refusal> {
    match op {
        EpilogueOp::Affine { scale, shift } => policy::check(scale).and(policy::check(shift)),
        EpilogueOp::Residual(Value::Tensor(residual)) => policy::check(residual),
        EpilogueOp::Residual(Value::Blocked(_)) | EpilogueOp::Activation(_) => Ok(()),
    }
}

/// Writes the layer in the form used in errors.
impl fmt::Display for Convolution {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nchw(NchwConvolution { form, weight, geometry, .. }) => {
                f.write_str(&conv_label(*form, weight.dims(), geometry.groups))
            }
            Self::Either(convolution) => convolution.parameters.fmt(f),
        }
    }
}

/// Returns `Conv2d 3→64, 7×7` for a weight for images, `[out_channels, in_channels / groups, height, width]`.
pub(crate) fn conv_label(form: ImageForm, weight: &[usize], groups: usize) -> String {
    let axes = form.axes();
    let count = axes.count();
    match form.weight_sizes(weight) {
        Some(([out_channels, group_in_channels], kernel)) => {
            let in_channels = group_in_channels * groups;
            format!("Conv{count}d {in_channels}→{out_channels}, {}", axes.format_size(kernel))
        }
        None => format!("Conv{count}d"),
    }
}
