//! Builds fields without `#[layer]`.

use std::marker::PhantomData;
use std::sync::Arc;

use candle_nn::VarBuilder;

use crate::Result;

use super::field_access::ModuleField;

/// A field of type `T` without `#[layer]`. If `T` is a network without arguments, the method `build` reads it from the
/// `VarBuilder`. Otherwise `build` calls `T::default`. Method resolution tries the inherent method, then the one of
/// [`BuildDefault`], then the one of [`BuildNothing`], and selects the first whose bound is satisfied.
pub struct BareField<T>(PhantomData<T>);

/// Returns a [`BareField`] of type `T`.
pub const fn bare_field<T>() -> BareField<T> {
    BareField(PhantomData)
}

impl<T: WithoutArguments> BareField<T> {
    pub fn build(self, vb: &VarBuilder, name: &str) -> Result<T> {
        T::build_without_arguments(vb, name)
    }
}

/// The method `build` of a [`BareField`] that is a layer and is built by `Default`.
pub trait BuildDefault<T> {
    fn build(self, vb: &VarBuilder, name: &str) -> Result<T>
    where
        T: DefaultLayer;
}

impl<T: ModuleField> BuildDefault<T> for BareField<T> {
    fn build(self, _: &VarBuilder, _: &str) -> Result<T>
    where
        T: DefaultLayer,
    {
        Ok(T::default_layer())
    }
}

/// The method `build` of a [`BareField`] that is not a layer. The compiler reports this where the network accesses the
/// field, and should report nothing here.
pub trait BuildNothing<T> {
    fn build(&self, vb: &VarBuilder, name: &str) -> Result<T>;
}

impl<T> BuildNothing<T> for BareField<T> {
    fn build(&self, _: &VarBuilder, _: &str) -> Result<T> {
        unreachable!("a network with a field that is not a layer does not compile")
    }
}

/// A derived network without required arguments.
pub trait WithoutArguments: Sized {
    fn build_without_arguments(vb: &VarBuilder, name: &str) -> Result<Self>;
}

impl<T: WithoutArguments> WithoutArguments for Box<T> {
    fn build_without_arguments(vb: &VarBuilder, name: &str) -> Result<Self> {
        T::build_without_arguments(vb, name).map(Box::new)
    }
}

impl<T: WithoutArguments> WithoutArguments for Arc<T> {
    fn build_without_arguments(vb: &VarBuilder, name: &str) -> Result<Self> {
        T::build_without_arguments(vb, name).map(Arc::new)
    }
}

/// The type of a field without `#[layer]` that is built by `Default`.
#[diagnostic::on_unimplemented(
    message = "`{Self}` needs arguments",
    label = "write #[layer(…)] above this field, with the arguments of `{Self}::config`",
    note = "only a network without arguments or a layer that implements `Default` can omit #[layer(…)]",
    note = "if the field is plain data, mark it #[module(skip = value)]"
)]
pub trait DefaultLayer: Sized {
    fn default_layer() -> Self;
}

#[diagnostic::do_not_recommend]
impl<T: Default> DefaultLayer for T {
    fn default_layer() -> Self {
        T::default()
    }
}
