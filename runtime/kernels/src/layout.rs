//! The memory layouts of activations.

/// The memory layout of an activation `[batch, channels, height, width]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Layout {
    /// `[batch, channels, height, width]`: the pixels of a channel are consecutive.
    Nchw,
    /// `[batch, ⌈channels / lanes⌉, height, width, lanes]`: in each pixel, the `lanes` channels of a block are
    /// consecutive. The last block is padded with zeros. With 16 lanes, oneDNN calls this layout nChw16c.
    Nchwc,
}

impl Layout {
    /// Returns the number of channels that are consecutive in memory: `lanes`, or 1.
    pub fn block(self, lanes: usize) -> usize {
        match self {
            Self::Nchw => 1,
            Self::Nchwc => lanes,
        }
    }

    /// Returns the number of elements of an activation `[batch, channels, height, width]`, including the padding after
    /// the last channel.
    pub fn elements(self, [batch, channels, height, width]: [usize; 4], lanes: usize) -> usize {
        batch * channels.next_multiple_of(self.block(lanes)) * height * width
    }
}
