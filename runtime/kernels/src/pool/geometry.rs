//! Pooling geometry: the output size, and the input positions in the window of each output.

use std::iter::StepBy;
use std::ops::Range;

use candle_core::{Result, bail};

use crate::planes::check_size;

/// The maximum number of elements of a plane with its padding.
const MAX_PADDED_ELEMENTS: usize = isize::MAX as usize / 8;

/// The settings of pooling windows, per axis: `[height, width]`, `[length]` for sequences, or
/// `[depth, height, width]` for videos.
///
/// ```
/// use candle_core::Result;
/// use sconce_kernels::PoolGeometry;
///
/// # fn main() -> Result<()> {
/// let geometry = PoolGeometry::new([3, 3]).with_stride(2).with_padding(1);
/// assert_eq!(geometry.output_size([112, 112])?, [56, 56]);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PoolGeometry<const AXES: usize = 2> {
    /// The size of a window.
    pub kernel: [usize; AXES],
    /// The distance between neighboring windows.
    pub stride: [usize; AXES],
    /// The padding on both sides of the input, at most half the kernel.
    pub padding: [usize; AXES],
    /// The distance between neighboring elements of a window.
    pub dilation: [usize; AXES],
    /// Whether the output size is rounded up instead of down. The last window must still start in the input or the
    /// padding before it.
    pub ceil_mode: bool,
}

/// The input positions in one window along an axis.
pub(crate) type WindowPositions = StepBy<Range<usize>>;

impl<const AXES: usize> PoolGeometry<AXES> {
    /// Returns a geometry with PyTorch's defaults: the stride equals the kernel, the padding is 0, and the dilation is
    /// 1.
    pub fn new(kernel: [usize; AXES]) -> Self {
        Self { kernel, stride: kernel, padding: [0; AXES], dilation: [1; AXES], ceil_mode: false }
    }

    /// Sets the stride of all axes.
    pub const fn with_stride(self, stride: usize) -> Self {
        Self { stride: [stride; AXES], ..self }
    }

    /// Sets the padding of all axes.
    pub const fn with_padding(self, padding: usize) -> Self {
        Self { padding: [padding; AXES], ..self }
    }

    /// Sets the dilation of all axes.
    pub const fn with_dilation(self, dilation: usize) -> Self {
        Self { dilation: [dilation; AXES], ..self }
    }

    /// Sets whether the output size is rounded up instead of down. Default: `false`.
    pub const fn with_ceil_mode(self, ceil_mode: bool) -> Self {
        Self { ceil_mode, ..self }
    }

    /// Returns the size of the output for an input of the given size.
    ///
    /// # Errors
    /// Fails if a kernel, stride or dilation is 0, the padding is more than half the kernel, the padded input would not
    /// fit in memory, or the output would be empty.
    pub fn output_size(&self, input: [usize; AXES]) -> Result<[usize; AXES]> {
        let Self { kernel, stride, padding, dilation, .. } = *self;
        for (name, sizes) in [("kernel", kernel), ("stride", stride), ("dilation", dilation)] {
            if sizes.contains(&0) {
                bail!("pooling: expected a {name} of 1 or more on each axis, found {sizes:?}");
            }
        }
        if padding.iter().zip(kernel).any(|(padding, kernel)| *padding > kernel / 2) {
            bail!("pooling: expected padding of at most half the kernel {kernel:?}, found {padding:?}");
        }
        let padded = std::array::from_fn::<_, AXES, _>(|axis| input[axis].saturating_add(2 * padding[axis]));
        // This bound also keeps the element counts and the end positions of windows from overflowing.
        if padded
            .iter()
            .try_fold(1usize, |count, size| count.checked_mul(*size))
            .is_none_or(|n| n > MAX_PADDED_ELEMENTS)
        {
            bail!("pooling: expected a padded input that fits in memory, found {padded:?}");
        }
        let output = std::array::from_fn(|axis| self.outputs(axis, input[axis]));
        if output.contains(&0) {
            bail!(
                "pooling: the kernel {kernel:?} (dilation {dilation:?}) does not fit in the input {input:?} with \
                 padding {padding:?}: the output would be empty"
            );
        }
        Ok(output)
    }

    /// Returns the number of outputs along one axis.
    fn outputs(&self, axis: usize, input: usize) -> usize {
        let wide = |sizes: [usize; AXES]| sizes[axis] as i128;
        let (stride, padding, input) = (wide(self.stride), wide(self.padding), input as i128);
        let kernel_extent = wide(self.dilation) * (wide(self.kernel) - 1) + 1;
        let round = if self.ceil_mode { stride - 1 } else { 0 };
        let mut outputs = (input + 2 * padding - kernel_extent + round).div_euclid(stride) + 1;
        if self.ceil_mode && (outputs - 1) * stride >= input + padding {
            outputs -= 1;
        }
        usize::try_from(outputs).unwrap_or(0)
    }

    /// Returns, for each of `outputs` windows along one axis, its positions in `0..input`.
    pub(crate) fn positions(&self, axis: usize, input: usize, outputs: usize) -> Vec<WindowPositions> {
        let (dilation, padding) = (self.dilation[axis], self.padding[axis]);
        let kernel_extent = dilation.saturating_mul(self.kernel[axis] - 1).saturating_add(1);
        let positions = |output: usize| {
            // `start` counts from the start of the padding; `first` and `end` count from the start of the input.
            let start = output * self.stride[axis];
            let skipped = padding.saturating_sub(start).div_ceil(dilation);
            let first = start.saturating_add(skipped.saturating_mul(dilation)) - padding;
            let end = start.saturating_add(kernel_extent).saturating_sub(padding).min(input);
            (first..end).step_by(dilation)
        };
        (0..outputs).map(positions).collect()
    }
}

impl PoolGeometry<1> {
    /// Returns the same geometry for an image with one row.
    pub(super) fn to_2d(self) -> PoolGeometry {
        let Self { kernel: [kernel], stride: [stride], padding: [padding], dilation: [dilation], ceil_mode } =
            self;
        PoolGeometry {
            kernel: [1, kernel],
            stride: [1, stride],
            padding: [0, padding],
            dilation: [1, dilation],
            ceil_mode,
        }
    }
}

impl PoolGeometry<3> {
    /// Returns the settings for the height and width of videos, and those for the depth of videos whose frames are
    /// flat: images of the size `[depth, height · width]`.
    pub(super) fn split(self) -> [PoolGeometry; 2] {
        let Self { kernel, stride, padding, dilation, ceil_mode } = self;
        let frame = PoolGeometry {
            kernel: [kernel[1], kernel[2]],
            stride: [stride[1], stride[2]],
            padding: [padding[1], padding[2]],
            dilation: [dilation[1], dilation[2]],
            ceil_mode,
        };
        let depth = PoolGeometry {
            kernel: [kernel[0], 1],
            stride: [stride[0], 1],
            padding: [padding[0], 0],
            dilation: [dilation[0], 1],
            ceil_mode,
        };
        [frame, depth]
    }
}

/// Returns the output size of adaptive pooling for an input of shape `dims`. `None` in `size` keeps the size of the
/// input.
pub(crate) fn adaptive_size(
    op: &str,
    dims: &[usize],
    input: [usize; 2],
    size: [Option<usize>; 2],
) -> Result<[usize; 2]> {
    if size.contains(&Some(0)) {
        bail!("{op}: expected an output of 1 or more on each axis, found {size:?}");
    }
    let output = [0, 1].map(|axis| size[axis].unwrap_or(input[axis]));
    check_size(op, dims, output)?;
    Ok(output)
}

/// Returns `outputs` windows that cover the positions `0..input`, as in PyTorch. Window `i` begins at
/// `⌊i · input / outputs⌋` and ends before `⌈(i + 1) · input / outputs⌉`. Neighboring windows may overlap.
pub(crate) fn adaptive_ranges(input: usize, outputs: usize) -> impl Iterator<Item = Range<usize>> {
    (0..outputs).map(move |output| output * input / outputs..((output + 1) * input).div_ceil(outputs))
}
