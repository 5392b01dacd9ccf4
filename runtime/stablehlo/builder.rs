//! Adds instructions to a function and computes the types of their results.

use std::collections::{HashMap, HashSet};
use std::ops::Range;
use std::rc::Rc;

use candle_core::{DType, Device, Tensor, TensorId};
use safetensors::View as _;

use crate::source::is_meta;
use crate::{Error, Result};

use super::ir::{
    Binary, Convolution, Direction, Element, Function, Instruction, Op, TensorType, Unary, Value, Window,
};

/// The instructions so far.
pub(super) struct Builder {
    pub function: Function,
    /// The path of the layer whose operations are added.
    pub path: Rc<str>,
    /// The arguments of parameters and buffers, and the constants. The tensors are kept, so that no other tensor gets
    /// their ids.
    tensors: HashMap<TensorId, (Tensor, Value)>,
    scalars: HashMap<(u64, Element), Value>,
    /// The values whose gradient is 0.
    constants: HashSet<usize>,
}

impl Builder {
    pub fn new() -> Self {
        Self {
            function: Function::default(),
            path: "".into(),
            tensors: HashMap::new(),
            scalars: HashMap::new(),
            constants: HashSet::new(),
        }
    }

    /// Adds an argument. Must be called before any instruction is added.
    pub fn argument(&mut self, name: &str, dims: &[usize], element: Element) -> Value {
        self.function.arguments.push(name.to_string());
        self.value(dims.to_vec(), element)
    }

    /// Adds an argument for a parameter or a buffer.
    pub fn tensor_argument(&mut self, name: &str, tensor: &Tensor) -> Result<Value> {
        let value = self.argument(name, tensor.dims(), Element::of(tensor.dtype())?);
        self.tensors.insert(tensor.id(), (tensor.clone(), value.clone()));
        Ok(value)
    }

    fn value(&mut self, dims: Vec<usize>, element: Element) -> Value {
        self.function.types.push(TensorType { dims: dims.clone(), element });
        Value { id: self.function.types.len() - 1, dims, element }
    }

    /// Returns a value by its index.
    pub fn value_at(&self, id: usize) -> Value {
        let TensorType { dims, element } = self.function.types[id].clone();
        Value { id, dims, element }
    }

    /// Makes a value a constant for gradients, which do not pass through it.
    pub fn make_constant(&mut self, value: &Value) {
        self.constants.insert(value.id);
    }

    pub fn is_constant(&self, id: usize) -> bool {
        self.constants.contains(&id)
    }

    /// Adds an instruction.
    pub fn push(&mut self, op: Op, operands: &[&Value], dims: Vec<usize>, element: Element) -> Value {
        let result = self.value(dims, element);
        let operands = operands.iter().map(|operand| operand.id).collect();
        self.function.instructions.push(Instruction {
            op,
            operands,
            result: result.id,
            path: self.path.clone(),
        });
        result
    }

    /// Returns the argument or the constant of a tensor.
    pub fn tensor(&mut self, tensor: &Tensor) -> Result<Value> {
        if let Some((_, value)) = self.tensors.get(&tensor.id()) {
            return Ok(value.clone());
        }
        if is_meta(tensor) {
            return Err(Error::msg("expected a constant with numbers, found a shape"));
        }
        let element = Element::of(tensor.dtype())?;
        let bytes = tensor.to_device(&Device::Cpu)?.data().into_owned();
        let size = tensor.dtype().size_in_bytes();
        let is_splat = tensor.elem_count() > 0 && bytes.chunks(size).all(|number| number == &bytes[..size]);
        let bytes = if is_splat { bytes[..size].to_vec() } else { bytes };
        let value = self.push(Op::Constant(bytes), &[], tensor.dims().to_vec(), element);
        self.tensors.insert(tensor.id(), (tensor.clone(), value.clone()));
        Ok(value)
    }

    /// Returns a constant `dims` with the elements `numbers`.
    pub fn numbers(&mut self, numbers: Vec<f64>, dims: &[usize], element: Element) -> Result<Value> {
        let bytes: Vec<u8> = numbers.iter().flat_map(|number| element.bytes(*number)).collect();
        let count: usize = dims.iter().product();
        if numbers.len() != count {
            return Err(Error::msg(format!("expected {count} numbers, found {}", numbers.len())));
        }
        Ok(match numbers.first() {
            Some(first) if numbers.iter().all(|number| number == first) => self.full(*first, dims, element),
            _ => self.push(Op::Constant(bytes), &[], dims.to_vec(), element),
        })
    }

    /// Returns a constant of the numbers of a matrix or vector of f64.
    pub fn weights(&mut self, tensor: &Tensor, element: Element) -> Result<Value> {
        let numbers = tensor.to_dtype(DType::F64)?.flatten_all()?.to_vec1::<f64>()?;
        self.numbers(numbers, tensor.dims(), element)
    }

    /// Returns a constant of one number.
    pub fn scalar(&mut self, number: f64, element: Element) -> Value {
        let key = (number.to_bits(), element);
        if let Some(value) = self.scalars.get(&key) {
            return value.clone();
        }
        let value = self.push(Op::Constant(element.bytes(number)), &[], Vec::new(), element);
        self.scalars.insert(key, value.clone());
        value
    }

    /// Returns a tensor all of whose elements are `number`.
    pub fn full(&mut self, number: f64, dims: &[usize], element: Element) -> Value {
        let scalar = self.scalar(number, element);
        self.broadcast(&scalar, dims)
    }

    pub fn unary(&mut self, op: Unary, x: &Value) -> Value {
        self.push(Op::Unary(op), &[x], x.dims.clone(), x.element)
    }

    /// Combines two values, which broadcast as in NumPy.
    pub fn binary(&mut self, op: Binary, a: &Value, b: &Value) -> Value {
        let dims = broadcast_dims(&a.dims, &b.dims);
        let [a, b] = [a, b].map(|x| self.broadcast(x, &dims));
        self.push(Op::Binary(op), &[&a, &b], dims, a.element)
    }

    pub fn add(&mut self, a: &Value, b: &Value) -> Value {
        self.binary(Binary::Add, a, b)
    }

    pub fn sub(&mut self, a: &Value, b: &Value) -> Value {
        self.binary(Binary::Subtract, a, b)
    }

    pub fn mul(&mut self, a: &Value, b: &Value) -> Value {
        self.binary(Binary::Multiply, a, b)
    }

    pub fn div(&mut self, a: &Value, b: &Value) -> Value {
        self.binary(Binary::Divide, a, b)
    }

    /// Combines each element with a number.
    pub fn with_number(&mut self, op: Binary, x: &Value, number: f64) -> Value {
        let number = self.scalar(number, x.element);
        self.binary(op, x, &number)
    }

    /// Returns `min(max(x, low), high)`.
    pub fn clamp(&mut self, x: &Value, low: f64, high: f64) -> Value {
        let x = self.with_number(Binary::Maximum, x, low);
        self.with_number(Binary::Minimum, &x, high)
    }

    /// Compares two values, which broadcast. The result has the element type `Bool`.
    pub fn compare(&mut self, direction: Direction, a: &Value, b: &Value) -> Value {
        let dims = broadcast_dims(&a.dims, &b.dims);
        let [a, b] = [a, b].map(|x| self.broadcast(x, &dims));
        self.push(Op::Compare(direction), &[&a, &b], dims, Element::Bool)
    }

    pub fn compare_number(&mut self, direction: Direction, x: &Value, number: f64) -> Value {
        let number = self.scalar(number, x.element);
        self.compare(direction, x, &number)
    }

    /// Selects between two values, which broadcast with the condition.
    pub fn select(&mut self, condition: &Value, on_true: &Value, on_false: &Value) -> Value {
        let dims = broadcast_dims(&condition.dims, &broadcast_dims(&on_true.dims, &on_false.dims));
        let [condition, on_true, on_false] = [condition, on_true, on_false].map(|x| self.broadcast(x, &dims));
        self.push(Op::Select, &[&condition, &on_true, &on_false], dims, on_true.element)
    }

    pub fn convert(&mut self, x: &Value, element: Element) -> Value {
        if x.element == element {
            return x.clone();
        }
        self.push(Op::Convert, &[x], x.dims.clone(), element)
    }

    /// Repeats a value along the dimensions in which `dims` differs, as in NumPy.
    pub fn broadcast(&mut self, x: &Value, dims: &[usize]) -> Value {
        let first = dims.len() - x.rank();
        self.broadcast_in_dim(x, (first..dims.len()).collect(), dims)
    }

    /// Repeats a value. `positions` has the dimension of the result for each dimension of `x`.
    pub fn broadcast_in_dim(&mut self, x: &Value, positions: Vec<usize>, dims: &[usize]) -> Value {
        if x.dims == dims {
            return x.clone();
        }
        self.push(Op::BroadcastInDim(positions), &[x], dims.to_vec(), x.element)
    }

    pub fn reshape(&mut self, x: &Value, dims: &[usize]) -> Value {
        if x.dims == dims {
            return x.clone();
        }
        self.push(Op::Reshape, &[x], dims.to_vec(), x.element)
    }

    /// Inserts dimensions of size 1 at these positions of the result.
    pub fn unsqueeze(&mut self, x: &Value, positions: &[usize]) -> Value {
        let mut dims = x.dims.clone();
        positions.iter().for_each(|position| dims.insert(*position, 1));
        self.reshape(x, &dims)
    }

    /// Removes dimensions of size 1.
    pub fn squeeze(&mut self, x: &Value, positions: &[usize]) -> Value {
        let kept = x.dims.iter().enumerate().filter(|(dim, _)| !positions.contains(dim));
        let dims: Vec<usize> = kept.map(|(_, size)| *size).collect();
        self.reshape(x, &dims)
    }

    pub fn transpose(&mut self, x: &Value, order: &[usize]) -> Value {
        if order.iter().copied().eq(0..order.len()) {
            return x.clone();
        }
        let dims = order.iter().map(|dim| x.dims[*dim]).collect();
        self.push(Op::Transpose(order.to_vec()), &[x], dims, x.element)
    }

    /// Exchanges two dimensions.
    pub fn swap(&mut self, x: &Value, first: usize, second: usize) -> Value {
        let mut order: Vec<usize> = (0..x.rank()).collect();
        order.swap(first, second);
        self.transpose(x, &order)
    }

    /// Selects every `step`-th index of a range of one dimension.
    pub fn slice(&mut self, x: &Value, dim: usize, range: Range<usize>, step: usize) -> Value {
        let mut starts = vec![0; x.rank()];
        let mut limits = x.dims.clone();
        let mut strides = vec![1; x.rank()];
        (starts[dim], limits[dim], strides[dim]) = (range.start, range.end, step);
        self.slice_all(x, starts, limits, strides)
    }

    pub fn slice_all(
        &mut self,
        x: &Value,
        starts: Vec<usize>,
        limits: Vec<usize>,
        strides: Vec<usize>,
    ) -> Value {
        let sizes = starts.iter().zip(&limits).zip(&strides);
        let dims: Vec<usize> =
            sizes.map(|((start, limit), stride)| (limit - start).div_ceil(*stride)).collect();
        if x.dims == dims {
            return x.clone();
        }
        self.push(Op::Slice { starts, limits, strides }, &[x], dims, x.element)
    }

    pub fn concat(&mut self, parts: &[Value], dim: usize) -> Value {
        if let [part] = parts {
            return part.clone();
        }
        let mut dims = parts[0].dims.clone();
        dims[dim] = parts.iter().map(|part| part.dims[dim]).sum();
        self.push(Op::Concatenate(dim), &parts.iter().collect::<Vec<_>>(), dims, parts[0].element)
    }

    /// Pads all dimensions with a number.
    pub fn pad(&mut self, x: &Value, sides: &[[i64; 2]], interior: Vec<usize>, number: f64) -> Value {
        let dims = x.dims.iter().zip(sides).zip(&interior).map(|((size, [low, high]), interior)| {
            ((size + size.saturating_sub(1) * interior) as i64 + low + high) as usize
        });
        let dims: Vec<usize> = dims.collect();
        if sides.iter().all(|sides| *sides == [0, 0]) && x.dims == dims {
            return x.clone();
        }
        let number = self.scalar(number, x.element);
        let [low, high] = [0, 1].map(|side| sides.iter().map(|sides| sides[side]).collect());
        self.push(Op::Pad { low, high, interior }, &[x, &number], dims, x.element)
    }

    pub fn reverse(&mut self, x: &Value, dims: Vec<usize>) -> Value {
        self.push(Op::Reverse(dims), &[x], x.dims.clone(), x.element)
    }

    /// Sums products over dimensions. The result has the batch dimensions, the others of `a`, and the others of `b`.
    pub fn dot(
        &mut self,
        a: &Value,
        b: &Value,
        batch: [Vec<usize>; 2],
        contracted: [Vec<usize>; 2],
    ) -> Value {
        let mut dims: Vec<usize> = batch[0].iter().map(|dim| a.dims[*dim]).collect();
        for (side, x) in [a, b].into_iter().enumerate() {
            let is_free = |dim: &usize| !batch[side].contains(dim) && !contracted[side].contains(dim);
            dims.extend((0..x.rank()).filter(is_free).map(|dim| x.dims[dim]));
        }
        self.push(Op::DotGeneral { batch, contracted }, &[a, b], dims, a.element)
    }

    /// The product of matrices, as in NumPy: the leading dimensions broadcast, and a vector is a row on the left and a
    /// column on the right.
    pub fn matmul(&mut self, a: &Value, b: &Value) -> Value {
        if a.rank() == 1 || b.rank() <= 2 {
            let contracted = b.rank().saturating_sub(2);
            return self.dot(a, b, [Vec::new(), Vec::new()], [vec![a.rank() - 1], vec![contracted]]);
        }
        let split = |x: &Value| x.rank() - 2;
        let leading = broadcast_dims(&a.dims[..split(a)], &b.dims[..split(b)]);
        let [a, b] = [a, b].map(|x| {
            let dims = [&leading[..], &x.dims[split(x)..]].concat();
            self.broadcast(x, &dims)
        });
        let batch: Vec<usize> = (0..leading.len()).collect();
        self.dot(&a, &b, [batch.clone(), batch], [vec![a.rank() - 1], vec![b.rank() - 2]])
    }

    /// Returns the convolution of `x` and a kernel.
    pub fn convolution(&mut self, x: &Value, kernel: &Value, settings: Convolution) -> Value {
        let mut dims = vec![0; x.rank()];
        let spatial =
            [settings.input, settings.kernel, settings.output].map(|others| settings.spatial(others));
        for (i, padding) in settings.padding.iter().enumerate() {
            let extent = |size: usize, dilation: usize| (size as i64 - 1) * dilation as i64 + 1;
            let input = extent(x.dims[spatial[0][i]], settings.input_dilation[i]) + padding[0] + padding[1];
            let reach = extent(kernel.dims[spatial[1][i]], settings.kernel_dilation[i]);
            dims[spatial[2][i]] = ((input - reach) / settings.strides[i] as i64 + 1) as usize;
        }
        dims[settings.output[0]] = x.dims[settings.input[0]] / settings.batch_groups;
        dims[settings.output[1]] = kernel.dims[settings.kernel[0]];
        self.push(Op::Convolution(settings), &[x, kernel], dims, x.element)
    }

    /// Combines the elements along dimensions: their sum or their largest.
    pub fn reduce(&mut self, combine: Binary, x: &Value, dims: &[usize], keep_dims: bool) -> Value {
        let kept = x.dims.iter().enumerate().filter(|(dim, _)| !dims.contains(dim));
        let reduced: Vec<usize> = kept.map(|(_, size)| *size).collect();
        let y = if dims.is_empty() {
            x.clone()
        } else {
            let initial = self.scalar(neutral(combine), x.element);
            let op = Op::Reduce { dims: dims.to_vec(), combine };
            self.push(op, &[x, &initial], reduced, x.element)
        };
        if !keep_dims {
            return y;
        }
        let sizes = x.dims.iter().enumerate();
        let dims: Vec<usize> = sizes.map(|(dim, size)| if dims.contains(&dim) { 1 } else { *size }).collect();
        self.reshape(&y, &dims)
    }

    pub fn sum(&mut self, x: &Value, dims: &[usize], keep_dims: bool) -> Value {
        self.reduce(Binary::Add, x, dims, keep_dims)
    }

    pub fn mean(&mut self, x: &Value, dims: &[usize], keep_dims: bool) -> Value {
        let count: usize = dims.iter().map(|dim| x.dims[*dim]).product();
        let sum = self.sum(x, dims, keep_dims);
        self.with_number(Binary::Divide, &sum, count as f64)
    }

    /// Combines the elements of each window.
    pub fn reduce_window(&mut self, combine: Binary, x: &Value, window: Window) -> Value {
        let dims = (0..x.rank()).map(|dim| {
            let reach = window.dilations[dim] * (window.sizes[dim] - 1) + 1;
            let padded = x.dims[dim] as i64 + window.padding[dim][0] + window.padding[dim][1];
            ((padded - reach as i64) / window.strides[dim] as i64 + 1) as usize
        });
        let dims = dims.collect();
        let initial = self.scalar(neutral(combine), x.element);
        self.push(Op::ReduceWindow { window, combine }, &[x, &initial], dims, x.element)
    }

    /// Selects indices of a dimension. The dimensions of the indices replace it.
    pub fn gather(&mut self, x: &Value, indices: &Value, dim: usize) -> Value {
        let dims = [&x.dims[..dim], &indices.dims, &x.dims[dim + 1..]].concat();
        self.push(Op::Gather { dim }, &[x, indices], dims, x.element)
    }
}

/// Returns the number that does not change the result of a reduction.
fn neutral(combine: Binary) -> f64 {
    match combine {
        Binary::Maximum => f64::NEG_INFINITY,
        _ => 0.,
    }
}

/// Returns the shape to which two shapes broadcast.
pub(super) fn broadcast_dims(a: &[usize], b: &[usize]) -> Vec<usize> {
    let (longer, shorter) = if a.len() >= b.len() { (a, b) } else { (b, a) };
    let skipped = longer.len() - shorter.len();
    let mut dims = longer.to_vec();
    for (size, other) in dims[skipped..].iter_mut().zip(shorter) {
        if *size == 1 {
            *size = *other;
        }
    }
    dims
}
