//! A convolution that can run in the channel-blocked layout.

use std::fmt;
use std::sync::Arc;

use candle_core::{Result, Tensor};

use crate::kernels::conv::PackedCache;
use crate::kernels::internal::Arena;
use crate::kernels::internal::blocked::BlockedTensor;
use crate::kernels::internal::blocked::conv::{self, Call, FusedConsumer};
use crate::kernels::internal::blocked::policy::{self, Refusal};
use crate::kernels::internal::with_elements;
use crate::kernels::internal::{ConvShape, ImageForm, Packing};
use crate::kernels::trace::Work;
use crate::signal::epilogue::Epilogue;
use crate::signal::{Layout, Value};

use super::{NchwConvolution, conv_label, parameter_work};

/// The operands of a convolution that can run channel-blocked. All operands are f32 and on the CPU.
#[derive(Clone)]
pub(crate) struct BlockedConvolution {
    pub input: Value,
    pub parameters: BlockedParameters,
}

/// The shape and the weight of a convolution that can run channel-blocked.
#[derive(Clone)]
pub(crate) struct BlockedParameters {
    pub shape: ConvShape,
    pub weight: Tensor,
    pub packed: Arc<PackedCache>,
}

impl BlockedConvolution {
    /// Computes the convolution and its epilogue in one launch, in the channel-blocked layout.
    pub fn run(&self, epilogue: &Epilogue) -> Result<BlockedTensor> {
        let arena = self.arena();
        let shape = &self.parameters.shape;
        let mut output = BlockedTensor::new(&arena, shape.output_dims())?;
        let isa = output.isa();
        self.with_call(epilogue, &arena, |layout, call| {
            conv::conv2d(shape, layout, call, output.blocks_mut(), isa)
        })??;
        Ok(output)
    }

    /// Computes the convolution, its epilogue and `consumer` in one launch. Returns the reason if no kernel supports
    /// this combination.
    pub fn run_with_consumer(
        &self,
        epilogue: &Epilogue,
        consumer: &FusedConsumer<'_>,
        output_dims: [usize; 4],
    ) -> Result<std::result::Result<BlockedTensor, Refusal>> {
        let arena = self.arena();
        let shape = &self.parameters.shape;
        let mut output = BlockedTensor::new(&arena, output_dims)?;
        let isa = output.isa();
        let fused = self.with_call(epilogue, &arena, |layout, call| {
            conv::conv2d_and_consume(shape, layout, call, consumer, output.blocks_mut(), isa)
        })?;
        Ok(fused.map(|()| output))
    }

    /// Converts to a convolution of candle tensors, because of `refusal`. Reorders a channel-blocked input.
    pub fn to_nchw(&self, refusal: Refusal) -> Result<NchwConvolution> {
        let BlockedParameters { shape, weight, packed } = &self.parameters;
        Ok(NchwConvolution {
            form: ImageForm::Image,
            input: self.input.tensor()?,
            weight: weight.clone(),
            geometry: shape.geometry,
            packed: Some(packed.clone()),
            refusal,
        })
    }

    /// Returns the arena from which the output is allocated.
    pub fn arena(&self) -> Arc<Arena> {
        match &self.input {
            Value::Blocked(blocked) => blocked.arena().clone(),
            Value::Tensor(_) => self.parameters.packed.arena(),
        }
    }

    /// Calls `run` with the layout of the input and the operands of a channel-blocked kernel.
    fn with_call<R>(
        &self,
        epilogue: &Epilogue,
        arena: &Arc<Arena>,
        run: impl FnOnce(Layout, &Call<'_>) -> R,
    ) -> Result<R> {
        self.parameters.with_call(epilogue, arena, |call| match &self.input {
            Value::Blocked(blocked) => {
                Ok(run(Layout::Nchwc, &Call { input: blocked.blocks().into(), ..call }))
            }
            Value::Tensor(tensor) => with_elements(tensor, |elements: &[f32]| {
                run(Layout::Nchw, &Call { input: elements.into(), ..call })
            }),
        })?
    }
}

impl BlockedParameters {
    /// Returns why the convolution should not run channel-blocked from an input of this layout.
    ///
    /// # Errors
    /// Fails unless the convolution should run channel-blocked.
    pub fn check_nchwc(&self, layout: Layout) -> std::result::Result<(), Refusal> {
        policy::check_shape(&self.shape, layout)
    }

    /// Returns the work of a run without the sizes of the input and of the output.
    pub fn work(&self, epilogue: &Epilogue) -> Work {
        parameter_work(&self.shape.output_dims(), &self.weight, epilogue)
    }

    /// Calls `run` with the operands of a channel-blocked kernel. The input of the call is empty; `run` must set it.
    /// If the residual is a candle tensor, reorders it into memory from `arena`.
    pub fn with_call<R>(
        &self,
        epilogue: &Epilogue,
        arena: &Arc<Arena>,
        run: impl FnOnce(Call<'_>) -> R,
    ) -> Result<R> {
        let residual = epilogue.residual.as_ref().map(|residual| residual.blocked(arena)).transpose()?;
        let residual = residual.as_ref().map(|blocked| blocked.blocks().into());
        let activation = epilogue.activation;
        let packing = Some(Packing::new(&self.packed, self.weight.id()));
        let (scale, shift) = epilogue.affine.vectors();
        with_elements(&self.weight, |weight: &[f32]| {
            with_vector(scale, |scale| {
                with_vector(shift, |shift| {
                    let call = Call::new(&[][..], weight);
                    run(Call { scale, shift, residual, activation, packing, ..call })
                })
            })
        })??
    }
}

/// Calls `run` with the elements of `vector`.
fn with_vector<R>(vector: Option<&Tensor>, run: impl FnOnce(Option<&[f32]>) -> R) -> Result<R> {
    match vector {
        Some(vector) => with_elements(vector, |vector| run(Some(vector))),
        None => Ok(run(None)),
    }
}

/// Writes the layer in the form used in errors.
impl fmt::Display for BlockedParameters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&conv_label(ImageForm::Image, self.weight.dims(), self.shape.geometry.groups))
    }
}
