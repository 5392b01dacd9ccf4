//! PReLU: a leaky ReLU whose slope is learned, one for all or one a channel.

use crate::channels::Channels;
use crate::element::{Element, elements, in_single, widened, with_element, with_elements};
use crate::float::Float;
use crate::memory::zeros;
use crate::operation::{CpuOperand, Operation};
use crate::relay;
use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, Result, Shape, Tensor, WithDType, bail};

const NAME: &str = "prelu";

/// `x` where positive, `weight · x` elsewhere; differentiable in both.
///
/// `weight` holds one slope, or one for each channel (dimension 1) of `x`.
///
/// # Errors
/// `weight` is not of one dimension, or holds neither one slope nor as many as `x` has channels; the
/// dtypes differ or are no floats.
pub fn prelu(x: &Tensor, weight: &Tensor) -> Result<Tensor> {
    let view = view(x, weight)?;
    if x.dtype() != weight.dtype() {
        bail!("{NAME}: expected a weight of the input's dtype {:?}, got {:?}", x.dtype(), weight.dtype());
    }
    if x.device().is_cpu() {
        let weight = widened(weight)?.contiguous()?;
        return in_single(x, |x| relay::apply([&x.contiguous()?, &weight], Prelu { view }));
    }
    let mut shape = vec![1; x.rank()];
    if view.channels > 1 {
        shape[1] = view.channels;
    }
    let negative = x.neg()?.relu()?.broadcast_mul(&weight.reshape(shape)?)?;
    x.relu()?.sub(&negative)
}

/// How `x` divides among the slopes.
fn view(x: &Tensor, weight: &Tensor) -> Result<Channels> {
    match weight.dims() {
        [1] => {
            let plane = x.dims().last().copied().unwrap_or(1);
            Ok(Channels { samples: x.elem_count() / plane.max(1), channels: 1, plane })
        }
        [slopes] => {
            let view = Channels::of(NAME, x)?;
            if view.channels != *slopes {
                bail!(
                    "{NAME}: expected 1 slope or one for each of the {} channels of {:?}, got {slopes}",
                    view.channels,
                    x.dims()
                );
            }
            Ok(view)
        }
        dims => bail!("{NAME}: expected a weight of shape [1] or [channels], got {dims:?}"),
    }
}

struct Prelu {
    view: Channels,
}

impl Operation<2> for Prelu {
    fn name(&self) -> &'static str {
        NAME
    }

    fn forward(
        &self,
        [(x, x_layout), (weight, weight_layout)]: [CpuOperand; 2],
    ) -> Result<(CpuStorage, Shape)> {
        with_element!(NAME, x.dtype(), E => {
            let (x, weight) = (elements::<E>(x, x_layout)?, elements::<E>(weight, weight_layout)?);
            let mut y = zeros::<E>(x.len());
            self.view.for_each_plane(&mut y, |channel, range, y| {
                let slope = weight[channel];
                for (y, x) in y.iter_mut().zip(&x[range]) {
                    *y = if *x > E::ZERO { *x } else { *x * slope };
                }
            });
            Ok((E::to_cpu_storage_owned(y), x_layout.shape().clone()))
        })
    }

    fn backward(&self, [x, weight]: [&Tensor; 2], _y: &Tensor, grad: &Tensor) -> Result<[Option<Tensor>; 2]> {
        with_element!(NAME, x.dtype(), E => {
            let (dx, dw) = with_elements(x, |x| {
                with_elements(grad, |grad| {
                    with_elements(weight, |weight| gradients::<E>(self.view, x, grad, weight))
                })
            })???;
            let dx = Tensor::from_vec(dx, x.shape(), x.device())?;
            let dw = Tensor::from_vec(dw, weight.shape(), weight.device())?;
            Ok([Some(dx), Some(dw)])
        })
    }
}

fn gradients<E: Element>(view: Channels, x: &[E], grad: &[E], weight: &[E]) -> (Vec<E>, Vec<E>) {
    let mut dx = zeros::<E>(x.len());
    view.for_each_plane(&mut dx, |channel, range, dx| {
        let slope = weight[channel];
        for ((dx, x), grad) in dx.iter_mut().zip(&x[range.clone()]).zip(&grad[range]) {
            *dx = if *x > E::ZERO { *grad } else { *grad * slope };
        }
    });
    let sums = view.sums(x, grad, |_, x, grad| [if x > 0.0 { 0.0 } else { x * grad }]);
    (dx, sums.into_iter().map(|[sum]| E::from_f64(sum)).collect())
}
