//! The windows of pooling along one axis.

use std::ops::Range;

/// The windows of a pooling along one axis.
pub(crate) struct Windows {
    pub kernel: usize,
    pub stride: usize,
    pub padding: usize,
    pub dilation: usize,
    pub inputs: usize,
    pub outputs: usize,
}

impl Windows {
    /// Returns the padding at the end that the last window reaches. At least 0.
    pub fn reached_end(&self) -> usize {
        let reach = self.dilation * (self.kernel - 1) + 1;
        ((self.outputs - 1) * self.stride + reach).saturating_sub(self.inputs + self.padding)
    }

    /// Returns the number of elements of each window that count, as in PyTorch: those in the input, or those in the
    /// input and its padding.
    pub fn counts(&self, count_include_pad: bool) -> Vec<usize> {
        let counted = |output: usize| {
            let start = output * self.stride;
            let end = (start + self.kernel).min(self.inputs + 2 * self.padding);
            if count_include_pad {
                return end - start;
            }
            let inside = |position: usize| position.clamp(self.padding, self.padding + self.inputs);
            inside(end) - inside(start)
        };
        (0..self.outputs).map(counted).collect()
    }

    /// Returns the numbers that count of the windows over several axes, in row-major order.
    pub fn joint_counts(windows: &[Self], count_include_pad: bool) -> Vec<usize> {
        windows.iter().fold(vec![1], |products, windows| {
            let counts = windows.counts(count_include_pad);
            products.iter().flat_map(|product| counts.iter().map(move |count| product * count)).collect()
        })
    }
}

/// Returns the inputs of one output of adaptive pooling.
pub(crate) fn adaptive_window(output: usize, inputs: usize, outputs: usize) -> Range<usize> {
    output * inputs / outputs..((output + 1) * inputs).div_ceil(outputs)
}
