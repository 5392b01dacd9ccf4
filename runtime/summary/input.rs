//! The inputs of a network that is summarized or profiled.

use candle_core::Tensor;

use crate::module::Mode;
use crate::signal::Signal;

/// An input of a network that [`Network::summary`](crate::Network::summary) or
/// [`Network::profile`](crate::Network::profile) runs.
///
/// ```
/// use sconce::SummaryInput;
/// use sconce::prelude::*;
///
/// let mut shapes = Vec::new();
/// let input = (Signal::meta((2, 3), DType::F32), Some(Signal::meta(4, DType::U32)));
/// input.for_each_signal(&mut |signal| shapes.extend(signal.dims().map(<[usize]>::to_vec)));
/// assert_eq!(shapes, [vec![2, 3], vec![4]]);
/// ```
#[diagnostic::on_unimplemented(
    message = "a network with an input of type `{Self}` cannot be summarized",
    label = "has an input of type `{Self}`",
    note = "to support this input, implement `sconce::SummaryInput`"
)]
pub trait SummaryInput {
    /// Calls `f` with each signal of the input.
    fn for_each_signal(&self, f: &mut dyn FnMut(&Signal));
}

impl SummaryInput for Signal {
    fn for_each_signal(&self, f: &mut dyn FnMut(&Signal)) {
        f(self);
    }
}

impl SummaryInput for Tensor {
    fn for_each_signal(&self, f: &mut dyn FnMut(&Signal)) {
        f(&self.into());
    }
}

impl<T: SummaryInput + ?Sized> SummaryInput for &T {
    fn for_each_signal(&self, f: &mut dyn FnMut(&Signal)) {
        (**self).for_each_signal(f);
    }
}

impl<T: SummaryInput> SummaryInput for Option<T> {
    fn for_each_signal(&self, f: &mut dyn FnMut(&Signal)) {
        self.iter().for_each(|input| input.for_each_signal(f));
    }
}

impl<T: SummaryInput> SummaryInput for Vec<T> {
    fn for_each_signal(&self, f: &mut dyn FnMut(&Signal)) {
        self.iter().for_each(|input| input.for_each_signal(f));
    }
}

macro_rules! plain_inputs {
    ($($ty:ty)*) => {$(
        impl SummaryInput for $ty {
            fn for_each_signal(&self, _: &mut dyn FnMut(&Signal)) {}
        }
    )*};
}

plain_inputs! { bool u8 u16 u32 u64 usize i8 i16 i32 i64 isize f32 f64 Mode }

macro_rules! tuple_inputs {
    ($(($($input:ident $index:tt),+))*) => {$(
        impl<$($input: SummaryInput),+> SummaryInput for ($($input,)+) {
            fn for_each_signal(&self, f: &mut dyn FnMut(&Signal)) {
                $(self.$index.for_each_signal(f);)+
            }
        }
    )*};
}

tuple_inputs! {
    (A 0, B 1)
    (A 0, B 1, C 2)
    (A 0, B 1, C 2, D 3)
    (A 0, B 1, C 2, D 3, E 4)
    (A 0, B 1, C 2, D 3, E 4, F 5)
}
