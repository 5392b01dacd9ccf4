//! What a pooling window does to its input's size: kernel, stride, padding, dilation.

use candle_core::{Result, bail};

/// The settings of a 2-d pooling, per axis `[height, width]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PoolGeometry {
    pub kernel: [usize; 2],
    pub stride: [usize; 2],
    /// Before and after the input alike; at most half the kernel.
    pub padding: [usize; 2],
    pub dilation: [usize; 2],
    /// Whether a last window that reaches beyond the padded input counts, so long as it starts before
    /// the input's end.
    pub ceil_mode: bool,
}

impl PoolGeometry {
    /// Windows side by side, as PyTorch's defaults: the stride is the kernel, no padding.
    pub fn new(kernel: [usize; 2]) -> Self {
        Self { kernel, stride: kernel, padding: [0; 2], dilation: [1; 2], ceil_mode: false }
    }

    /// The rows and columns of the output for an input of the given size.
    ///
    /// # Errors
    /// A kernel, stride or dilation of 0, padding of more than half the kernel, or an empty output.
    pub fn output_size(&self, input: [usize; 2]) -> Result<[usize; 2]> {
        let Self { kernel, stride, padding, dilation, .. } = *self;
        for (name, sizes) in [("kernel", kernel), ("stride", stride), ("dilation", dilation)] {
            if sizes.contains(&0) {
                bail!("pooling: expected a {name} of 1 or more on each axis, got {sizes:?}");
            }
        }
        if padding[0] > kernel[0] / 2 || padding[1] > kernel[1] / 2 {
            bail!("pooling: expected padding of at most half the kernel {kernel:?}, got {padding:?}");
        }
        match (self.outputs(0, input[0]), self.outputs(1, input[1])) {
            (Some(rows), Some(columns)) => Ok([rows, columns]),
            _ => bail!(
                "pooling: expected an input that the kernel {kernel:?} (dilation {dilation:?}) fits into \
                 with padding {padding:?}, got one of {input:?}: the output would be empty"
            ),
        }
    }

    /// The outputs along one axis, unless there are none.
    fn outputs(&self, axis: usize, input: usize) -> Option<usize> {
        let wide = |sizes: [usize; 2]| sizes[axis] as i128;
        let (stride, padding, input) = (wide(self.stride), wide(self.padding), input as i128);
        let reach = wide(self.dilation) * (wide(self.kernel) - 1) + 1;
        let round = if self.ceil_mode { stride - 1 } else { 0 };
        let mut outputs = (input + 2 * padding - reach + round).div_euclid(stride) + 1;
        if self.ceil_mode && (outputs - 1) * stride >= input + padding {
            outputs -= 1;
        }
        usize::try_from(outputs).ok().filter(|outputs| *outputs > 0)
    }

    /// The positions inside `0..input` that output `output` sees along `axis`.
    pub(super) fn taps(
        &self,
        axis: usize,
        input: usize,
        output: usize,
    ) -> impl Iterator<Item = usize> + Clone {
        let (dilation, padding) = (self.dilation[axis], self.padding[axis]);
        let start = output * self.stride[axis];
        (0..self.kernel[axis]).filter_map(move |tap| {
            let position = (start + tap * dilation).checked_sub(padding)?;
            (position < input).then_some(position)
        })
    }
}
