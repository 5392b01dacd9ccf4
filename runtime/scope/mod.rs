//! Thread-local state of a forward pass: the path of the current layer, for errors and traces, and whether operations
//! may be fused.
//!
//! The path grows in two ways. A call of a field pushes the name of the field ([`Scope`]). A call through a reference
//! only records the layer that runs ([`frame`]). The search for the layer's name runs when the path is first read: by
//! an error, a trace, or a deferred operation, which stores its path.

mod execution;
mod frame;
mod launch;
mod not_fused;
mod record;

pub(crate) use execution::{
    DeferredId, DeferredIdCell, ExecutedOperation, ExecutedPart, Execution, NodeKind, RunningDeferred,
    ValueId, add_alias, add_input, add_output, describe_operation, describe_value, is_execution_recorded,
    operation_of, record_execution, record_not_fused, record_separate_launch,
};
pub use frame::LayerIdentity;
pub(crate) use frame::{Searchable, run_field, run_reference};
pub(crate) use launch::{OpenLaunch, begin_launch};
pub use not_fused::{NotFused, NotFusedKind};
pub(crate) use record::{
    Call, OpenCall, OpenOperation, SignalType, record_calls, record_fused_pair, record_fusion,
};

use std::borrow::Cow;
use std::cell::{Cell, RefCell};
use std::fmt;
use std::sync::Arc;

use crate::thread_value::with_value;

/// A segment of a path: the name of a field, or the index of an element of a list. A name that is a number is displayed
/// as an index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Segment {
    Name(&'static str),
    /// A name that is known only at run time.
    Dynamic(Arc<str>),
    Index(usize),
}

thread_local! {
    static PATH: RefCell<Vec<Segment>> = const { RefCell::new(Vec::new()) };
    static FUSION: Cell<bool> = const { Cell::new(true) };
}

/// Writes the name or the index.
impl fmt::Display for Segment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::Dynamic(name) => f.write_str(name),
            Self::Index(index) => index.fmt(f),
        }
    }
}

/// A guard for a layer on the path. Dropping it removes the layer from the path, even if a call panics.
#[must_use]
pub struct Scope {
    /// The length of the path without the layer.
    outer_length: usize,
}

impl Scope {
    /// Enters the field `name`.
    pub fn enter(name: &'static str) -> Self {
        Self::push(Segment::Name(name))
    }

    /// Enters a child whose name is known only at run time.
    pub(crate) fn dynamic(name: Arc<str>) -> Self {
        Self::push(Segment::Dynamic(name))
    }

    /// Enters element `index` of a list.
    pub fn index(index: usize) -> Self {
        Self::push(Segment::Index(index))
    }

    /// Enters a network. Returns `None` if the path is not empty, because the network is then a part of another
    /// network.
    pub fn root(name: impl Into<Cow<'static, str>>) -> Option<Self> {
        PATH.with_borrow(Vec::is_empty).then(|| match name.into() {
            Cow::Borrowed(name) => Self::enter(name),
            Cow::Owned(name) => Self::dynamic(name.into()),
        })
    }

    /// Begins a call of the layer at the path, which is recorded if the thread is being recorded.
    #[inline]
    pub(crate) fn begin_call(self) -> CallScope {
        CallScope { _call: OpenCall::begin(), _scope: self }
    }

    fn push(segment: Segment) -> Self {
        PATH.with_borrow_mut(|path| {
            path.push(segment);
            Self { outer_length: path.len() - 1 }
        })
    }
}

impl Drop for Scope {
    fn drop(&mut self) {
        PATH.with_borrow_mut(|path| path.truncate(self.outer_length));
    }
}

/// A guard for a call of a layer that is on the path. Dropping it ends the call, then removes the layer from the path.
#[must_use]
pub(crate) struct CallScope {
    // Fields are dropped in this order.
    _call: OpenCall,
    _scope: Scope,
}

/// A guard for the construction of a network. Keeps the current path equal to the path of the layer that is being
/// built, for errors.
#[must_use]
pub struct BuildScope {
    /// The length of the path without the network.
    outer_length: usize,
    /// The length of the path of the network.
    network_length: usize,
}

impl BuildScope {
    /// Enters a network whose type has the name `name`. Adds the name to the path only if the network is not a field of
    /// another network.
    pub fn enter(name: &'static str) -> Self {
        PATH.with_borrow_mut(|path| {
            let outer_length = path.len();
            if outer_length == 0 {
                path.push(Segment::Name(name));
            }
            Self { outer_length, network_length: path.len() }
        })
    }

    /// Begins the field `name`. The name replaces that of the previous field in the path.
    pub fn field(&self, name: &'static str) {
        self.replace(0, Segment::Name(name));
    }

    /// Begins element `index` of the field. `depth` is the number of lists around the element.
    pub fn element(&self, depth: usize, index: usize) {
        self.replace(depth, Segment::Index(index));
    }

    /// Ends a list: removes the index of its last element from the path. `depth` is the same as for the elements of the
    /// list.
    pub fn leave(&self, depth: usize) {
        PATH.with_borrow_mut(|path| path.truncate(self.network_length + depth));
    }

    fn replace(&self, depth: usize, segment: Segment) {
        PATH.with_borrow_mut(|path| {
            path.truncate(self.network_length + depth);
            path.push(segment);
        });
    }
}

impl Drop for BuildScope {
    fn drop(&mut self) {
        PATH.with_borrow_mut(|path| path.truncate(self.outer_length));
    }
}

/// A copy of the current path. The path is formatted only when it is read.
#[derive(Clone, Debug, Default)]
pub(crate) struct Path(Vec<Segment>);

impl Path {
    pub(crate) fn current() -> Self {
        Self(frame::current_path())
    }

    /// Returns the names of the fields and the indices of the elements.
    pub(crate) fn names(&self) -> Vec<String> {
        self.0.iter().map(ToString::to_string).collect()
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, segment) in self.0.iter().enumerate() {
            let name = match segment {
                Segment::Name(name) => name,
                Segment::Dynamic(name) => &**name,
                Segment::Index(index) => {
                    write!(f, "[{index}]")?;
                    continue;
                }
            };
            match (name.parse::<usize>(), i) {
                (Ok(_), _) => write!(f, "[{name}]")?,
                (Err(_), 0) => f.write_str(name)?,
                (Err(_), _) => write!(f, ".{name}")?,
            }
        }
        Ok(())
    }
}

/// Returns the path of a layer, from the names of the fields and the indices of the elements.
pub(crate) fn format_path(names: &[String]) -> String {
    Path(names.iter().map(|name| Segment::Dynamic(name.as_str().into())).collect()).to_string()
}

/// A guard that replaces the path of the thread. Dropping it restores the path.
#[must_use]
pub(crate) struct ReplacedPath(Vec<Segment>);

impl ReplacedPath {
    pub(crate) fn new(path: &Path) -> Self {
        Self(PATH.replace(path.0.clone()))
    }
}

impl Drop for ReplacedPath {
    fn drop(&mut self) {
        PATH.set(std::mem::take(&mut self.0));
    }
}

/// Runs `f` without fusion, to compare results or to find a faulty fusion.
///
/// ```
/// use sconce::prelude::*;
/// # fn main() -> Result<()> {
/// let conv = Conv2d::config(3, 8, 3).init(&Device::Cpu)?;
/// let x = Tensor::ones((1, 3, 8, 8), DType::F32, &Device::Cpu)?;
/// let fused = relu(conv.call((&x).into(), Mode::Eval)).into_tensor()?;
/// let unfused = sconce::no_fusion(|| relu(conv.call((&x).into(), Mode::Eval)).into_tensor())?;
/// assert!((fused - unfused)?.abs()?.max_all()?.to_scalar::<f32>()? < 1e-5);
/// # Ok(())
/// # }
/// ```
pub fn no_fusion<T>(f: impl FnOnce() -> T) -> T {
    with_value(&FUSION, false, f)
}

/// Returns `true` if operations may be deferred so that later operations can be fused into them.
pub(crate) fn is_fusion_enabled() -> bool {
    FUSION.get()
}
