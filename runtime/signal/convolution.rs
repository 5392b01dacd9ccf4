//! The operands of a convolution that has not run.

use std::fmt;
use std::sync::Arc;

use candle_core::{DType, Result, Tensor};

use super::Value;
use crate::kernels::conv::{self, ConvGeometry, Epilogue, PackedCache};
use crate::kernels::internal::blocked::conv::{Consumer, Input};
use crate::kernels::internal::blocked::{self, Image};
use crate::kernels::internal::{Arena, Axes, ConvShape, Layout, Packing, with_elements};

/// The operands of a convolution; the weight always as the kernels take it, with a height and a width.
pub(crate) struct Convolution {
    pub axes: Axes,
    /// In blocks only where `blocked` says so.
    pub input: Value,
    pub weight: Tensor,
    pub geometry: ConvGeometry,
    pub packed: Option<Arc<PackedCache>>,
    /// The sizes, where this convolution may run into blocks.
    pub blocked: Option<ConvShape>,
}

impl Convolution {
    /// The convolution with its epilogue, in one kernel, to rows.
    pub(super) fn run(&self, epilogue: &Epilogue) -> Result<Tensor> {
        let Self { axes, input, weight, geometry, packed, .. } = self;
        let (input, packed) = (input.tensor()?, packed.as_deref());
        if *axes == Axes::Two {
            return conv::conv2d(&input, weight, geometry, epilogue, packed);
        }
        let residual = epilogue.residual.as_ref().map(|residual| axes.lift(residual)).transpose()?;
        let epilogue = Epilogue { residual, ..epilogue.clone() };
        axes.lower(conv::conv2d(&axes.lift(&input)?, weight, geometry, &epilogue, packed)?)
    }

    /// Whether [`run_blocked`](Self::run_blocked) is for an epilogue of these vectors.
    pub(super) fn runs_blocked(&self, epilogue: &Epilogue) -> bool {
        self.blocked.is_some_and(|shape| {
            let vectors = [&epilogue.scale, &epilogue.shift].into_iter().flatten();
            vectors.into_iter().all(|x| is_plain(x) && x.dims() == [shape.out_channels])
        })
    }

    /// The same in blocks, where the shape says that there is a kernel.
    pub(super) fn run_blocked(
        &self,
        shape: &ConvShape,
        epilogue: &Epilogue,
        residual: Option<&Value>,
    ) -> Result<Image> {
        let arena = self.arena();
        let residual = residual.map(|residual| residual.image(&arena)).transpose()?;
        let mut output = Image::new(&arena, shape.output_dims())?;
        let isa = output.isa();
        self.parameters().with(epilogue, residual.as_deref(), |weight, epilogue| {
            self.with_input(|input| {
                blocked::conv::conv2d(shape, input, weight, epilogue, output.blocks_mut(), isa)
            })
        })???;
        Ok(output)
    }

    /// Runs the convolution with a fused consumer, into `output`. Returns `false` if the two cannot be fused.
    pub(super) fn run_then(
        &self,
        shape: &ConvShape,
        epilogue: &Epilogue,
        consumer: &Consumer<'_>,
        output: &mut Image,
    ) -> Result<bool> {
        let isa = output.isa();
        self.parameters().with(epilogue, None, |weight, epilogue| {
            self.with_input(|input| {
                blocked::conv::conv2d_and_consume(
                    shape,
                    input,
                    weight,
                    epilogue,
                    consumer,
                    output.blocks_mut(),
                    isa,
                )
            })
        })?
    }

    /// Where results in blocks lie.
    pub(super) fn arena(&self) -> Arc<Arena> {
        match (&self.input, &self.packed) {
            (Value::Blocked(image), _) => image.arena().clone(),
            (_, Some(packed)) => packed.arena(),
            (_, None) => Arena::shared(),
        }
    }

    fn parameters(&self) -> Parameters<'_> {
        Parameters { weight: &self.weight, packed: self.packed.as_deref() }
    }

    fn with_input<R>(&self, f: impl FnOnce(Input<'_>) -> R) -> Result<R> {
        match &self.input {
            Value::Blocked(image) => Ok(f(Input { elements: image.blocks(), layout: Layout::Nchwc })),
            Value::Tensor(tensor) => {
                with_elements(tensor, |elements| f(Input { elements, layout: Layout::Nchw }))
            }
        }
    }

    /// What traces call it.
    pub(super) fn name(&self) -> &'static str {
        match self.axes {
            Axes::One => "conv1d",
            Axes::Two => "conv2d",
        }
    }
}

/// f32 on the CPU, and no gradient is asked of it.
pub(crate) fn is_plain(x: &Tensor) -> bool {
    x.dtype() == DType::F32 && x.device().is_cpu() && !x.track_op()
}

/// What a layer has learnt, as the kernels into blocks read it.
pub(super) struct Parameters<'a> {
    pub weight: &'a Tensor,
    pub packed: Option<&'a PackedCache>,
}

impl Parameters<'_> {
    pub fn with<R>(
        &self,
        epilogue: &Epilogue,
        residual: Option<&Image>,
        f: impl FnOnce(blocked::conv::Weight<'_>, &blocked::conv::Epilogue<'_>) -> R,
    ) -> Result<R> {
        let packing = self.packed.map(|cache| Packing::new(cache, self.weight.id()));
        let (residual, activation) = (residual.map(Image::blocks), epilogue.activation);
        with_elements(self.weight, |values| {
            with_vector(epilogue.scale.as_ref(), |scale| {
                with_vector(epilogue.shift.as_ref(), |shift| {
                    let epilogue = blocked::conv::Epilogue { scale, shift, residual, activation };
                    f(blocked::conv::Weight { values, packing }, &epilogue)
                })
            })
        })??
    }
}

fn with_vector<R>(vector: Option<&Tensor>, f: impl FnOnce(Option<&[f32]>) -> R) -> Result<R> {
    match vector {
        Some(vector) => with_elements(vector, |vector| f(Some(vector))),
        None => Ok(f(None)),
    }
}

/// The layer, as errors name it.
impl fmt::Display for Convolution {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&conv_label(self.axes, self.weight.dims(), self.geometry.groups))
    }
}

/// `Conv2d 3→64, 7×7`, from a weight `[out_channels, in_channels / groups, height, width]`.
pub(crate) fn conv_label(axes: Axes, weight: &[usize], groups: usize) -> String {
    let count = axes.count();
    match *weight {
        [outputs, inputs, height, width] => {
            format!("Conv{count}d {}→{outputs}, {}", inputs * groups, axes.product([height, width]))
        }
        _ => format!("Conv{count}d"),
    }
}
