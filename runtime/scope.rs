//! Where in the network the current thread is: the path that errors and launches carry, and the
//! switches that hold for the length of a closure.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::sync::Arc;

/// One step of a path: a field, or an element of a repeated field.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Segment {
    Name(&'static str),
    Shared(Arc<str>),
    Index(usize),
}

thread_local! {
    static PATH: RefCell<Vec<Segment>> = const { RefCell::new(Vec::new()) };
    static FUSION: Cell<bool> = const { Cell::new(true) };
    static TRACE: RefCell<Option<Vec<Launch>>> = const { RefCell::new(None) };
}

/// A layer being called; leaving it takes it off the path, also when the call panics.
#[must_use]
pub struct Scope(());

impl Scope {
    /// Enters the field `name`.
    pub fn enter(name: &'static str) -> Self {
        Self::push(Segment::Name(name))
    }

    /// Enters a child whose name is known only at run time.
    pub(crate) fn shared(name: Arc<str>) -> Self {
        Self::push(Segment::Shared(name))
    }

    /// Enters element `index` of a repeated field.
    pub fn index(index: usize) -> Self {
        Self::push(Segment::Index(index))
    }

    /// Enters a whole network, unless it runs inside another one: there, the field's name says more.
    pub fn root(name: &'static str) -> Option<Self> {
        PATH.with_borrow(Vec::is_empty).then(|| Self::enter(name))
    }

    fn push(segment: Segment) -> Self {
        PATH.with_borrow_mut(|path| path.push(segment));
        Self(())
    }
}

impl Drop for Scope {
    fn drop(&mut self) {
        PATH.with_borrow_mut(|path| path.pop());
    }
}

/// A copy of the current path, written out only when somebody reads it.
#[derive(Clone, Default)]
pub(crate) struct Path(Vec<Segment>);

impl Path {
    pub(crate) fn current() -> Self {
        Self(PATH.with_borrow(Vec::clone))
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, segment) in self.0.iter().enumerate() {
            match segment {
                Segment::Name(name) if i == 0 => f.write_str(name)?,
                Segment::Name(name) => write!(f, ".{name}")?,
                Segment::Shared(name) if i == 0 => f.write_str(name)?,
                Segment::Shared(name) => write!(f, ".{name}")?,
                Segment::Index(index) => write!(f, "[{index}]")?,
            }
        }
        Ok(())
    }
}

/// Runs `f` with every operation on its own: to bisect, or to compare.
///
/// ```
/// use sconce::prelude::*;
/// # fn main() -> Result<()> {
/// let conv = Conv2d::config(3, 8, 3).init(&Device::Cpu)?;
/// let x = Tensor::ones((1, 3, 8, 8), DType::F32, &Device::Cpu)?;
/// let fused = relu(conv.call((&x).into(), Mode::Eval)).into_tensor()?;
/// let plain = sconce::no_fusion(|| relu(conv.call((&x).into(), Mode::Eval)).into_tensor())?;
/// assert!((fused - plain)?.abs()?.max_all()?.to_scalar::<f32>()? < 1e-5);
/// # Ok(())
/// # }
/// ```
pub fn no_fusion<T>(f: impl FnOnce() -> T) -> T {
    struct Restore(bool);
    impl Drop for Restore {
        fn drop(&mut self) {
            FUSION.set(self.0);
        }
    }
    let _restore = Restore(FUSION.replace(false));
    f()
}

/// Whether operations may wait for what follows them.
pub(crate) fn fusion() -> bool {
    FUSION.get()
}

/// One kernel that ran: where, and what it did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Launch {
    /// The layer that began it, `Model.conv1`; empty in a backward pass.
    pub path: String,
    /// Its operations, `conv2d + bias + relu`.
    pub operations: String,
}

/// What traces call a pass over memory that only puts an activation into the kernels' own layout, or out of
/// it.
pub(crate) const TO_BLOCKS: &str = "to_blocks";
pub(crate) const TO_PLANES: &str = "to_planes";

impl Launch {
    /// Whether it computed nothing, and only put an activation into the kernels' own layout or out of it.
    pub fn changes_layout(&self) -> bool {
        [TO_BLOCKS, TO_PLANES].contains(&self.operations.as_str())
    }
}

impl fmt::Display for Launch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path, self.operations)
    }
}

/// Runs `f` and lists the kernels that its layers ran on this thread, in their order.
///
/// ```
/// use sconce::prelude::*;
/// # fn main() -> Result<()> {
/// let conv = Conv2d::config(3, 8, 3).init(&Device::Cpu)?;
/// let x = Tensor::ones((1, 3, 8, 8), DType::F32, &Device::Cpu)?;
/// let (y, launches) = sconce::trace(|| relu(conv.call(x.into(), Mode::Eval)).into_tensor());
/// assert_eq!(y?.dims(), [1, 8, 6, 6]);
/// assert_eq!(launches[0].operations, "conv2d + bias + relu");
/// # Ok(())
/// # }
/// ```
pub fn trace<T>(f: impl FnOnce() -> T) -> (T, Vec<Launch>) {
    struct Restore(Option<Vec<Launch>>);
    impl Drop for Restore {
        fn drop(&mut self) {
            TRACE.set(self.0.take());
        }
    }
    let _restore = Restore(TRACE.replace(Some(Vec::new())));
    let result = f();
    let launches = TRACE.take().unwrap_or_default();
    (result, launches)
}

/// Notes a launch where somebody traces; neither closure is asked otherwise.
pub(crate) fn launched(path: impl FnOnce() -> Path, operations: impl FnOnce() -> String) {
    TRACE.with_borrow_mut(|trace| {
        if let Some(launches) = trace {
            launches.push(Launch { path: path().to_string(), operations: operations() });
        }
    });
}
