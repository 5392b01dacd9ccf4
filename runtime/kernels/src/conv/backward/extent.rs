//! The sizes of one convolution, and how its input positions fall into residue classes of the stride.

use crate::conv::ConvShape;

/// The sizes of one convolution; channels are counted per group.
#[derive(Clone, Copy, Debug)]
pub(super) struct Extent {
    pub batch: usize,
    pub groups: usize,
    pub inputs: usize,
    pub outputs: usize,
    /// `[height, width]`
    pub axes: [Axis; 2],
}

/// One axis of a convolution.
#[derive(Clone, Copy, Debug)]
pub(super) struct Axis {
    pub input: usize,
    pub kernel: usize,
    pub output: usize,
    pub stride: usize,
    pub dilation: usize,
    /// Zeros before the input.
    pub padding: usize,
}

/// The taps of a kernel that meet the same residue class of input positions.
///
/// With a stride `s`, output `o` and tap `k` meet at the padded input position `u = o·s + k·d`. Its
/// residue `u mod s` depends on the tap alone, and within a class `u = q·s + residue` the convolution
/// has stride 1: `o = q − shift`.
pub(super) struct Class {
    pub residue: usize,
    pub taps: Vec<Tap>,
    /// The first `q` inside the input, and how many there are.
    pub first: usize,
    pub count: usize,
}

#[derive(Clone, Copy)]
pub(super) struct Tap {
    pub index: usize,
    pub shift: usize,
}

impl Axis {
    /// The residue classes that some tap meets.
    pub fn classes(&self) -> Vec<Class> {
        let mut classes: Vec<Class> = Vec::new();
        for index in 0..self.kernel {
            let reach = index * self.dilation;
            let (residue, tap) = (reach % self.stride, Tap { index, shift: reach / self.stride });
            match classes.iter_mut().find(|class| class.residue == residue) {
                Some(class) => class.taps.push(tap),
                None => classes.push(self.class(residue, tap)),
            }
        }
        classes
    }

    fn class(&self, residue: usize, tap: Tap) -> Class {
        let first = self.padding.saturating_sub(residue).div_ceil(self.stride);
        let end = (self.padding + self.input).saturating_sub(residue).div_ceil(self.stride);
        Class { residue, taps: vec![tap], first, count: end.saturating_sub(first) }
    }

    /// The largest shift of any tap.
    pub fn max_shift(&self) -> usize {
        (self.kernel - 1) * self.dilation / self.stride
    }
}

impl Class {
    /// The input position of the first `q`.
    pub fn position(&self, axis: &Axis) -> usize {
        self.first * axis.stride + self.residue - axis.padding
    }

    pub fn max_shift(&self) -> usize {
        self.taps.iter().map(|tap| tap.shift).max().unwrap_or(0)
    }

    pub fn min_shift(&self) -> usize {
        self.taps.iter().map(|tap| tap.shift).min().unwrap_or(0)
    }
}

impl Extent {
    pub fn of(shape: &ConvShape) -> Self {
        let ConvShape { input, kernel, output, geometry, .. } = shape;
        let axis = |i: usize| Axis {
            input: input[i],
            kernel: kernel[i],
            output: output[i],
            stride: geometry.stride[i],
            dilation: geometry.dilation[i],
            padding: geometry.padding[i][0],
        };
        Self {
            batch: shape.batch,
            groups: geometry.groups,
            inputs: shape.group_inputs(),
            outputs: shape.group_outputs(),
            axes: [axis(0), axis(1)],
        }
    }

    pub fn input_plane(&self) -> usize {
        self.axes[0].input * self.axes[1].input
    }

    pub fn output_plane(&self) -> usize {
        self.axes[0].output * self.axes[1].output
    }

    /// Taps of the kernel.
    pub fn taps(&self) -> usize {
        self.axes[0].kernel * self.axes[1].kernel
    }

    /// Multiply-adds of the forward pass, and of each of the two gradients.
    pub fn work(&self) -> usize {
        self.batch * self.groups * self.outputs * self.output_plane() * self.inputs * self.taps()
    }
}
