//! Reports operations on signals, so that a network can be summarized and exported.

use crate::graph::{self, Description, GraphOperand, MetaId, Op, View};
use crate::scope::{OpenOperation, SignalType};

use super::{Signal, State};

/// An operation that reports its shapes to [`record_calls`](crate::scope::record_calls), and what it computes to
/// [`record_graph`](crate::graph::record_graph). Operations that run before it ends are parts of it and report nothing.
#[must_use]
pub(crate) struct Recording(Option<Started>);

struct Started {
    operation: OpenOperation,
    /// The type of the first operand.
    input: SignalType,
    /// The signals that are operands, if a graph is recorded.
    operands: Vec<Option<GraphOperand>>,
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
        let Some(operation) = OpenOperation::begin() else { return Self(None) };
        let mut operands = operands.into_iter().peekable();
        let Some(input) = operands.peek().and_then(|input| input.as_ref()?.signal_type()) else {
            return Self(None);
        };
        let is_graph = graph::is_recorded();
        let operands =
            operands.filter(|_| is_graph).map(|signal| signal.map(Signal::graph_operand)).collect();
        Self(Some(Started { operation, input, operands }))
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
        self.0.is_none()
    }

    /// Like [`finish_products`](Self::finish_products), for an operation with several results. The first of them has
    /// not failed unless the operation has failed.
    pub fn end<'a>(
        self,
        outputs: &[&Signal],
        description: impl Into<Description<'a>>,
        multiply_adds: impl FnOnce(&[usize], &[usize]) -> u64,
    ) {
        if let Some(Started { operation, input, operands }) = self.0
            && let Some(first) = outputs.first()
            && let Some(output) = first.signal_type()
        {
            let multiply_adds = multiply_adds(&input.dims, &output.dims);
            if graph::is_recorded() {
                add_node(outputs, description.into(), operands);
            }
            operation.end(&input, &output, first.is_deferred(), multiply_adds);
        }
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
