//! Calls that may consume the callee. Not public API.
//!
//! In a forward closure, the last call to an owned local variable becomes a call to its method `call_at_last_use`.
//! Method resolution selects [`CallFunctionOnce`] for a function, which is called by value and therefore only needs to
//! implement `FnOnce`. It selects [`CallLayerAtLastUse`] for a layer, which is called by reference.

use crate::dispatch::{CallLayer, FunctionArguments, LayerArguments};
use crate::module::{Mode, Module};

/// A function or closure that is called by value. `A` is the tuple of its argument types.
pub trait CallFunctionOnce<A> {
    /// The value that the function returns.
    type Output;

    /// Calls and consumes the function. A function does not depend on `mode`.
    fn call_at_last_use<Arguments: FunctionArguments<Values = A>>(
        self,
        arguments: Arguments,
        mode: Mode,
    ) -> Self::Output;
}

/// The last call to a local variable that holds a layer. Like any other call to a layer, it borrows the layer.
pub trait CallLayerAtLastUse: Module {
    /// Calls the layer.
    fn call_at_last_use<A, I>(&self, arguments: A, mode: Mode) -> A::Output
    where
        A: LayerArguments<Self, I>,
    {
        self.call_layer_or_function(arguments, mode)
    }
}

impl<M: Module + ?Sized> CallLayerAtLastUse for M {}

macro_rules! functions {
    ($($($value:ident $index:tt),*;)*) => {$(
        impl<Function, Output, $($value),*> CallFunctionOnce<($($value,)*)> for Function
        where
            Function: FnOnce($($value),*) -> Output,
        {
            type Output = Output;

            fn call_at_last_use<Arguments: FunctionArguments<Values = ($($value,)*)>>(
                self,
                arguments: Arguments,
                _: Mode,
            ) -> Output {
                let _values = arguments.into_values();
                self($(_values.$index),*)
            }
        }
    )*};
}

functions! {
    ;
    X 0;
    X 0, Y 1;
    X 0, Y 1, Z 2;
    X 0, Y 1, Z 2, U 3;
    X 0, Y 1, Z 2, U 3, V 4;
    X 0, Y 1, Z 2, U 3, V 4, Q 5;
}
