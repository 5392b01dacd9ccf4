//! Writes the pickle of a state dict, byte for byte as `torch.save` pickles an `OrderedDict`.

use std::collections::HashMap;

use super::opcode::{
    BINGET, BININT, BININT1, BININT2, BINPERSID, BINPUT, BINUNICODE, EMPTY_TUPLE, GLOBAL, LONG_BINGET,
    LONG_BINPUT, LONG1, MARK, NEWFALSE, PROTO, REDUCE, SETITEM, SETITEMS, STOP, TUPLE, TUPLE1, TUPLE2,
    TUPLE3,
};

const PROTOCOL: u8 = 2;

/// The maximum number of entries that Python's pickler stores with one opcode.
const BATCH: usize = 1000;

/// A tensor in the pickle: a view of a whole storage, in row-major order.
pub(super) struct PickledTensor<'a> {
    pub name: &'a str,
    pub shape: &'a [usize],
    /// The number of the storage in the archive.
    pub storage: usize,
    pub storage_type: StorageType,
    /// The size of the storage: in elements if it is typed, and otherwise in bytes.
    pub storage_size: usize,
}

/// How PyTorch pickles a storage.
#[derive(Clone, Copy)]
pub(super) enum StorageType {
    /// A storage whose class determines the dtype, such as `FloatStorage`.
    Typed(&'static str),
    /// A storage of bytes, whose class does not determine the dtype. The field is the dtype, such as `uint32`.
    Untyped(&'static str),
}

/// An object to which later parts of the pickle refer instead of repeating it.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Object<'a> {
    Global(&'static str, &'static str),
    Text(&'a str),
    /// The number of a storage, as text. A tensor name with the same text is a separate object, as in Python.
    Storage(usize),
}

/// Returns the pickle of the `OrderedDict` of `tensors`.
pub(super) fn pickle<'a>(tensors: &[PickledTensor<'a>]) -> Vec<u8> {
    let mut pickler = Pickler::default();
    pickler.bytes.extend([PROTO, PROTOCOL]);
    pickler.empty_ordered_dict();
    for batch in tensors.chunks(BATCH) {
        match batch {
            [only] => {
                pickler.entry(only);
                pickler.bytes.push(SETITEM);
            }
            _ => {
                pickler.bytes.push(MARK);
                batch.iter().for_each(|tensor| pickler.entry(tensor));
                pickler.bytes.push(SETITEMS);
            }
        }
    }
    pickler.bytes.push(STOP);
    pickler.bytes
}

/// The pickle so far.
#[derive(Default)]
struct Pickler<'a> {
    bytes: Vec<u8>,
    /// The objects that the pickle has stored, with their numbers.
    memo: HashMap<Object<'a>, usize>,
    /// The number of stored objects, including those to which the pickle never refers.
    stored: usize,
}

impl<'a> Pickler<'a> {
    /// Writes the name and the tensor.
    fn entry(&mut self, tensor: &PickledTensor<'a>) {
        self.object(Object::Text(tensor.name));
        let (rebuild, class, dtype) = match tensor.storage_type {
            StorageType::Typed(class) => ("_rebuild_tensor_v2", Object::Global("torch", class), None),
            StorageType::Untyped(dtype) => {
                ("_rebuild_tensor_v3", Object::Global("torch.storage", "UntypedStorage"), Some(dtype))
            }
        };
        self.object(Object::Global("torch._utils", rebuild));
        self.bytes.push(MARK);
        self.storage(class, tensor);
        self.int(0); // the offset in the storage
        self.ints(tensor.shape);
        self.ints(&row_major_strides(tensor.shape));
        self.bytes.push(NEWFALSE); // requires no gradient
        self.empty_ordered_dict(); // no backward hooks
        if let Some(dtype) = dtype {
            self.object(Object::Global("torch", dtype));
        }
        self.bytes.push(TUPLE);
        self.store();
        self.bytes.push(REDUCE);
        self.store();
    }

    /// Writes the persistent id of a storage, which stands for its content in the archive.
    fn storage(&mut self, class: Object<'a>, tensor: &PickledTensor<'a>) {
        self.bytes.push(MARK);
        self.object(Object::Text("storage"));
        self.object(class);
        self.object(Object::Storage(tensor.storage));
        self.object(Object::Text("cpu"));
        self.int(tensor.storage_size);
        self.bytes.push(TUPLE);
        self.store();
        self.bytes.push(BINPERSID);
    }

    fn empty_ordered_dict(&mut self) {
        self.object(Object::Global("collections", "OrderedDict"));
        self.bytes.extend([EMPTY_TUPLE, REDUCE]);
        self.store();
    }

    /// Writes an object, or a reference to it if the pickle has stored it before.
    fn object(&mut self, object: Object<'a>) {
        if let Some(&stored) = self.memo.get(&object) {
            return self.numbered(stored, BINGET, LONG_BINGET);
        }
        match object {
            Object::Global(module, name) => {
                self.bytes.push(GLOBAL);
                self.bytes.extend(format!("{module}\n{name}\n").bytes());
            }
            Object::Text(text) => self.text(text),
            Object::Storage(number) => self.text(&number.to_string()),
        }
        self.memo.insert(object, self.stored);
        self.store();
    }

    /// Stores the object on top of the stack in the memo.
    fn store(&mut self) {
        self.numbered(self.stored, BINPUT, LONG_BINPUT);
        self.stored += 1;
    }

    /// Writes an opcode whose argument is a number: `short` if one byte can hold the number, and otherwise `long`, with
    /// four bytes.
    fn numbered(&mut self, number: usize, short: u8, long: u8) {
        match u8::try_from(number) {
            Ok(number) => self.bytes.extend([short, number]),
            Err(_) => {
                self.bytes.push(long);
                self.bytes.extend((number as u32).to_le_bytes());
            }
        }
    }

    fn text(&mut self, text: &str) {
        self.bytes.push(BINUNICODE);
        self.bytes.extend((text.len() as u32).to_le_bytes());
        self.bytes.extend(text.bytes());
    }

    fn ints(&mut self, values: &[usize]) {
        let opcode = match values.len() {
            0 => return self.bytes.push(EMPTY_TUPLE),
            1 => TUPLE1,
            2 => TUPLE2,
            3 => TUPLE3,
            _ => TUPLE,
        };
        if opcode == TUPLE {
            self.bytes.push(MARK);
        }
        values.iter().for_each(|&value| self.int(value));
        self.bytes.push(opcode);
        self.store();
    }

    fn int(&mut self, value: usize) {
        match value {
            0..=0xff => self.bytes.extend([BININT1, value as u8]),
            0x100..=0xffff => {
                self.bytes.push(BININT2);
                self.bytes.extend((value as u16).to_le_bytes());
            }
            0x1_0000..=0x7fff_ffff => {
                self.bytes.push(BININT);
                self.bytes.extend((value as u32).to_le_bytes());
            }
            _ => {
                // The shortest two's complement. The sign needs one bit.
                let length = (value.ilog2() as usize + 2).div_ceil(8);
                self.bytes.extend([LONG1, length as u8]);
                self.bytes.extend(&(value as u128).to_le_bytes()[..length]);
            }
        }
    }
}

/// Returns the strides of PyTorch's contiguous tensors, in which the length 0 of an axis counts as 1.
fn row_major_strides(shape: &[usize]) -> Vec<usize> {
    let mut stride = 1;
    let mut strides: Vec<usize> = shape
        .iter()
        .rev()
        .map(|&length| {
            let current = stride;
            stride *= length.max(1);
            current
        })
        .collect();
    strides.reverse();
    strides
}
