//! The macros that expand the table of activations.

/// Expands each entry to a type that implements [`Function`](crate::activation::Function), and the `fused` entries also
/// to the enum `Activation` and the macro `with_function`.
///
/// An entry starts with its type, its settings and the name of its function. The brackets hold PyTorch's name of the
/// layer that `sconce` generates for the activation. They are empty if `sconce` generates no layer; in particular, it
/// generates none for activations with settings. The braces hold, in this order:
/// - `bounds`, if the activation only clamps its input: kernels then keep the bounds in registers;
/// - `inline: true`, if computing the value is cheaper than a function call;
/// - `value`: the value at `x`;
/// - `saves_output`: `true` if the gradient is computed from the output, `false` if from the input;
/// - `gradient`: the gradient of the input, from the gradient of the output and the saved output or input;
/// - `composed`: the value, computed with candle's operations, for devices without kernels in this crate.
macro_rules! activations {
    (fused { $($fused:tt)* } separate { $($separate:tt)* }) => {
        $crate::activation::table::functions! { $($fused)* $($separate)* }
        $crate::activation::table::enumeration! { ($) $($fused)* }
    };
}
pub(crate) use activations;

/// Expands each entry to `struct Silu {}` and its `impl Function`. Ignores the layer's name in the brackets, which
/// `enumeration` uses.
macro_rules! functions {
    ($(
        $(#[$doc:meta])*
        $name:ident $({ $($field:ident),+ })? = $function:ident [$($layer:literal)?] {
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

        #[allow(unused_variables, reason = "not every formula reads all settings")]
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

/// Expands the entries to `enum Activation { …, Silu, … }`, `with_function` and `for_each_activation`. Ignores
/// `bounds` and all that follows in the braces, which `functions` uses. The first entry must be the identity. The first
/// token must be `$`: the generated macros contain this token, which a macro cannot write itself.
macro_rules! enumeration {
    (
        ($d:tt)
        $(#[$identity_doc:meta])*
        $identity:ident = $identity_function:ident [] { $($identity_body:tt)* }
        $(
            $(#[$doc:meta])*
            $name:ident $({ $($field:ident),+ })? = $function:ident [$($layer:literal)?] { $($body:tt)* }
        )*
    ) => {
        /// An elementwise activation, as PyTorch defines it, that a kernel can apply to its results.
        ///
        /// Every activation of NaN is NaN, as in PyTorch.
        ///
        /// # Examples
        /// ```
        /// use candle_core::{Device, Result, Tensor};
        /// use sconce_kernels::{Activation, activate};
        ///
        /// # fn main() -> Result<()> {
        /// let x = Tensor::new(&[-2f32, 0., 3.], &Device::Cpu)?;
        /// let leaky = Activation::LeakyRelu { negative_slope: 0.5 };
        /// assert_eq!(activate(leaky, &x)?.to_vec1::<f32>()?, [-1., 0., 3.]);
        /// assert_eq!(leaky.name(), "leaky_relu");
        /// # Ok(())
        /// # }
        /// ```
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

        /// The variants of [`Activation`] without their settings, numbered as in `cuda/activation.cuh`.
        enum Kind {
            $identity,
            $($name,)*
        }

        impl Activation {
            /// Every activation, with all settings equal to 0.1.
            pub const EACH: [Self; COUNT] = [Self::$identity, $(Self::$name $({ $($field: 0.1),+ })?,)*];

            /// Returns the number of this activation in `cuda/activation.cuh`, and its setting, or 0 if it has
            /// none.
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

        /// Evaluates `$body` with `$f` bound to the [`Function`] of an activation.
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

        /// Calls a macro with one item for each activation except the identity, such as `Silu = silu ["SiLU"];`. The
        /// item holds the variant of [`Activation`], the name of its function and, if its layer has no settings, the
        /// name of that layer. The crate `sconce` generates layers and functions with this macro, which is not part of
        /// the stable interface.
        ///
        /// # Examples
        /// ```
        /// use sconce_kernels::for_each_activation;
        ///
        /// macro_rules! functions {
        ///     ($(
        ///         $(#[$doc:meta])*
        ///         $name:ident $({ $($field:ident),+ })? = $function:ident [$($layer:literal)?];
        ///     )*) => {
        ///         [$(stringify!($function)),*]
        ///     };
        /// }
        ///
        /// let functions = for_each_activation!(functions);
        /// assert!(functions.contains(&"silu") && !functions.contains(&"identity"));
        /// ```
        #[macro_export]
        macro_rules! for_each_activation {
            ($d callback:ident) => {
                $d callback! {
                    $(
                        $(#[$doc])*
                        $name $({ $($field),+ })? = $function [$($layer)?];
                    )*
                }
            };
        }
    };
}
pub(crate) use enumeration;
