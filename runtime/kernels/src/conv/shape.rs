//! The sizes of a convolution, checked once. The kernels rely on these checks.

use candle_core::{DType, Result, Tensor, bail};

use super::{ConvGeometry, Epilogue};

/// The maximum number of elements of a padded input. No real input has more. The limit keeps the kernels' counts of
/// pixels, taps and channels from overflowing.
const MAX_PADDED_ELEMENTS: usize = 1 << 40;

/// All sizes of a convolution.
///
/// The constructors check the sizes: the number of groups divides both channel counts, strides and dilations are
/// positive, and the output has at least one row and one column.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ConvShape {
    /// The number of images in the batch.
    pub batch: usize,
    /// The number of input channels.
    pub in_channels: usize,
    /// The number of output channels.
    pub out_channels: usize,
    /// `[height, width]` of the input.
    pub input: [usize; 2],
    /// `[height, width]` of the kernel.
    pub kernel: [usize; 2],
    /// `[height, width]` of the output.
    pub output: [usize; 2],
    /// Stride, padding, dilation and groups.
    pub geometry: ConvGeometry,
}

impl ConvShape {
    /// Checks the shapes of an input `[batch, in_channels, height, width]` and a weight
    /// `[out_channels, in_channels / groups, kernel height, kernel width]`.
    ///
    /// # Errors
    /// Fails if the shapes and the geometry do not match, or if an operand would not fit in memory.
    pub fn new(input: &[usize], weight: &[usize], geometry: &ConvGeometry) -> Result<Self> {
        let &[batch, in_channels, height, width] = input else {
            bail!("conv2d: expected an input [batch, channels, height, width], found {input:?}")
        };
        let &[out_channels, _, kernel_height, kernel_width] = weight else {
            bail!(
                "conv2d: expected a weight [out_channels, in_channels / groups, height, width], found {weight:?}"
            )
        };
        check_geometry(geometry)?;
        check_channels("conv2d", input, weight, geometry.groups)?;
        let Some(output) = geometry.output_size([height, width], [kernel_height, kernel_width]) else {
            bail!(
                "conv2d: expected an input of at least the kernel's size, found {height}×{width} with padding {:?} \
                 for a {kernel_height}×{kernel_width} kernel with dilation {:?}",
                geometry.padding,
                geometry.dilation
            )
        };
        let input = [height, width];
        let kernel = [kernel_height, kernel_width];
        let geometry = geometry.bounded(input, kernel);
        let shape = Self { batch, in_channels, out_channels, input, kernel, output, geometry };
        // An element has at most 8 bytes.
        if !fits(isize::MAX as usize / 8, shape.output_dims()) {
            bail!("conv2d: expected an output that fits in memory, found {:?}", shape.output_dims())
        }
        if !fits(MAX_PADDED_ELEMENTS, shape.padded_dims()) {
            bail!("conv2d: expected a padded input that fits in memory, found {:?}", shape.padded_dims())
        }
        Ok(shape)
    }

    /// Checks that the dtypes, devices and shapes of the operands of one call agree, and returns their sizes.
    pub(super) fn of(
        input: &Tensor,
        weight: &Tensor,
        geometry: &ConvGeometry,
        epilogue: &Epilogue,
    ) -> Result<Self> {
        let shape = Self::new(input.dims(), weight.dims(), geometry)?;
        check_dtype_and_device("conv2d", "weight", weight, input)?;
        check_epilogue("conv2d", epilogue, input, &shape.output_dims())?;
        Ok(shape)
    }

    /// Returns `[batch, out_channels, height, width]` of the output.
    pub fn output_dims(&self) -> [usize; 4] {
        [self.batch, self.out_channels, self.output[0], self.output[1]]
    }

    /// Returns `true` if the kernel has the size of the input and there is neither padding nor more than one group. The
    /// output then has one pixel.
    pub(crate) fn kernel_covers_input(&self) -> bool {
        let ConvGeometry { padding, groups, .. } = self.geometry;
        self.kernel == self.input && padding == [[0; 2]; 2] && groups == 1
    }

    /// Returns the number of elements that the input and the output would have together if both had the height and
    /// width of the padded input.
    pub(super) fn padded_elements(&self) -> usize {
        let [batch, _, height, width] = self.padded_dims();
        [batch, self.in_channels.saturating_add(self.out_channels), height, width]
            .into_iter()
            .fold(1, usize::saturating_mul)
    }

    /// Returns `[batch, in_channels, height, width]` of the padded input.
    fn padded_dims(&self) -> [usize; 4] {
        let [height, width] =
            [0, 1].map(|axis| self.input[axis] + self.geometry.padding[axis].iter().sum::<usize>());
        [self.batch, self.in_channels, height, width]
    }

    /// Returns `[out_channels, in_channels / groups, kernel height, kernel width]` of the weight.
    pub fn weight_dims(&self) -> [usize; 4] {
        [self.out_channels, self.in_channels / self.geometry.groups, self.kernel[0], self.kernel[1]]
    }

    /// Returns the number of input channels in each group.
    pub fn group_in_channels(&self) -> usize {
        self.in_channels / self.geometry.groups
    }

    /// Returns the number of output channels in each group.
    pub fn group_out_channels(&self) -> usize {
        self.out_channels / self.geometry.groups
    }

    /// Returns the number of elements of the output.
    pub fn output_elements(&self) -> usize {
        self.output_dims().iter().product()
    }

    /// Returns the number of products in the sum of one output element: the depth (K) of the convolution as a matrix
    /// product.
    pub fn depth(&self) -> usize {
        self.group_in_channels() * self.kernel[0] * self.kernel[1]
    }
}

/// Returns `true` if a tensor of shape `dims` has at most `max_elements` elements.
///
/// For an empty tensor, counts only the dimensions after the last 0: the tensor's strides are products of these
/// dimensions and must not overflow.
fn fits(max_elements: usize, dims: [usize; 4]) -> bool {
    let mut sizes = dims.into_iter().rev().take_while(|size| *size > 0);
    sizes.try_fold(1usize, |count, size| count.checked_mul(size)).is_some_and(|count| count <= max_elements)
}

/// Checks the settings of a convolution over any axes.
pub(super) fn check_geometry<const AXES: usize>(geometry: &ConvGeometry<AXES>) -> Result<()> {
    let ConvGeometry { stride, dilation, groups, .. } = geometry;
    if stride.contains(&0) {
        bail!("convolution: expected a stride of at least 1, found {stride:?}")
    }
    if dilation.contains(&0) {
        bail!("convolution: expected a dilation of at least 1, found {dilation:?}")
    }
    if *groups == 0 {
        bail!("convolution: expected at least one group, found 0")
    }
    Ok(())
}

/// Checks the channels of an input `[batch, in_channels, …]` and a weight `[out_channels, in_channels / groups, …]`.
pub(super) fn check_channels(op: &str, input: &[usize], weight: &[usize], groups: usize) -> Result<()> {
    let ([_, in_channels, ..], [out_channels, channels, ..]) = (input, weight) else {
        bail!("{op}: expected an input and a weight with channels, found {input:?} and {weight:?}")
    };
    if channels.checked_mul(groups) != Some(*in_channels) {
        bail!(
            "{op}: expected {} input channels ({channels} in each of {groups} groups), found {in_channels} (input \
             {input:?}, weight {weight:?})",
            channels.saturating_mul(groups)
        )
    }
    if !out_channels.is_multiple_of(groups) {
        bail!("{op}: expected output channels divisible by {groups} groups, found {out_channels}")
    }
    Ok(())
}

/// Checks the tensors of an epilogue for an output `[batch, out_channels, …]`.
pub(super) fn check_epilogue(op: &str, epilogue: &Epilogue, input: &Tensor, output: &[usize]) -> Result<()> {
    check_epilogue_dtypes(op, epilogue, input)?;
    for (name, vector) in [("scale", &epilogue.scale), ("shift", &epilogue.shift)] {
        if let Some(vector) = vector.as_ref().filter(|vector| vector.dims() != &output[1..2]) {
            bail!("{op}: expected a {name} of shape {:?}, found {:?}", &output[1..2], vector.dims())
        }
    }
    match &epilogue.residual {
        Some(residual) if residual.dims() != output => {
            bail!("{op}: expected a residual of shape {output:?}, found {:?}", residual.dims())
        }
        _ => Ok(()),
    }
}

/// Checks the dtypes and the devices of the tensors of an epilogue.
pub(super) fn check_epilogue_dtypes(op: &str, epilogue: &Epilogue, input: &Tensor) -> Result<()> {
    for (name, vector) in [("scale", &epilogue.scale), ("shift", &epilogue.shift)] {
        let Some(vector) = vector else { continue };
        // On the CPU, the scale and the shift of an f16 or bf16 input may be f32.
        if !(is_widened(input) && vector.dtype() == DType::F32 && vector.device().is_cpu()) {
            check_dtype_and_device(op, name, vector, input)?;
        }
    }
    match &epilogue.residual {
        Some(residual) => check_dtype_and_device(op, "residual", residual, input),
        None => Ok(()),
    }
}

/// Returns `true` for f16 and bf16 on the CPU, which kernels widen to f32.
fn is_widened(input: &Tensor) -> bool {
    matches!(input.dtype(), DType::F16 | DType::BF16) && input.device().is_cpu()
}

/// Checks that an operand of `op` has the dtype and the device of the input.
pub(super) fn check_dtype_and_device(op: &str, name: &str, operand: &Tensor, input: &Tensor) -> Result<()> {
    if operand.dtype() != input.dtype() {
        bail!(
            "{op}: expected a {name} of dtype {:?}, the dtype of the input, found {:?}",
            input.dtype(),
            operand.dtype()
        )
    }
    if !operand.device().same_device(input.device()) {
        bail!(
            "{op}: expected the {name} on {:?}, the device of the input, found {:?}",
            input.device().location(),
            operand.device().location()
        )
    }
    Ok(())
}
