//! The layers of a network, to which recorded calls are added.

use std::collections::HashMap;

use candle_core::Tensor;

use crate::module::{Module, Visitor};
use crate::registry::join;
use crate::scope::{Call, LayerIdentity};

use super::named::CallSizes;
use super::{LayerSummary, byte_size, is_trainable};

/// The layers of a network in the order of its fields. A layer precedes the layers in it.
pub(super) struct LayerList {
    rows: Vec<Row>,
    /// The row of the layer at each path of field names.
    by_field: HashMap<Vec<String>, usize>,
}

struct Row {
    layer: LayerSummary,
    identity: LayerIdentity,
    /// The row of the same layer under an earlier path.
    first: Option<usize>,
}

impl LayerList {
    pub fn new(network: &dyn Module) -> Self {
        let mut lister = RowLister { rows: Vec::new(), path: String::new(), depth: 0 };
        lister.push("", network);
        let mut rows = lister.rows;
        mark_shared(&mut rows);
        let by_field = rows_by_field(network, &rows);
        Self { rows, by_field }
    }

    /// Adds a call to its layer. The multiply-adds of a layer without a row are those of the layer around it.
    pub fn add(&mut self, mut call: Call, [input_sizes, output_sizes]: CallSizes) {
        let is_listed = self.by_field.contains_key(&call.path);
        let Some(row) = self.row_around(&mut call.path) else { return };
        let fused_into = call.fused_into.and_then(|mut path| self.row_around(&mut path));
        let fused_into = fused_into.map(|row| self.rows[row].layer.path.clone());
        let layer = &mut self.rows[row].layer;
        layer.multiply_adds = layer.multiply_adds.saturating_add(call.multiply_adds);
        if !is_listed {
            return;
        }
        layer.calls += 1;
        let bytes = call.output.as_ref().map_or(0, byte_size);
        layer.output_bytes = layer.output_bytes.saturating_add(bytes);
        if layer.input_shape.is_none() {
            layer.input_shape = call.input.map(|input| input.dims);
            layer.output_shape = call.output.map(|output| output.dims);
            layer.input_sizes = input_sizes;
            layer.output_sizes = output_sizes;
            layer.fused_into = fused_into;
        }
    }

    /// Returns the row of the layer at `path`, or of the innermost layer around it that has a row. Shortens the path to
    /// that of the row.
    fn row_around(&self, path: &mut Vec<String>) -> Option<usize> {
        loop {
            match self.by_field.get(path) {
                Some(&row) => return Some(self.rows[row].first.unwrap_or(row)),
                None => path.pop()?,
            };
        }
    }

    /// Returns the layer of a row, to which the calls under all of its paths are added.
    fn first<'a>(&'a self, row: &'a Row) -> &'a LayerSummary {
        row.first.map_or(&row.layer, |first| &self.rows[first].layer)
    }

    /// Returns the size of the outputs of the layers that have parameters and call no other layers.
    pub fn activation_bytes(&self) -> u64 {
        let bytes = self.rows.iter().enumerate().map(|(i, row)| {
            let is_inside = |other: &&Row| other.layer.depth > row.layer.depth;
            let mut inside = self.rows[i + 1..].iter().take_while(is_inside);
            let calls_layers = inside.clone().any(|other| self.first(other).calls > 0);
            let has_parameters = row.layer.parameters > 0 || inside.any(|other| other.layer.parameters > 0);
            if has_parameters && !calls_layers { row.layer.output_bytes } else { 0 }
        });
        bytes.fold(0, u64::saturating_add)
    }

    /// Returns every layer once.
    pub fn into_layers(self) -> Vec<LayerSummary> {
        self.rows.into_iter().filter(|row| row.first.is_none()).map(|row| row.layer).collect()
    }
}

/// Finds the layers that are listed under several paths, together with the layers in them.
fn mark_shared(rows: &mut [Row]) {
    let mut first_rows = HashMap::new();
    let mut i = 0;
    while i < rows.len() {
        // Zero-sized layers can share an address, but have no parameters to share.
        let identity = rows[i].identity;
        let first = if identity.is_unique() { *first_rows.entry(identity).or_insert(i) } else { i };
        if first == i {
            i += 1;
            continue;
        }
        let depth = rows[i].layer.depth;
        let inside = rows[i + 1..].iter().take_while(|row| row.layer.depth > depth).count();
        for offset in 0..=inside {
            let target = first + offset;
            rows[i + offset].first = Some(rows[target].first.unwrap_or(target));
        }
        i += inside + 1;
    }
}

/// Returns the row of each layer by the names of the fields that lead to it. With `#[module(rename = …)]`, the names of
/// the rows differ from those of the fields, and the lists whose elements are renamed have no rows.
fn rows_by_field(network: &dyn Module, rows: &[Row]) -> HashMap<Vec<String>, usize> {
    let mut lister = FieldLister { fields: Vec::new(), path: Vec::new() };
    lister.push(network);
    let mut remaining = rows.iter().enumerate().peekable();
    let mut by_field = HashMap::new();
    for (path, identity) in lister.fields {
        // Both lists have the same order.
        if let Some((row, _)) = remaining.next_if(|(_, row)| row.identity == identity) {
            by_field.insert(path, row);
        }
    }
    by_field
}

/// A visitor that lists every module under its name in the state dict.
struct RowLister {
    rows: Vec<Row>,
    path: String,
    depth: usize,
}

impl RowLister {
    fn push(&mut self, name: &str, module: &dyn Module) {
        let layer = LayerSummary {
            path: self.path.clone(),
            name: name.to_string(),
            kind: module.kind().into_owned(),
            depth: self.depth,
            parameters: 0,
            trainable_parameters: 0,
            calls: 0,
            input_shape: None,
            output_shape: None,
            input_sizes: None,
            output_sizes: None,
            output_bytes: 0,
            multiply_adds: 0,
            fused_into: None,
        };
        let row = self.rows.len();
        self.rows.push(Row { layer, identity: module.identity(), first: None });
        let (parameters, trainable) = own_parameters(module);
        self.rows[row].layer.parameters = parameters;
        self.rows[row].layer.trainable_parameters = trainable;
        module.visit(self);
    }
}

impl<'a> Visitor<'a> for RowLister {
    fn parameter(&mut self, _: &str, _: &'a Tensor) {}

    fn buffer(&mut self, _: &str, _: &'a Tensor) {}

    fn child(&mut self, name: &str, child: &'a dyn Module) {
        if !child.is_present() {
            return;
        }
        let path = join(&self.path, name);
        let outer = std::mem::replace(&mut self.path, path);
        self.depth += 1;
        self.push(name, child);
        self.depth -= 1;
        self.path = outer;
    }
}

/// Returns the number of elements of the parameters of a module, and of those that are not frozen, without the modules
/// in it.
fn own_parameters(module: &dyn Module) -> (usize, usize) {
    struct Counter(usize, usize);
    impl<'a> Visitor<'a> for Counter {
        fn parameter(&mut self, _: &str, tensor: &'a Tensor) {
            let count = tensor.elem_count();
            self.0 = self.0.saturating_add(count);
            self.1 = self.1.saturating_add(if is_trainable(tensor) { count } else { 0 });
        }

        fn buffer(&mut self, _: &str, _: &'a Tensor) {}

        fn child(&mut self, _: &str, _: &'a dyn Module) {}
    }
    let mut counter = Counter(0, 0);
    module.visit(&mut counter);
    (counter.0, counter.1)
}

/// A visitor that lists every module by the names of the fields that lead to it.
struct FieldLister {
    fields: Vec<(Vec<String>, LayerIdentity)>,
    path: Vec<String>,
}

impl FieldLister {
    fn push(&mut self, module: &dyn Module) {
        self.fields.push((self.path.clone(), module.identity()));
        module.visit_fields(self);
    }
}

impl<'a> Visitor<'a> for FieldLister {
    fn parameter(&mut self, _: &str, _: &'a Tensor) {}

    fn buffer(&mut self, _: &str, _: &'a Tensor) {}

    fn child(&mut self, name: &str, child: &'a dyn Module) {
        if child.is_present() {
            self.path.push(name.to_string());
            self.push(child);
            self.path.pop();
        }
    }
}
