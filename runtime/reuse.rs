//! Clones of values that a forward closure uses several times, or from which other values may borrow. Not public API.
//!
//! The derive rewrites each use of such a value. A use before the last one becomes a call of [`clone`]. The last use
//! moves the value, unless another value may borrow from it, such as `dims` after `let dims = y.dims()?`. In that case,
//! the last use becomes `y.lend_at_last_use(type_of(&y)).take()`, which reborrows `y` if it is a reference, and clones
//! it otherwise. The signals in the clone do not share the deferred operations of `y`, so that later operations can be
//! fused into them.

use std::marker::PhantomData;

use crate::signal::at_last_use;

/// A value that can be used several times.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is used again but is not `Clone`",
    label = "this value is used again, or another value may borrow from it",
    note = "to use a value several times, pass a reference: `&value`, or `&mut *value` if `value` is a mutable \
            reference",
    note = "if the other value is a number, which borrows nothing, write its type: `let n: usize = value.len();`"
)]
pub trait Reusable {
    /// Clones the value.
    fn reuse(&self) -> Self;
}

#[diagnostic::do_not_recommend]
impl<T: Clone> Reusable for T {
    fn reuse(&self) -> T {
        self.clone()
    }
}

/// Clones a value before its last use.
pub fn clone<T: Reusable>(value: &T) -> T {
    value.reuse()
}

/// The type of a value.
pub struct TypeOf<T: ?Sized>(PhantomData<T>);

/// Returns the type of a value.
pub fn type_of<T: ?Sized>(_: &T) -> TypeOf<T> {
    TypeOf(PhantomData)
}

/// A value of type `T` whose last use cannot move it. Method resolution selects the implementation that reborrows the
/// value if `T` is a reference, and the implementation that borrows the value otherwise.
pub trait Lend<T> {
    /// The borrowed value. Its method `take` returns the value for the last use.
    type Lent;

    /// Borrows or reborrows the value.
    fn lend_at_last_use(self, _: TypeOf<T>) -> Self::Lent;
}

impl<'a, T> Lend<T> for &'a T {
    type Lent = LastUse<'a, T>;

    fn lend_at_last_use(self, _: TypeOf<T>) -> LastUse<'a, T> {
        LastUse(self)
    }
}

impl<'a, T: ?Sized> Lend<&'_ T> for &'a T {
    type Lent = Reborrowed<&'a T>;

    fn lend_at_last_use(self, _: TypeOf<&'_ T>) -> Reborrowed<&'a T> {
        Reborrowed(self)
    }
}

impl<'a, T: ?Sized> Lend<&'_ mut T> for &'a mut T {
    type Lent = Reborrowed<&'a mut T>;

    fn lend_at_last_use(self, _: TypeOf<&'_ mut T>) -> Reborrowed<&'a mut T> {
        Reborrowed(self)
    }
}

/// A reborrowed reference.
pub struct Reborrowed<R>(R);

impl<R> Reborrowed<R> {
    /// Returns the reference.
    pub fn take(self) -> R {
        self.0
    }
}

/// A borrowed value that is cloned for its last use.
pub struct LastUse<'a, T>(&'a T);

impl<T> LastUse<'_, T> {
    /// Clones the value. Later operations can be fused into the signals in the clone.
    pub fn take(self) -> T
    where
        T: Reusable,
    {
        at_last_use(|| self.0.reuse())
    }
}
