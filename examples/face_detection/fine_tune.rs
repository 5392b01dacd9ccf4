//! Fine-tuning of R-Net on crops of a photograph.

use sconce::prelude::*;
use sconce::train::optim::Step;

use super::RNet;
use super::crops::Crops;

/// Returns the loss with which the published network was trained: the cross entropy of the two classes, plus half the
/// squared error of the box, averaged over the crops with a face.
pub fn loss((probability, offsets): &(Tensor, Tensor), crops: &Crops) -> Result<Tensor> {
    let class = nll_loss(&probability.log()?, &crops.is_face)?;
    let error = (offsets - &crops.offsets)?.broadcast_mul(&crops.face_mask)?;
    let box_error = (error.sqr()?.sum_all()? / crops.face_mask.sum_all()?.maximum(1f32)?)?;
    Ok((class + (box_error * 0.5)?)?)
}

/// Trains `network` on `crops` and returns the loss before each step. Fails if a parameter has no gradient in the
/// first step.
pub fn fine_tune(network: &RNet, crops: &Crops, steps: usize) -> Result<Vec<f32>> {
    let mut optimizer: Box<dyn Step> = Adam::new(1e-4).build(network.trainable_parameters())?;
    let mut losses = Vec::new();
    for step in 0..steps {
        let loss = loss(&network.forward_t(&crops.images, true)?, crops)?;
        let grads = sconce::backward(&loss)?;
        let unreached = audit_gradients(network, &grads);
        if step == 0 && !unreached.is_empty() {
            return Err(Error::msg(format!("no gradient for {}", unreached.join(", "))));
        }
        optimizer.step(&grads)?;
        losses.push(loss.to_scalar()?);
    }
    Ok(losses)
}
