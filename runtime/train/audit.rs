//! Detection of parameters without a gradient.

use candle_core::backprop::GradStore;

use crate::module::Module;
use crate::registry::Network;

/// Returns the paths of the trainable parameters that have no gradient in `grads`, in field order.
///
/// A parameter has no gradient if the forward pass does not use it, or if every result that depends on it is discarded
/// or passes through an operation that is not differentiable. Training never changes a parameter without a gradient.
/// [`fit`](crate::train::Trainer::fit) runs this check in its first step.
///
/// ```
/// use sconce::prelude::*;
///
/// #[derive(Module)]
/// #[module(args(skip: bool), forward = |x| if skip { head(x) } else { head(relu(body(x))) })]
/// struct Net {
///     #[layer(4, 4)]
///     body: Linear,
///     #[layer(4, 2)]
///     head: Linear,
///     #[module(skip = skip)]
///     skip: bool,
/// }
/// # fn main() -> Result<()> {
/// let net = Net::new(true, &Device::Cpu)?;
/// let x = Tensor::ones((1, 4), DType::F32, &Device::Cpu)?;
/// let grads = net.forward(&x)?.sum_all()?.backward()?;
/// assert_eq!(audit_gradients(&net, &grads), ["body.weight", "body.bias"]);
/// # Ok(())
/// # }
/// ```
pub fn audit_gradients<M: Module + ?Sized>(model: &M, grads: &GradStore) -> Vec<String> {
    let parameters = model.trainable_parameters().into_iter();
    let without_gradient = parameters.filter(|(_, parameter)| grads.get(parameter).is_none());
    without_gradient.map(|(name, _)| name).collect()
}
