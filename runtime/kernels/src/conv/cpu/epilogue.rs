//! What happens to a sum of products before it is stored.

use super::operand::Values;
use crate::activation::Activation;
use crate::float::Float;

/// The epilogue's numbers of one output channel.
#[derive(Clone, Copy)]
pub(super) struct Scalars<T> {
    scale: Option<T>,
    shift: Option<T>,
}

impl<T: Float> Scalars<T> {
    pub(super) fn of(values: &Values<'_, T>, channel: usize) -> Self {
        let at = |vector: Option<&[T]>| vector.map(|vector| vector[channel]);
        Self { scale: at(values.scale.as_deref()), shift: at(values.shift.as_deref()) }
    }

    /// Turns sums into results, in place.
    pub(super) fn apply(self, row: &mut [T], residual: Option<&[T]>, activation: Activation) {
        if let Some(scale) = self.scale {
            row.iter_mut().for_each(|x| *x *= scale);
        }
        if let Some(shift) = self.shift {
            row.iter_mut().for_each(|x| *x += shift);
        }
        if let Some(residual) = residual {
            row.iter_mut().zip(residual).for_each(|(x, r)| *x += *r);
        }
        row.iter_mut().for_each(|x| *x = activation.value(*x));
    }
}
