//! The settings of a convolution: stride, padding, dilation, groups.

/// The settings of a convolution, per axis: `[height, width]`, or `[depth, height, width]` for videos.
///
/// The default is stride 1, no padding, dilation 1 and one group. The `with_…` methods set all axes to one value. To
/// set the axes to different values, assign the fields.
///
/// ```
/// use sconce_kernels::ConvGeometry;
///
/// let halved = ConvGeometry::new().with_stride(2).with_padding(1);
/// assert_eq!(halved.output_size([32, 48], [3, 3]), Some([16, 24]));
///
/// let causal = ConvGeometry { padding: [[0, 0], [2, 0]], ..ConvGeometry::new() };
/// assert_eq!(causal.output_size([1, 48], [1, 3]), Some([1, 48]));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ConvGeometry<const AXES: usize = 2> {
    /// The distance between neighboring windows.
    pub stride: [usize; AXES],
    /// Zeros before and after the input on each axis: `[[top, bottom], [left, right]]` for images.
    pub padding: [[usize; 2]; AXES],
    /// The distance between neighboring elements of a window.
    pub dilation: [usize; AXES],
    /// The number of groups that the channels are divided into. Each output channel reads the input channels
    /// of its own group.
    pub groups: usize,
}

impl<const AXES: usize> Default for ConvGeometry<AXES> {
    fn default() -> Self {
        Self::new()
    }
}

impl<const AXES: usize> ConvGeometry<AXES> {
    /// Returns the default settings: stride 1, no padding, dilation 1, one group.
    pub const fn new() -> Self {
        Self { stride: [1; AXES], padding: [[0; 2]; AXES], dilation: [1; AXES], groups: 1 }
    }

    /// Sets the stride of all axes.
    pub const fn with_stride(self, stride: usize) -> Self {
        Self { stride: [stride; AXES], ..self }
    }

    /// Sets the padding of all sides.
    pub const fn with_padding(self, padding: usize) -> Self {
        Self { padding: [[padding; 2]; AXES], ..self }
    }

    /// Sets the dilation of all axes.
    pub const fn with_dilation(self, dilation: usize) -> Self {
        Self { dilation: [dilation; AXES], ..self }
    }

    /// Sets the number of groups.
    pub const fn with_groups(self, groups: usize) -> Self {
        Self { groups, ..self }
    }

    /// Returns the size of the output for an input and a kernel of the given sizes, or `None` if the padded input is
    /// smaller than the dilated kernel, or if a kernel size or a stride is 0.
    pub fn output_size(&self, input: [usize; AXES], kernel: [usize; AXES]) -> Option<[usize; AXES]> {
        let axis = |i: usize| {
            let extent = self.dilation[i].checked_mul(kernel[i].checked_sub(1)?)?.checked_add(1)?;
            let padded = input[i].checked_add(self.padding[i][0])?.checked_add(self.padding[i][1])?;
            Some(padded.checked_sub(extent)?.checked_div(self.stride[i])? + 1)
        };
        each_axis(axis)
    }
}

impl ConvGeometry {
    /// Returns an equivalent geometry whose numbers cannot overflow in the kernels. A stride of at
    /// least the padded input's size gives a single output, so larger strides are reduced to this size. The dilation of
    /// an axis with one tap has no effect and becomes 1.
    pub(super) fn bounded(self, input: [usize; 2], kernel: [usize; 2]) -> Self {
        let padded =
            |axis: usize| self.padding[axis].iter().fold(input[axis], |size, n| size.saturating_add(*n));
        let stride = [0, 1].map(|axis| self.stride[axis].min(padded(axis).max(1)));
        let dilation = [0, 1].map(|axis| if kernel[axis] == 1 { 1 } else { self.dilation[axis] });
        Self { stride, dilation, ..self }
    }
}

/// Returns the sizes that `axis` computes, or `None` if it returns `None` for an axis.
pub(super) fn each_axis<const AXES: usize>(axis: impl Fn(usize) -> Option<usize>) -> Option<[usize; AXES]> {
    let mut sizes = [0; AXES];
    for (i, size) in sizes.iter_mut().enumerate() {
        *size = axis(i)?;
    }
    Some(sizes)
}
