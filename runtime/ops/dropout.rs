//! Dropout of elements, of channels, of examples and of whole inputs.

use candle_core::Tensor;

use crate::graph::Op;
use crate::kernels::arithmetic::{Binary, Unary, binary, unary};
use crate::module::Mode;
use crate::signal::{NeedsNumbers, Recording, Signal};
use crate::{Error, Result, random};

/// In training, sets each element to zero with probability `p` and scales the others by `1 / (1 − p)`.
///
/// `x` has any shape. The output is a failed signal if `p` is not between 0 and 1 in training.
///
/// ```
/// use sconce::prelude::*;
/// # fn main() -> Result<()> {
/// let x = Tensor::ones(1000, DType::F32, &Device::Cpu)?;
/// let y = dropout(&x, 0.5, Mode::Train).into_tensor()?.to_vec1::<f32>()?;
/// assert!(y.iter().all(|y| [0., 2.].contains(y)) && y.contains(&0.) && y.contains(&2.));
/// let y = dropout(&x, 0.5, Mode::Eval).into_tensor()?;
/// assert_eq!(y.to_vec1::<f32>()?, [1.; 1000]);
/// # Ok(())
/// # }
/// ```
pub fn dropout(x: impl Into<Signal>, p: f64, mode: Mode) -> Signal {
    dropout_with_mask_shape("dropout", x.into(), p, mode, |dims| Ok(dims.to_vec()))
}

/// In training, sets each channel of `[batch, channels, length]` or `[channels, length]` to zero with
/// probability `p` and scales the others by `1 / (1 − p)`. The output is a failed signal if `x` has a different rank,
/// or if `p` is not between 0 and 1 in training.
///
/// ```
/// use sconce::prelude::*;
/// # fn main() -> Result<()> {
/// let x = Tensor::ones((2, 100, 3), DType::F32, &Device::Cpu)?;
/// let y = dropout1d(&x, 0.5, Mode::Train).into_tensor()?.flatten(0, 1)?.to_vec2::<f32>()?;
/// assert!(y.iter().all(|channel| *channel == [0.; 3] || *channel == [2.; 3]));
/// # Ok(())
/// # }
/// ```
pub fn dropout1d(x: impl Into<Signal>, p: f64, mode: Mode) -> Signal {
    dropout_with_mask_shape("dropout1d", x.into(), p, mode, |dims| match *dims {
        [batch, channels, _] => Ok(vec![batch, channels, 1]),
        [channels, _] => Ok(vec![channels, 1]),
        _ => Err("[batch, channels, length] or [channels, length]"),
    })
}

/// In training, sets each channel of `[batch, channels, height, width]` to zero with probability `p` and
/// scales the others by `1 / (1 − p)`. As in PyTorch, an input with three dimensions is interpreted as
/// `[batch, channels, length]`. The output is a failed signal if `x` has a different rank, or if `p` is not between 0
/// and 1 in training.
///
/// ```
/// use sconce::prelude::*;
/// # fn main() -> Result<()> {
/// let x = Tensor::ones((2, 100, 3, 3), DType::F32, &Device::Cpu)?;
/// let y = dropout2d(&x, 0.5, Mode::Train).into_tensor()?.reshape((200, 9))?.to_vec2::<f32>()?;
/// assert!(y.iter().all(|channel| *channel == [0.; 9] || *channel == [2.; 9]));
/// # Ok(())
/// # }
/// ```
pub fn dropout2d(x: impl Into<Signal>, p: f64, mode: Mode) -> Signal {
    dropout_with_mask_shape("dropout2d", x.into(), p, mode, |dims| match *dims {
        [batch, channels, _, _] => Ok(vec![batch, channels, 1, 1]),
        [batch, channels, _] => Ok(vec![batch, channels, 1]),
        _ => Err("[batch, channels, height, width] or [batch, channels, length]"),
    })
}

/// In training, sets each channel of `[batch, channels, depth, height, width]` or `[channels, depth, height, width]` to
/// zero with probability `p` and scales the others by `1 / (1 − p)`. The output is a failed signal if `x` has a
/// different rank, or if `p` is not between 0 and 1 in training.
///
/// ```
/// use sconce::prelude::*;
/// # fn main() -> Result<()> {
/// let x = Tensor::ones((2, 100, 2, 2, 2), DType::F32, &Device::Cpu)?;
/// let y = dropout3d(&x, 0.5, Mode::Train).into_tensor()?.reshape((200, 8))?.to_vec2::<f32>()?;
/// assert!(y.iter().all(|channel| *channel == [0.; 8] || *channel == [2.; 8]));
/// # Ok(())
/// # }
/// ```
pub fn dropout3d(x: impl Into<Signal>, p: f64, mode: Mode) -> Signal {
    dropout_with_mask_shape("dropout3d", x.into(), p, mode, |dims| match *dims {
        [batch, channels, _, _, _] => Ok(vec![batch, channels, 1, 1, 1]),
        [channels, _, _, _] => Ok(vec![channels, 1, 1, 1]),
        _ => Err("[batch, channels, depth, height, width] or [channels, depth, height, width]"),
    })
}

/// In training, sets all of `x` or whole examples of `x` to zero with probability `p` and scales the rest by
/// `1 / (1 − p)`. Corresponds to torchvision's `stochastic_depth`.
///
/// `x` is `[batch, …]`. With `mode = "batch"`, all of `x` is kept or set to zero; with `"row"`, each example
/// independently. The output is a failed signal if `mode` is another string, if `p` is not between 0 and 1, or if `x`
/// has no dimensions.
///
/// ```
/// use sconce::prelude::*;
/// # fn main() -> Result<()> {
/// let x = Tensor::ones((100, 3), DType::F32, &Device::Cpu)?;
/// let y = stochastic_depth(&x, 0.5, "row", Mode::Train).into_tensor()?.to_vec2::<f32>()?;
/// assert!(y.iter().all(|example| *example == [0.; 3] || *example == [2.; 3]));
/// assert!(stochastic_depth(&x, 0.5, "column", Mode::Train).error().is_some());
/// # Ok(())
/// # }
/// ```
pub fn stochastic_depth(x: impl Into<Signal>, p: f64, mode: &str, training: Mode) -> Signal {
    if let Err(error) = check_stochastic_depth(p, mode) {
        return Signal::fail(error);
    }
    dropout_with_mask_shape("stochastic_depth", x.into(), p, training, |dims| match *dims {
        [] => Err("[batch, …]"),
        [batch, ..] => {
            let mut shape = vec![1; dims.len()];
            shape[0] = if mode == "row" { batch } else { 1 };
            Ok(shape)
        }
    })
}

/// Checks the settings of [`stochastic_depth`].
pub(crate) fn check_stochastic_depth(p: f64, mode: &str) -> Result<()> {
    if !(0. ..=1.).contains(&p) {
        return Err(Error::msg(format!("expected a probability between 0 and 1, found {p}")));
    }
    if !["batch", "row"].contains(&mode) {
        return Err(Error::msg(format!("expected mode \"batch\" or \"row\", found {mode:?}")));
    }
    Ok(())
}

/// In training, sets each element to the limit of SELU at −∞ with probability `p`, and scales and shifts the result so
/// that mean 0 and variance 1 are preserved.
///
/// `x` has any shape. The output is a failed signal if `p` is not between 0 and 1 in training.
///
/// ```
/// use sconce::prelude::*;
/// # fn main() -> Result<()> {
/// let x = Tensor::zeros(1000, DType::F32, &Device::Cpu)?;
/// // Each element has one of two values.
/// let y = alpha_dropout(&x, 0.5, Mode::Train).into_tensor()?.to_vec1::<f32>()?;
/// assert!(y.iter().all(|y| (y.abs() - 0.779194).abs() < 1e-5));
/// # Ok(())
/// # }
/// ```
pub fn alpha_dropout(x: impl Into<Signal>, p: f64, mode: Mode) -> Signal {
    dropout_with("alpha_dropout", x.into(), p, mode, |dims| Ok(dims.to_vec()), drop_to_selu_limit)
}

/// Like [`alpha_dropout`], but keeps or drops whole channels of `[batch, channels, …]`.
///
/// The output is a failed signal if `x` has fewer than two dimensions, or if `p` is not between 0 and 1 in training.
///
/// ```
/// use sconce::prelude::*;
/// # fn main() -> Result<()> {
/// let x = Tensor::zeros((10, 100, 2), DType::F32, &Device::Cpu)?;
/// let y = feature_alpha_dropout(&x, 0.5, Mode::Train).into_tensor()?.flatten(0, 1)?.to_vec2::<f32>()?;
/// assert!(y.iter().all(|channel| channel[0] == channel[1]));
/// # Ok(())
/// # }
/// ```
pub fn feature_alpha_dropout(x: impl Into<Signal>, p: f64, mode: Mode) -> Signal {
    let mask_shape = |dims: &[usize]| match *dims {
        [batch, channels, ..] => {
            let mut shape = vec![1; dims.len()];
            shape[..2].copy_from_slice(&[batch, channels]);
            Ok(shape)
        }
        _ => Err("[batch, channels, …]"),
    };
    dropout_with("feature_alpha_dropout", x.into(), p, mode, mask_shape, drop_to_selu_limit)
}

/// Replaces the elements whose `keep` is 0 with the limit of SELU at −∞, and restores mean 0 and variance 1.
fn drop_to_selu_limit(x: &Tensor, keep: &Tensor, p: f64) -> Result<Tensor> {
    // −λα, with the constants of SELU.
    const LIMIT: f64 = -1.7580993408473766;
    if p == 1. {
        return Ok(binary(Binary::Mul, x, keep)?);
    }
    let scale = 1. / ((LIMIT * LIMIT * p + 1.) * (1. - p)).sqrt();
    let factor = unary(Unary::Affine { factor: scale, offset: 0. }, keep)?;
    // Where `keep` is 1, the offset is `−scale · LIMIT · p`. Elsewhere it is larger by `scale · LIMIT`.
    let offset = Unary::Affine { factor: -scale * LIMIT, offset: scale * LIMIT * (1. - p) };
    Ok(binary(Binary::Add, &binary(Binary::Mul, x, &factor)?, &unary(offset, keep)?)?)
}

/// Drops the elements of `x` to zero where a random mask is 0, and scales the others. The mask is broadcast to the
/// input. `mask_shape` returns the shape of the mask for the shape of the input, or a description of the expected
/// input.
fn dropout_with_mask_shape(
    name: &'static str,
    x: Signal,
    p: f64,
    mode: Mode,
    mask_shape: impl FnOnce(&[usize]) -> Result<Vec<usize>, &'static str>,
) -> Signal {
    dropout_with(name, x, p, mode, mask_shape, |x, keep, p| {
        let scale = if p == 1. { 0. } else { 1. / (1. - p) };
        let factor = unary(Unary::Affine { factor: scale, offset: 0. }, keep)?;
        Ok(binary(Binary::Mul, x, &factor)?)
    })
}

/// In training, calls `apply` with the input, a random mask of ones and zeros that is 0 with probability `p`, and `p`.
fn dropout_with(
    name: &'static str,
    x: Signal,
    p: f64,
    mode: Mode,
    mask_shape: impl FnOnce(&[usize]) -> Result<Vec<usize>, &'static str>,
    apply: impl FnOnce(&Tensor, &Tensor, f64) -> Result<Tensor>,
) -> Signal {
    let Ok(dims) = x.dims() else { return x };
    let mask_shape = match mask_shape(dims) {
        Ok(shape) => shape,
        Err(expected) => {
            return Signal::fail(Error::msg(format!("{name}: expected an input {expected}, found {dims:?}")));
        }
    };
    if mode == Mode::Eval || p == 0. {
        return Recording::start(&x).finish(x, (name, Op::Identity));
    }
    if !(0. ..=1.).contains(&p) {
        return Signal::fail(Error::msg(format!("expected a probability between 0 and 1, found {p}")));
    }
    if x.is_meta() {
        return Recording::start(&x).finish(x, name);
    }
    x.apply(name, NeedsNumbers, |x| -> Result<Tensor> {
        let keep = random::bernoulli(mask_shape, 1. - p, x.dtype(), x.device())?;
        apply(&x, &keep, p)
    })
}
