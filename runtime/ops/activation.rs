//! Activations and softmax.

use candle_core::Tensor;

use crate::dim::Dim;
use crate::graph::Op;
use crate::kernels::activation::{self, Activation};
use crate::kernels::for_each_activation;
use crate::kernels::internal::blocked::{self, BlockedTensor};
use crate::kernels::softmax as softmax_kernels;
use crate::signal::{EpilogueOp, Layout, Recording, SameShape, Signal};

/// Applies an activation. If possible, fuses the activation into the preceding deferred operation.
fn activate(activation: Activation, x: Signal) -> Signal {
    let recording = Recording::start(&x);
    let output = x.fuse(EpilogueOp::Activation(activation)).or_run(|x, _| {
        let on_blocked = |x: &BlockedTensor| blocked::activated(x, activation);
        x.apply_either(activation.name(), Layout::Nchw, SameShape, on_blocked, |x| {
            activation::apply(activation, &x)
        })
    });
    recording.finish(output, (activation.name(), Op::Activation(activation)))
}

/// Expands to the example in the documentation of an activation, or to an empty string if there is none.
macro_rules! example {
    (relu) => {
        example!("relu(&x)", "-1f32, 2.", "[0., 2.]")
    };
    (relu6) => {
        example!("relu6(&x)", "-1f32, 3., 8.", "[0., 3., 6.]")
    };
    (leaky_relu) => {
        example!("leaky_relu(&x, 0.5)", "-1f32, 2.", "[-0.5, 2.]")
    };
    (silu) => {
        example!("silu(&x)", "0f32, 1.", "[0., 0.7311]")
    };
    (gelu) => {
        example!("gelu(&x)", "0f32, 1.", "[0., 0.8413]")
    };
    (sigmoid) => {
        example!("sigmoid(&x)", "0f32, 1.", "[0.5, 0.7311]")
    };
    (tanh) => {
        example!("tanh(&x)", "0f32, 1.", "[0., 0.7616]")
    };
    (hardswish) => {
        example!("hardswish(&x)", "-4f32, 1., 4.", "[0., 0.6667, 4.]")
    };
    ($other:ident) => {
        ""
    };
    ($call:literal, $input:literal, $expected:literal) => {
        concat!(
            "\n```\nuse sconce::prelude::*;\n# fn main() -> Result<()> {\n",
            "let x = Tensor::new(&[",
            $input,
            "], &Device::Cpu)?;\n",
            "let y = ",
            $call,
            ".into_tensor()?.to_vec1::<f32>()?;\n",
            "for (y, expected) in y.into_iter().zip(",
            $expected,
            ") {\n",
            "    let expected: f32 = expected;\n",
            "    assert!((y - expected).abs() < 1e-4);\n}\n",
            "# Ok(())\n# }\n```"
        )
    };
}

// The brackets contain the name of the activation's layer, if it has one. The functions do not use this name.
macro_rules! functions {
    ($($(#[$doc:meta])* $name:ident $({ $($field:ident),+ })? = $function:ident [$($layer:literal)?];)*) => {$(
        $(#[$doc])*
        ///
        /// `x` has any shape. The output is a failed signal if the dtype of `x` is not floating point.
        #[doc = example!($function)]
        pub fn $function(x: impl Into<Signal> $(, $($field: f64),+)?) -> Signal {
            activate(Activation::$name $({ $($field),+ })?, x.into())
        }
    )*};
}

for_each_activation!(functions);

/// Computes `eˣ / Σ eˣ` over one dimension. A negative `dim` counts from the end.
///
/// `x` has any shape. The output is a failed signal if `dim` is out of range.
///
/// ```
/// use sconce::prelude::*;
/// # fn main() -> Result<()> {
/// let x = Tensor::new(&[1f32, 1., -1e4], &Device::Cpu)?;
/// let y = softmax(&x, -1).into_tensor()?.to_vec1::<f32>()?;
/// assert_eq!(y, [0.5, 0.5, 0.]);
/// # Ok(())
/// # }
/// ```
pub fn softmax(x: impl Into<Signal>, dim: impl Dim) -> Signal {
    along("softmax", x.into(), dim, |dim| Op::Softmax { dim }, softmax_kernels::softmax)
}

/// Computes `x − log Σ eˣ` over one dimension. A negative `dim` counts from the end.
///
/// `x` has any shape. The output is a failed signal if `dim` is out of range.
///
/// ```
/// use sconce::prelude::*;
/// # fn main() -> Result<()> {
/// let x = Tensor::new(&[1f32, 1., -1e4], &Device::Cpu)?;
/// let y = log_softmax(&x, -1).into_tensor()?.to_vec1::<f32>()?;
/// assert!((y[0] + 0.6931).abs() < 1e-4); // −ln 2
/// assert!(y[2].is_finite());
/// # Ok(())
/// # }
/// ```
pub fn log_softmax(x: impl Into<Signal>, dim: impl Dim) -> Signal {
    along("log_softmax", x.into(), dim, |dim| Op::LogSoftmax { dim }, softmax_kernels::log_softmax)
}

/// Applies an operation along one dimension.
fn along(
    name: &'static str,
    x: Signal,
    dim: impl Dim,
    op: impl FnOnce(usize) -> Op,
    operation: impl Fn(&Tensor, usize) -> candle_core::Result<Tensor>,
) -> Signal {
    let Ok(rank) = x.rank() else { return x };
    match dim.index(rank) {
        Ok(dim) => x.apply((name, op(dim)), SameShape, |x| operation(&x, dim)),
        Err(error) => Signal::fail(error),
    }
}
