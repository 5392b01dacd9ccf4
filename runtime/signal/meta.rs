//! Signals without numbers: a shape, a dtype and a device, as of a tensor on PyTorch's meta device.
//!
//! An operation on such a signal computes only the shape of its result. Most operations compute it by a run on a
//! *probe*, a tensor without elements or without memory of its own, so that the checks and the errors are those of a
//! run with numbers. A [`ShapeRule`] creates the probe.

use std::borrow::Cow;
use std::sync::Arc;

use candle_core::{DType, Device, Shape, Tensor};

use crate::graph::{self, Description, MetaId, View as GraphView};
use crate::kernels::internal::can_allocate;
use crate::symbolic::{NamedShape, SymbolicSizes};
use crate::{Error, Result};

use super::{Recording, Signal, State, add_operands};

/// The shape, the dtype and the device of a signal without numbers.
#[derive(Clone, Debug)]
pub(crate) struct Meta {
    pub shape: Shape,
    pub dtype: DType,
    pub device: Device,
    /// The change of shape and strides by the operation that computed this result, if the operation did nothing else
    /// and a graph is recorded.
    pub view: Option<Box<GraphView>>,
    /// The identity of the signal in a recorded graph. `None` before the meta data is converted to a signal.
    pub id: Option<MetaId>,
    /// The shape with names, of a signal whose shape differs between runs. `shape` then has the examples of the names.
    pub named: Option<Arc<NamedShape>>,
}

/// How the shape of a result follows from the shape of the operand of `Op`, a function of one tensor.
pub(crate) trait ShapeRule<Op> {
    /// Returns the shape of the result. May call `operation` with a probe.
    fn output(self, input: &Meta, operation: Op) -> Result<Meta>;
}

/// The result has the shape of the operand, whatever the sizes are. The operation runs on a tensor of the same rank
/// whose sizes are 0.
pub(crate) struct SameShape;

/// The operation treats the examples along dimension 0 independently. It runs on an empty batch.
pub(crate) struct Batch;

/// Like [`Batch`], but the operand may lack the batch dimension. The field is the rank with this dimension.
pub(crate) struct OptionalBatch(pub usize);

/// Like [`Batch`], but the operation runs on one example, because it may not support empty tensors.
pub(crate) struct OneExample;

/// The operation accepts any leading dimensions. It runs on a tensor with an additional leading dimension of size 0.
pub(crate) struct Leading;

/// Like [`Leading`], but the operand has at least as many dimensions as the field says.
pub(crate) struct LeadingOf(pub usize);

/// The operation only changes shape and strides. It runs on a view of a single number.
pub(crate) struct View;

/// The shape of the result depends on the numbers, or is unknown.
pub(crate) struct NeedsNumbers;

/// A function computes the shape of the result from the shape of the operand. The dtype stays the same.
pub(crate) struct ShapeFrom<F>(pub F);

impl Meta {
    pub fn new(shape: Shape, dtype: DType, device: Device) -> Self {
        Self { shape, dtype, device, view: None, id: None, named: None }
    }

    /// Returns the shape in the current run.
    pub fn current_shape(&self) -> &Shape {
        self.named.as_deref().map_or(&self.shape, NamedShape::current)
    }

    /// Returns meta data without names, for the current run.
    pub fn current(&self) -> Cow<'_, Self> {
        match self.named {
            Some(_) => Cow::Owned(self.with_shape(self.current_shape().clone())),
            None => Cow::Borrowed(self),
        }
    }

    fn with_shape(&self, shape: impl Into<Shape>) -> Self {
        Self::new(shape.into(), self.dtype, self.device.clone())
    }

    /// Returns the meta data of a result of `tensor`'s dtype.
    pub fn like(tensor: &Tensor, shape: impl Into<Shape>) -> Self {
        Self::new(shape.into(), tensor.dtype(), tensor.device().clone())
    }

    /// Returns the shape of `probe` with another size in the dimension `dim`, or without this dimension.
    pub fn resized(probe: &Tensor, dim: usize, size: Option<usize>) -> Self {
        let mut dims = probe.dims().to_vec();
        match size {
            Some(size) => dims[dim] = size,
            None => drop(dims.remove(dim)),
        }
        Self::like(probe, dims)
    }

    /// Returns a tensor without elements.
    pub fn empty(&self, dims: impl Into<Shape>) -> Result<Tensor> {
        Ok(Tensor::zeros(dims, self.dtype, &self.device)?)
    }

    /// Returns a tensor of the same rank with one element.
    pub fn ones(&self) -> Result<Tensor> {
        Ok(Tensor::zeros(vec![1; self.shape.rank()], self.dtype, &self.device)?)
    }

    /// Returns a tensor on which an operation runs that only changes shape and strides. Its views have no shared
    /// elements if a graph is recorded.
    pub fn view_probe(&self) -> Result<Tensor> {
        let dims = self.shape.dims();
        if graph::is_recorded() && can_allocate::<u8>(dims) {
            return Ok(GraphView::probe(dims)?);
        }
        self.view()
    }

    /// Returns the meta data of a view of this signal, from the view of a [`view_probe`](Self::view_probe).
    pub fn viewed(&self, probe: &Tensor, result: &Tensor) -> Self {
        let view = if graph::is_recorded() { GraphView::of(probe, result).map(Box::new) } else { None };
        Self { view, ..self.with_shape(result.shape().clone()) }
    }

    /// Returns a tensor of this shape that is a view of a single number.
    pub fn view(&self) -> Result<Tensor> {
        Ok(Tensor::zeros((), self.dtype, &self.device)?.broadcast_as(&self.shape)?)
    }
}

/// Returns whether the number of elements fits into a `usize`, even if a size of 0 is replaced.
fn has_count(dims: &[usize]) -> bool {
    let count =
        dims.iter().filter(|size| **size > 0).try_fold(1usize, |count, size| count.checked_mul(*size));
    count.is_some()
}

impl From<Meta> for Signal {
    fn from(meta: Meta) -> Self {
        let shapes = meta.named.as_deref().map_or(std::slice::from_ref(&meta.shape), NamedShape::shapes);
        match shapes.iter().find(|shape| !has_count(shape.dims())) {
            None => Self(State::Meta(Box::new(Meta { id: Some(MetaId::new()), ..meta }))),
            Some(shape) => Self::fail(Error::msg(format!(
                "the number of elements of the shape {:?} is too large",
                shape.dims()
            ))),
        }
    }
}

impl Meta {
    /// Returns the shape of the result of `operation` for a probe. `shape` computes it from the result.
    ///
    /// If the operation rejects the probe, it runs on a view of the operand's shape, so that the error has this shape.
    /// A run on the view computes and stores every result, so probes of valid operands must be valid too.
    fn probe<E: Into<Error>>(
        &self,
        probe: Tensor,
        operation: impl Fn(Tensor) -> Result<Tensor, E>,
        shape: impl FnOnce(&Tensor) -> Vec<usize>,
    ) -> Result<Meta> {
        match operation(probe) {
            Ok(output) => Ok(Self::like(&output, shape(&output))),
            Err(_) => self.on_view(operation),
        }
    }

    /// Returns the shape of the result of `operation` for a view of a single number.
    fn on_view<E: Into<Error>>(&self, operation: impl FnOnce(Tensor) -> Result<Tensor, E>) -> Result<Self> {
        let output = operation(self.view()?).map_err(Into::into)?;
        Ok(Self::like(&output, output.shape().clone()))
    }
}

impl<E: Into<Error>, Op: Fn(Tensor) -> Result<Tensor, E>> ShapeRule<Op> for SameShape {
    fn output(self, input: &Meta, operation: Op) -> Result<Meta> {
        // A tensor without dimensions has one element.
        let probe = input.empty(vec![0; input.shape.rank()])?;
        input.probe(probe, operation, |_| input.shape.dims().to_vec())
    }
}

impl<E: Into<Error>, Op: Fn(Tensor) -> Result<Tensor, E>> ShapeRule<Op> for Batch {
    fn output(self, input: &Meta, operation: Op) -> Result<Meta> {
        match input.shape.dims() {
            [] => input.on_view(operation),
            [batch, rest @ ..] => {
                let probe = input.empty([&[0], rest].concat())?;
                input.probe(probe, operation, |output| [&[*batch], &output.dims()[1..]].concat())
            }
        }
    }
}

impl<E: Into<Error>, Op: Fn(Tensor) -> Result<Tensor, E>> ShapeRule<Op> for OneExample {
    fn output(self, input: &Meta, operation: Op) -> Result<Meta> {
        match input.shape.dims() {
            [] => input.on_view(operation),
            [batch, rest @ ..] => {
                let probe = input.with_shape([&[1], rest].concat()).view()?;
                input.probe(probe, operation, |output| [&[*batch], &output.dims()[1..]].concat())
            }
        }
    }
}

impl<E: Into<Error>, Op: Fn(Tensor) -> Result<Tensor, E>> ShapeRule<Op> for OptionalBatch {
    fn output(self, input: &Meta, operation: Op) -> Result<Meta> {
        match input.shape.rank() {
            rank if rank == self.0 => Batch.output(input, operation),
            rank if rank + 1 == self.0 => Leading.output(input, operation),
            // The operation reports the wrong rank.
            _ => input.on_view(operation),
        }
    }
}

impl<E: Into<Error>, Op: Fn(Tensor) -> Result<Tensor, E>> ShapeRule<Op> for Leading {
    fn output(self, input: &Meta, operation: Op) -> Result<Meta> {
        let probe = input.empty([&[0], input.shape.dims()].concat())?;
        input.probe(probe, operation, |output| output.dims()[1..].to_vec())
    }
}

impl<E: Into<Error>, Op: Fn(Tensor) -> Result<Tensor, E>> ShapeRule<Op> for LeadingOf {
    fn output(self, input: &Meta, operation: Op) -> Result<Meta> {
        if input.shape.rank() < self.0 {
            // The operation reports the missing dimensions.
            return input.on_view(operation);
        }
        Leading.output(input, operation)
    }
}

impl<E: Into<Error>, Op: FnOnce(Tensor) -> Result<Tensor, E>> ShapeRule<Op> for View {
    fn output(self, input: &Meta, operation: Op) -> Result<Meta> {
        let probe = input.view_probe()?;
        let output = operation(probe.clone()).map_err(Into::into)?;
        Ok(input.viewed(&probe, &output))
    }
}

impl<Op> ShapeRule<Op> for NeedsNumbers {
    fn output(self, _: &Meta, _: Op) -> Result<Meta> {
        Err(without_numbers())
    }
}

impl<Op, F: FnOnce(&[usize]) -> Result<Vec<usize>>> ShapeRule<Op> for ShapeFrom<F> {
    fn output(self, input: &Meta, _: Op) -> Result<Meta> {
        Ok(input.with_shape((self.0)(input.shape.dims())?))
    }
}

/// Returns the error of an operation that reads the numbers of a signal that has none.
pub(crate) fn without_numbers() -> Error {
    Error::msg("expected a signal with numbers, found a signal that only has a shape (`Signal::meta`)")
}

impl Signal {
    /// Returns a signal that has a shape and a dtype but no numbers, like a tensor on PyTorch's meta device.
    ///
    /// A network that is called with such signals computes the shapes of its outputs. It checks all shapes, allocates
    /// no activations and takes milliseconds. An operation that reads numbers returns a failed signal.
    ///
    /// ```
    /// use sconce::prelude::*;
    /// # fn main() -> Result<()> {
    /// let conv = Conv2d::config(3, 64, 7).stride(2).padding(3).init(&Device::Cpu)?;
    /// let x = Signal::meta((16, 3, 224, 224), DType::F32);
    /// let y = max_pool2d(relu(conv.call(x, Mode::Eval)), MaxPool2d::config(3).stride(2).padding(1));
    /// assert_eq!(y.dims()?, [16, 64, 56, 56]);
    /// assert!(y.into_tensor().is_err());
    ///
    /// let wrong = conv.call(Signal::meta((16, 1, 224, 224), DType::F32), Mode::Eval);
    /// assert!(wrong.error().unwrap().message().starts_with("expected 3 input channels, found 1"));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// The signal is on the CPU. The result is a failed signal if the number of elements does not fit into a `usize`.
    pub fn meta(shape: impl Into<Shape>, dtype: DType) -> Self {
        Self::meta_on(shape, dtype, &Device::Cpu)
    }

    /// Returns a signal like [`meta`](Self::meta) for a network on the given device.
    ///
    /// ```
    /// use sconce::prelude::*;
    /// # fn main() -> Result<()> {
    /// let device = Device::Cpu;
    /// let linear = Linear::config(4, 2).init(&device)?;
    /// let x = Signal::meta_on((5, 4), DType::F32, &device);
    /// assert_eq!(linear.call(x, Mode::Eval).dims()?, [5, 2]);
    /// # Ok(())
    /// # }
    /// ```
    pub fn meta_on(shape: impl Into<Shape>, dtype: DType, device: &Device) -> Self {
        Meta::new(shape.into(), dtype, device.clone()).into()
    }

    /// Returns a signal without numbers, some of whose sizes have names. [`Network::summary`](crate::Network::summary),
    /// [`Network::output_sizes`](crate::Network::output_sizes) and `Network::export_onnx` compute the sizes of results
    /// with these names.
    ///
    /// In any other call, the signal has the examples of the names as its sizes, which are 1 by default; see
    /// [`SymbolicSize::example`](crate::SymbolicSize::example).
    ///
    /// ```
    /// use sconce::prelude::*;
    /// # fn main() -> Result<()> {
    /// let linear = Linear::config(16, 4).init(&Device::Cpu)?;
    /// let tokens = Signal::symbolic(("batch", "length", 16), DType::F32);
    /// let sizes = linear.output_sizes(tokens)?.remove(0);
    /// assert_eq!(format!("{sizes:?}"), "[batch, length, 4]");
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// The signal is on the CPU. The result is a failed signal if there are more than four names, if a size is
    /// negative, or if the number of elements does not fit into a `usize`.
    pub fn symbolic(sizes: impl SymbolicSizes, dtype: DType) -> Self {
        let named = match NamedShape::new(sizes.sizes()) {
            Ok(named) => named,
            Err(error) => return Self::fail(error),
        };
        let shape = named.shapes()[0].clone();
        let named = Some(Arc::new(named)).filter(|named| !named.names().is_empty());
        Meta { named, ..Meta::new(shape, dtype, Device::Cpu) }.into()
    }

    /// Returns a signal of the same shape without numbers. A signal without numbers and a failed one stay as they are.
    pub(crate) fn without_numbers(self) -> Self {
        if self.is_meta() || self.error().is_some() {
            return self;
        }
        self.to_meta().map_or_else(Self::fail, Self::from)
    }

    /// Returns the shape with names, if the signal has names.
    pub(crate) fn named_shape(&self) -> Option<&NamedShape> {
        match &self.0 {
            State::Meta(meta) => meta.named.as_deref(),
            _ => None,
        }
    }

    /// Returns `true` if the signal has a shape but no numbers.
    pub fn is_meta(&self) -> bool {
        matches!(self.0, State::Meta(_))
    }

    /// Returns the shape, the dtype and the device.
    pub(crate) fn to_meta(&self) -> Result<Meta> {
        Ok(Meta::new(self.shape()?.clone(), self.dtype()?, self.device()?))
    }

    /// Returns the result of `operation` for a signal with numbers. For a signal without numbers, returns the shape
    /// that `rule` computes, if necessary by a run of `operation` on a probe. The caller records the operation.
    pub(crate) fn through(
        self,
        rule: impl for<'a> ShapeRule<&'a dyn Fn(Tensor) -> Result<Tensor>>,
        operation: impl Fn(Signal) -> Signal,
    ) -> Signal {
        let State::Meta(meta) = &self.0 else { return operation(self) };
        let on_probe = |probe: Tensor| operation(probe.into()).into_tensor();
        rule.output(&meta.current(), &on_probe).map_or_else(Signal::fail, Signal::from)
    }

    /// Runs an operation with two operands and records it as `description` says. If an operand has no numbers, `rule`
    /// computes the result from the shapes.
    pub(crate) fn combine<'a>(
        self,
        description: impl Into<Description<'a>>,
        other: Signal,
        rule: impl FnOnce(&Meta, &Meta) -> Result<Meta>,
        operation: impl FnOnce(&Tensor, &Tensor) -> Result<Tensor>,
    ) -> Signal {
        let recording = Recording::start_all([&self, &other]);
        let description = description.into();
        let output = self.combine_unrecorded(description.name, other, rule, operation);
        recording.finish(output, description)
    }

    fn combine_unrecorded(
        self,
        name: &'static str,
        other: Signal,
        rule: impl FnOnce(&Meta, &Meta) -> Result<Meta>,
        operation: impl FnOnce(&Tensor, &Tensor) -> Result<Tensor>,
    ) -> Signal {
        if let Some(error) = self.error().or(other.error()) {
            return Signal(State::Failed(error.clone()));
        }
        if self.is_meta() || other.is_meta() {
            let metas = self.to_meta().and_then(|a| Ok((a, other.to_meta()?)));
            return metas.and_then(|(a, b)| rule(&a, &b)).map_or_else(Signal::fail, Signal::from);
        }
        match other.into_tensor() {
            Ok(other) => self.apply(name, NeedsNumbers, |tensor| {
                add_operands([&other]);
                operation(&tensor, &other)
            }),
            Err(error) => Signal::fail(error),
        }
    }
}

/// Returns the shape to which two operands are broadcast. `operation` runs on two empty tensors, to check their dtypes.
pub(crate) fn broadcast_metas(
    name: &'static str,
    a: &Meta,
    b: &Meta,
    operation: impl FnOnce(&Tensor, &Tensor) -> Result<Tensor>,
) -> Result<Meta> {
    let (output, shape) = match a.shape.broadcast_shape_binary_op(&b.shape, name) {
        Ok(shape) => (operation(&a.empty(0)?, &b.empty(0)?)?, shape),
        // The operation reports that the shapes cannot be broadcast.
        Err(error) => {
            operation(&a.view()?, &b.view()?)?;
            return Err(error.into());
        }
    };
    Ok(Meta::like(&output, shape))
}

/// Returns the shape of the result of an operation that accepts the same leading dimensions of both operands. The
/// operation runs on two tensors with an additional leading dimension of size 0.
pub(crate) fn leading_meta(
    a: &Meta,
    b: &Meta,
    operation: impl Fn(&Tensor, &Tensor) -> Result<Tensor>,
) -> Result<Meta> {
    let probe = |meta: &Meta| meta.empty([&[0], meta.shape.dims()].concat());
    match operation(&probe(a)?, &probe(b)?) {
        Ok(output) => Ok(Meta::like(&output, &output.dims()[1..])),
        Err(_) => {
            let output = operation(&a.view()?, &b.view()?)?;
            Ok(Meta::like(&output, output.shape()))
        }
    }
}
