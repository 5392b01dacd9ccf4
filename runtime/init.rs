//! Initializers of parameters, with the names of PyTorch's `torch.nn.init`.
//!
//! For a weight `[outputs, inputs, …]`, `fan_in` is the number of inputs and `fan_out` the number of outputs, each
//! multiplied by the kernel size (the product of the remaining dimensions).
//!
//! ```
//! use sconce::prelude::*;
//!
//! #[derive(Module)]
//! #[module(forward = |x| x * scale + shift)]
//! struct Affine {
//!     #[param((8,), init = ones)]
//!     scale: Tensor,
//!     #[param((8,), init = normal(0., 0.02))]
//!     shift: Tensor,
//! }
//! # fn main() -> Result<()> {
//! assert_eq!(Affine::new(&Device::Cpu)?.num_parameters(), 16);
//! # Ok(())
//! # }
//! ```

use candle_nn::Init;
use candle_nn::init::{FanInOut, NonLinearity, NormalOrUniform};

/// A distribution of initial values, which may depend on the shape of the parameter.
///
/// ```
/// use sconce::init::{Initializer, normal, ones};
/// use sconce::nn::Init;
///
/// assert!(matches!(normal(0., 0.02).for_shape(&[8, 4]), Init::Randn { mean: 0., stdev: 0.02 }));
/// // `init = ones` needs no parentheses: a function without arguments converts into an `Initializer`.
/// assert!(matches!(Initializer::from(ones).for_shape(&[3]), Init::Const(1.)));
/// ```
// The function computes candle's initializer from a shape and the two numbers. These are parameters of the
// distribution, such as the mean and the standard deviation; a number that the function does not use is 0.
#[derive(Clone, Copy, Debug)]
pub struct Initializer(fn(&[usize], f64, f64) -> Init, f64, f64);

impl Initializer {
    /// Returns candle's initializer for a tensor of `shape`.
    pub fn for_shape(&self, shape: &[usize]) -> Init {
        (self.0)(shape, self.1, self.2)
    }
}

/// Converts a function without arguments, which allows `init = ones`.
impl<F: Fn() -> Initializer> From<F> for Initializer {
    fn from(initializer: F) -> Self {
        initializer()
    }
}

/// Returns the fan-in and fan-out of a weight `[outputs, inputs, …]`.
fn fans(shape: &[usize]) -> (f64, f64) {
    // The product is a float, because arbitrary sizes could overflow an integer.
    let receptive_field: f64 = shape.iter().skip(2).map(|size| *size as f64).product();
    let outputs = shape.first().copied().unwrap_or(1);
    let inputs = shape.get(1).copied().unwrap_or(outputs);
    ((inputs as f64 * receptive_field).max(1.), (outputs as f64 * receptive_field).max(1.))
}

/// Sets every element to `value`.
///
/// ```
/// use sconce::prelude::*;
///
/// #[derive(Module)]
/// #[module(forward = |x| linear(x, weight, None))]
/// struct Net {
///     #[param((40, 10), init = constant(0.1))]
///     weight: Tensor,
/// }
/// # fn main() -> Result<()> {
/// let weight = Net::new(&Device::Cpu)?.weight;
/// assert!(weight.to_vec2::<f32>()?.concat().iter().all(|w| *w == 0.1));
/// # Ok(())
/// # }
/// ```
pub fn constant(value: f64) -> Initializer {
    Initializer(|_, value, _| Init::Const(value), value, 0.)
}

/// Draws uniformly between `low` and `high`.
///
/// ```
/// use sconce::prelude::*;
///
/// #[derive(Module)]
/// #[module(forward = |x| linear(x, weight, None))]
/// struct Net {
///     #[param((40, 10), init = uniform(-1., 3.))]
///     weight: Tensor,
/// }
/// # fn main() -> Result<()> {
/// let weight = Net::new(&Device::Cpu)?.weight;
/// assert!(weight.to_vec2::<f32>()?.concat().iter().all(|w| (-1. ..=3.).contains(w)));
/// # Ok(())
/// # }
/// ```
pub fn uniform(low: f64, high: f64) -> Initializer {
    Initializer(|_, lo, up| Init::Uniform { lo, up }, low, high)
}

/// Draws from the normal distribution with this mean and standard deviation.
///
/// ```
/// use sconce::prelude::*;
///
/// #[derive(Module)]
/// #[module(forward = |x| linear(x, weight, None))]
/// struct Net {
///     #[param((40, 10), init = normal(5., 0.01))]
///     weight: Tensor,
/// }
/// # fn main() -> Result<()> {
/// let weight = Net::new(&Device::Cpu)?.weight;
/// assert!(weight.to_vec2::<f32>()?.concat().iter().all(|w| (w - 5.).abs() < 0.1));
/// # Ok(())
/// # }
/// ```
pub fn normal(mean: f64, std: f64) -> Initializer {
    Initializer(|_, mean, stdev| Init::Randn { mean, stdev }, mean, std)
}

/// Draws uniformly between `±gain · √(3 / fan_in)` with the gain √2 of ReLU (He et al. 2015,
/// <https://arxiv.org/abs/1502.01852>).
///
/// ```
/// use sconce::prelude::*;
///
/// #[derive(Module)]
/// #[module(forward = |x| linear(x, weight, None))]
/// struct Net {
///     #[param((40, 10), init = kaiming_uniform)]
///     weight: Tensor,
/// }
/// # fn main() -> Result<()> {
/// let weight = Net::new(&Device::Cpu)?.weight;
/// let bound = (6f32 / 10.).sqrt(); // fan_in is 10
/// assert!(weight.to_vec2::<f32>()?.concat().iter().all(|w| w.abs() <= bound));
/// # Ok(())
/// # }
/// ```
pub fn kaiming_uniform() -> Initializer {
    Initializer(|_, _, _| kaiming(NormalOrUniform::Uniform), 0., 0.)
}

/// Draws from the normal distribution with the standard deviation `√(2 / fan_in)` (He et al. 2015).
///
/// ```
/// use sconce::prelude::*;
///
/// #[derive(Module)]
/// #[module(forward = |x| linear(x, weight, None))]
/// struct Net {
///     #[param((40, 10), init = kaiming_normal)]
///     weight: Tensor,
/// }
/// # fn main() -> Result<()> {
/// let weight = Net::new(&Device::Cpu)?.weight;
/// // √(2 / fan_in) with a fan_in of 10 is 0.447.
/// let std = weight.sqr()?.mean_all()?.to_scalar::<f32>()?.sqrt();
/// assert!((std - 0.447).abs() < 0.1);
/// # Ok(())
/// # }
/// ```
pub fn kaiming_normal() -> Initializer {
    Initializer(|_, _, _| kaiming(NormalOrUniform::Normal), 0., 0.)
}

fn kaiming(dist: NormalOrUniform) -> Init {
    Init::Kaiming { dist, fan: FanInOut::FanIn, non_linearity: NonLinearity::ReLU }
}

/// Draws uniformly between `±√(6 / (fan_in + fan_out))` (Glorot and Bengio 2010).
///
/// ```
/// use sconce::prelude::*;
///
/// #[derive(Module)]
/// #[module(forward = |x| linear(x, weight, None))]
/// struct Net {
///     #[param((40, 10), init = xavier_uniform)]
///     weight: Tensor,
/// }
/// # fn main() -> Result<()> {
/// let weight = Net::new(&Device::Cpu)?.weight;
/// let bound = (6f32 / (10. + 40.)).sqrt();
/// assert!(weight.to_vec2::<f32>()?.concat().iter().all(|w| w.abs() <= bound));
/// # Ok(())
/// # }
/// ```
pub fn xavier_uniform() -> Initializer {
    Initializer(
        |shape, _, _| {
            let (fan_in, fan_out) = fans(shape);
            let bound = (6. / (fan_in + fan_out)).sqrt();
            Init::Uniform { lo: -bound, up: bound }
        },
        0.,
        0.,
    )
}

/// Draws from the normal distribution with the variance `2 / (fan_in + fan_out)` (Glorot and Bengio 2010).
///
/// ```
/// use sconce::prelude::*;
///
/// #[derive(Module)]
/// #[module(forward = |x| linear(x, weight, None))]
/// struct Net {
///     #[param((40, 10), init = xavier_normal)]
///     weight: Tensor,
/// }
/// # fn main() -> Result<()> {
/// let weight = Net::new(&Device::Cpu)?.weight;
/// // √(2 / (10 + 40)) is 0.2.
/// let std = weight.sqr()?.mean_all()?.to_scalar::<f32>()?.sqrt();
/// assert!((std - 0.2).abs() < 0.05);
/// # Ok(())
/// # }
/// ```
pub fn xavier_normal() -> Initializer {
    Initializer(
        |shape, _, _| {
            let (fan_in, fan_out) = fans(shape);
            Init::Randn { mean: 0., stdev: (2. / (fan_in + fan_out)).sqrt() }
        },
        0.,
        0.,
    )
}

/// Draws uniformly between `±1 / √fan_in`, like PyTorch's `Linear` and `Conv2d`.
///
/// ```
/// use sconce::prelude::*;
///
/// #[derive(Module)]
/// #[module(forward = |x| linear(x, weight, None))]
/// struct Net {
///     #[param((40, 10), init = fan_in_uniform)]
///     weight: Tensor,
/// }
/// # fn main() -> Result<()> {
/// let weight = Net::new(&Device::Cpu)?.weight;
/// let bound = 1. / 10f32.sqrt();
/// assert!(weight.to_vec2::<f32>()?.concat().iter().all(|w| w.abs() <= bound));
/// # Ok(())
/// # }
/// ```
pub fn fan_in_uniform() -> Initializer {
    Initializer(|shape, _, _| symmetric_uniform(1. / fans(shape).0.sqrt()), 0., 0.)
}

/// Draws uniformly between `±bound`.
pub(crate) fn symmetric_uniform(bound: f64) -> Init {
    Init::Uniform { lo: -bound, up: bound }
}

/// Sets every element to 0.
///
/// ```
/// use sconce::prelude::*;
///
/// #[derive(Module)]
/// #[module(forward = |x| linear(x, weight, None))]
/// struct Net {
///     #[param((40, 10), init = zeros)]
///     weight: Tensor,
/// }
/// # fn main() -> Result<()> {
/// let weight = Net::new(&Device::Cpu)?.weight;
/// assert!(weight.to_vec2::<f32>()?.concat().iter().all(|w| *w == 0.));
/// # Ok(())
/// # }
/// ```
pub fn zeros() -> Initializer {
    constant(0.)
}

/// Sets every element to 1.
///
/// ```
/// use sconce::prelude::*;
///
/// #[derive(Module)]
/// #[module(forward = |x| linear(x, weight, None))]
/// struct Net {
///     #[param((40, 10), init = ones)]
///     weight: Tensor,
/// }
/// # fn main() -> Result<()> {
/// let weight = Net::new(&Device::Cpu)?.weight;
/// assert!(weight.to_vec2::<f32>()?.concat().iter().all(|w| *w == 1.));
/// # Ok(())
/// # }
/// ```
pub fn ones() -> Initializer {
    constant(1.)
}
