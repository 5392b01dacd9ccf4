//! Accesses and calls the fields of a network.

use crate::module::{Forward, Mode, Module};
use crate::registry::pin_where_possible;
use crate::scope::Scope;
use crate::signal::Signal;

/// The type of a field that holds layers.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a layer",
    label = "this type does not implement `sconce::Module`",
    note = "if the field is plain data, mark it #[module(skip)]",
    note = "if it is a bare tensor, mark it #[param(shape)] or #[buffer(shape)]",
    note = "if it is a struct of layers, write #[derive(Module)] above it"
)]
pub trait ModuleField: Sized {
    const ACCESS: FieldAccess<Self>;
}

#[diagnostic::do_not_recommend]
impl<T: Module> ModuleField for T {
    const ACCESS: FieldAccess<Self> =
        FieldAccess { as_module: |field| field, as_module_mut: |field| field, share: T::share };
}

/// The functions through which the registry accesses a field of type `T`. Only [`module_field`] has a bound on `T`, so
/// that the compiler reports one error for a field that is not a module.
pub struct FieldAccess<T> {
    as_module: for<'a> fn(&'a T) -> &'a (dyn Module + 'a),
    as_module_mut: for<'a> fn(&'a mut T) -> &'a mut (dyn Module + 'a),
    share: fn(&T) -> T,
}

/// Returns the functions through which the registry accesses a field of type `T`.
pub const fn module_field<T: ModuleField>() -> FieldAccess<T> {
    T::ACCESS
}

impl<T> FieldAccess<T> {
    pub fn as_module<'a>(&self, field: &'a T) -> &'a (dyn Module + 'a) {
        (self.as_module)(field)
    }

    pub fn as_module_mut<'a>(&self, field: &'a mut T) -> &'a mut (dyn Module + 'a) {
        (self.as_module_mut)(field)
    }

    pub fn share(&self, field: &T) -> T {
        (self.share)(field)
    }
}

/// The type of a field in a network without `forward`, which runs its fields in order.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a layer",
    label = "this type does not implement `sconce::Layer`",
    note = "without `forward`, the fields run in order, so each must be a layer from one signal to one signal",
    note = "if the field is plain data, mark it #[module(skip)]",
    note = "if it is a bare tensor, mark it #[param(shape)] or #[buffer(shape)]",
    note = "if it is a struct of layers, write #[derive(Module)] above it"
)]
pub trait SequentialField: ModuleField {
    const CALL: fn(&Self, Signal, Mode) -> Signal;
}

#[diagnostic::do_not_recommend]
impl<T: Forward<Signal, Output = Signal>> SequentialField for T {
    const CALL: fn(&Self, Signal, Mode) -> Signal = T::forward_pass;
}

/// A [`FieldAccess`] whose field can be called. Only [`sequential_field`] has a bound on `T`, so that the compiler
/// reports one error for a field that is not a layer.
pub struct SequentialAccess<T> {
    access: FieldAccess<T>,
    call: fn(&T, Signal, Mode) -> Signal,
}

/// Returns the functions that access and call a field of type `T`.
pub const fn sequential_field<T: SequentialField>() -> SequentialAccess<T> {
    SequentialAccess { access: T::ACCESS, call: T::CALL }
}

impl<T> SequentialAccess<T> {
    /// Calls the field `name`.
    #[inline(always)]
    pub fn call(&self, layer: &T, name: &'static str, x: Signal, mode: Mode) -> Signal {
        let _call = Scope::enter(name).begin_call();
        (self.call)(layer, x, mode)
    }
}

impl<T> std::ops::Deref for SequentialAccess<T> {
    type Target = FieldAccess<T>;

    fn deref(&self) -> &FieldAccess<T> {
        &self.access
    }
}

/// Pins a field to the mode of `#[module(mode = …)]`. Generated calls of the field pass this mode; calls through a
/// reference, such as calls of the elements of an iterator, do not. Layers of candle-nn cannot store a mode: they use
/// this mode only in generated calls.
pub fn pin(field: &mut dyn Module, mode: Mode) {
    pin_where_possible(field, Some(mode), |_| true);
}
