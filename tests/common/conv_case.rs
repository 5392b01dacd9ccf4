//! Random convolutions for the tests of gradients.

use std::ops::RangeInclusive;

use proptest::prelude::*;
use sconce_kernels::conv::ConvGeometry;

/// A convolution: its settings and the sizes of its tensors.
#[derive(Clone, Debug)]
pub struct Case {
    pub batch: usize,
    /// Input and output channels per group.
    pub channels: [usize; 2],
    /// Height and width of the input.
    pub size: [usize; 2],
    pub kernel: [usize; 2],
    pub geometry: ConvGeometry,
}

impl Case {
    /// Returns a case with a square image, kernel, stride and padding.
    pub fn square(
        batch: usize,
        channels: [usize; 2],
        size: usize,
        kernel: usize,
        stride: usize,
        pad: usize,
    ) -> Self {
        let geometry =
            ConvGeometry { stride: [stride; 2], padding: [[pad; 2]; 2], ..ConvGeometry::default() };
        Self { batch, channels, size: [size; 2], kernel: [kernel; 2], geometry }
    }

    /// Returns the shapes of input, weight and output, or `None` if the kernel does not fit in the padded input.
    pub fn shapes(&self) -> Option<[[usize; 4]; 3]> {
        let [group_in_channels, group_out_channels] = self.channels;
        let groups = self.geometry.groups;
        let [height, width] = self.geometry.output_size(self.size, self.kernel)?;
        Some([
            [self.batch, groups * group_in_channels, self.size[0], self.size[1]],
            [groups * group_out_channels, group_in_channels, self.kernel[0], self.kernel[1]],
            [self.batch, groups * group_out_channels, height, width],
        ])
    }
}

/// Generates convolutions of all kinds with up to `channels` channels per group and images of up to `size` ×
/// `size`.
pub fn cases(channels: usize, size: usize) -> impl Strategy<Value = Case> {
    let pair = |range: RangeInclusive<usize>| [range.clone(), range];
    let geometry = (pair(1..=3), pair(1..=3), [pair(0..=4), pair(0..=4)], 1usize..=3)
        .prop_map(|(stride, dilation, padding, groups)| ConvGeometry { stride, dilation, padding, groups });
    (0usize..=3, pair(1..=channels), pair(1..=size), pair(1..=4), geometry)
        .prop_map(|(batch, channels, size, kernel, geometry)| Case {
            batch,
            channels,
            size,
            kernel,
            geometry,
        })
        .prop_filter("the kernel does not fit", |case| case.shapes().is_some())
}
