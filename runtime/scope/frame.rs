//! The modules whose forward passes run on the current thread, and the search for their paths.
//!
//! A forward pass can call a layer through a reference, for example in a loop or in a helper function. The name of the
//! layer is then unknown. To find its path, the modules whose forward passes run are searched for the layer's address,
//! the innermost first. A frame borrows its module, so that no other layer can have the same address while the
//! frame exists. The search runs when the path is first read: by an error, a trace, or a deferred operation, which
//! stores its path.

use std::cell::OnceCell;
use std::iter::successors;

use scoped_tls_hkt::scoped_thread_local;

use super::{OpenCall, PATH, Segment};

scoped_thread_local!(static FRAME: for<'a> &'a Frame<'a>);

/// A module that can be searched for a layer.
pub(crate) trait Searchable {
    /// Returns the identity of the module.
    fn identity(&self) -> LayerIdentity;

    /// Returns the path of a layer of this module, relative to the module. Returns `None` if the module does not
    /// contain the layer, or if several zero-sized layers have its address and type.
    fn path_to(&self, layer: &LayerIdentity) -> Option<Vec<Segment>>;
}

/// The address, the size and the type of a layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LayerIdentity {
    address: usize,
    size: usize,
    // A name instead of a `TypeId`, which exists only for types without borrowed data.
    type_name: &'static str,
}

impl LayerIdentity {
    /// Returns the identity of a value.
    pub fn of<T: ?Sized>(value: &T) -> Self {
        Self {
            address: std::ptr::from_ref(value).cast::<()>().addr(),
            size: size_of_val(value),
            type_name: std::any::type_name::<T>(),
        }
    }

    /// Returns `false` if the value is zero-sized. Zero-sized values can share an address.
    pub(crate) fn is_unique(&self) -> bool {
        self.size > 0
    }

    /// Returns `true` if `other` is in the memory of this value.
    pub(crate) fn contains(&self, other: &Self) -> bool {
        self.address <= other.address && other.address + other.size <= self.address + self.size
    }
}

/// The forward pass of a module.
struct Frame<'a> {
    module: &'a dyn Searchable,
    /// The forward pass that called the module.
    caller: Option<&'a Frame<'a>>,
    /// The length of the thread's path when the forward pass began.
    start: usize,
    /// The path of a module that was called through a reference. The search runs when the path is first read. `None`
    /// for a module that was called as a field: the field's name is on the thread's path.
    searched_path: Option<OnceCell<Vec<Segment>>>,
}

/// Runs the forward pass of a module whose name is on the thread's path.
pub(crate) fn run_field<T>(module: &dyn Searchable, run: impl FnOnce() -> T) -> T {
    enter(module, None, run)
}

/// Runs the forward pass of a module that was called through a reference and whose name is therefore unknown.
pub(crate) fn run_reference<T>(module: &dyn Searchable, run: impl FnOnce() -> T) -> T {
    enter(module, Some(OnceCell::new()), || {
        let _call = OpenCall::begin();
        run()
    })
}

/// Runs a forward pass in a new frame. The frame ends when `run` returns or panics.
fn enter<T>(
    module: &dyn Searchable,
    searched_path: Option<OnceCell<Vec<Segment>>>,
    run: impl FnOnce() -> T,
) -> T {
    let start = PATH.with_borrow(Vec::len);
    with_current(|caller| FRAME.set(&Frame { module, caller, start, searched_path }, run))
}

/// Passes the innermost frame to `f`, or `None` if no forward pass runs.
fn with_current<T>(f: impl FnOnce(Option<&Frame<'_>>) -> T) -> T {
    if FRAME.is_set() { FRAME.with(|frame| f(Some(frame))) } else { f(None) }
}

/// Returns the path of the current layer.
pub(super) fn current_path() -> Vec<Segment> {
    let length = PATH.with_borrow(Vec::len);
    with_current(|frame| path_at(frame, length))
}

/// Returns the path of the layer that runs in `frame` when the thread's path has `length` segments: first the path of
/// the innermost module that was called through a reference, then the names of the fields that were called after that
/// module.
fn path_at(frame: Option<&Frame<'_>>, length: usize) -> Vec<Segment> {
    let mut frames = successors(frame, |frame| frame.caller);
    let searched = frames.find_map(|frame| Some((frame.searched_path()?, frame.start)));
    let (path, start) = searched.unwrap_or_default();
    PATH.with_borrow(|fields| [path, fields.get(start..length).unwrap_or_default()].concat())
}

impl Frame<'_> {
    /// Returns the path of a module that was called through a reference, and `None` for a field.
    fn searched_path(&self) -> Option<&[Segment]> {
        Some(self.searched_path.as_ref()?.get_or_init(|| self.search()))
    }

    /// Searches for this module in the modules around it, the innermost first. If none of them contains this module,
    /// returns the path of the caller.
    fn search(&self) -> Vec<Segment> {
        let identity = self.module.identity();
        let found = successors(self.caller, |caller| caller.caller)
            .find_map(|caller| Some((caller, caller.module.path_to(&identity)?)));
        match found {
            Some((caller, path)) => [path_at(Some(caller), caller.start), path].concat(),
            None => path_at(self.caller, self.start),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scope::{Path, Scope};

    /// A module with one layer.
    struct Module {
        name: &'static str,
        layer: u64,
    }

    impl Searchable for Module {
        fn identity(&self) -> LayerIdentity {
            LayerIdentity::of(self)
        }

        fn path_to(&self, layer: &LayerIdentity) -> Option<Vec<Segment>> {
            (LayerIdentity::of(&self.layer) == *layer).then(|| vec![Segment::Name(self.name)])
        }
    }

    impl Searchable for u64 {
        fn identity(&self) -> LayerIdentity {
            LayerIdentity::of(self)
        }

        fn path_to(&self, _: &LayerIdentity) -> Option<Vec<Segment>> {
            None
        }
    }

    fn path() -> String {
        Path::current().to_string()
    }

    #[test]
    fn layers_called_through_references_are_found_in_the_modules_around_them() {
        let outer = Module { name: "a", layer: 1 };
        let inner = Module { name: "b", layer: 2 };
        let _root = Scope::enter("Net");
        run_field(&outer, || {
            assert_eq!(run_reference(&outer.layer, path), "Net.a");
            let _field = Scope::enter("inner");
            run_field(&inner, || {
                assert_eq!(path(), "Net.inner");
                assert_eq!(run_reference(&inner.layer, path), "Net.inner.b");
                // The layer of another module keeps its own path.
                assert_eq!(run_reference(&outer.layer, path), "Net.a");
                // A module that is not found has the path of its caller. Its own layers are found.
                let unknown = Module { name: "c", layer: 3 };
                run_reference(&unknown, || {
                    assert_eq!(path(), "Net.inner");
                    let _field = Scope::index(2);
                    assert_eq!(path(), "Net.inner[2]");
                    assert_eq!(run_reference(&unknown.layer, path), "Net.inner.c");
                });
            });
            assert_eq!(path(), "Net.inner");
        });
    }

    #[test]
    fn a_panic_ends_the_frame() {
        let module = Module { name: "a", layer: 1 };
        let panic = std::panic::catch_unwind(|| {
            let _root = Scope::enter("Net");
            run_field(&module, || run_reference(&module.layer, || panic!("{}", path())))
        });
        let message = panic.expect_err("the forward pass panics");
        assert_eq!(message.downcast_ref::<String>().map(String::as_str), Some("Net.a"));
        assert_eq!(path(), "");
        assert!(!FRAME.is_set());
    }
}
