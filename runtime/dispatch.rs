//! Calls in the forward closures of derived networks. Not public API.
//!
//! A call to a field or an element of a field becomes a call to [`call`], [`call_with`], [`call_element`] or
//! [`call_element_with`]. A call to any other value becomes a call to its method `call_layer_or_function`. Method
//! resolution selects [`CallLayer`] if the value is a layer, and [`CallFunction`] or [`CallFunctionMut`] if it is a
//! function.

use std::borrow::{Borrow, Cow};
use std::collections::BTreeMap;

use candle_core::Tensor;
use indexmap::IndexMap;

use crate::module::{Forward, ForwardWith, Mode, Module, Visitor};
use crate::scope::{Path, Scope, Segment};
use crate::signal::{Outcome, Signal};
use crate::{Error, Result};

/// Calls the field `name`: `name(input)`.
pub fn call<I, M: Forward<I> + ?Sized>(layer: &M, name: &'static str, input: I, mode: Mode) -> M::Output {
    let _scope = Scope::enter(name);
    layer.call(input, mode)
}

/// Calls the field `name` with several inputs: `attn(query, key, value)`.
pub fn call_with<I, M: ForwardWith<I> + ?Sized>(
    layer: &M,
    name: &'static str,
    inputs: I,
    mode: Mode,
) -> M::Output {
    let _scope = Scope::enter(name);
    layer.call_with(inputs, mode)
}

/// Calls an element of the field `name`: `name[index](input)`. An index out of range is an error.
pub fn call_element<I, N, L, M>(list: &L, name: &'static str, index: N, input: I, mode: Mode) -> M::Output
where
    L: ?Sized,
    N: IndexOf<L, Layer = M>,
    M: Forward<I>,
    M::Output: Outcome,
{
    let _field = Scope::enter(name);
    index.with_layer(list, |layer| layer.call(input, mode)).unwrap_or_else(Outcome::failed)
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
    let _field = Scope::enter(name);
    index.with_layer(list, |layer| layer.call_with(inputs, mode)).unwrap_or_else(Outcome::failed)
}

/// An index of layers in a container of type `List`.
#[diagnostic::on_unimplemented(
    message = "`{List}` has no layers with an index of type `{Self}`",
    label = "called by index here",
    note = "lists are indexed by `usize`, and maps by `&str`"
)]
pub trait IndexOf<List: ?Sized> {
    /// The type of the layers.
    type Layer;

    /// Runs `run` on the layer at this index, with the index as a part of the path.
    ///
    /// # Errors
    /// Fails if there is no such layer.
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

/// An index of an element of an element: `stages[i][j]`.
impl<List: ?Sized, I: IndexOf<List>, J: IndexOf<I::Layer>> IndexOf<List> for (I, J) {
    type Layer = J::Layer;

    fn with_layer<T>(self, list: &List, run: impl FnOnce(&J::Layer) -> T) -> Result<T> {
        self.0.with_layer(list, |inner| self.1.with_layer(inner, run))?
    }
}

/// An argument of a call. A layer converts the argument to the type of its input. A function receives it unchanged.
pub struct Argument<T>(pub T);

/// An argument that is not converted, because it already has the type of the input: a literal, `None` or a closure.
pub struct Exact<T>(pub T);

/// An argument that converts to the input `I` of a layer.
pub trait IntoInput<I> {
    /// Returns the input.
    fn into_input(self) -> I;
}

impl<I, T: Into<I>> IntoInput<I> for Argument<T> {
    fn into_input(self) -> I {
        self.0.into()
    }
}

impl<I> IntoInput<I> for Exact<I> {
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

impl<T> IntoArgument for Argument<T> {
    type Value = T;

    fn into_argument(self) -> T {
        self.0
    }
}

impl<T> IntoArgument for Exact<T> {
    type Value = T;

    fn into_argument(self) -> T {
        self.0
    }
}

/// The layer fields of a network: calls its argument with the name and value of each.
pub type Layers<'a> = &'a dyn Fn(&mut dyn FnMut(&'static str, &dyn Module));

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
    /// Calls the layer, with its path for errors and traces.
    fn call_layer_or_function<A, I>(&self, arguments: A, mode: Mode, layers: Layers<'_>) -> A::Output
    where
        A: LayerArguments<Self, I>,
    {
        let _scope = path_of(self, layers).map(Scope::layer);
        arguments.call_layer(self, mode)
    }
}

impl<M: Module + ?Sized> CallLayer for M {}

/// A call to a function or closure with arguments of the types `A`.
pub trait CallFunction<A> {
    /// The value that the function returns.
    type Output;

    /// Calls the function.
    fn call_layer_or_function<Arguments: FunctionArguments<Values = A>>(
        &self,
        arguments: Arguments,
        mode: Mode,
        layers: Layers<'_>,
    ) -> Self::Output;
}

/// A call to a closure that changes its captures. Method resolution tries `&self` before `&mut self`, so that this
/// trait is only used for closures that do not implement `Fn`.
pub trait CallFunctionMut<A> {
    /// The value that the function returns.
    type Output;

    /// Calls the function.
    fn call_layer_or_function<Arguments: FunctionArguments<Values = A>>(
        &mut self,
        arguments: Arguments,
        mode: Mode,
        layers: Layers<'_>,
    ) -> Self::Output;
}

/// The arguments of a call to a function.
pub trait FunctionArguments {
    /// The types of the arguments, as a tuple.
    type Values;

    /// Returns the arguments.
    fn into_values(self) -> Self::Values;
}

macro_rules! arguments {
    ($($($wrapper:ident $value:ident $index:tt),*;)*) => {$(
        impl<$($wrapper: IntoArgument),*> FunctionArguments for ($($wrapper,)*) {
            type Values = ($($wrapper::Value,)*);

            #[allow(clippy::unused_unit)]
            fn into_values(self) -> Self::Values {
                ($(self.$index.into_argument(),)*)
            }
        }

        impl<Function, Output, $($value),*> CallFunction<($($value,)*)> for Function
        where
            Function: Fn($($value),*) -> Output + ?Sized,
        {
            type Output = Output;

            fn call_layer_or_function<Arguments: FunctionArguments<Values = ($($value,)*)>>(
                &self,
                arguments: Arguments,
                _: Mode,
                _: Layers<'_>,
            ) -> Output {
                let _values = arguments.into_values();
                self($(_values.$index),*)
            }
        }

        impl<Function, Output, $($value),*> CallFunctionMut<($($value,)*)> for Function
        where
            Function: FnMut($($value),*) -> Output + ?Sized,
        {
            type Output = Output;

            fn call_layer_or_function<Arguments: FunctionArguments<Values = ($($value,)*)>>(
                &mut self,
                arguments: Arguments,
                _: Mode,
                _: Layers<'_>,
            ) -> Output {
                let _values = arguments.into_values();
                self($(_values.$index),*)
            }
        }
    )*};
}

arguments! {
    ;
    A X 0;
    A X 0, B Y 1;
    A X 0, B Y 1, C Z 2;
    A X 0, B Y 1, C Z 2, D U 3;
    A X 0, B Y 1, C Z 2, D U 3, E V 4;
    A X 0, B Y 1, C Z 2, D U 3, E V 4, F Q 5;
}

macro_rules! several_inputs {
    ($($($wrapper:ident $input:ident $index:tt),+;)*) => {$(
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
    )*};
}

several_inputs! {
    A X 0, B Y 1;
    A X 0, B Y 1, C Z 2;
    A X 0, B Y 1, C Z 2, D U 3;
    A X 0, B Y 1, C Z 2, D U 3, E V 4;
    A X 0, B Y 1, C Z 2, D U 3, E V 4, F Q 5;
}

/// Converts an output of a forward closure to the type `O`: a tensor or a result to a signal, and tuples by element.
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

macro_rules! outputs {
    ($($($value:ident $output:ident $index:tt),+;)*) => {$(
        #[diagnostic::do_not_recommend]
        impl<$($value: IntoOutput<$output>, $output),+> IntoOutput<($($output,)+)> for ($($value,)+) {
            fn into_output(self) -> ($($output,)+) {
                ($(self.$index.into_output(),)+)
            }
        }
    )*};
}

outputs! {
    A X 0;
    A X 0, B Y 1;
    A X 0, B Y 1, C Z 2;
    A X 0, B Y 1, C Z 2, D U 3;
    A X 0, B Y 1, C Z 2, D U 3, E V 4;
    A X 0, B Y 1, C Z 2, D U 3, E V 4, F Q 5;
}

/// Converts an output of a forward closure to the output type.
pub fn output<O, T: IntoOutput<O>>(value: T) -> O {
    value.into_output()
}

/// A reference to plain data. The method `data` returns the value if its type is `Copy`, and the reference otherwise:
/// method resolution tries [`DataByValue`] first.
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

/// Returns the path of `layer` below the network with these fields. Returns `None` if the layer is not a part of the
/// network, or if several zero-sized layers have its address and type name.
fn path_of<M: Module + ?Sized>(layer: &M, layers: Layers<'_>) -> Option<Vec<Segment>> {
    let kind = || layer.kind();
    let wanted = Wanted { memory: Memory::of(layer), kind: &kind };
    // Most calls are to elements of fields, or to layers in such an element. Each level multiplies the number of modules.
    [1, 2, usize::MAX].into_iter().find_map(|depth| wanted.find(layers, depth))
}

/// The bytes of a value.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Memory {
    address: usize,
    size: usize,
}

impl Memory {
    fn of<T: ?Sized>(value: &T) -> Self {
        Self { address: std::ptr::from_ref(value).cast::<()>().addr(), size: size_of_val(value) }
    }

    fn contains(self, other: Self) -> bool {
        self.address <= other.address && other.address + other.size <= self.address + self.size
    }
}

/// The layer to search for.
struct Wanted<'a> {
    memory: Memory,
    kind: &'a dyn Fn() -> Cow<'static, str>,
}

impl Wanted<'_> {
    /// Returns the path of the layer if it is at most `depth` levels below a field, or if it is in the memory of such a
    /// module.
    fn find(&self, layers: Layers<'_>, depth: usize) -> Option<Vec<Segment>> {
        let mut search = Search { wanted: self, depth, exact: None, inside: None, is_ambiguous: false };
        layers(&mut |name, field| search.compare(field, || Segment::Name(name)));
        let mut path = search.exact.or(search.inside).filter(|_| !search.is_ambiguous)?;
        path.reverse();
        Some(path)
    }
}

/// The visitor that searches for a layer. Paths are collected from the layer outwards, so that nothing is allocated
/// for other layers.
struct Search<'a> {
    wanted: &'a Wanted<'a>,
    /// The number of further levels to descend into modules whose memory does not contain the layer.
    depth: usize,
    /// The path of the module at the address of the layer.
    exact: Option<Vec<Segment>>,
    /// The path of a module that contains the layer and has its type name, such as an `Option`.
    inside: Option<Vec<Segment>>,
    /// Whether several zero-sized modules are at the address.
    is_ambiguous: bool,
}

impl Search<'_> {
    /// Compares a module and the modules in it with the layer.
    fn compare(&mut self, module: &dyn Module, segment: impl Fn() -> Segment) {
        let has_size = self.wanted.memory.size > 0;
        if self.exact.is_some() && has_size {
            return;
        }
        let memory = Memory::of(module);
        let is_inside = memory.contains(self.wanted.memory);
        if !is_inside && self.depth == 0 {
            return;
        }
        let outer = (self.exact.take(), self.inside.take());
        if is_inside && module.kind() == (self.wanted.kind)() {
            let found = if memory == self.wanted.memory { &mut self.exact } else { &mut self.inside };
            *found = Some(Vec::new());
        }
        if self.exact.is_none() {
            let depth = self.depth;
            self.depth = depth.saturating_sub(1);
            module.visit(self);
            self.depth = depth;
        }
        self.exact.iter_mut().chain(&mut self.inside).for_each(|path| path.push(segment()));
        self.is_ambiguous |= outer.0.is_some() && self.exact.is_some();
        self.exact = outer.0.or(self.exact.take());
        self.inside = self.inside.take().or(outer.1);
    }
}

impl<'a> Visitor<'a> for Search<'_> {
    fn parameter(&mut self, _: &str, _: &'a Tensor) {}

    fn buffer(&mut self, _: &str, _: &'a Tensor) {}

    fn child(&mut self, name: &str, child: &'a dyn Module) {
        self.compare(child, || Segment::of_child(name));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::prelude::*;

    /// Returns the path of a layer below the field `field`.
    fn path<M: Module + ?Sized>(layer: &M, field: &dyn Module) -> Option<String> {
        let path = path_of(layer, &|visit| visit("field", field))?;
        let _root = Scope::enter("Net");
        let _layer = Scope::layer(path);
        Some(Path::current().to_string())
    }

    fn linear(width: usize) -> Linear {
        Linear::config(width, width).init(&Device::Cpu).expect("the layer is valid")
    }

    #[test]
    fn layers_are_found_by_address() {
        let list = vec![linear(1), linear(2)];
        assert_eq!(path(&list, &list).as_deref(), Some("Net.field"));
        assert_eq!(path(&list[1], &list).as_deref(), Some("Net.field[1]"));
        let nested = (Relu, vec![Some(linear(1)), None, Some(linear(3))]);
        let third = nested.1[2].as_ref().expect("the element was set above");
        assert_eq!(path(third, &nested).as_deref(), Some("Net.field[1][2]"));
        let lists = vec![vec![(linear(1), linear(2))], vec![(linear(1), linear(2)), (linear(3), linear(4))]];
        assert_eq!(path(&lists[1][1], &lists).as_deref(), Some("Net.field[1][1]"));
        assert_eq!(path(&lists[1][1].0, &lists).as_deref(), Some("Net.field[1][1][0]"));
        let deeper = vec![lists];
        assert_eq!(path(&deeper[0][1][0].1, &deeper).as_deref(), Some("Net.field[0][1][0][1]"));
        let boxed: Vec<Box<dyn Layer>> = vec![Box::new(linear(1)), Box::new(Relu)];
        assert_eq!(path(&boxed[1], &boxed).as_deref(), Some("Net.field[1]"));
    }

    #[test]
    fn other_layers_and_ambiguous_layers_have_no_path() {
        let list = vec![linear(1)];
        assert_eq!(path(&linear(1), &list), None);
        let activations = [Relu, Relu];
        assert_eq!(path(&activations[1], &activations), None);
        assert_eq!(path(&activations[1], &(linear(1), Relu)), None);
    }
}
