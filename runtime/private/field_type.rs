//! Relates the types of fields to the types of their layers.

use std::marker::PhantomData;
use std::sync::Arc;

use crate::{Error, Result};

use super::build::at_current_path;
use super::tuple::{LayerTuple, LayerUnlessTuple};

/// Constants that tell whether the type `T` of a field is a container of layers or a tuple. The derive cannot tell by
/// the name of the type, which may be an alias. Containers and tuples have inherent constants, which override the
/// constants of [`NotContainer`].
pub struct FieldKind<T: ?Sized>(PhantomData<T>);

/// The constants of a type that is neither a container nor a tuple.
pub trait NotContainer {
    const IS_CONTAINER: bool = false;
    /// 1 if the type is a pointer, and otherwise 0. Pointers are `Option`, `Box` and `Arc`, which hold at most one
    /// layer. The sum of `POINTER`, `POINTER_2` and `POINTER_3` is the `DEPTH` of [`Pointee`].
    const POINTER: usize = 0;
    /// 1 if the type is a pointer to a pointer, and otherwise 0.
    const POINTER_2: usize = 0;
    /// 1 if the type is a pointer to a pointer to a pointer, and otherwise 0.
    const POINTER_3: usize = 0;
    /// The number of layers of a tuple.
    const LENGTH: usize = 0;
}

impl<T: ?Sized> NotContainer for FieldKind<T> {}

/// The type of the layers in a container, or the type itself if it is not a container. `IS_CONTAINER` is the constant
/// of [`FieldKind`] for the type.
#[diagnostic::on_unimplemented(
    message = "expected a `Vec<…>`, an array or an `Option<…>`, found `{Self}`",
    label = "this type is not a container of layers"
)]
pub trait Contents<const IS_CONTAINER: bool> {
    /// The type of the layer.
    type Layer: ?Sized;
}

#[diagnostic::do_not_recommend]
impl<T: ?Sized> Contents<false> for T {
    type Layer = T;
}

macro_rules! containers {
    ($([$($parameters:tt)*] $container:ty;)*) => {$(
        impl<$($parameters)*> FieldKind<$container> {
            pub const IS_CONTAINER: bool = true;
        }

        impl<$($parameters)*> Contents<true> for $container {
            type Layer = T;
        }
    )*};
}

containers! {
    [T] Vec<T>;
    [T, const N: usize] [T; N];
    [T] Option<T>;
    [T: ?Sized] Box<T>;
    [T: ?Sized] Arc<T>;
}

/// The type behind `DEPTH` pointers: `Linear` for the type `Option<Box<Linear>>` and a depth of 2.
pub trait Pointee<const DEPTH: usize> {
    /// The type of the layer.
    type Layer: ?Sized;
}

impl<T: ?Sized> Pointee<0> for T {
    type Layer = T;
}

/// A field that holds at most one layer of the type `T`, behind `DEPTH` pointers.
#[diagnostic::on_unimplemented(
    message = "`config` of this field's type builds `{T}`, not `{Self}`",
    label = "expected `{T}`"
)]
pub trait SingleLayer<T, const DEPTH: usize> {
    fn from_layer(layer: T) -> Self;
}

#[diagnostic::do_not_recommend]
impl<T> SingleLayer<T, 0> for T {
    fn from_layer(layer: T) -> Self {
        layer
    }
}

/// Implements [`Pointee`] and [`SingleLayer`] for pointers. The implementation for a depth uses the one for the depth
/// minus 1.
macro_rules! pointers {
    ($($pointer:ident: $new:path;)*) => {$(
        pointers! { @ $pointer $new, 1 0 }
        pointers! { @ $pointer $new, 2 1 }
        pointers! { @ $pointer $new, 3 2 }
    )*};
    (@ $pointer:ident $new:path, $depth:literal $inner:literal) => {
        impl<T: Pointee<$inner>> Pointee<$depth> for $pointer<T> {
            type Layer = T::Layer;
        }

        #[diagnostic::do_not_recommend]
        impl<T, F: SingleLayer<T, $inner>> SingleLayer<T, $depth> for $pointer<F> {
            fn from_layer(layer: T) -> Self {
                $new(F::from_layer(layer))
            }
        }
    };
}

pointers! {
    Option: Some;
    Box: Box::new;
    Arc: Arc::new;
}

/// Implements the constants of pointers, of pointers to pointers, and of pointers to pointers to pointers.
macro_rules! pointer_constants {
    ($($outer:ident)*) => {$(
        impl<T> FieldKind<$outer<T>> {
            pub const POINTER: usize = 1;
        }

        pointer_constants! { @ $outer: Option Box Arc }
    )*};
    (@ $outer:ident: $($middle:ident)*) => {$(
        impl<T> FieldKind<$outer<$middle<T>>> {
            pub const POINTER_2: usize = 1;
        }

        pointer_constants! { @ $outer $middle: Option Box Arc }
    )*};
    (@ $outer:ident $middle:ident: $($inner:ident)*) => {$(
        impl<T> FieldKind<$outer<$middle<$inner<T>>>> {
            pub const POINTER_3: usize = 1;
        }
    )*};
}

pointer_constants! { Option Box Arc }

/// A bound that no type satisfies. The derive cannot tell whether an alias with a generic parameter of the network is a
/// pointer or a tuple. If the alias is one of these, its `config` is a generated function with this bound, so that the
/// compiler reports the alias.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is the definition of an alias with a generic parameter of the network",
    label = "write `{Self}` instead of the alias"
)]
pub trait Recognized {}

/// A layer or a tuple of layers, which becomes the value of a field. The compiler infers `T` first and then checks the
/// type of the field, so that an error names the field.
pub struct Built<T>(pub T);

impl<T> Built<T> {
    /// Returns the value of a field with one layer.
    pub fn into_field<F: SingleLayer<T, DEPTH>, const DEPTH: usize>(self) -> F {
        F::from_layer(self.0)
    }

    /// Returns the value of a field with a tuple of layers.
    pub fn into_tuple<F: LayerTuple<T, IS_TUPLE>, const IS_TUPLE: bool>(self) -> F {
        F::from_tuple(self.0)
    }

    /// Returns the value of a field with one layer whose arguments may be tuples.
    pub fn into_layer<F: LayerUnlessTuple<T, IS_TUPLE>, const IS_TUPLE: bool>(self) -> F {
        F::from_layer(self.0)
    }
}

/// A list of layers of the type `T`: the type of a field with `for`.
#[diagnostic::on_unimplemented(
    message = "`for` requires a `Vec<…>` or an array, found `{Self}`",
    label = "this type is not a list of layers"
)]
pub trait LayerList<T>: Sized {
    fn from_layers(layers: Vec<T>) -> Result<Self>;
}

#[diagnostic::do_not_recommend]
impl<T> LayerList<T> for Vec<T> {
    fn from_layers(layers: Vec<T>) -> Result<Self> {
        Ok(layers)
    }
}

#[diagnostic::do_not_recommend]
impl<T, const N: usize> LayerList<T> for [T; N] {
    fn from_layers(layers: Vec<T>) -> Result<Self> {
        let found = layers.len();
        layers
            .try_into()
            .map_err(|_| Error::msg(format!("expected {N} layers, the length of the array, found {found}")))
    }
}

/// Collects the layers of a list.
///
/// # Errors
/// Fails if the field is an array of a different length.
pub fn layer_list<L: LayerList<T>, T>(layers: Vec<T>) -> Result<L> {
    at_current_path(L::from_layers(layers))
}

/// An optional layer of the type `T`: the type of a field with `if`.
#[diagnostic::on_unimplemented(
    message = "`if` requires an `Option<…>`, found `{Self}`",
    label = "this type is not an optional layer"
)]
pub trait Optional<T> {
    fn from_option(layer: Option<T>) -> Self;
}

#[diagnostic::do_not_recommend]
impl<T> Optional<T> for Option<T> {
    fn from_option(layer: Option<T>) -> Self {
        layer
    }
}

/// Returns the value of a field with `if`.
pub fn optional<O: Optional<T>, T>(layer: Option<T>) -> O {
    O::from_option(layer)
}
