//! Mixup.

use candle_core::{DType, Device, Tensor};

use crate::{Error, Result};

use super::super::Generator;

/// Replaces each example of a batch by its weighted mean with another example of the batch, as in Zhang et al., "mixup:
/// Beyond Empirical Risk Minimization", 2018. The targets become probabilities, which
/// [`cross_entropy`](crate::train::loss::cross_entropy) accepts.
///
/// ```
/// use sconce::prelude::*;
/// use sconce::train::data::transforms::Mixup;
/// # fn main() -> Result<()> {
/// let images = Tensor::zeros((8, 1, 28, 28), DType::F32, &Device::Cpu)?;
/// let classes = Tensor::zeros(8, DType::U32, &Device::Cpu)?;
/// let mixup = Mixup::new(0.2, 10);
/// let loader = DataLoader::new(TensorDataset::new(images, classes)?)
///     .map_batches(move |batch, rng| mixup.apply(batch, rng));
/// let (_, probabilities) = loader.iter()?.next().expect("there is one batch")?;
/// assert_eq!(probabilities.dims(), [8, 10]);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Mixup {
    alpha: f64,
    classes: usize,
}

impl Mixup {
    /// Creates the transform. The weight of each batch is from the distribution `Beta(alpha, alpha)`: close to 0 or 1
    /// for a small `alpha`. `classes` is the number of classes.
    pub fn new(alpha: f64, classes: usize) -> Self {
        Self { alpha, classes }
    }

    /// Mixes a batch of floating-point inputs `[batch, …]` and targets: classes `[batch]` (u8, u32 or i64) or
    /// probabilities `[batch, classes]`. The new targets are f32 probabilities `[batch, classes]`.
    ///
    /// # Errors
    /// Fails if `alpha` is not above 0, if the inputs are not floating point, if the targets have another shape, or if
    /// a class is out of range.
    pub fn apply(
        &self,
        (inputs, targets): (Tensor, Tensor),
        rng: &mut Generator,
    ) -> Result<(Tensor, Tensor)> {
        if !(self.alpha > 0. && self.alpha.is_finite()) {
            return Err(Error::msg(format!("Mixup: expected an alpha above 0, found {}", self.alpha)));
        }
        if !inputs.dtype().is_float() {
            return Err(Error::msg(format!(
                "Mixup: expected floating-point inputs, found {:?}",
                inputs.dtype()
            )));
        }
        let targets = self.probabilities(&targets)?;
        let count = targets.dim(0)?;
        if inputs.dims().first() != Some(&count) {
            return Err(Error::msg(format!(
                "Mixup: expected inputs and targets with equal first dimensions, found {:?} and {:?}",
                inputs.dims(),
                targets.dims()
            )));
        }
        let weight = beta(self.alpha, rng);
        let partners: Vec<u32> = rng.permutation(count).into_iter().map(|index| index as u32).collect();
        let partners = Tensor::from_vec(partners, count, &Device::Cpu)?;
        Ok((mix(&inputs, &partners, weight)?, mix(&targets, &partners, weight)?))
    }

    /// Returns the targets as probabilities `[batch, classes]`.
    fn probabilities(&self, targets: &Tensor) -> Result<Tensor> {
        match *targets.dims() {
            [_, classes] if classes == self.classes && targets.dtype().is_float() => {
                Ok(targets.to_dtype(DType::F32)?)
            }
            [count] if targets.dtype().is_int() => {
                let classes = targets.to_dtype(DType::I64)?.to_vec1::<i64>()?;
                let mut probabilities = vec![0f32; count * self.classes];
                for (index, class) in classes.into_iter().enumerate() {
                    let class = usize::try_from(class)
                        .ok()
                        .filter(|class| *class < self.classes)
                        .ok_or_else(|| {
                            Error::msg(format!(
                                "Mixup: expected a class below {}, found {class}",
                                self.classes
                            ))
                        })?;
                    probabilities[index * self.classes + class] = 1.;
                }
                Ok(Tensor::from_vec(probabilities, (count, self.classes), targets.device())?)
            }
            ref dims => Err(Error::msg(format!(
                "Mixup: expected classes [batch] or probabilities [batch, {}], found {dims:?} of dtype {:?}",
                self.classes,
                targets.dtype()
            ))),
        }
    }
}

/// Returns `weight · x + (1 − weight) · x[partners]`.
fn mix(x: &Tensor, partners: &Tensor, weight: f64) -> Result<Tensor> {
    let partner = x.index_select(&partners.to_device(x.device())?, 0)?;
    Ok(((x * weight)? + (partner * (1. - weight))?)?)
}

/// Returns a number from the distribution `Beta(alpha, alpha)`.
fn beta(alpha: f64, rng: &mut Generator) -> f64 {
    // For a small alpha, both gamma variates may be too small for f64, so compute eᵃ / (eᵃ + eᵇ) from their logarithms.
    let (a, b) = (ln_gamma_variate(alpha, rng), ln_gamma_variate(alpha, rng));
    1. / (1. + (b - a).exp())
}

/// Returns the logarithm of a number from the distribution `Gamma(alpha, 1)`. Marsaglia and Tsang, "A Simple Method for
/// Generating Gamma Variables", 2000.
fn ln_gamma_variate(alpha: f64, rng: &mut Generator) -> f64 {
    if alpha < 1. {
        // The product of a Gamma(alpha + 1) variate and U^(1/alpha), with U uniform, is a Gamma(alpha) variate.
        return ln_gamma_variate(alpha + 1., rng) + (1. - rng.uniform(0., 1.)).ln() / alpha;
    }
    let d = alpha - 1. / 3.;
    loop {
        let normal = rng.normal(0., 1.);
        let v = (1. + normal / (9. * d).sqrt()).powi(3);
        let u = 1. - rng.uniform(0., 1.);
        if v > 0. && u.ln() < 0.5 * normal * normal + d - d * v + d * v.ln() {
            return (d * v).ln();
        }
    }
}
