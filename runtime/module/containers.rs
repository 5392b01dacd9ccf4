//! Container modules: lists, maps, tuples, options, boxes and shared layers.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use candle_core::Tensor;
use indexmap::IndexMap;

use crate::Result;
use crate::scope::{LayerIdentity, Scope};
use crate::signal::Signal;

use super::{Forward, Layer, Mode, Module, Visitor, VisitorMut};

/// The methods `forward` and `forward_t` of lists, tuples and options of layers. The layers of this crate and derived
/// networks have their own methods with these names. For a layer that implements [`Module`] by hand, an empty `impl` of
/// this trait adds the methods.
///
/// ```
/// use sconce::prelude::*;
/// # fn main() -> Result<()> {
/// let head = (Linear::config(4, 8).init(&Device::Cpu)?, Relu, Linear::config(8, 2).init(&Device::Cpu)?);
/// let x = Tensor::ones((5, 4), DType::F32, &Device::Cpu)?;
/// assert_eq!(head.forward(&x)?.dims(), [5, 2]);
/// # Ok(())
/// # }
/// ```
// With a blanket implementation for every layer, a call to `forward` on a layer of candle-nn would be ambiguous,
// because candle's traits have a method of that name.
pub trait ForwardContainer: Forward<Signal, Output = Signal> {
    /// Runs the layers in evaluation mode.
    ///
    /// # Errors
    /// Fails if a layer fails.
    fn forward(&self, x: impl Into<Signal>) -> Result<Tensor> {
        self.forward_t(x, false)
    }

    /// Runs the layers in training mode if `train` is true, and in evaluation mode otherwise.
    ///
    /// # Errors
    /// Fails if a layer fails.
    fn forward_t(&self, x: impl Into<Signal>, train: bool) -> Result<Tensor> {
        self.call(x.into(), train.into()).into_tensor()
    }
}

/// Returns the name of a list element. Does not allocate for the first 16 elements.
fn index_name(index: usize) -> Cow<'static, str> {
    const NAMES: [&str; 16] =
        ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9", "10", "11", "12", "13", "14", "15"];
    NAMES.get(index).map_or_else(|| Cow::Owned(index.to_string()), |name| Cow::Borrowed(*name))
}

/// Runs the layers one after another. The path of an error includes the index of the layer.
fn run_in_order<'a, L: Layer + 'a>(layers: impl IntoIterator<Item = &'a L>, x: Signal, mode: Mode) -> Signal {
    layers.into_iter().enumerate().fold(x, |x, (i, layer)| {
        let _call = Scope::index(i).begin_call();
        layer.forward_pass(x, mode)
    })
}

macro_rules! list {
    ($(<$($const:ident)?> $list:ty: |$this:ident| $share:expr;)*) => {$(
        impl<T: Module $(, const $const: usize)?> Module for $list {
            fn kind(&self) -> Cow<'static, str> {
                "Sequential".into()
            }

            fn visit<'a>(&'a self, visitor: &mut dyn Visitor<'a>) {
                for (i, child) in self.iter().enumerate() {
                    visitor.child(&index_name(i), child);
                }
            }

            fn visit_mut(&mut self, visitor: &mut dyn VisitorMut) {
                for (i, child) in self.iter_mut().enumerate() {
                    visitor.child(&index_name(i), child);
                }
            }

            fn share(&self) -> Self {
                let $this = self;
                $share
            }
        }

        /// Runs the layers in order.
        impl<T: Layer $(, const $const: usize)?> Forward for $list {
            type Output = Signal;

            fn forward_pass(&self, x: Signal, mode: Mode) -> Signal {
                run_in_order(self, x, mode)
            }
        }

        impl<T: Layer $(, const $const: usize)?> ForwardContainer for $list {}
    )*};
}

list! {
    <> Vec<T>: |list| list.iter().map(T::share).collect();
    <N> [T; N]: |list| std::array::from_fn(|i| list[i].share());
}

macro_rules! map {
    ($(#[$doc:meta] $map:ident;)*) => {$(
        #[$doc]
        impl<T: Module> Module for $map<String, T> {
            fn kind(&self) -> Cow<'static, str> {
                "ModuleDict".into()
            }

            fn visit<'a>(&'a self, visitor: &mut dyn Visitor<'a>) {
                for (name, child) in self {
                    visitor.child(name, child);
                }
            }

            fn visit_mut(&mut self, visitor: &mut dyn VisitorMut) {
                for (name, child) in self {
                    visitor.child(name, child);
                }
            }

            fn share(&self) -> Self {
                self.iter().map(|(name, child)| (name.clone(), child.share())).collect()
            }
        }
    )*};
}

map! {
    /// Modules by name, in the order of insertion, like PyTorch's `ModuleDict`.
    IndexMap;
    /// Modules by name, in alphabetical order.
    BTreeMap;
}

macro_rules! tuples {
    ($($($name:ident $index:tt)+;)*) => {$(
        impl<$($name: Module),+> Module for ($($name,)+) {
            fn kind(&self) -> Cow<'static, str> {
                "Sequential".into()
            }

            fn visit<'a>(&'a self, visitor: &mut dyn Visitor<'a>) {
                $(visitor.child(stringify!($index), &self.$index);)+
            }

            fn visit_mut(&mut self, visitor: &mut dyn VisitorMut) {
                $(visitor.child(stringify!($index), &mut self.$index);)+
            }

            fn share(&self) -> Self {
                ($(self.$index.share(),)+)
            }
        }

        /// Runs the layers in order.
        impl<$($name: Layer),+> Forward for ($($name,)+) {
            type Output = Signal;

            fn forward_pass(&self, x: Signal, mode: Mode) -> Signal {
                $(let x = {
                    let _call = Scope::index($index).begin_call();
                    self.$index.forward_pass(x, mode)
                };)+
                x
            }
        }

        impl<$($name: Layer),+> ForwardContainer for ($($name,)+) {}
    )*};
}

tuples! {
    A 0;
    A 0 B 1;
    A 0 B 1 C 2;
    A 0 B 1 C 2 D 3;
    A 0 B 1 C 2 D 3 E 4;
    A 0 B 1 C 2 D 3 E 4 F 5;
    A 0 B 1 C 2 D 3 E 4 F 5 G 6;
    A 0 B 1 C 2 D 3 E 4 F 5 G 6 H 7;
    A 0 B 1 C 2 D 3 E 4 F 5 G 6 H 7 I 8;
    A 0 B 1 C 2 D 3 E 4 F 5 G 6 H 7 I 8 J 9;
    A 0 B 1 C 2 D 3 E 4 F 5 G 6 H 7 I 8 J 9 K 10;
    A 0 B 1 C 2 D 3 E 4 F 5 G 6 H 7 I 8 J 9 K 10 L 11;
}

impl<T: Module> Module for Option<T> {
    fn kind(&self) -> Cow<'static, str> {
        self.as_ref().map_or("None".into(), T::kind)
    }

    fn extra(&self) -> String {
        self.as_ref().map_or_else(String::new, T::extra)
    }

    fn visit<'a>(&'a self, visitor: &mut dyn Visitor<'a>) {
        if let Some(module) = self {
            module.visit(visitor);
        }
    }

    fn visit_mut(&mut self, visitor: &mut dyn VisitorMut) {
        if let Some(module) = self {
            module.visit_mut(visitor);
        }
    }

    fn share(&self) -> Self {
        self.as_ref().map(T::share)
    }

    fn is_present(&self) -> bool {
        self.as_ref().is_some_and(T::is_present)
    }

    fn visit_fields<'a>(&'a self, visitor: &mut dyn Visitor<'a>) {
        if let Some(module) = self {
            module.visit_fields(visitor);
        }
    }

    fn identity(&self) -> LayerIdentity {
        self.as_ref().map_or_else(|| LayerIdentity::of(self), T::identity)
    }
}

/// `None` returns its input.
impl<T: Layer> Forward for Option<T> {
    type Output = Signal;

    fn forward_pass(&self, x: Signal, mode: Mode) -> Signal {
        match self {
            Some(layer) => layer.forward_pass(x, mode),
            None => x,
        }
    }
}

impl<T: Layer> ForwardContainer for Option<T> {}

/// Implements `Module` for a pointer by delegating to its target. `$target` returns a mutable reference to the target.
macro_rules! pointer {
    ($([$($generics:tt)*] $pointer:ty: $share:expr, $target:expr;)*) => {$(
        impl<$($generics)*> Module for $pointer {
            fn kind(&self) -> Cow<'static, str> {
                (**self).kind()
            }

            fn extra(&self) -> String {
                (**self).extra()
            }

            fn visit<'a>(&'a self, visitor: &mut dyn Visitor<'a>) {
                (**self).visit(visitor)
            }

            fn visit_mut(&mut self, visitor: &mut dyn VisitorMut) {
                let target: fn(&mut Self) -> &mut _ = $target;
                target(self).visit_mut(visitor)
            }

            fn share(&self) -> Self {
                let share: fn(&Self) -> Self = $share;
                share(self)
            }

            fn is_present(&self) -> bool {
                (**self).is_present()
            }

            fn visit_fields<'a>(&'a self, visitor: &mut dyn Visitor<'a>) {
                (**self).visit_fields(visitor)
            }

            fn identity(&self) -> LayerIdentity {
                (**self).identity()
            }
        }
    )*};
}

pointer! {
    [T: Module] Box<T>: |this| Box::new((**this).share()), |this| &mut **this;
    [] Box<dyn Layer>: Box::clone, |this| &mut **this;
    [T: Module] Arc<T>: |this| Arc::new((**this).share()), unshared;
}

/// Returns a mutable reference to the layer to which `this` points. If other pointers share the layer, first points
/// `this` to a copy. Copies of one layer stay tied: code that replaces a tensor recognizes the tensor by its id and
/// gives every copy the same new tensor.
fn unshared<T: Module>(this: &mut Arc<T>) -> &mut T {
    if Arc::get_mut(this).is_none() {
        *this = Arc::new((**this).share());
    }
    Arc::get_mut(this).expect("`this` holds the only reference")
}

impl<I, T: Forward<I>> Forward<I> for Box<T> {
    type Output = T::Output;

    fn forward_pass(&self, input: I, mode: Mode) -> T::Output {
        (**self).forward_pass(input, mode)
    }
}

impl Forward for Box<dyn Layer> {
    type Output = Signal;

    fn forward_pass(&self, x: Signal, mode: Mode) -> Signal {
        (**self).forward_pass(x, mode)
    }
}

impl<I, T: Forward<I>> Forward<I> for Arc<T> {
    type Output = T::Output;

    fn forward_pass(&self, input: I, mode: Mode) -> T::Output {
        (**self).forward_pass(input, mode)
    }
}
