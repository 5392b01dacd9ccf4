//! The sizes of a convolution, and the phases of its input. A phase consists of the positions that have the same
//! residue modulo the stride.

use crate::conv::ConvShape;

/// The sizes of a convolution, with the channels of one group.
#[derive(Clone, Copy, Debug)]
pub(super) struct Extent {
    pub batch: usize,
    pub groups: usize,
    /// The number of input channels in each group.
    pub group_in_channels: usize,
    /// The number of output channels in each group.
    pub group_out_channels: usize,
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
    /// The number of zeros before the input.
    pub padding: usize,
}

/// A phase along one axis: the input positions that have the same residue modulo the stride, and the taps that read
/// them.
///
/// With stride `s` and dilation `d`, output `o` reads the padded input position `u = o·s + k·d` under tap `k`. The
/// residue `u mod s` depends on the tap alone. Within a phase, `u = q·s + residue`, and the convolution has stride 1:
/// `o = q − shift`, where `shift = ⌊k·d / s⌋`.
pub(super) struct Phase {
    /// The residue of the phase's positions modulo the stride, counted in the padded input.
    pub residue: usize,
    /// The taps that read the phase.
    pub taps: Vec<Tap>,
    /// The smallest `q` whose position is in the input, not in the padding.
    pub first: usize,
    /// The number of positions in the input. Their values of `q` are `first..first + count`.
    pub count: usize,
}

/// A tap of a kernel along one axis.
#[derive(Clone, Copy)]
pub(super) struct Tap {
    /// The index of the tap in the kernel.
    pub index: usize,
    /// Output `o` reads the position `q = o + shift` of the tap's phase (see [`Phase`]).
    pub shift: usize,
}

impl Axis {
    /// Returns the phases that at least one tap reads.
    pub fn phases(&self) -> Vec<Phase> {
        let mut phases: Vec<Phase> = Vec::new();
        for index in 0..self.kernel {
            let distance = index * self.dilation;
            let residue = distance % self.stride;
            let tap = Tap { index, shift: distance / self.stride };
            match phases.iter_mut().find(|phase| phase.residue == residue) {
                Some(phase) => phase.taps.push(tap),
                None => phases.push(self.phase(residue, tap)),
            }
        }
        phases
    }

    /// Returns the phase with the given residue and one tap.
    fn phase(&self, residue: usize, tap: Tap) -> Phase {
        let first = self.padding.saturating_sub(residue).div_ceil(self.stride);
        let end = (self.padding + self.input).saturating_sub(residue).div_ceil(self.stride);
        Phase { residue, taps: vec![tap], first, count: end.saturating_sub(first) }
    }

    /// Returns `true` if the axis has one position and one tap, which reads this position and not the padding.
    pub fn is_trivial(&self) -> bool {
        [self.input, self.kernel, self.output] == [1; 3] && self.padding == 0
    }

    /// Returns the number of positions of the padded input from the first to the last that a tap reads.
    pub fn padded_size(&self) -> usize {
        (self.output - 1) * self.stride + (self.kernel - 1) * self.dilation + 1
    }

    /// Returns the largest shift of any tap.
    pub fn max_shift(&self) -> usize {
        (self.kernel - 1) * self.dilation / self.stride
    }
}

impl Phase {
    /// Returns the position of `self.first` in the unpadded input.
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
            group_in_channels: shape.group_in_channels(),
            group_out_channels: shape.group_out_channels(),
            axes: [axis(0), axis(1)],
        }
    }

    /// Returns the number of pixels of an input image.
    pub fn input_plane(&self) -> usize {
        self.axes[0].input * self.axes[1].input
    }

    /// Returns the number of pixels of an output image.
    pub fn output_plane(&self) -> usize {
        self.axes[0].output * self.axes[1].output
    }

    /// Returns the number of taps of the kernel.
    pub fn taps(&self) -> usize {
        self.axes[0].kernel * self.axes[1].kernel
    }

    /// Returns the number of multiply-adds of the forward pass. The gradient of the input and the gradient of the
    /// weight each need as many.
    pub fn work(&self) -> usize {
        self.batch
            * self.groups
            * self.group_out_channels
            * self.output_plane()
            * self.group_in_channels
            * self.taps()
    }
}
