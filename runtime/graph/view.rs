//! What an operation does that only changes shape, strides and offset: it selects a range of each dimension, reorders
//! the dimensions, and removes, inserts or repeats dimensions.

use candle_core::{DType, Device, Result, Tensor};

/// A view of an operand. The sizes are those of the result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct View {
    /// The index in each dimension of the operand at which the view begins.
    pub starts: Vec<usize>,
    /// For each dimension of the result, the dimension of the operand that it runs through. `None` for a dimension of
    /// size 1, or one along which the result repeats.
    pub axes: Vec<Option<usize>>,
}

impl View {
    /// Returns a contiguous tensor, from whose views [`of`](Self::of) computes what an operation does. The operating
    /// system provides its memory when it is read, which views do not do.
    pub fn probe(dims: &[usize]) -> Result<Tensor> {
        Tensor::zeros(dims, DType::U8, &Device::Cpu)
    }

    /// Returns the view of `probe` that `result` is, or `None` if `result` has a storage of its own.
    pub fn of(probe: &Tensor, result: &Tensor) -> Option<Self> {
        let (probe_storage, probe_layout) = probe.storage_and_layout();
        let (storage, layout) = result.storage_and_layout();
        if !std::ptr::eq(&*probe_storage, &*storage) || probe.elem_count() == 0 {
            return None;
        }
        let mut rest = layout.start_offset();
        let mut starts = Vec::new();
        for stride in probe_layout.stride() {
            starts.push(rest / stride);
            rest %= stride;
        }
        // All dimensions of more than one element have different strides.
        let axis = |stride: usize| {
            let mut sizes = probe_layout.stride().iter().zip(probe.dims());
            sizes.position(|(candidate, size)| *size > 1 && *candidate == stride)
        };
        let sizes = layout.stride().iter().zip(result.dims());
        let axes = sizes.map(|(stride, size)| match (size, stride) {
            (1, _) | (_, 0) => Some(None),
            _ => axis(*stride).map(Some),
        });
        Some(Self { starts, axes: axes.collect::<Option<_>>()? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view(dims: &[usize], operation: impl Fn(&Tensor) -> Result<Tensor>) -> Option<View> {
        let probe = View::probe(dims).ok()?;
        View::of(&probe, &operation(&probe).ok()?)
    }

    #[test]
    fn views_select_reorder_and_repeat() {
        let found = view(&[2, 3, 1, 4], |x| x.narrow(1, 1, 2)?.permute((3, 2, 1, 0)));
        let expected = View { starts: vec![0, 1, 0, 0], axes: vec![Some(3), None, Some(1), Some(0)] };
        assert_eq!(found, Some(expected));
        let found =
            view(&[2, 3, 4], |x| x.narrow(2, 3, 1)?.squeeze(2)?.unsqueeze(0)?.broadcast_as((5, 2, 3)));
        let expected = View { starts: vec![0, 0, 3], axes: vec![None, Some(0), Some(1)] };
        assert_eq!(found, Some(expected));
    }

    #[test]
    fn results_with_a_storage_of_their_own_are_no_views() {
        assert_eq!(view(&[2, 3], |x| x.transpose(0, 1)?.contiguous()), None);
        assert_eq!(view(&[2, 0], |x| x.transpose(0, 1)), None);
    }
}
