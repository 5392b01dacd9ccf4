//! The memory layouts of activations.

/// How an activation `[batch, channels, height, width]` lies in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Layout {
    /// `[batch, channels, height, width]`: the pixels of a channel are neighbors.
    Nchw,
    /// `[batch, ⌈channels / lanes⌉, height, width, lanes]`: the channels of a vector are neighbors, with zeros
    /// after the last channel. oneDNN calls it nChw16c.
    Nchwc,
}

impl Layout {
    /// Returns the number of neighboring channels: a vector's `lanes`, or one.
    pub fn block(self, lanes: usize) -> usize {
        match self {
            Self::Nchw => 1,
            Self::Nchwc => lanes,
        }
    }

    /// Returns the elements of an activation `[batch, channels, height, width]`, those after the last channel
    /// included.
    pub fn elements(self, [batch, channels, height, width]: [usize; 4], lanes: usize) -> usize {
        batch * channels.next_multiple_of(self.block(lanes)) * height * width
    }
}
