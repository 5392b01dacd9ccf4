//! Reports operations on signals, so that a network can be summarized and exported.

use crate::graph::{self, Description, GraphOperand, MetaId, Op, View};
use crate::kernels::internal::Axes;
use crate::scope::{
    DeferredId, ExecutedOperation, ExecutedPart, NotFusedKind, OpenOperation, SignalType, ValueId,
    record_not_fused,
};

use super::{Signal, State, Value};

/// An operation that reports its shapes to [`record_calls`](crate::scope::record_calls), what it computes to
/// [`record_graph`](crate::graph::record_graph), and its operands and results to
/// [`record_execution`](crate::scope::record_execution). Operations that run before it ends are parts of it and report
/// nothing.
#[must_use]
pub(crate) struct Recording {
    /// `None` for a part of another operation, and if nothing is recorded.
    started: Option<Started>,
    _part: Option<ExecutedPart>,
}

struct Started {
    operation: OpenOperation,
    /// The type of the first operand.
    input: SignalType,
    /// The signals that are operands, if a graph is recorded.
    operands: Vec<Option<GraphOperand>>,
    execution: Option<ExecutedOperation>,
}

impl Recording {
    /// Begins an operation whose first operand is `input`. The other operands are tensors.
    pub fn start(input: &Signal) -> Self {
        Self::start_all([input])
    }

    /// Begins an operation on several signals.
    pub fn start_all<'a>(operands: impl IntoIterator<Item = &'a Signal>) -> Self {
        Self::start_optional(operands.into_iter().map(Some))
    }

    /// Begins an operation on several signals, of which all but the first may be missing.
    pub fn start_optional<'a>(operands: impl IntoIterator<Item = Option<&'a Signal>>) -> Self {
        let Some(operation) = OpenOperation::begin() else {
            return Self { started: None, _part: ExecutedPart::begin() };
        };
        Self { started: Started::new(operation, operands.into_iter().collect()), _part: None }
    }

    /// Reports an operation that has no multiply-adds, or only a few per element, and returns its result.
    pub fn finish<'a>(self, output: Signal, description: impl Into<Description<'a>>) -> Signal {
        self.finish_products(output, description, |_, _| 0)
    }

    /// Reports an operation and returns its result. `multiply_adds` computes the number of products that are added up,
    /// from the sizes of the first operand and of the result.
    pub fn finish_products<'a>(
        self,
        output: Signal,
        description: impl Into<Description<'a>>,
        multiply_adds: impl FnOnce(&[usize], &[usize]) -> u64,
    ) -> Signal {
        let is_part = self.is_part();
        self.end(&[&output], description, multiply_adds);
        if is_part { output.without_view() } else { output }
    }

    /// Returns `true` if the operation is not recorded, for example because it is a part of another operation.
    pub fn is_part(&self) -> bool {
        self.started.is_none()
    }

    /// Like [`finish_products`](Self::finish_products), for an operation with several results. The first of them has
    /// not failed unless the operation has failed.
    pub fn end<'a>(
        self,
        outputs: &[&Signal],
        description: impl Into<Description<'a>>,
        multiply_adds: impl FnOnce(&[usize], &[usize]) -> u64,
    ) {
        if let Some(Started { operation, input, operands, execution }) = self.started
            && let Some(first) = outputs.first()
            && let Some(output) = first.signal_type()
        {
            let multiply_adds = multiply_adds(&input.dims, &output.dims);
            let description = description.into();
            if let Some(execution) = execution {
                add_executed(outputs, &description, execution);
            }
            if graph::is_recorded() {
                add_node(outputs, description, operands);
            }
            operation.end(&input, &output, first.is_deferred(), multiply_adds);
        }
    }
}

impl Started {
    fn new(operation: OpenOperation, operands: Vec<Option<&Signal>>) -> Option<Self> {
        let input = operands.first().and_then(|input| input.as_ref()?.signal_type())?;
        let values = || operands.iter().filter_map(|operand| operand.as_ref()?.value()).collect();
        let execution = ExecutedOperation::begin(values);
        let graph_operands = if graph::is_recorded() {
            operands.iter().map(|signal| signal.map(Signal::graph_operand)).collect()
        } else {
            Vec::new()
        };
        Some(Self { operation, input, operands: graph_operands, execution })
    }
}

/// Adds an operation to the execution that is recorded, unless it returns its operand.
fn add_executed(outputs: &[&Signal], description: &Description<'_>, execution: ExecutedOperation) {
    let values: Vec<_> = outputs.iter().filter_map(|output| output.value()).collect();
    if description.op == Some(Op::Identity) && values.iter().all(|(id, _)| execution.has_operand(*id)) {
        return;
    }
    if let Some(kind) = description.op.as_ref().and_then(without_fused_form) {
        record_not_fused(|| kind.with_producer(""));
    }
    let fused_onto = outputs.first().and_then(|output| output.renew_deferred_id());
    let values = outputs.iter().filter_map(|output| output.value());
    execution.end(description.name, values.collect(), fused_onto);
}

/// Returns the reason why an activation or pooling is never fused, if it is none of those that can be.
fn without_fused_form(op: &Op) -> Option<NotFusedKind> {
    match op {
        Op::Elu { .. }
        | Op::Selu
        | Op::Celu { .. }
        | Op::Softplus { .. }
        | Op::Mish
        | Op::HardSigmoid
        | Op::LogSigmoid
        | Op::GeluTanh
        | Op::Threshold { .. }
        | Op::HardShrink { .. }
        | Op::SoftShrink { .. }
        | Op::TanhShrink
        | Op::SoftSign
        | Op::PRelu => Some(NotFusedKind::UnfusedActivation),
        Op::MaxPool { axes: Axes::One | Axes::Three, .. }
        | Op::AvgPool { .. }
        | Op::AdaptiveAvgPool { .. }
        | Op::AdaptiveMaxPool { .. } => Some(NotFusedKind::UnfusedPooling),
        _ => None,
    }
}

/// Adds an operation to the graph that is recorded, unless its results have numbers.
fn add_node(outputs: &[&Signal], description: Description<'_>, operands: Vec<Option<GraphOperand>>) {
    let result = |output: &Signal| Some((output.meta_id()?, output.signal_type()?));
    let views: Option<Vec<_>> = outputs.iter().map(|output| output.graph_view()).collect();
    let Some(views) = views.filter(|_| description.op.is_none()) else {
        let results = outputs.iter().filter_map(|output| result(output));
        return graph::add_node(description, operands, results.collect());
    };
    for (output, view) in outputs.iter().zip(views) {
        let description = (description.name, Op::View(view.clone())).into();
        graph::add_node(description, operands.clone(), result(output).into_iter().collect());
    }
}

impl Signal {
    /// Returns the identity of the value in a recorded execution. Returns `None` for a failed signal, a signal without
    /// numbers, and a deferred operation that is a part of another operation.
    pub(crate) fn value_id(&self) -> Option<ValueId> {
        match &self.0 {
            State::Ready(tensor) => Some(ValueId::Tensor(tensor.id())),
            State::Deferred(deferred) => deferred.id().get().map(ValueId::Deferred),
            State::Blocked(blocked) => Some(Value::Blocked(blocked.clone()).id()),
            State::Meta(_) | State::Failed(_) => None,
        }
    }

    /// Returns the identity and the type of the value in a recorded execution.
    pub(crate) fn value(&self) -> Option<(ValueId, SignalType)> {
        Some((self.value_id()?, self.signal_type()?))
    }

    /// Gives a deferred operation another identity, because an operation was fused into it. Returns the old one.
    fn renew_deferred_id(&self) -> Option<DeferredId> {
        let State::Deferred(deferred) = &self.0 else { return None };
        let old = deferred.id().get();
        deferred.id().renew();
        old
    }

    fn is_deferred(&self) -> bool {
        matches!(self.0, State::Deferred(_))
    }

    /// Returns the shape and the dtype, or `None` if the signal has failed.
    pub(crate) fn signal_type(&self) -> Option<SignalType> {
        Some(SignalType { dims: self.dims().ok()?.to_vec(), dtype: self.dtype().ok()? })
    }

    /// Returns what the operation did that computed this signal, if it only changed shape and strides.
    fn graph_view(&self) -> Option<&View> {
        match &self.0 {
            State::Meta(meta) => meta.view.as_deref(),
            _ => None,
        }
    }

    /// Removes what the operation did that computed this signal. Otherwise, an operation that ends with this one would
    /// seem to do nothing else.
    pub(crate) fn without_view(mut self) -> Self {
        if let State::Meta(meta) = &mut self.0 {
            meta.view = None;
        }
        self
    }

    /// Returns the identity of a signal without numbers.
    pub(crate) fn meta_id(&self) -> Option<MetaId> {
        match &self.0 {
            State::Meta(meta) => meta.id,
            _ => None,
        }
    }

    /// Returns the operand that stands for this signal in the graph that is recorded.
    pub(crate) fn graph_operand(&self) -> GraphOperand {
        match self.meta_id() {
            Some(id) => graph::operand_of(id),
            None => self.tensor().map_or(GraphOperand::Unknown, GraphOperand::Tensor),
        }
    }
}

/// Returns the product of all sizes, or the largest number if it is larger.
pub(crate) fn product<'a>(sizes: impl IntoIterator<Item = &'a usize>) -> u64 {
    // If any size is 0, the product is 0, even if the product of the other sizes overflows.
    let mut sizes = sizes.into_iter().map(|&size| u64::try_from(size).unwrap_or(u64::MAX));
    sizes.try_fold(1u64, |product, size| (size > 0).then(|| product.saturating_mul(size))).unwrap_or(0)
}
