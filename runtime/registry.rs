//! What every network can do with its named tensors.

use std::borrow::{Borrow, Cow};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::Path;

use candle_core::{DType, Device, Tensor, TensorId, Var};

use crate::capture::Captured;
use crate::checkpoint::{self, StateDict};
use crate::glob::Glob;
use crate::load::{Load, LoadReport};
use crate::module::{Forward, Mode, Module, Visitor, VisitorMut};
use crate::signal::Signal;
use crate::source::{converted, fill};
use crate::{Error, Result};

/// The calls on a network's tensors and parts; every [`Module`] has them.
///
/// Lists are in the order of the fields, with dotted paths as in PyTorch's checkpoints; a tensor that
/// two fields share is listed once, under the first name.
pub trait Network: Module {
    /// Every parameter, frozen ones included, with its path.
    fn named_parameters(&self) -> Vec<(String, Tensor)> {
        tensors(self, Kind::Parameter)
    }

    /// Every parameter, frozen ones included.
    fn parameters(&self) -> Vec<Tensor> {
        self.named_parameters().into_iter().map(|(_, tensor)| tensor).collect()
    }

    /// The parameters that training changes, with their paths: what an optimiser takes.
    fn trainable_parameters(&self) -> Vec<(String, Var)> {
        let trainable = self.named_parameters().into_iter().filter(|(_, tensor)| tensor.is_variable());
        trainable.filter_map(|(name, tensor)| Some((name, Var::from_tensor(&tensor).ok()?))).collect()
    }

    /// The tensors that are saved and moved but never trained, with their paths.
    fn buffers(&self) -> Vec<(String, Tensor)> {
        tensors(self, Kind::Buffer)
    }

    /// The network itself under the empty path, then every part of it.
    fn named_modules(&self) -> Vec<(String, &dyn Module)>
    where
        Self: Sized,
    {
        let mut lister = Modules { path: String::new(), found: vec![(String::new(), self as &dyn Module)] };
        self.visit(&mut lister);
        lister.found
    }

    /// The number of elements of all parameters.
    fn num_parameters(&self) -> usize {
        self.parameters().iter().map(Tensor::elem_count).sum()
    }

    /// Parameters and buffers by path, sharing the network's storage.
    fn state_dict(&self) -> StateDict {
        let mut lister = Lister { shared: true, ..Lister::default() };
        self.visit(&mut lister);
        lister.found.into_iter().map(|(name, _, tensor)| (name, tensor.detach())).collect()
    }

    /// Copies the tensors of `state` into this network, all of them or, where one does not fit, none.
    fn load_state_dict(&mut self, state: &StateDict) -> Result<()> {
        let report = compare(self, state);
        report.check()?;
        assign_all(self, state, &report)
    }

    /// Copies the tensors of a checkpoint into this network, as [`Load`] says, and reports what was loaded.
    ///
    /// With [`Load::partial`], what the checkpoint lacks keeps its values; else, where a tensor does not
    /// fit, nothing changes. With [`Load::dtype`], the network's float tensors become of that type first.
    fn load_with(&mut self, load: impl Borrow<Load>) -> Result<LoadReport>
    where
        Self: Sized,
    {
        let load = load.borrow();
        let dtype = load.float_dtype()?;
        let state = load.read(&Device::Cpu)?;
        let report = compare(self, &state);
        if !load.is_partial() {
            report.check().map_err(|error| error.in_layer(load.path().display()))?;
        }
        if let Some(dtype) = dtype {
            self.to_dtype(dtype)?;
        }
        assign_all(self, &state, &report)?;
        Ok(report)
    }

    /// Writes every tensor to a `.safetensors` file. The file appears whole or not at all: a crash, or a
    /// full disk, leaves what was there before.
    fn save(&self, path: impl AsRef<Path>) -> Result<()>
    where
        Self: Sized,
    {
        self.save_with(path, &[])
    }

    /// The same, with metadata of your own: `&[("epoch", "3")]`. [`checkpoint::metadata`] reads them back,
    /// beside `network`, this network's type, and `sconce_version`.
    fn save_with(&self, path: impl AsRef<Path>, metadata: &[(&str, &str)]) -> Result<()>
    where
        Self: Sized,
    {
        checkpoint::write_safetensors(path, &self.state_dict(), &with_own(metadata, self.kind())?)
    }

    /// Moves every tensor to `device`; trainable parameters become new variables there.
    fn to_device(&mut self, device: &Device) -> Result<()> {
        convert(self, |tensor| tensor.to_device(device))
    }

    /// Converts every float tensor to `dtype`; trainable parameters become new variables.
    fn to_dtype(&mut self, dtype: DType) -> Result<()> {
        convert(
            self,
            |tensor| {
                if tensor.dtype().is_float() { tensor.to_dtype(dtype) } else { Ok(tensor.clone()) }
            },
        )
    }

    /// Stops training of the parameters whose path matches: `freeze("backbone.**")`. `*` stands for one
    /// step of a path, `**` for any number. A pattern that matches nothing is an error.
    fn freeze(&mut self, pattern: &str) -> Result<()> {
        select(self, pattern, |tensor| Ok(tensor.detach()))
    }

    /// Resumes training of the parameters whose path matches, as copies of their own.
    fn unfreeze(&mut self, pattern: &str) -> Result<()> {
        select(self, pattern, |tensor| Ok(Var::from_tensor(tensor)?.into_inner()))
    }

    /// A twin that shares storage with this network and records no graph: it sees what training does
    /// to this one, and nothing in it is trainable.
    fn detached(&self) -> Self
    where
        Self: Sized,
    {
        let mut twin = self.share();
        // Detaching cannot fail.
        let _ = for_each_mut(&mut twin, &mut |_, _, tensor| {
            *tensor = tensor.detach();
            Ok(())
        });
        twin
    }

    /// A copy with storage of its own in which nothing is trainable: its weights are packed for the
    /// kernels once, not at every call.
    fn inference(&self) -> Result<Self>
    where
        Self: Sized,
    {
        let mut copy = self.share();
        let mut made = HashMap::new();
        for_each_mut(&mut copy, &mut |_, _, tensor| {
            let fresh = once(&mut made, tensor, |tensor| Ok(tensor.copy()?.detach()))?;
            *tensor = fresh;
            Ok(())
        })?;
        Ok(copy)
    }

    /// A view in evaluation mode that is a `candle_nn::Module`, for candle's `Sequential` and friends.
    fn eval(&self) -> Eval<'_, Self>
    where
        Self: Sized,
    {
        Eval(self)
    }

    /// Records the evaluation forward pass of an input like `x` as a CUDA graph, to be replayed with the numbers
    /// of other inputs: the whole network in one submission, which pays for networks of many small launches.
    /// See [`Captured`].
    ///
    /// # Errors
    /// `x` is not on a CUDA device, the device is on the legacy default stream, the forward pass fails, or it
    /// does what cannot be recorded: reads a number back, or copies more than a few from the host.
    fn capture(&self, x: &Tensor) -> Result<Captured<Self>>
    where
        Self: Forward<Signal, Output = Signal> + Sized,
    {
        Captured::new(self.detached(), x)
    }
}

impl<M: Module + ?Sized> Network for M {}

/// See [`Network::eval`].
pub struct Eval<'a, M>(&'a M);

impl<M: Forward<Signal, Output = Signal>> candle_core::Module for Eval<'_, M> {
    fn forward(&self, x: &Tensor) -> candle_core::Result<Tensor> {
        Ok(self.0.call(x.into(), Mode::Eval).into_tensor()?)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Parameter,
    Buffer,
}

/// `prefix.name`, or `name` at the top.
fn join(prefix: &str, name: &str) -> String {
    if prefix.is_empty() { name.to_string() } else { format!("{prefix}.{name}") }
}

/// Lists tensors with their paths; a tensor under two names once, unless `shared`.
#[derive(Default)]
struct Lister<'a> {
    path: String,
    shared: bool,
    seen: HashSet<TensorId>,
    found: Vec<(String, Kind, &'a Tensor)>,
}

impl<'a> Lister<'a> {
    fn note(&mut self, name: &str, kind: Kind, tensor: &'a Tensor) {
        if self.seen.insert(tensor.id()) || self.shared {
            self.found.push((join(&self.path, name), kind, tensor));
        }
    }
}

impl<'a> Visitor<'a> for Lister<'a> {
    fn parameter(&mut self, name: &str, tensor: &'a Tensor) {
        self.note(name, Kind::Parameter, tensor);
    }

    fn buffer(&mut self, name: &str, tensor: &'a Tensor) {
        self.note(name, Kind::Buffer, tensor);
    }

    fn child(&mut self, name: &str, child: &'a dyn Module) {
        let path = join(&self.path, name);
        let above = std::mem::replace(&mut self.path, path);
        child.visit(self);
        self.path = above;
    }
}

fn tensors<M: Module + ?Sized>(network: &M, kind: Kind) -> Vec<(String, Tensor)> {
    let mut lister = Lister::default();
    network.visit(&mut lister);
    let of_kind = lister.found.into_iter().filter(|(_, k, _)| *k == kind);
    of_kind.map(|(name, _, tensor)| (name, tensor.clone())).collect()
}

/// Lists modules with their paths, outermost first.
struct Modules<'a> {
    path: String,
    found: Vec<(String, &'a dyn Module)>,
}

impl<'a> Visitor<'a> for Modules<'a> {
    fn parameter(&mut self, _: &str, _: &'a Tensor) {}

    fn buffer(&mut self, _: &str, _: &'a Tensor) {}

    fn child(&mut self, name: &str, child: &'a dyn Module) {
        if !child.is_present() {
            return;
        }
        let path = join(&self.path, name);
        self.found.push((path.clone(), child));
        let above = std::mem::replace(&mut self.path, path);
        child.visit(self);
        self.path = above;
    }
}

type Change<'a> = &'a mut dyn FnMut(&str, Kind, &mut Tensor) -> Result<()>;

/// Offers every tensor with its path to a change, until one fails.
struct Changer<'a> {
    path: String,
    change: Change<'a>,
    result: Result<()>,
}

impl Changer<'_> {
    fn offer(&mut self, name: &str, kind: Kind, tensor: &mut Tensor) {
        if self.result.is_ok() {
            let name = join(&self.path, name);
            self.result = (self.change)(&name, kind, tensor).map_err(|error| error.at(&name));
        }
    }
}

impl VisitorMut for Changer<'_> {
    fn parameter(&mut self, name: &str, tensor: &mut Tensor) {
        self.offer(name, Kind::Parameter, tensor);
    }

    fn buffer(&mut self, name: &str, tensor: &mut Tensor) {
        self.offer(name, Kind::Buffer, tensor);
    }

    fn child(&mut self, name: &str, child: &mut dyn Module) {
        let path = join(&self.path, name);
        let above = std::mem::replace(&mut self.path, path);
        child.visit_mut(self);
        self.path = above;
    }
}

/// Lets `change` replace each tensor; the first error ends it.
pub(crate) fn for_each_mut<M: Module + ?Sized>(network: &mut M, change: Change<'_>) -> Result<()> {
    let mut changer = Changer { path: String::new(), change, result: Ok(()) };
    network.visit_mut(&mut changer);
    changer.result
}

/// `make(tensor)`, made once for a tensor that several fields share.
fn once(
    made: &mut HashMap<TensorId, Tensor>,
    tensor: &Tensor,
    make: impl FnOnce(&Tensor) -> Result<Tensor>,
) -> Result<Tensor> {
    if let Some(tensor) = made.get(&tensor.id()) {
        return Ok(tensor.clone());
    }
    let new = make(tensor)?;
    made.insert(tensor.id(), new.clone());
    Ok(new)
}

/// Converts every tensor, all or none: what can fail happens before the first is replaced.
fn convert<M: Module + ?Sized>(
    network: &mut M,
    to: impl Fn(&Tensor) -> candle_core::Result<Tensor>,
) -> Result<()> {
    let mut made = HashMap::new();
    let mut lister = Lister { shared: true, ..Lister::default() };
    network.visit(&mut lister);
    for (_, _, tensor) in lister.found {
        once(&mut made, tensor, |tensor| {
            let new = to(&tensor.detach())?;
            Ok(if tensor.is_variable() { Var::from_tensor(&new)?.into_inner() } else { new })
        })?;
    }
    for_each_mut(network, &mut |_, _, tensor| {
        if let Some(new) = made.get(&tensor.id()) {
            *tensor = new.clone();
        }
        Ok(())
    })
}

/// Replaces the parameters whose path matches `pattern`.
fn select<M: Module + ?Sized>(
    network: &mut M,
    pattern: &str,
    with: impl Fn(&Tensor) -> Result<Tensor>,
) -> Result<()> {
    let glob = Glob::new(pattern);
    let mut made = HashMap::new();
    for_each_mut(network, &mut |name, kind, tensor| {
        if kind == Kind::Parameter && (glob.matches(name) || made.contains_key(&tensor.id())) {
            let new = once(&mut made, tensor, &with)?;
            *tensor = new;
        }
        Ok(())
    })?;
    if made.is_empty() {
        return Err(Error::msg(format!("no parameter of this {} matches {pattern:?}", network.kind())));
    }
    Ok(())
}

/// What of `state` a network has, by name and shape.
fn compare<M: Module + ?Sized>(network: &M, state: &StateDict) -> LoadReport {
    let mut lister = Lister { shared: true, ..Lister::default() };
    network.visit(&mut lister);
    let mut report = LoadReport::default();
    let mut names = HashSet::new();
    for (name, _, tensor) in &lister.found {
        report.note(name, tensor.dims(), state.get(name));
        names.insert(name.as_str());
    }
    report.note_unexpected(state, |name| names.contains(name));
    report
}

/// Copies into the network what `report` says can be loaded. What can fail is tried before the first copy.
fn assign_all<M: Module + ?Sized>(network: &mut M, state: &StateDict, report: &LoadReport) -> Result<()> {
    let loaded: HashSet<&str> = report.loaded.iter().map(String::as_str).collect();
    let new = |name: &str| state.get(name).filter(|_| loaded.contains(name));
    for_each_mut(network, &mut |name, _, tensor| {
        if let Some(new) = new(name) {
            let one = new.flatten_all()?;
            converted(&one.narrow(0, 0, one.elem_count().min(1))?, tensor)?;
        }
        Ok(())
    })?;
    for_each_mut(network, &mut |name, _, tensor| new(name).map_or(Ok(()), |new| assign(tensor, new)))
}

/// The user's metadata and the network's type.
fn with_own(metadata: &[(&str, &str)], kind: Cow<str>) -> Result<BTreeMap<String, String>> {
    let mut all = BTreeMap::from([("network".to_string(), kind.into_owned())]);
    for &(key, value) in metadata {
        let reserved = ["format", "sconce_version"].contains(&key);
        if reserved || all.insert(key.to_string(), value.to_string()).is_some() {
            return Err(Error::msg(format!("the metadata's key `{key}` is given twice or kept by sconce")));
        }
    }
    Ok(all)
}

/// Puts the content of `new` into `tensor`: in place where it trains, since an optimiser and twins hold
/// the same storage; as a new tensor where it does not, since packed copies of it must not go stale.
fn assign(tensor: &mut Tensor, new: &Tensor) -> Result<()> {
    if tensor.is_variable() {
        fill(tensor, new)?;
    } else {
        *tensor = converted(new, tensor)?.copy()?.detach();
    }
    Ok(())
}
