//! Which parameters a backward pass did not reach.

use candle_core::backprop::GradStore;

use crate::module::Module;
use crate::registry::Network;

/// The paths of the trainable parameters that have no gradient in `grads`, in the order of the fields;
/// frozen ones are left out.
///
/// Such a parameter keeps its initial value for ever, and nothing else says so: a branch that is never
/// used, an output that is thrown away, an operation without a gradient.
/// [`fit`](crate::train::Trainer::fit) looks for them at its first step.
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
    let unreached = parameters.filter(|(_, parameter)| grads.get(parameter).is_none());
    unreached.map(|(name, _)| name).collect()
}
