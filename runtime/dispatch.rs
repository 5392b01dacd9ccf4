//! Calls in the forward closures of derived networks. Not public API.
//!
//! A call to a field or an element of a field becomes a call to [`call`], [`call_with`], [`call_element`] or
//! [`call_element_with`]. A call to any other value becomes a call to its method `call_layer_or_function`. Method
//! resolution selects [`CallLayer`] if the value is a layer, and [`CallFunction`] or [`CallFunctionMut`] if it is a
//! function.

use std::borrow::Borrow;
use std::collections::BTreeMap;

use indexmap::IndexMap;

use crate::module::{Forward, ForwardWith, Mode, Module};
use crate::scope::{OpenCall, Path, Scope};
use crate::signal::{Outcome, Signal};
use crate::{Error, Result};

/// Calls the field `name`: `name(input)`.
pub fn call<I, M: Forward<I> + ?Sized>(layer: &M, name: &'static str, input: I, mode: Mode) -> M::Output {
    let _call = Scope::enter(name).begin_call();
    layer.forward_pass(input, mode)
}

/// Calls the field `name` with several inputs: `attn(query, key, value)`.
///
/// The output has a parameter of its own, so that the compiler reports one error if `M` does not support the inputs.
pub fn call_with<I, O, M: ForwardWith<I, Output = O> + ?Sized>(
    layer: &M,
    name: &'static str,
    inputs: I,
    mode: Mode,
) -> O {
    let _call = Scope::enter(name).begin_call();
    layer.forward_pass_with(inputs, mode)
}

/// Calls an element of the field `name`: `name[index](input)`. An index out of range is an error.
pub fn call_element<I, N, L, M>(list: &L, name: &'static str, index: N, input: I, mode: Mode) -> M::Output
where
    L: ?Sized,
    N: IndexOf<L, Layer = M>,
    M: Forward<I>,
    M::Output: Outcome,
{
    with_element(list, name, index, |layer| layer.forward_pass(input, mode))
}

/// Calls an element of the field `name` with several inputs: `name[index](query, key, value)`.
pub fn call_element_with<I, N, L, M>(
    list: &L,
    name: &'static str,
    index: N,
    inputs: I,
    mode: Mode,
) -> M::Output
where
    L: ?Sized,
    N: IndexOf<L, Layer = M>,
    M: ForwardWith<I>,
    M::Output: Outcome,
{
    with_element(list, name, index, |layer| layer.forward_pass_with(inputs, mode))
}

/// Passes an element of the field `name` to `call`. If the index is out of range, returns an output that represents
/// this error.
pub(crate) fn with_element<N, L, O>(
    list: &L,
    name: &'static str,
    index: N,
    call: impl FnOnce(&N::Layer) -> O,
) -> O
where
    L: ?Sized,
    N: IndexOf<L>,
    O: Outcome,
{
    let _field = Scope::enter(name);
    let call = |layer: &N::Layer| {
        let _call = OpenCall::begin();
        call(layer)
    };
    index.with_layer(list, call).unwrap_or_else(Outcome::failed)
}

/// An index that selects a layer in a container of type `List`.
#[diagnostic::on_unimplemented(
    message = "`{List}` has no layers with an index of type `{Self}`",
    label = "called by index here",
    note = "lists are indexed by `usize`, and maps by `&str`"
)]
pub trait IndexOf<List: ?Sized> {
    /// The type of the layers.
    type Layer;

    /// Calls `run` with the layer at this index. During the call, the index is part of the path.
    ///
    /// # Errors
    /// Fails if the container has no layer at this index.
    fn with_layer<T>(self, list: &List, run: impl FnOnce(&Self::Layer) -> T) -> Result<T>;
}

#[diagnostic::do_not_recommend]
impl<L> IndexOf<[L]> for usize {
    type Layer = L;

    fn with_layer<T>(self, list: &[L], run: impl FnOnce(&L) -> T) -> Result<T> {
        let _element = Scope::index(self);
        list.get(self).map(run).ok_or_else(|| {
            Error::msg(format!("index {self} is out of range for {} layers", list.len())).at(Path::current())
        })
    }
}

macro_rules! lists {
    ($(<$($const:ident)?> $list:ty;)*) => {$(
        #[diagnostic::do_not_recommend]
        impl<L $(, const $const: usize)?> IndexOf<$list> for usize {
            type Layer = L;

            fn with_layer<T>(self, list: &$list, run: impl FnOnce(&L) -> T) -> Result<T> {
                self.with_layer(&list[..], run)
            }
        }
    )*};
}

lists! {
    <> Vec<L>;
    <> Box<[L]>;
    <N> [L; N];
}

macro_rules! maps {
    ($($map:ident)*) => {$(
        #[diagnostic::do_not_recommend]
        impl<L, K: Borrow<str> + ?Sized> IndexOf<$map<String, L>> for &K {
            type Layer = L;

            fn with_layer<T>(self, map: &$map<String, L>, run: impl FnOnce(&L) -> T) -> Result<T> {
                let key = self.borrow();
                let _element = Scope::dynamic(key.into());
                map.get(key).map(run).ok_or_else(|| {
                    let known: Vec<&str> = map.keys().map(String::as_str).collect();
                    Error::msg(format!("no layer `{key}` among {known:?}")).at(Path::current())
                })
            }
        }
    )*};
}

maps! { BTreeMap IndexMap }

/// A pair of indices: `stages[i][j]`.
impl<List: ?Sized, I: IndexOf<List>, J: IndexOf<I::Layer>> IndexOf<List> for (I, J) {
    type Layer = J::Layer;

    fn with_layer<T>(self, list: &List, run: impl FnOnce(&J::Layer) -> T) -> Result<T> {
        self.0.with_layer(list, |inner| self.1.with_layer(inner, run))?
    }
}

/// An argument of a call. A layer converts the argument to the type of its input. A function receives it unchanged.
pub struct Convertible<T>(pub T);

/// An argument whose type is inferred from the type of the input: a literal, `None` or a closure. It is not converted.
pub struct Inferred<T>(pub T);

/// An argument that converts to the input `I` of a layer.
#[diagnostic::on_unimplemented(
    message = "the layer expects an input of type `{I}`",
    label = "this argument has another type"
)]
pub trait IntoInput<I> {
    /// Returns the input.
    fn into_input(self) -> I;
}

impl<I, T: Into<I>> IntoInput<I> for Convertible<T> {
    fn into_input(self) -> I {
        self.0.into()
    }
}

impl<I> IntoInput<I> for Inferred<I> {
    fn into_input(self) -> I {
        self.0
    }
}

/// An argument of a function.
pub trait IntoArgument {
    /// The type of the argument.
    type Value;

    /// Returns the argument.
    fn into_argument(self) -> Self::Value;
}

impl<T> IntoArgument for Convertible<T> {
    type Value = T;

    fn into_argument(self) -> T {
        self.0
    }
}

impl<T> IntoArgument for Inferred<T> {
    type Value = T;

    fn into_argument(self) -> T {
        self.0
    }
}

/// The arguments of a call to the layer `M` with the input `I`.
pub trait LayerArguments<M: ?Sized, I> {
    /// The output of the layer.
    type Output;

    /// Calls the layer.
    fn call_layer(self, layer: &M, mode: Mode) -> Self::Output;
}

impl<M: Forward<I> + ?Sized, I, A: IntoInput<I>> LayerArguments<M, I> for (A,) {
    type Output = M::Output;

    fn call_layer(self, layer: &M, mode: Mode) -> M::Output {
        layer.call(self.0.into_input(), mode)
    }
}

/// A call to a layer.
pub trait CallLayer: Module {
    /// Calls the layer.
    fn call_layer_or_function<A, I>(&self, arguments: A, mode: Mode) -> A::Output
    where
        A: LayerArguments<Self, I>,
    {
        arguments.call_layer(self, mode)
    }
}

impl<M: Module + ?Sized> CallLayer for M {}

/// A call to a function or closure. `A` is the tuple of its argument types.
pub trait CallFunction<A> {
    /// The value that the function returns.
    type Output;

    /// Calls the function.
    fn call_layer_or_function<Arguments>(&self, arguments: Arguments, mode: Mode) -> Self::Output
    where
        Arguments: FunctionArguments<Values = A>;
}

/// A call to a closure that changes its captured variables. Method resolution tries `&self` before `&mut self`, so that
/// this trait is used only for closures that do not implement `Fn`.
pub trait CallFunctionMut<A> {
    /// The value that the function returns.
    type Output;

    /// Calls the function.
    fn call_layer_or_function<Arguments>(&mut self, arguments: Arguments, mode: Mode) -> Self::Output
    where
        Arguments: FunctionArguments<Values = A>;
}

/// The arguments of a call to a function.
pub trait FunctionArguments {
    /// The types of the arguments, as a tuple.
    type Values;

    /// Returns the arguments.
    fn into_values(self) -> Self::Values;
}

/// Implements `$trait` for all types with the bound `$function`. The caller passes `self` as `$this`, because a macro
/// cannot introduce `self`.
macro_rules! call_function {
    ($trait:ident, $function:ident, [$($receiver:tt)+], $this:ident, $($value:ident $index:tt)*) => {
        impl<Function, Output, $($value),*> $trait<($($value,)*)> for Function
        where
            Function: $function($($value),*) -> Output + ?Sized,
        {
            type Output = Output;

            fn call_layer_or_function<Arguments>($($receiver)+ $this, arguments: Arguments, _: Mode) -> Output
            where
                Arguments: FunctionArguments<Values = ($($value,)*)>,
            {
                let _values = arguments.into_values();
                $this($(_values.$index),*)
            }
        }
    };
}

/// Implements [`FunctionArguments`], [`CallFunction`] and [`CallFunctionMut`] for these arguments.
macro_rules! function {
    ($($wrapper:ident $value:ident $index:tt),*) => {
        impl<$($wrapper: IntoArgument),*> FunctionArguments for ($($wrapper,)*) {
            type Values = ($($wrapper::Value,)*);

            #[allow(clippy::unused_unit)]
            fn into_values(self) -> Self::Values {
                ($(self.$index.into_argument(),)*)
            }
        }

        call_function! { CallFunction, Fn, [&], self, $($value $index)* }
        call_function! { CallFunctionMut, FnMut, [&mut], self, $($value $index)* }
    };
}

/// Implements [`LayerArguments`] for layers with these inputs.
macro_rules! layer {
    ($($wrapper:ident $input:ident $index:tt),+) => {
        impl<M, $($wrapper, $input),+> LayerArguments<M, ($($input,)+)> for ($($wrapper,)+)
        where
            M: ForwardWith<($($input,)+)> + ?Sized,
            $($wrapper: IntoInput<$input>,)+
        {
            type Output = M::Output;

            fn call_layer(self, layer: &M, mode: Mode) -> M::Output {
                layer.call_with(($(self.$index.into_input(),)+), mode)
            }
        }
    };
}

/// Converts an output of a forward closure to the type `O`. A tensor or a result becomes a signal. A tuple is converted
/// element by element.
#[diagnostic::on_unimplemented(
    message = "expected the output type `{O}`, found `{Self}`",
    label = "this has the type `{Self}`",
    note = "to return another type, declare it: `|x| -> (Signal, Vec<Signal>) {{ … }}`"
)]
pub trait IntoOutput<O> {
    /// Returns the output.
    fn into_output(self) -> O;
}

#[diagnostic::do_not_recommend]
impl<T: Into<Signal>> IntoOutput<Signal> for T {
    fn into_output(self) -> Signal {
        self.into()
    }
}

/// Implements [`IntoOutput`] for a tuple with these elements.
macro_rules! output {
    ($($value:ident $output:ident $index:tt),+) => {
        #[diagnostic::do_not_recommend]
        impl<$($value: IntoOutput<$output>, $output),+> IntoOutput<($($output,)+)> for ($($value,)+) {
            fn into_output(self) -> ($($output,)+) {
                ($(self.$index.into_output(),)+)
            }
        }
    };
}

function! {}
function! { A X 0 }
output! { A X 0 }

/// Invokes each macro with two to six values.
macro_rules! several {
    ($($name:ident)+) => {$(
        $name! { A X 0, B Y 1 }
        $name! { A X 0, B Y 1, C Z 2 }
        $name! { A X 0, B Y 1, C Z 2, D U 3 }
        $name! { A X 0, B Y 1, C Z 2, D U 3, E V 4 }
        $name! { A X 0, B Y 1, C Z 2, D U 3, E V 4, F Q 5 }
    )+};
}

several! { function layer output }

/// Converts an output of a forward closure to the output type.
pub fn output<O, T: IntoOutput<O>>(value: T) -> O {
    value.into_output()
}

/// A reference to plain data: a field with `#[module(skip)]`. The method `data` returns the value if its type is
/// `Copy`, and the reference otherwise: method resolution tries [`DataByValue`] first.
pub struct Data<'a, T: ?Sized>(pub &'a T);

/// Reads plain data whose type is `Copy`.
pub trait DataByValue {
    /// The type of the data.
    type Value;

    /// Returns the data.
    fn data(self) -> Self::Value;
}

impl<T: Copy> DataByValue for Data<'_, T> {
    type Value = T;

    fn data(self) -> T {
        *self.0
    }
}

/// Borrows plain data.
pub trait DataByReference {
    /// The type of the data.
    type Value;

    /// Returns the data.
    fn data(self) -> Self::Value;
}

impl<'a, T: ?Sized> DataByReference for &Data<'a, T> {
    type Value = &'a T;

    fn data(self) -> &'a T {
        self.0
    }
}
