//! PReLU, a leaky ReLU whose slope is learned. There is one slope for all channels, or one for each channel.

use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, Result, Shape, Tensor, WithDType, bail};

use crate::channels::Channels;
use crate::composed_path::has_cpu_kernels;
use crate::element::{Element, elements, in_f32, widened, with_element, with_elements};
use crate::float::Float;
use crate::memory::zeros;
use crate::operation::{CpuOperand, Operation};
use crate::relay;

const NAME: &str = "prelu";

/// Returns `x` if `x > 0`, and `weight · x` otherwise. The result is differentiable with respect to both operands.
///
/// `weight` has the shape `[1]`, or `[channels]` with one slope for each channel (dimension 1) of `x`.
///
/// # Errors
/// Fails if `weight` has another shape, or if the dtypes differ or are not floating point.
///
/// # Examples
/// ```
/// use candle_core::{Device, Result, Tensor};
/// use sconce_kernels::activation::prelu;
///
/// # fn main() -> Result<()> {
/// let x = Tensor::new(&[[-2f32, 2.], [-4., 4.]], &Device::Cpu)?; // [batch, channels]
/// let slopes = Tensor::new(&[0.5f32, 0.25], &Device::Cpu)?;
/// assert_eq!(prelu(&x, &slopes)?.to_vec2::<f32>()?, [[-1., 2.], [-2., 4.]]);
/// # Ok(())
/// # }
/// ```
pub fn prelu(x: &Tensor, weight: &Tensor) -> Result<Tensor> {
    let sizes = sizes(x, weight)?;
    if x.dtype() != weight.dtype() {
        bail!(
            "{NAME}: expected a weight of dtype {:?}, the dtype of the input, found {:?}",
            x.dtype(),
            weight.dtype()
        );
    }
    if has_cpu_kernels(x) {
        let weight = widened(weight)?.contiguous()?;
        return in_f32(x, |x| relay::apply([&x.contiguous()?, &weight], Prelu { sizes }));
    }
    let mut shape = vec![1; x.rank()];
    if sizes.channels > 1 {
        shape[1] = sizes.channels;
    }
    let negative = x.neg()?.relu()?.broadcast_mul(&weight.reshape(shape)?)?;
    x.relu()?.sub(&negative)
}

/// Returns the sizes of `x`, with one channel for each slope. If there is one slope, all elements count as one channel,
/// and the last dimension as the plane.
fn sizes(x: &Tensor, weight: &Tensor) -> Result<Channels> {
    match weight.dims() {
        [1] => {
            let plane = x.dims().last().copied().unwrap_or(1);
            Ok(Channels { samples: x.elem_count() / plane.max(1), channels: 1, plane })
        }
        [slopes] => {
            let sizes = Channels::new(NAME, x)?;
            if sizes.channels != *slopes {
                bail!(
                    "{NAME}: expected 1 slope, or 1 for each of the {} channels of {:?}, found {slopes}",
                    sizes.channels,
                    x.dims()
                );
            }
            Ok(sizes)
        }
        dims => bail!("{NAME}: expected a weight of shape [1] or [channels], found {dims:?}"),
    }
}

struct Prelu {
    sizes: Channels,
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
            let x = elements::<E>(x, x_layout)?;
            let weight = elements::<E>(weight, weight_layout)?;
            let mut y = zeros::<E>(x.len());
            self.sizes.for_each_plane(&mut y, |channel, range, y| {
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
                    with_elements(weight, |weight| gradients::<E>(self.sizes, x, grad, weight))
                })
            })???;
            let dx = Tensor::from_vec(dx, x.shape(), x.device())?;
            let dw = Tensor::from_vec(dw, weight.shape(), weight.device())?;
            Ok([Some(dx), Some(dw)])
        })
    }
}

fn gradients<E: Element>(sizes: Channels, x: &[E], grad: &[E], weight: &[E]) -> (Vec<E>, Vec<E>) {
    let mut dx = zeros::<E>(x.len());
    sizes.for_each_plane(&mut dx, |channel, range, dx| {
        let slope = weight[channel];
        for ((dx, x), grad) in dx.iter_mut().zip(&x[range.clone()]).zip(&grad[range]) {
            *dx = if *x > E::ZERO { *grad } else { *grad * slope };
        }
    });
    let sums = sizes.sums(x, grad, |_, x, grad| [if x > 0.0 { 0.0 } else { x * grad }]);
    (dx, sums.into_iter().map(|[sum]| E::from_f64(sum)).collect())
}
