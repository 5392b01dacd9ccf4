//! The macros that expand the table of activations.

/// Expands each entry to a type that implements [`Function`](crate::activation::Function), and the `fused` ones to the
/// enum `Activation` and the macro `with_function` as well.
///
/// An entry starts with its type, its parameters, the name of its function and, in brackets, PyTorch's name of the
/// layer that `sconce` makes of an activation without settings. Then come, in this order:
/// - `bounds`, if clamping to them is all that the activation does: kernels then keep the bounds in registers;
/// - `inline: true`, if the value takes so few instructions that a call would cost more;
/// - `value` of the input;
/// - `saves_output`, whether the gradient is computed from the output rather than from the input;
/// - `gradient` of the input, from that of the output and what is saved;
/// - `composed`, the value in candle's operations, for devices that have no kernels here.
macro_rules! activations {
    (fused { $($fused:tt)* } alone { $($alone:tt)* }) => {
        $crate::activation::table::functions! { $($fused)* $($alone)* }
        $crate::activation::table::enumeration! { ($) $($fused)* }
    };
}
pub(crate) use activations;

/// Expands each entry to `struct Silu {}` and its `impl Function`.
macro_rules! functions {
    ($(
        $(#[$doc:meta])*
        $name:ident $({ $($field:ident),+ })? = $function:ident [$($kind:literal)?] {
            $(bounds: $bounds:expr,)?
            $(inline: $inline:literal,)?
            value: |$x:ident| $value:expr,
            saves_output: $saves:expr,
            gradient: |$grad:ident, $saved:ident| $gradient:expr,
            composed: |$tensor:ident| $composed:expr,
        }
    )*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy)]
        pub(crate) struct $name {
            $($(pub $field: f64,)+)?
        }

        #[allow(unused_variables, reason = "not every formula reads all parameters")]
        impl Function for $name {
            const NAME: &'static str = stringify!($function);
            $(const BOUNDS: Option<[f32; 2]> = Some($bounds);)?
            $(const INLINE: bool = $inline;)?

            #[inline(always)]
            fn value<N: Number>(self, $x: N) -> N {
                let Self { $($($field),+)? } = self;
                $value
            }

            #[inline(always)]
            fn saves_output(self) -> bool {
                let Self { $($($field),+)? } = self;
                $saves
            }

            #[inline(always)]
            fn gradient<N: Number>(self, $grad: N, $saved: N) -> N {
                let Self { $($($field),+)? } = self;
                $gradient
            }

            fn composed(self, $tensor: &Tensor) -> Result<Tensor> {
                let Self { $($($field),+)? } = self;
                $composed
            }
        }
    )*};
}
pub(crate) use functions;

/// Expands the entries to `enum Activation { …, Silu, … }`, `with_function` and `for_each_activation`. Its first token is
/// `$`, for these macros; the first entry is the identity.
macro_rules! enumeration {
    (
        ($d:tt)
        $(#[$identity_doc:meta])*
        $identity:ident = $identity_function:ident [] { $($identity_body:tt)* }
        $(
            $(#[$doc:meta])*
            $name:ident $({ $($field:ident),+ })? = $function:ident [$($kind:literal)?] { $($body:tt)* }
        )*
    ) => {
        /// An elementwise activation, in PyTorch's definitions, that a kernel can apply to its results.
        ///
        /// NaN passes through every one of them, as in PyTorch.
        #[derive(Clone, Copy, Debug, Default, PartialEq)]
        pub enum Activation {
            $(#[$identity_doc])*
            #[default]
            $identity,
            $(
                $(#[$doc])*
                $name $({ $(#[doc = concat!("The setting `", stringify!($field), "`.")] $field: f64),+ })?,
            )*
        }

        const COUNT: usize = 1 + [$(stringify!($name)),*].len();

        /// The variants without their parameters, numbered as in `cuda/activation.cuh`.
        enum Kind {
            $identity,
            $($name,)*
        }

        impl Activation {
            /// Each activation once, with parameters of 0.1.
            pub const EACH: [Self; COUNT] = [Self::$identity, $(Self::$name $({ $($field: 0.1),+ })?,)*];

            /// Returns the number of this activation in `cuda/activation.cuh`, and its parameter or 0.
            pub(crate) fn kind_and_parameter(self) -> (i32, f64) {
                match self {
                    Self::$identity => (Kind::$identity as i32, 0.),
                    $(Self::$name { $($($field),+)? } => {
                        let parameters: &[f64] = &[$($($field),+)?];
                        (Kind::$name as i32, parameters.first().copied().unwrap_or(0.))
                    })*
                }
            }
        }

        /// Evaluates `$body` with `$f` the [`Function`] of an activation.
        macro_rules! with_function {
            ($d activation:expr, $d f:ident => $d body:expr) => {
                match $d activation {
                    $crate::activation::Activation::$identity => {
                        let $d f = $crate::activation::definitions::$identity {};
                        $d body
                    }
                    $($crate::activation::Activation::$name { $($($field),+)? } => {
                        let $d f = $crate::activation::definitions::$name { $($($field),+)? };
                        $d body
                    })*
                }
            };
        }
        pub(crate) use with_function;

        /// Calls a macro with an item `Silu = silu ["SiLU"];` for each activation but the identity: its variant of
        /// [`Activation`], its function's name, and the name of a layer that has no settings.
        #[macro_export]
        #[doc(hidden)]
        macro_rules! for_each_activation {
            ($d callback:ident) => {
                $d callback! {
                    $(
                        $(#[$doc])*
                        $name $({ $($field),+ })? = $function [$($kind)?];
                    )*
                }
            };
        }
    };
}
pub(crate) use enumeration;
