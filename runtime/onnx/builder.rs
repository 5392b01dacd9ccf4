//! Builds the nodes and the initializers of a model.

use std::collections::HashMap;

use candle_core::{DType, Device, Tensor, TensorId};

use crate::source::is_meta;
use crate::{Error, Result};

use super::proto::{Attribute, Node, data_type};
use super::symbolic::{Size, ValueType};

/// A value in the model: its name, and its shape and dtype.
#[derive(Clone)]
pub(super) struct Value {
    pub name: String,
    pub dims: Vec<Size>,
    pub dtype: DType,
}

/// The nodes and the initializers so far.
pub(super) struct Builder {
    pub nodes: Vec<Node>,
    /// The names and the tensors of the parameters, buffers and constants that nodes read.
    pub initializers: Vec<(String, Tensor)>,
    /// The names of the parameters and buffers of the network.
    parameters: HashMap<TensorId, String>,
    /// The names of the initializers. The tensors are in `initializers`, so that no other tensor gets their ids.
    by_tensor: HashMap<TensorId, String>,
    by_ints: HashMap<Vec<i64>, String>,
    by_number: HashMap<(u64, DType), String>,
    /// For each name of a size, how its number follows from an input.
    pub sources: Vec<Option<SizeSource>>,
    /// The prefix of the names of new values: the path of the layer.
    pub prefix: String,
    counts: HashMap<String, usize>,
}

/// Where the number of a name of sizes is.
#[derive(Clone)]
pub(super) enum SizeSource {
    /// The size of an input in a dimension is `factor` times the number. `prefix` is that of the values that compute
    /// it.
    Input { name: String, dim: usize, factor: i64, prefix: String },
    /// The name of a value with the number.
    Value(String),
}

impl Value {
    pub fn rank(&self) -> usize {
        self.dims.len()
    }

    /// Returns the sizes from a dimension on, which must not have names.
    pub fn known_sizes(&self, from: usize) -> Result<Vec<usize>> {
        self.dims[from..].iter().map(|size| size.known()).collect()
    }
}

impl Builder {
    pub fn new(parameters: HashMap<TensorId, String>) -> Self {
        Self {
            nodes: Vec::new(),
            initializers: Vec::new(),
            // The names of parameters are taken, even by those that no node reads.
            counts: parameters.values().map(|name| (name.clone(), 1)).collect(),
            parameters,
            by_tensor: HashMap::new(),
            by_ints: HashMap::new(),
            by_number: HashMap::new(),
            sources: Vec::new(),
            prefix: String::new(),
        }
    }

    /// Returns `name`, or `name_2` and so on if it is taken.
    pub fn unique(&mut self, name: &str) -> String {
        let count = self.counts.entry(name.to_string()).or_default();
        *count += 1;
        match *count {
            1 => name.to_string(),
            count => {
                let numbered = format!("{name}_{count}");
                self.unique(&numbered)
            }
        }
    }

    /// Adds a node with several results and returns their names.
    pub fn op_with_outputs<S: AsRef<str>>(
        &mut self,
        op_type: &str,
        inputs: &[S],
        attributes: Vec<Attribute>,
        outputs: usize,
    ) -> Vec<String> {
        let prefix = self.prefix.clone();
        let name = self.unique(&format!("{prefix}/{op_type}"));
        let output = |i: usize| if outputs == 1 { name.clone() } else { format!("{name}:{i}") };
        let outputs: Vec<String> = (0..outputs).map(output).collect();
        self.nodes.push(Node {
            input: inputs.iter().map(|input| input.as_ref().to_string()).collect(),
            output: outputs.clone(),
            name: Some(name),
            op_type: Some(op_type.to_string()),
            attribute: attributes,
        });
        outputs
    }

    /// Adds a node with attributes and returns the name of its result.
    pub fn op_with<S: AsRef<str>>(
        &mut self,
        op_type: &str,
        inputs: &[S],
        attributes: Vec<Attribute>,
    ) -> String {
        self.op_with_outputs(op_type, inputs, attributes, 1).remove(0)
    }

    /// Adds a node and returns the name of its result.
    pub fn op<S: AsRef<str>>(&mut self, op_type: &str, inputs: &[S]) -> String {
        self.op_with(op_type, inputs, Vec::new())
    }

    /// Renames the result of a node. Returns `false` if no node has a result of this name.
    pub fn rename(&mut self, old: &str, new: &str) -> bool {
        if !self.nodes.iter().any(|node| node.output.iter().any(|output| output == old)) {
            return false;
        }
        let names = self.nodes.iter_mut().flat_map(|node| node.input.iter_mut().chain(&mut node.output));
        names.filter(|name| *name == old).for_each(|name| new.clone_into(name));
        true
    }

    /// Adds a node that copies a value, for a second name.
    pub fn identity(&mut self, input: String, output: &str) {
        self.nodes.push(Node {
            input: vec![input],
            output: vec![output.to_string()],
            name: Some(output.to_string()),
            op_type: Some("Identity".to_string()),
            attribute: Vec::new(),
        });
    }

    /// Returns the name of the initializer of a tensor.
    pub fn tensor(&mut self, tensor: &Tensor) -> Result<String> {
        if let Some(name) = self.by_tensor.get(&tensor.id()) {
            return Ok(name.clone());
        }
        let name = match self.parameters.get(&tensor.id()) {
            Some(name) => name.clone(),
            None => self.unique("constant"),
        };
        if is_meta(tensor) {
            return Err(Error::msg(format!("expected a parameter with numbers, found a shape: `{name}`")));
        }
        self.by_tensor.insert(tensor.id(), name.clone());
        self.initializers.push((name.clone(), tensor.clone()));
        Ok(name)
    }

    /// Returns a value for a tensor.
    pub fn constant(&mut self, tensor: &Tensor) -> Result<Value> {
        let ValueType { dims, dtype } = ValueType::of(tensor);
        Ok(Value { name: self.tensor(tensor)?, dims, dtype })
    }

    /// Returns the name of a list of integers.
    pub fn ints(&mut self, values: &[i64]) -> Result<String> {
        if let Some(name) = self.by_ints.get(values) {
            return Ok(name.clone());
        }
        let name = self.tensor(&Tensor::new(values, &Device::Cpu)?)?;
        self.by_ints.insert(values.to_vec(), name.clone());
        Ok(name)
    }

    /// Returns the name of a number of the type `dtype`.
    pub fn number(&mut self, number: f64, dtype: DType) -> Result<String> {
        let key = (number.to_bits(), dtype);
        if let Some(name) = self.by_number.get(&key) {
            return Ok(name.clone());
        }
        let name = self.tensor(&Tensor::new(number, &Device::Cpu)?.to_dtype(dtype)?)?;
        self.by_number.insert(key, name.clone());
        Ok(name)
    }

    /// Returns the name of a list of sizes. Sizes with names are computed when the model runs.
    pub fn sizes(&mut self, sizes: &[Size]) -> Result<String> {
        if let Some(constants) = sizes.iter().map(|size| size.number()).collect::<Option<Vec<_>>>() {
            return self.ints(&constants.into_iter().map(|size| size as i64).collect::<Vec<_>>());
        }
        let parts = sizes.iter().map(|size| self.size(*size)).collect::<Result<Vec<_>>>()?;
        if let [part] = &parts[..] {
            return Ok(part.clone());
        }
        Ok(self.op_with("Concat", &parts, vec![Attribute::int("axis", 0)]))
    }

    /// Returns the name of a list with one size.
    fn size(&mut self, size: Size) -> Result<String> {
        let mut sum = None;
        for (names, factor) in size.terms() {
            let mut parts =
                names.into_iter().map(|name| self.named_size(name)).collect::<Result<Vec<_>>>()?;
            if factor != 1 || parts.is_empty() {
                parts.push(self.ints(&[factor])?);
            }
            let product = self.joined("Mul", parts);
            sum = Some(self.joined("Add", sum.into_iter().chain([product]).collect()));
        }
        sum.map_or_else(|| self.ints(&[0]), Ok)
    }

    /// Joins values by an operator with two inputs.
    fn joined(&mut self, op_type: &str, parts: Vec<String>) -> String {
        let mut parts = parts.into_iter();
        let first = parts.next().unwrap_or_default();
        parts.fold(first, |joined, part| self.op(op_type, &[joined, part]))
    }

    /// Returns the name of a list with the number of a name.
    fn named_size(&mut self, name: usize) -> Result<String> {
        let Some(source) = self.sources.get(name).cloned().flatten() else {
            return Err(Error::msg(
                "expected an input with a dimension whose size is a name or a multiple of a name, because the exported \
                 model computes other sizes from it",
            ));
        };
        let (input, dim, factor, prefix) = match source {
            SizeSource::Value(value) => return Ok(value),
            SizeSource::Input { name, dim, factor, prefix } => (name, dim, factor, prefix),
        };
        let prefix = std::mem::replace(&mut self.prefix, prefix);
        let range = vec![Attribute::int("start", dim as i64), Attribute::int("end", dim as i64 + 1)];
        let mut size = self.op_with("Shape", &[input], range);
        if factor != 1 {
            let divisor = self.ints(&[factor])?;
            size = self.op("Div", &[size, divisor]);
        }
        self.prefix = prefix;
        self.sources[name] = Some(SizeSource::Value(size.clone()));
        Ok(size)
    }

    /// Returns the name of the i64 vector `0, 1, …` of this size.
    pub fn range(&mut self, size: Size) -> Result<String> {
        let size = self.size(size)?;
        let axes = self.ints(&[0])?;
        let end = self.op("Squeeze", &[size, axes]);
        let (start, step) = (self.number(0., DType::I64)?, self.number(1., DType::I64)?);
        Ok(self.op("Range", &[start, end, step]))
    }

    /// Reshapes a value. Returns it unchanged if it has this shape.
    pub fn reshape(&mut self, x: &Value, dims: &[Size]) -> Result<Value> {
        if x.dims == dims {
            return Ok(x.clone());
        }
        let target = match known_target(&x.dims, dims) {
            Some(target) => self.ints(&target)?,
            None => self.sizes(dims)?,
        };
        Ok(Value { name: self.op("Reshape", &[x.name.clone(), target]), dims: dims.to_vec(), dtype: x.dtype })
    }

    /// Reorders the dimensions.
    pub fn transpose(&mut self, x: &Value, order: &[usize]) -> Value {
        if order.iter().copied().eq(0..order.len()) {
            return x.clone();
        }
        let order_attribute = Attribute::ints("perm", order.iter().map(|dim| *dim as i64).collect());
        let dims = order.iter().map(|dim| x.dims[*dim]).collect();
        Value { name: self.op_with("Transpose", &[&x.name], vec![order_attribute]), dims, dtype: x.dtype }
    }

    /// Inserts dimensions of size 1 at these positions of the result.
    pub fn unsqueeze(&mut self, x: &Value, positions: &[usize]) -> Result<Value> {
        if positions.is_empty() {
            return Ok(x.clone());
        }
        let axes = self.ints(&positions.iter().map(|dim| *dim as i64).collect::<Vec<_>>())?;
        let mut dims = x.dims.clone();
        positions.iter().for_each(|position| dims.insert(*position, Size::constant(1)));
        Ok(Value { name: self.op("Unsqueeze", &[x.name.clone(), axes]), dims, dtype: x.dtype })
    }

    /// Removes dimensions of size 1.
    pub fn squeeze(&mut self, x: &Value, positions: &[usize]) -> Result<Value> {
        if positions.is_empty() {
            return Ok(x.clone());
        }
        let axes = self.ints(&positions.iter().map(|dim| *dim as i64).collect::<Vec<_>>())?;
        let kept = x.dims.iter().enumerate().filter(|(dim, _)| !positions.contains(dim));
        let dims = kept.map(|(_, size)| *size).collect();
        Ok(Value { name: self.op("Squeeze", &[x.name.clone(), axes]), dims, dtype: x.dtype })
    }

    /// Selects a range of one dimension. A negative index counts from the end.
    pub fn slice(&mut self, x: &str, dim: usize, start: i64, end: i64) -> Result<String> {
        let (start, end) = (self.ints(&[start])?, self.ints(&[end])?);
        let axis = self.ints(&[dim as i64])?;
        Ok(self.op("Slice", &[x, &start, &end, &axis]))
    }

    /// Converts a value to another type, with the number of the type in ONNX.
    pub fn cast(&mut self, x: &str, data_type: i64) -> String {
        self.op_with("Cast", &[x], vec![Attribute::int("to", data_type)])
    }

    /// Converts integers to a type that ONNX accepts as indices.
    pub fn indices(&mut self, x: &Value) -> Result<String> {
        Ok(match x.dtype {
            DType::I32 | DType::I64 => x.name.clone(),
            _ => self.cast(&x.name, data_type(DType::I64)?.into()),
        })
    }
}

/// Returns the operand of `Reshape` if it does not depend on the names: 0 for a size that stays the same, and -1 for
/// one other size that has a name.
fn known_target(from: &[Size], to: &[Size]) -> Option<Vec<i64>> {
    let dynamic = to.iter().filter(|size| size.number().is_none()).count();
    let target = to.iter().enumerate().map(|(i, size)| match size.number() {
        Some(size) => size as i64,
        None if dynamic > 1 && from.get(i) == Some(size) => 0,
        None => -1,
    });
    let target: Vec<i64> = target.collect();
    (target.iter().filter(|size| **size == -1).count() <= 1).then_some(target)
}
