//! Records the calls of layers on the current thread on request, with the shapes of their inputs and outputs.
//!
//! A call has no access to the shapes of its arguments, whose types are generic. The operations on signals report
//! shapes instead. The input of a call is the first operand of its first operation, and its output is the result of its
//! last operation. An operation that consists of other operations, or that runs on a probe, hides them.
//!
//! A call also knows in whose launch it ran. An operation that is fused into a deferred operation runs in the launch of
//! that operation. Whether a consumer runs in the launch of its producer is known when the pair has run.

use std::cell::{Cell, RefCell};

use candle_core::DType;

use super::Path;

thread_local! {
    static RECORDER: RefCell<Option<Recorder>> = const { RefCell::new(None) };
    /// Whether the next call or operation is recorded. `false` without a recorder and in an operation.
    static IS_RECORDING: Cell<bool> = const { Cell::new(false) };
}

/// The shape and the dtype of a signal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SignalType {
    pub dims: Vec<usize>,
    pub dtype: DType,
}

/// One call of a layer.
#[derive(Debug, Default)]
pub(crate) struct Call {
    /// The names of the fields and the indices of the elements that lead to the layer.
    pub path: Vec<String>,
    /// The first operand of the first operation.
    pub input: Option<SignalType>,
    /// The result of the last operation.
    pub output: Option<SignalType>,
    /// The multiply-adds of the operations of this layer, without those of the layers that it calls.
    pub multiply_adds: u64,
    /// The path of the layer in whose launch all operations of this call run. `None` if an operation has a launch of
    /// its own, or if no operation has numbers.
    pub fused_into: Option<Vec<String>>,
    /// The number of operations.
    operations: usize,
}

impl Call {
    fn add(&mut self, input: &SignalType, output: &SignalType, fused_into: Option<&Vec<String>>) {
        let fused_into = fused_into.filter(|path| **path != self.path);
        if self.operations == 0 {
            self.input = Some(input.clone());
            self.fused_into = fused_into.cloned();
        } else if self.fused_into.as_ref() != fused_into {
            self.fused_into = None;
        }
        self.output = Some(output.clone());
        self.operations += 1;
    }
}

struct Recorder {
    /// The path of the first call.
    root: Vec<String>,
    calls: Vec<Call>,
    /// The indices of the calls that have not returned.
    open: Vec<usize>,
    /// The path of the deferred operation into which the operation that runs was fused.
    fusion: Option<Path>,
}

impl Recorder {
    /// Returns the names of a path after the path of the first call, or `None` if the layer at `path` is outside of the
    /// network.
    fn relative(&self, path: &Path) -> Option<Vec<String>> {
        path.names().strip_prefix(&self.root[..]).map(<[String]>::to_vec)
    }
}

/// Runs `f`. Returns its result and the calls of layers on this thread, in the order in which they began. Paths are
/// relative to the path of the first call.
pub(crate) fn record_calls<T>(f: impl FnOnce() -> T) -> (T, Vec<Call>) {
    /// Restores the state of the outer recorder on drop, even after a panic.
    struct Restore(Option<Recorder>, bool);
    impl Drop for Restore {
        fn drop(&mut self) {
            RECORDER.set(self.0.take());
            IS_RECORDING.set(self.1);
        }
    }
    let recorder = Recorder { root: Vec::new(), calls: Vec::new(), open: Vec::new(), fusion: None };
    let _restore = Restore(RECORDER.replace(Some(recorder)), IS_RECORDING.replace(true));
    let result = f();
    let calls = RECORDER.take().map_or_else(Vec::new, |recorder| recorder.calls);
    (result, calls)
}

/// A guard for a call of the layer at the current path. Dropping it ends the call.
#[must_use]
pub(crate) struct OpenCall(bool);

impl OpenCall {
    /// Records a call if the thread is being recorded. A layer that is no part of the network has the path of its
    /// caller: its operations are those of the caller.
    #[inline]
    pub fn begin() -> Self {
        Self(IS_RECORDING.get() && Self::push())
    }

    /// Returns `false` if the innermost call has the same path.
    fn push() -> bool {
        let path = Path::current();
        RECORDER.with_borrow_mut(|recorder| {
            let Some(recorder) = recorder else { return false };
            if recorder.calls.is_empty() {
                recorder.root = path.names();
            }
            let Some(path) = recorder.relative(&path) else { return false };
            let Recorder { calls, open, .. } = recorder;
            if open.last().is_some_and(|&caller| calls[caller].path == path) {
                return false;
            }
            open.push(calls.len());
            calls.push(Call { path, ..Call::default() });
            true
        })
    }
}

impl Drop for OpenCall {
    fn drop(&mut self) {
        if self.0 {
            with_recorder(|recorder| recorder.open.truncate(recorder.open.len().saturating_sub(1)));
        }
    }
}

/// An operation that runs and hides the operations in it. Dropping it without [`end`](Self::end) records nothing.
#[must_use]
pub(crate) struct OpenOperation(());

impl OpenOperation {
    /// Begins an operation. Returns `None` if it is not recorded.
    #[inline]
    pub fn begin() -> Option<Self> {
        // A value that is not returned would end the outer operation when it is dropped.
        IS_RECORDING.replace(false).then(|| {
            with_recorder(|recorder| recorder.fusion = None);
            Self(())
        })
    }

    /// Records the operation for all calls that have not returned, and its multiply-adds for the innermost of them.
    /// `is_deferred` states whether the output is a deferred operation.
    pub fn end(self, input: &SignalType, output: &SignalType, is_deferred: bool, multiply_adds: u64) {
        with_recorder(|recorder| {
            // A fusion in an operation that has already run is a part of this operation.
            let fusion = recorder.fusion.take().filter(|_| is_deferred);
            let fused_into = fusion.and_then(|path| recorder.relative(&path));
            let Recorder { calls, open, .. } = recorder;
            open.iter().for_each(|&call| calls[call].add(input, output, fused_into.as_ref()));
            if let Some(&innermost) = open.last() {
                let total = &mut calls[innermost].multiply_adds;
                *total = total.saturating_add(multiply_adds);
            }
        });
    }
}

impl Drop for OpenOperation {
    fn drop(&mut self) {
        IS_RECORDING.set(true);
    }
}

/// Records that the operation that runs was fused into the deferred operation of the layer at `path`.
pub(crate) fn record_fusion(path: &Path) {
    with_recorder(|recorder| recorder.fusion = Some(path.clone()));
}

/// Records that the operation of the layer `consumer`, with everything that was fused into it, ran in the launch of the
/// layer `producer`.
pub(crate) fn record_fused_pair(producer: &Path, consumer: &Path) {
    with_recorder(|recorder| {
        let (Some(producer), Some(consumer)) = (recorder.relative(producer), recorder.relative(consumer))
        else {
            return;
        };
        let is_fused = |call: &Call| call.fused_into.as_ref() == Some(&consumer);
        for call in recorder.calls.iter_mut().filter(|call| is_fused(call)) {
            call.fused_into = Some(producer.clone());
        }
        // Other operations of the layer have launches of their own.
        let is_consumer =
            |call: &&mut Call| call.path == consumer && call.operations == 1 && consumer != producer;
        if let Some(call) = recorder.calls.iter_mut().rev().find(is_consumer) {
            call.fused_into = Some(producer);
        }
    });
}

fn with_recorder(f: impl FnOnce(&mut Recorder)) {
    RECORDER.with_borrow_mut(|recorder| recorder.as_mut().map(f));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scope::Scope;

    fn image(size: usize) -> SignalType {
        SignalType { dims: vec![size], dtype: DType::F32 }
    }

    fn operation(input: usize, output: usize, multiply_adds: u64) {
        if let Some(operation) = OpenOperation::begin() {
            operation.end(&image(input), &image(output), false, multiply_adds);
        }
    }

    #[test]
    fn a_call_has_the_shapes_of_its_first_and_last_operation_and_its_own_multiply_adds() {
        operation(1, 1, 1);
        let _root = Scope::enter("Net");
        let ((), calls) = record_calls(|| {
            let _network = OpenCall::begin();
            operation(1, 2, 10);
            {
                let _field = Scope::enter("blocks");
                let _element = Scope::index(3);
                let _block = OpenCall::begin();
                operation(2, 3, u64::MAX);
                let _foreign = OpenCall::begin();
                let hiding = OpenOperation::begin();
                let _hidden = OpenCall::begin();
                operation(7, 7, 7);
                operation(8, 8, 8);
                drop(hiding);
                operation(3, 4, 1);
            }
            operation(4, 5, 20);
        });
        let summary: Vec<_> =
            calls.iter().map(|call| (call.path.join("/"), call.input.clone(), call.output.clone())).collect();
        let expected = [("", 1, 5), ("blocks/3", 2, 4)];
        let expected = expected.map(|(path, a, b)| (path.to_string(), Some(image(a)), Some(image(b))));
        assert_eq!(summary, expected);
        assert_eq!(calls.iter().map(|call| call.multiply_adds).collect::<Vec<_>>(), [30, u64::MAX]);
        assert!(!IS_RECORDING.get());
    }

    /// Runs an operation that is fused into the operation at `path`, which is deferred.
    fn fused_operation(path: &Path) {
        if let Some(operation) = OpenOperation::begin() {
            record_fusion(path);
            operation.end(&image(1), &image(1), true, 0);
        }
    }

    #[test]
    fn a_call_is_fused_if_all_of_its_operations_are() {
        let call = |name: &'static str, run: &dyn Fn()| {
            let _field = Scope::enter(name);
            let _call = OpenCall::begin();
            run();
            Path::current()
        };
        let ((), calls) = record_calls(|| {
            let _root = Scope::enter("Net");
            let _network = OpenCall::begin();
            let conv = call("conv", &|| operation(1, 1, 1));
            call("norm", &|| fused_operation(&conv));
            call("norm_and_more", &|| {
                fused_operation(&conv);
                operation(1, 1, 0);
            });
            // An operation that contains a fusion and runs is not fused.
            call("attention", &|| {
                let outer = OpenOperation::begin();
                record_fusion(&conv);
                outer.expect("the operation is recorded").end(&image(1), &image(1), false, 0);
            });
            let depthwise = call("depthwise", &|| operation(1, 1, 1));
            call("act", &|| fused_operation(&depthwise));
            record_fused_pair(&conv, &depthwise);
        });
        let fused: Vec<_> =
            calls.iter().map(|call| (call.path.join("/"), call.fused_into.as_deref())).collect();
        let conv = ["conv".to_string()];
        let paths = ["", "conv", "norm", "norm_and_more", "attention", "depthwise", "act"];
        let fused_paths = ["norm", "depthwise", "act"];
        let expected = paths.map(|path| (path.to_string(), fused_paths.contains(&path).then_some(&conv[..])));
        assert_eq!(fused, expected);
    }

    #[test]
    fn a_panic_ends_the_recording() {
        let panic = std::panic::catch_unwind(|| {
            record_calls(|| {
                let _call = OpenCall::begin();
                let _operation = OpenOperation::begin();
                panic!("the layer panicked");
            })
        });
        assert!(panic.is_err());
        assert!(!IS_RECORDING.get() && RECORDER.take().is_none());
    }
}
