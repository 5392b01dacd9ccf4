//! What a 2-d convolution does to its input's shape: stride, padding, dilation, groups.

/// The settings of a 2-d convolution, per axis `[height, width]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ConvGeometry {
    pub stride: [usize; 2],
    /// Zeros before and after the input on each axis: `[[top, bottom], [left, right]]`.
    pub padding: [[usize; 2]; 2],
    pub dilation: [usize; 2],
    pub groups: usize,
}

impl Default for ConvGeometry {
    fn default() -> Self {
        Self { stride: [1; 2], padding: [[0; 2]; 2], dilation: [1; 2], groups: 1 }
    }
}

impl ConvGeometry {
    /// The same in numbers that no product of the kernels' overflows with: no stride is longer than the padded input,
    /// which one window is in then either way, and a single tap has no neighbour to be apart from.
    pub(super) fn bounded(self, input: [usize; 2], kernel: [usize; 2]) -> Self {
        let padded =
            |axis: usize| self.padding[axis].iter().fold(input[axis], |size, n| size.saturating_add(*n));
        let stride = [0, 1].map(|axis| self.stride[axis].min(padded(axis).max(1)));
        let dilation = [0, 1].map(|axis| if kernel[axis] == 1 { 1 } else { self.dilation[axis] });
        Self { stride, dilation, ..self }
    }

    /// The rows and columns of the output for an input and a kernel of the given size, or `None`
    /// where the padded input is smaller than the dilated kernel (or a stride is zero).
    pub fn output_size(&self, input: [usize; 2], kernel: [usize; 2]) -> Option<[usize; 2]> {
        let axis = |i: usize| {
            let reach = self.dilation[i].checked_mul(kernel[i].checked_sub(1)?)?.checked_add(1)?;
            let padded = input[i].checked_add(self.padding[i][0])?.checked_add(self.padding[i][1])?;
            Some(padded.checked_sub(reach)?.checked_div(self.stride[i])? + 1)
        };
        Some([axis(0)?, axis(1)?])
    }
}
