//! Records the calls of layers on the current thread on request, with the shapes of their inputs and outputs.
//!
//! A call has no access to the shapes of its arguments, whose types are generic. The operations on signals report
//! shapes instead. The input of a call is the first operand of its first operation, and its output is the result of its
//! last operation. An operation that consists of other operations, or that runs on a probe, hides them.

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
}

struct Recorder {
    /// The length of the path of the first call.
    outer_length: usize,
    calls: Vec<Call>,
    /// The indices of the calls that have not returned.
    open: Vec<usize>,
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
    let recorder = Recorder { outer_length: 0, calls: Vec::new(), open: Vec::new() };
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
            let Some(Recorder { outer_length, calls, open }) = recorder else { return false };
            if calls.is_empty() {
                *outer_length = path.0.len();
            }
            let path: Vec<String> = path.0.iter().skip(*outer_length).map(ToString::to_string).collect();
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
        IS_RECORDING.replace(false).then(|| Self(()))
    }

    /// Records the operation for all calls that have not returned, and its multiply-adds for the innermost of them.
    pub fn end(self, input: &SignalType, output: &SignalType, multiply_adds: u64) {
        with_recorder(|Recorder { calls, open, .. }| {
            for &call in open.iter() {
                calls[call].input.get_or_insert_with(|| input.clone());
                calls[call].output = Some(output.clone());
            }
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
            operation.end(&image(input), &image(output), multiply_adds);
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
