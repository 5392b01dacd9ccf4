//! Records the operations of a run with numbers on the current thread on request: their operands, the launches in which
//! they ran, and why they were not fused.
//!
//! A value is identified by the tensor, the channel-blocked activation or the deferred operation that holds it. When a
//! deferred operation runs, its result is another name of the same value.
//!
//! An operation that is fused into a deferred operation continues the *chain* of operations that the deferred operation
//! computes. A launch of a deferred operation computes a chain. Any other launch computes a part of the operation
//! during which it begins.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};

use candle_core::TensorId;

use super::{NotFused, Path, SignalType, record_calls};

thread_local! {
    static EXECUTION: RefCell<Option<Execution>> = const { RefCell::new(None) };
    /// Whether there is an execution. Faster to read than `EXECUTION`.
    static IS_RECORDED: Cell<bool> = const { Cell::new(false) };
}

/// The identity of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum ValueId {
    Tensor(TensorId),
    /// The number of a channel-blocked activation.
    Blocked(u64),
    Deferred(DeferredId),
}

/// The identity of the value of a deferred operation. An operation that is fused into the deferred operation changes
/// its value, and its identity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct DeferredId(u64);

/// The identity of a deferred operation's value, which is set only while an execution is recorded.
#[derive(Debug, Default)]
pub(crate) struct DeferredIdCell(AtomicU64);

impl DeferredIdCell {
    pub fn new(id: Option<DeferredId>) -> Self {
        Self(AtomicU64::new(id.map_or(0, |id| id.0)))
    }

    pub fn get(&self) -> Option<DeferredId> {
        let id = self.0.load(Ordering::Relaxed);
        (id > 0).then_some(DeferredId(id))
    }

    /// Sets an identity that no other value has, and returns it.
    pub fn renew(&self) -> DeferredId {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let id = NEXT.fetch_add(1, Ordering::Relaxed);
        self.0.store(id, Ordering::Relaxed);
        DeferredId(id)
    }
}

/// The kind of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NodeKind {
    /// An input of the network.
    Input,
    /// A tensor that no recorded operation computed, with its identity: a parameter, a constant, or the result of
    /// candle's operations.
    Tensor(ValueId),
    /// An operation with its name in traces.
    Operation(&'static str),
    /// An output of the network.
    Output,
}

/// An operation, input or output of the network.
#[derive(Debug)]
pub(crate) struct ExecutedNode {
    pub kind: NodeKind,
    /// The path of the layer that ran the operation.
    pub path: Path,
    /// The nodes that computed the operands, with the types of the operands.
    pub operands: Vec<Operand>,
    pub outputs: Vec<SignalType>,
    /// The operation before this one in the chain of a deferred operation.
    pub fused_onto: Option<usize>,
    pub not_fused: Option<NotFused>,
}

/// An operand: the node that computed it, and its type.
#[derive(Clone, Debug)]
pub(crate) struct Operand {
    pub node: usize,
    pub signal_type: SignalType,
}

/// A launch.
#[derive(Debug)]
pub(crate) struct ExecutedLaunch {
    id: u64,
    pub path: String,
    pub operations: String,
    /// The last operations of the chains that the launch computes.
    chain_ends: Vec<usize>,
}

/// The operations of one run, in the order in which they ended.
#[derive(Debug, Default)]
pub(crate) struct Execution {
    pub nodes: Vec<ExecutedNode>,
    pub launches: Vec<ExecutedLaunch>,
    /// The node that computed each value.
    values: HashMap<ValueId, usize>,
    /// Whether an operation runs. Its node is the next one.
    is_open: bool,
    /// The number of operations in the operation that runs, which are parts of it.
    open_parts: usize,
    /// Why the operation that runs is not fused.
    not_fused: Option<NotFused>,
    /// The last operations of the chains of the deferred operations that run.
    running: Vec<usize>,
    next_launch: u64,
}

impl Execution {
    fn push(
        &mut self,
        kind: NodeKind,
        path: Path,
        operands: Vec<Operand>,
        outputs: Vec<(ValueId, SignalType)>,
    ) {
        let node = self.nodes.len();
        self.values.extend(outputs.iter().map(|(id, _)| (*id, node)));
        let outputs = outputs.into_iter().map(|(_, signal_type)| signal_type).collect();
        self.nodes.push(ExecutedNode { kind, path, operands, outputs, fused_onto: None, not_fused: None });
    }

    /// Returns the node of a value. Adds a node for a tensor that no recorded operation computed.
    fn operand(&mut self, path: &Path, (id, signal_type): (ValueId, SignalType)) -> Operand {
        if !self.values.contains_key(&id) {
            self.push(NodeKind::Tensor(id), path.clone(), Vec::new(), vec![(id, signal_type.clone())]);
        }
        Operand { node: self.values[&id], signal_type }
    }

    /// Returns the operations that a launch computes.
    pub fn operations_of(&self, launch: &ExecutedLaunch) -> Vec<usize> {
        let chain = |end: &usize| std::iter::successors(Some(*end), |&node| self.nodes[node].fused_onto);
        let mut operations: Vec<usize> = launch.chain_ends.iter().flat_map(chain).collect();
        operations.sort_unstable();
        operations.dedup();
        operations
    }

    /// Returns the first operation of the chain that ends with `node`.
    fn chain_start(&self, node: usize) -> usize {
        std::iter::successors(Some(node), |&node| self.nodes[node].fused_onto).last().unwrap_or(node)
    }

    /// Ends the operation that runs without a node.
    fn abandon(&mut self) {
        let node = self.nodes.len();
        for launch in &mut self.launches {
            launch.chain_ends.retain(|end| *end != node);
        }
        self.is_open = false;
    }
}

/// Runs `f`. Returns its result and the operations of signals that ran on this thread.
pub(crate) fn record_execution<T>(f: impl FnOnce() -> T) -> (T, Execution) {
    /// Restores the outer execution on drop, even after a panic.
    struct Restore(Option<Execution>, bool);
    impl Drop for Restore {
        fn drop(&mut self) {
            EXECUTION.set(self.0.take());
            IS_RECORDED.set(self.1);
        }
    }
    let _restore = Restore(EXECUTION.replace(Some(Execution::default())), IS_RECORDED.replace(true));
    // Operations report themselves while calls are recorded.
    let (result, _) = record_calls(f);
    (result, EXECUTION.take().unwrap_or_default())
}

/// Returns `true` if the thread records an execution.
pub(crate) fn is_execution_recorded() -> bool {
    IS_RECORDED.get()
}

// The functions that borrow an execution call no code that could record: paths and reasons are computed before.
fn with_execution<T>(f: impl FnOnce(&mut Execution) -> T) -> Option<T> {
    if !IS_RECORDED.get() {
        return None;
    }
    EXECUTION.with_borrow_mut(|execution| execution.as_mut().map(f))
}

/// Adds an input of the network.
pub(crate) fn add_input(value: (ValueId, SignalType)) {
    let path = Path::current();
    with_execution(|execution| execution.push(NodeKind::Input, path, Vec::new(), vec![value]));
}

/// Adds an output of the network.
pub(crate) fn add_output(value: (ValueId, SignalType)) {
    let path = Path::current();
    with_execution(|execution| {
        let operand = execution.operand(&path, value);
        execution.push(NodeKind::Output, path, vec![operand], Vec::new());
    });
}

/// Records that `alias` is another name of a value.
pub(crate) fn add_alias(value: impl FnOnce() -> Option<ValueId>, alias: impl FnOnce() -> ValueId) {
    with_execution(|execution| {
        if let Some(&node) = value().and_then(|value| execution.values.get(&value)) {
            execution.values.insert(alias(), node);
        }
    });
}

/// Returns the operation that computed a value, such as `` `add` at `Net.block` ``.
pub(crate) fn describe_value(id: Option<ValueId>) -> String {
    let found = with_execution(|execution| {
        let node = &execution.nodes[*execution.values.get(&id?)?];
        Some(match node.kind {
            NodeKind::Operation(name) => describe_operation(name, &node.path),
            NodeKind::Input => "an input of the network".to_string(),
            NodeKind::Tensor(_) | NodeKind::Output => "a tensor".to_string(),
        })
    });
    found.flatten().unwrap_or_else(|| "a tensor".to_string())
}

/// Returns an operation in the form used in the reasons why others are not fused into it.
pub(crate) fn describe_operation(name: &str, path: &Path) -> String {
    match path.to_string() {
        path if path.is_empty() => format!("`{name}`"),
        path => format!("`{name}` at `{path}`"),
    }
}

/// Returns the name of the operation that computed a value.
pub(crate) fn operation_of(id: ValueId) -> Option<&'static str> {
    let name = with_execution(|execution| match execution.nodes[*execution.values.get(&id)?].kind {
        NodeKind::Operation(name) => Some(name),
        _ => None,
    });
    name.flatten()
}

/// An operation that runs. Dropping it without [`end`](Self::end) records nothing.
#[must_use]
pub(crate) struct ExecutedOperation {
    operands: Vec<Operand>,
    has_ended: bool,
}

impl ExecutedOperation {
    /// Begins an operation. `operands` returns the identities and the types of its operands. Returns `None` if the
    /// thread records no execution.
    pub fn begin(operands: impl FnOnce() -> Vec<(ValueId, SignalType)>) -> Option<Self> {
        if !IS_RECORDED.get() {
            return None;
        }
        let operands = operands();
        let path = Path::current();
        with_execution(|execution| {
            let operands = operands.into_iter().map(|operand| execution.operand(&path, operand)).collect();
            execution.is_open = true;
            execution.open_parts = 0;
            execution.not_fused = None;
            Self { operands, has_ended: false }
        })
    }

    /// Returns `true` if a value is an operand.
    pub fn has_operand(&self, id: ValueId) -> bool {
        let node = with_execution(|execution| execution.values.get(&id).copied()).flatten();
        self.operands.iter().any(|operand| Some(operand.node) == node)
    }

    /// Adds the operation with its results. `fused_onto` is the deferred operation into which it was fused.
    pub fn end(
        mut self,
        name: &'static str,
        outputs: Vec<(ValueId, SignalType)>,
        fused_onto: Option<DeferredId>,
    ) {
        self.has_ended = true;
        let operands = std::mem::take(&mut self.operands);
        let path = Path::current();
        with_execution(|execution| {
            execution.is_open = false;
            let before = fused_onto.and_then(|id| execution.values.get(&ValueId::Deferred(id)).copied());
            let not_fused = execution.not_fused.take().filter(|_| before.is_none());
            execution.push(NodeKind::Operation(name), path, operands, outputs);
            if let Some(node) = execution.nodes.last_mut() {
                node.fused_onto = before;
                node.not_fused = not_fused;
            }
        });
    }
}

impl Drop for ExecutedOperation {
    fn drop(&mut self) {
        if !self.has_ended {
            with_execution(Execution::abandon);
        }
    }
}

/// An operation that is a part of the operation that runs.
#[must_use]
pub(crate) struct ExecutedPart(());

impl ExecutedPart {
    /// Begins a part. Returns `None` if the thread records no execution.
    pub fn begin() -> Option<Self> {
        with_execution(|execution| {
            execution.open_parts += 1;
            Self(())
        })
    }
}

impl Drop for ExecutedPart {
    fn drop(&mut self) {
        with_execution(|execution| execution.open_parts = execution.open_parts.saturating_sub(1));
    }
}

/// Records why the operation that runs is not fused. Ignores the reasons of operations that are parts of it.
pub(crate) fn record_not_fused(reason: impl FnOnce() -> NotFused) {
    if with_execution(|execution| execution.is_open && execution.open_parts == 0) == Some(true) {
        let reason = reason();
        with_execution(|execution| execution.not_fused = Some(reason));
    }
}

/// Records why the operation whose deferred launch runs does not run in the launch of its producer.
pub(crate) fn record_separate_launch(reason: impl FnOnce() -> NotFused) {
    if !IS_RECORDED.get() {
        return;
    }
    let reason = reason();
    with_execution(|execution| {
        if let Some(&end) = execution.running.last() {
            let start = execution.chain_start(end);
            execution.nodes[start].not_fused = Some(reason);
        }
    });
}

/// A deferred operation that runs. Its launches compute the operations of its chain.
#[must_use]
pub(crate) struct RunningDeferred(());

impl RunningDeferred {
    /// Returns `None` for a deferred operation in another operation, of which it is a part, and if the thread records
    /// no execution.
    pub fn begin(id: Option<DeferredId>) -> Option<Self> {
        with_execution(|execution| {
            let node = *execution.values.get(&ValueId::Deferred(id?))?;
            execution.running.push(node);
            Some(Self(()))
        })?
    }
}

impl Drop for RunningDeferred {
    fn drop(&mut self) {
        with_execution(|execution| execution.running.pop());
    }
}

/// The identity of a recorded launch.
#[derive(Clone, Copy, Debug)]
pub(super) struct LaunchId(u64);

impl LaunchId {
    /// Records a launch of the chain that runs, or of the operation that runs.
    pub fn begin(path: &str, operations: &str) -> Option<Self> {
        with_execution(|execution| {
            let operation = execution.is_open.then_some(execution.nodes.len());
            let chain_ends = execution.running.last().copied().or(operation).into_iter().collect();
            let id = execution.next_launch;
            execution.next_launch += 1;
            let (path, operations) = (path.to_string(), operations.to_string());
            execution.launches.push(ExecutedLaunch { id, path, operations, chain_ends });
            Self(id)
        })
    }

    /// Adds the chain of another deferred operation to those that the launch computes.
    pub fn add_chain(self, id: DeferredId) {
        with_execution(|execution| {
            let end = execution.values.get(&ValueId::Deferred(id)).copied();
            let launch = execution.launches.iter_mut().rfind(|launch| launch.id == self.0);
            if let (Some(launch), Some(end)) = (launch, end) {
                launch.chain_ends.push(end);
            }
        });
    }

    /// Removes the launch, which computed nothing.
    pub fn cancel(self) {
        with_execution(|execution| execution.launches.retain(|launch| launch.id != self.0));
    }
}
