//! An ordered map from names to tensors.

use std::collections::HashMap;
use std::fmt;

use candle_core::Tensor;

/// Tensors by name, in insertion order: the order of the file or of the network.
///
/// Lookup takes constant time. Tensors are reference-counted, so cloning copies no data.
///
/// ```
/// use sconce::candle::{DType, Device, Tensor};
/// use sconce::checkpoint::StateDict;
///
/// let mut state = StateDict::new();
/// state.insert("fc.weight", Tensor::zeros((10, 20), DType::F32, &Device::Cpu)?);
/// state.insert("fc.bias", Tensor::zeros(10, DType::F32, &Device::Cpu)?);
/// assert_eq!(state.keys().collect::<Vec<_>>(), ["fc.weight", "fc.bias"]);
/// assert_eq!(format!("{state:?}"), r#"{"fc.weight": F32 [10, 20], "fc.bias": F32 [10]}"#);
/// # Ok::<(), sconce::candle::Error>(())
/// ```
#[derive(Clone, Default)]
pub struct StateDict {
    entries: Vec<(String, Tensor)>,
    positions: HashMap<String, usize>,
}

impl StateDict {
    /// Creates an empty state dict.
    pub fn new() -> Self {
        Self::default()
    }

    /// Returns the number of tensors.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Returns `true` if there are no tensors.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Returns `true` if there is a tensor with this name.
    pub fn contains_key(&self, name: &str) -> bool {
        self.positions.contains_key(name)
    }

    /// Returns the tensor with this name.
    pub fn get(&self, name: &str) -> Option<&Tensor> {
        self.positions.get(name).map(|&position| &self.entries[position].1)
    }

    /// Appends a tensor, or replaces the tensor with the same name and returns the replaced tensor.
    pub fn insert(&mut self, name: impl Into<String>, tensor: Tensor) -> Option<Tensor> {
        let name = name.into();
        if let Some(&position) = self.positions.get(&name) {
            return Some(std::mem::replace(&mut self.entries[position].1, tensor));
        }
        self.positions.insert(name.clone(), self.entries.len());
        self.entries.push((name, tensor));
        None
    }

    /// Removes and returns a tensor. The other tensors keep their order. The call takes time proportional to the
    /// number of tensors after the removed one.
    pub fn remove(&mut self, name: &str) -> Option<Tensor> {
        let removed = self.positions.remove(name)?;
        let (_, tensor) = self.entries.remove(removed);
        for (name, _) in &self.entries[removed..] {
            if let Some(position) = self.positions.get_mut(name) {
                *position -= 1;
            }
        }
        Some(tensor)
    }

    /// Returns an iterator over the names, in order.
    pub fn keys(&self) -> impl ExactSizeIterator<Item = &str> + Clone {
        self.entries.iter().map(|(name, _)| name.as_str())
    }

    /// Returns an iterator over the names and tensors, in order.
    pub fn iter(&self) -> Iter<'_> {
        fn borrow((name, tensor): &(String, Tensor)) -> (&str, &Tensor) {
            (name, tensor)
        }
        self.entries.iter().map(borrow)
    }
}

/// An iterator over the names and tensors of a [`StateDict`], in order.
pub type Iter<'a> =
    std::iter::Map<std::slice::Iter<'a, (String, Tensor)>, fn(&'a (String, Tensor)) -> (&'a str, &'a Tensor)>;

impl<'a> IntoIterator for &'a StateDict {
    type Item = (&'a str, &'a Tensor);
    type IntoIter = Iter<'a>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl IntoIterator for StateDict {
    type Item = (String, Tensor);
    type IntoIter = std::vec::IntoIter<(String, Tensor)>;

    fn into_iter(self) -> Self::IntoIter {
        self.entries.into_iter()
    }
}

impl<Name: Into<String>> Extend<(Name, Tensor)> for StateDict {
    fn extend<Entries: IntoIterator<Item = (Name, Tensor)>>(&mut self, entries: Entries) {
        for (name, tensor) in entries {
            self.insert(name, tensor);
        }
    }
}

impl<Name: Into<String>> FromIterator<(Name, Tensor)> for StateDict {
    fn from_iter<Entries: IntoIterator<Item = (Name, Tensor)>>(entries: Entries) -> Self {
        let mut state = Self::new();
        state.extend(entries);
        state
    }
}

impl fmt::Debug for StateDict {
    /// Formats dtypes and shapes, without values.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let described =
            self.iter().map(|(name, tensor)| (name, format!("{:?} {:?}", tensor.dtype(), tensor.dims())));
        let mut map = f.debug_map();
        for (name, description) in described {
            map.entry(&name, &format_args!("{description}"));
        }
        map.finish()
    }
}
