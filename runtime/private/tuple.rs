//! Builds fields whose type may be an alias of a tuple.
//!
//! In an attribute such as `#[layer((8, 4), (4, 2))]`, each parenthesized list either has the arguments of one layer of
//! a tuple, or is a tuple that is one argument of a single layer. The name of an alias does not tell the derive which
//! case applies, so the generated code handles both. The type of the field selects the case that runs. In the code of
//! the other case, [`Unused`] stands for the layers.

use std::borrow::Cow;

use candle_nn::VarBuilder;

use crate::Result;
use crate::config::Config;
use crate::module::{Module, Visitor, VisitorMut};

use super::field_type::FieldKind;

/// Returns `true` if a tuple of this length has a layer at the index.
pub const fn has_layer(length: usize, index: usize) -> bool {
    index < length
}

/// A field that holds a tuple of layers of the type `T`. `IS_TUPLE` tells whether the type is a tuple.
#[diagnostic::on_unimplemented(
    message = "several lists of arguments require a tuple of as many layers, found `{Self}`",
    label = "this type is not such a tuple"
)]
pub trait LayerTuple<T, const IS_TUPLE: bool> {
    fn from_tuple(tuple: T) -> Self;
}

#[diagnostic::do_not_recommend]
impl<T> LayerTuple<T, true> for T {
    fn from_tuple(tuple: T) -> Self {
        tuple
    }
}

#[diagnostic::do_not_recommend]
impl<T, F> LayerTuple<T, false> for F {
    fn from_tuple(_: T) -> Self {
        unreachable!("the type of the field is not a tuple")
    }
}

/// A field that holds one layer of the type `T`. `IS_TUPLE` tells whether the type is a tuple.
#[diagnostic::on_unimplemented(
    message = "`config` of this field's type builds `{T}`, not `{Self}`",
    label = "expected `{T}`"
)]
pub trait LayerUnlessTuple<T, const IS_TUPLE: bool> {
    fn from_layer(layer: T) -> Self;
}

#[diagnostic::do_not_recommend]
impl<T> LayerUnlessTuple<T, false> for T {
    fn from_layer(layer: T) -> Self {
        layer
    }
}

#[diagnostic::do_not_recommend]
impl<T, F> LayerUnlessTuple<T, true> for F {
    fn from_layer(_: T) -> Self {
        unreachable!("the type of the field is a tuple")
    }
}

/// Stands for a layer in code that never runs: in the code for a tuple if the field is not a tuple, and in the code for
/// one layer if the field is a tuple. `config` accepts `ARGUMENTS` arguments of any types.
pub struct Unused<const ARGUMENTS: usize>;

impl<const ARGUMENTS: usize> Module for Unused<ARGUMENTS> {
    fn kind(&self) -> Cow<'static, str> {
        Cow::Borrowed("Unused")
    }

    fn visit<'a>(&'a self, _: &mut dyn Visitor<'a>) {}

    fn visit_mut(&mut self, _: &mut dyn VisitorMut) {}

    fn share(&self) -> Self {
        Self
    }
}

impl<const ARGUMENTS: usize> Config for Unused<ARGUMENTS> {
    type Output = Self;

    fn build(self, _: VarBuilder) -> Result<Self> {
        Ok(self)
    }
}

macro_rules! unused {
    ($($count:literal: $($argument:ident)+;)*) => {$(
        impl Unused<$count> {
            #[allow(clippy::too_many_arguments)]
            pub fn config<$($argument),+>($(_: $argument),+) -> Self {
                Self
            }
        }
    )*};
}

unused! {
    1: A;
    2: A B;
    3: A B C;
    4: A B C D;
    5: A B C D E;
    6: A B C D E F;
    7: A B C D E F G;
    8: A B C D E F G H;
    9: A B C D E F G H I;
    10: A B C D E F G H I J;
    11: A B C D E F G H I J K;
    12: A B C D E F G H I J K L;
}

/// The layer of a field with `ARGUMENTS` lists of arguments, or [`Unused`] if the field is a tuple.
pub trait LayerOrUnused<const IS_TUPLE: bool, const ARGUMENTS: usize> {
    /// The type of the layer.
    type Layer: ?Sized;
}

impl<T: ?Sized, const ARGUMENTS: usize> LayerOrUnused<false, ARGUMENTS> for T {
    type Layer = T;
}

impl<T: ?Sized, const ARGUMENTS: usize> LayerOrUnused<true, ARGUMENTS> for T {
    type Layer = Unused<ARGUMENTS>;
}

/// The layer with `ARGUMENTS` arguments at `INDEX` of a tuple, or [`Unused`] if there is no such layer.
pub trait TupleLayerOrUnused<const INDEX: usize, const IS_LAYER: bool, const ARGUMENTS: usize> {
    /// The type of the layer.
    type Layer;
}

impl<T, const INDEX: usize, const ARGUMENTS: usize> TupleLayerOrUnused<INDEX, true, ARGUMENTS> for T
where
    T: TupleLayer<INDEX, true>,
{
    type Layer = <T as TupleLayer<INDEX, true>>::Layer;
}

impl<T: ?Sized, const INDEX: usize, const ARGUMENTS: usize> TupleLayerOrUnused<INDEX, false, ARGUMENTS>
    for T
{
    type Layer = Unused<ARGUMENTS>;
}

/// The layer at `INDEX` of a tuple. `IS_LAYER` tells whether there is such a layer. If `IS_LAYER` is false, `Layer` is
/// `Self`.
#[diagnostic::on_unimplemented(
    message = "several lists of arguments require a tuple of as many layers, found `{Self}`",
    label = "this type has no layer {INDEX}"
)]
pub trait TupleLayer<const INDEX: usize, const IS_LAYER: bool> {
    /// The type of the layer.
    type Layer;
}

#[diagnostic::do_not_recommend]
impl<T, const INDEX: usize> TupleLayer<INDEX, false> for T {
    type Layer = T;
}

macro_rules! tuple_layers {
    ($([$($name:ident)+]: $($index:literal $layer:ident),+;)*) => {$(
        impl<$($name),+> FieldKind<($($name,)+)> {
            pub const LENGTH: usize = [$($index),+].len();
        }

        tuple_layer! { [$($name)+] $($index $layer)+ }
    )*};
}

macro_rules! tuple_layer {
    ($names:tt $($index:literal $layer:ident)+) => {$(tuple_layer! { @ $names $index $layer })+};
    (@ [$($name:ident)+] $index:literal $layer:ident) => {
        #[diagnostic::do_not_recommend]
        impl<$($name),+> TupleLayer<$index, true> for ($($name,)+) {
            type Layer = $layer;
        }
    };
}

tuple_layers! {
    [A]: 0 A;
    [A B]: 0 A, 1 B;
    [A B C]: 0 A, 1 B, 2 C;
    [A B C D]: 0 A, 1 B, 2 C, 3 D;
    [A B C D E]: 0 A, 1 B, 2 C, 3 D, 4 E;
    [A B C D E F]: 0 A, 1 B, 2 C, 3 D, 4 E, 5 F;
    [A B C D E F G]: 0 A, 1 B, 2 C, 3 D, 4 E, 5 F, 6 G;
    [A B C D E F G H]: 0 A, 1 B, 2 C, 3 D, 4 E, 5 F, 6 G, 7 H;
    [A B C D E F G H I]: 0 A, 1 B, 2 C, 3 D, 4 E, 5 F, 6 G, 7 H, 8 I;
    [A B C D E F G H I J]: 0 A, 1 B, 2 C, 3 D, 4 E, 5 F, 6 G, 7 H, 8 I, 9 J;
    [A B C D E F G H I J K]: 0 A, 1 B, 2 C, 3 D, 4 E, 5 F, 6 G, 7 H, 8 I, 9 J, 10 K;
    [A B C D E F G H I J K L]: 0 A, 1 B, 2 C, 3 D, 4 E, 5 F, 6 G, 7 H, 8 I, 9 J, 10 K, 11 L;
}
