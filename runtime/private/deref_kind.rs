//! Tells whether a network dereferences to another type.

use std::marker::PhantomData;
use std::ops::Deref;

/// A constant that tells whether the type `T` implements `Deref`. A type that implements it has an inherent constant,
/// which overrides the constant of [`NotDeref`].
pub struct DerefKind<T: ?Sized>(PhantomData<T>);

impl<T: Deref + ?Sized> DerefKind<T> {
    pub const IS_DEREF: bool = true;
}

/// The constant of a type without `Deref`.
pub trait NotDeref {
    const IS_DEREF: bool = false;
}

impl<T: ?Sized> NotDeref for DerefKind<T> {}

/// A boolean as a type, for conditions of impls.
pub struct Bool<const VALUE: bool>;
