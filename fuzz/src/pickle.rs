//! Builds pickles from the bytes of a fuzzer, opcode by opcode.
//!
//! Most of the pickles are valid: each opcode finds the operands that it needs on the stack. They contain what
//! `torch.save` writes, in unusual combinations: tensors, modules, objects of every kind, and containers that contain
//! themselves. Opcodes are written as their bytes: Python's `pickletools` lists them.

use arbitrary::{Result, Unstructured};

use crate::rarely;

/// The maximum nesting depth of values.
const MAX_DEPTH: u32 = 8;

/// The maximum number of items of a container.
const MAX_ITEMS: u32 = 6;

/// Strings that the reader searches for, and others.
const STRINGS: &[&str] = &[
    "weight",
    "bias",
    "fc",
    "state_dict",
    "model",
    "module.",
    "_parameters",
    "_buffers",
    "_modules",
    "_non_persistent_buffers_set",
    "_metadata",
    "neg",
    "conj",
    "storage",
    "module",
    "0",
    "1",
    "cpu",
    "",
    "é\u{1f642}",
];

/// Classes and functions that the reader implements, and others, each by its module and name.
const GLOBALS: &[(&str, &str)] = &[
    ("collections", "OrderedDict"),
    ("collections", "defaultdict"),
    ("argparse", "Namespace"),
    ("__main__", "Net"),
    ("os", "system"),
    ("torch", "Size"),
    ("torch", "device"),
    ("torch", "float32"),
    ("torch", "float8_e5m2"),
    ("torch", "complex64"),
    ("torch", "uint64"),
    ("torch", "FloatStorage"),
    ("torch", "ComplexFloatStorage"),
    ("torch.storage", "UntypedStorage"),
    ("torch._utils", "_rebuild_tensor_v2"),
    ("torch._utils", "_rebuild_tensor_v3"),
    ("torch._utils", "_rebuild_parameter"),
    ("torch._utils", "_rebuild_qtensor"),
    ("torch._utils", "_rebuild_sparse_tensor"),
    ("torch._tensor", "_rebuild_from_type_v2"),
    ("torch.nn.modules.linear", "Linear"),
    ("builtins", "set"),
    ("__builtin__", "frozenset"),
    ("builtins", "getattr"),
    ("builtins", "complex"),
    ("_codecs", "encode"),
    ("copyreg", "_reconstructor"),
    ("copy_reg", "__newobj__"),
    ("numpy._core.multiarray", "_reconstruct"),
    ("numpy", "dtype"),
    ("__torch__", "Net"),
    ("__torch__.torch.nn.modules.linear", "Linear"),
];

/// The storage classes of the generated tensors, with the sizes of their elements in bytes.
const STORAGES: &[(&str, usize)] = &[
    ("FloatStorage", 4),
    ("DoubleStorage", 8),
    ("HalfStorage", 2),
    ("BFloat16Storage", 2),
    ("LongStorage", 8),
    ("IntStorage", 4),
    ("CharStorage", 1),
    ("BoolStorage", 1),
    ("UntypedStorage", 1),
    ("ComplexFloatStorage", 8),
    ("QInt8Storage", 1),
];

/// A storage that a pickle describes.
#[derive(Clone, Copy, Debug)]
pub struct Storage {
    pub element_size: usize,
    pub elements: usize,
}

/// A generated pickle.
#[derive(Debug, Default)]
pub struct Pickle {
    pub bytes: Vec<u8>,
    /// The storages of its tensors. The key of a storage is its index in this list.
    pub storages: Vec<Storage>,
}

/// Returns the pickle of a dictionary, a module or another object. If `legacy`, the persistent id of a storage has six
/// fields, as in a legacy file, and five otherwise.
pub fn pickle(u: &mut Unstructured, legacy: bool) -> Result<Pickle> {
    let mut builder = Builder { u, legacy, pickle: Pickle::default(), memo: 0 };
    let protocol = builder.u.int_in_range(2..=5)?;
    builder.emit(&[0x80, protocol]);
    match builder.u.int_in_range(0..=7)? {
        0..=4 => builder.dict(0)?,
        5 | 6 => builder.module(0)?,
        _ => builder.value(0)?,
    }
    builder.emit(b".");
    Ok(builder.pickle)
}

struct Builder<'b, 'u> {
    u: &'b mut Unstructured<'u>,
    legacy: bool,
    pickle: Pickle,
    /// The number of values in the memo.
    memo: u32,
}

impl Builder<'_, '_> {
    fn emit(&mut self, bytes: &[u8]) {
        self.pickle.bytes.extend_from_slice(bytes);
    }

    /// Pushes any value, and stores it in the memo in some cases. In a few cases, random bytes follow the value.
    fn value(&mut self, depth: u32) -> Result<()> {
        if depth >= MAX_DEPTH || self.u.is_empty() {
            self.emit(b"N");
            return Ok(());
        }
        match self.u.int_in_range(0..=23)? {
            0..=2 => self.number()?,
            3 | 4 => self.string()?,
            5 => self.opaque()?,
            6 | 7 => self.sequence(depth)?,
            8 | 9 => self.dict(depth)?,
            10 => self.set(depth)?,
            11 => self.global()?,
            12 | 13 => self.call(depth)?,
            14 | 15 => self.object(depth)?,
            16 | 17 => self.tensor(depth)?,
            18 | 19 => self.module(depth)?,
            20 | 21 => self.recall()?,
            22 => self.detour(depth)?,
            _ => self.noise()?,
        }
        self.memoize()
    }

    /// Pushes `None`, a Boolean or an integer.
    fn number(&mut self) -> Result<()> {
        let small: u8 = self.u.arbitrary()?;
        match self.u.int_in_range(0..=8)? {
            0 => self.emit(b"N"),
            1 => self.emit(&[0x88 + small % 2]),
            2 => self.emit(&[b'M', small, 0]),
            3 => self.emit(&[b'J', small, 0, 0, small]),
            4 => self.emit(&[0x8a, 1, small]),
            5 => self.emit(&[&[0x8a, 9][..], &[small; 9]].concat()),
            6 => self.emit(format!("I{}\n", i32::from(small) - 100).as_bytes()),
            7 => self.emit(format!("L{small}00000000000000000000L\n").as_bytes()),
            _ => self.emit(&[b'K', small]),
        }
        Ok(())
    }

    fn string(&mut self) -> Result<()> {
        let text = *self.u.choose(STRINGS)?;
        self.text(text)
    }

    fn text(&mut self, text: &str) -> Result<()> {
        let length = text.len() as u8;
        match self.u.int_in_range(0..=5)? {
            0 => self.emit(&[&[b'X', length, 0, 0, 0][..], text.as_bytes()].concat()),
            1 => self.emit(&[&[b'U', length][..], text.as_bytes()].concat()),
            2 => self.emit(&[&[b'T', length, 0, 0, 0][..], text.as_bytes()].concat()),
            3 => self.emit(format!("V{text}\n").as_bytes()),
            4 => self.emit(format!("S'{text}'\n").as_bytes()),
            _ => self.emit(&[&[0x8c, length][..], text.as_bytes()].concat()),
        }
        Ok(())
    }

    /// Pushes a value whose content the reader ignores: a float, bytes, or a string that is not Unicode.
    fn opaque(&mut self) -> Result<()> {
        match self.u.int_in_range(0..=5)? {
            0 => self.emit(b"G\0\0\0\0\0\0\0\0"),
            1 => self.emit(b"F1.5\n"),
            2 => self.emit(b"C\x02ab"),
            3 => self.emit(b"B\x01\0\0\0a"),
            4 => self.emit(b"\x8c\x02\xff\xfe"),
            _ => self.emit(b"\x96\x01\0\0\0\0\0\0\0a"),
        }
        Ok(())
    }

    fn sequence(&mut self, depth: u32) -> Result<()> {
        match self.u.int_in_range(0..=6)? {
            0 => self.emit(b")"),
            count @ 1..=3 => {
                for _ in 0..count {
                    self.value(depth + 1)?;
                }
                self.emit(&[0x84 + count]);
            }
            4 => {
                self.emit(b"(");
                self.values(depth)?;
                self.emit(b"t");
            }
            5 => {
                self.emit(b"(");
                self.values(depth)?;
                self.emit(b"l");
            }
            _ => {
                self.emit(b"]");
                self.memoize()?;
                self.emit(b"(");
                self.values(depth)?;
                self.emit(b"e");
            }
        }
        Ok(())
    }

    fn values(&mut self, depth: u32) -> Result<()> {
        for _ in 0..self.u.int_in_range(0..=MAX_ITEMS)? {
            self.value(depth + 1)?;
        }
        Ok(())
    }

    /// Pushes a dictionary. It may be in the memo before its entries are added, so that they can contain it.
    fn dict(&mut self, depth: u32) -> Result<()> {
        match self.u.int_in_range(0..=3)? {
            0 => {
                self.emit(b"(");
                self.entries(depth)?;
                self.emit(b"d");
            }
            1 => {
                self.emit(b"ccollections\nOrderedDict\n)R");
                self.memoize()?;
                self.emit(b"(");
                self.entries(depth)?;
                self.emit(b"u");
            }
            2 => {
                self.emit(b"}");
                self.memoize()?;
                self.string()?;
                self.value(depth + 1)?;
                self.emit(b"s");
            }
            _ => {
                self.emit(b"}");
                self.memoize()?;
                self.emit(b"(");
                self.entries(depth)?;
                self.emit(b"u");
            }
        }
        Ok(())
    }

    fn entries(&mut self, depth: u32) -> Result<()> {
        for _ in 0..self.u.int_in_range(0..=MAX_ITEMS)? {
            if rarely(self.u, 16)? {
                self.value(depth + 1)?;
            } else {
                self.string()?;
            }
            self.value(depth + 1)?;
        }
        Ok(())
    }

    fn set(&mut self, depth: u32) -> Result<()> {
        if self.u.arbitrary()? {
            self.emit(b"\x8f(");
            self.values(depth)?;
            self.emit(b"\x90");
        } else {
            self.emit(b"(");
            self.values(depth)?;
            self.emit(b"\x91");
        }
        Ok(())
    }

    fn global(&mut self) -> Result<()> {
        let (module, name) = *self.u.choose(GLOBALS)?;
        match self.u.int_in_range(0..=7)? {
            0 => self.emit(b"\x82\x01"),
            1 | 2 => {
                self.text(module)?;
                self.text(name)?;
                self.emit(b"\x93");
            }
            _ => self.emit(format!("c{module}\n{name}\n").as_bytes()),
        }
        Ok(())
    }

    /// Pushes the result of calling one of [`GLOBALS`] with any arguments.
    fn call(&mut self, depth: u32) -> Result<()> {
        match self.u.int_in_range(0..=5)? {
            0 => {
                self.emit(b"(");
                self.global()?;
                self.values(depth)?;
                self.emit(b"o");
            }
            1 => {
                let (module, name) = *self.u.choose(GLOBALS)?;
                self.emit(b"(");
                self.values(depth)?;
                self.emit(format!("i{module}\n{name}\n").as_bytes());
            }
            2 => {
                self.global()?;
                self.arguments(depth)?;
                self.emit(b"}\x92");
            }
            3 => {
                self.global()?;
                self.arguments(depth)?;
                self.emit(b"\x81");
            }
            _ => {
                self.global()?;
                self.arguments(depth)?;
                self.emit(b"R");
            }
        }
        Ok(())
    }

    fn arguments(&mut self, depth: u32) -> Result<()> {
        self.emit(b"(");
        self.values(depth)?;
        self.emit(b"t");
        Ok(())
    }

    /// Pushes an object with a state and, sometimes, the items of a list or the entries of a dictionary.
    fn object(&mut self, depth: u32) -> Result<()> {
        self.emit(b"c__main__\nNet\n)\x81");
        self.memoize()?;
        if rarely(self.u, 4)? {
            self.emit(b"(");
            self.values(depth)?;
            self.emit(b"e");
        }
        if rarely(self.u, 4)? {
            self.emit(b"(");
            self.entries(depth)?;
            self.emit(b"u");
        }
        if rarely(self.u, 8)? {
            self.value(depth + 1)?;
        } else {
            self.dict(depth + 1)?;
        }
        // Pairs the state with an empty dictionary of slots.
        if rarely(self.u, 8)? {
            self.emit(b"}\x86");
        }
        self.emit(b"b");
        Ok(())
    }

    /// Pushes a module of Python or of TorchScript.
    fn module(&mut self, depth: u32) -> Result<()> {
        if rarely(self.u, 3)? {
            self.emit(b"c__torch__\nNet\n)\x81}(");
            self.memoize()?;
            for name in ["weight", "bias", "fc"] {
                self.text(name)?;
                self.value(depth + 1)?;
            }
            self.emit(b"ub");
            return Ok(());
        }
        self.emit(b"c__main__\nNet\n)\x81");
        self.memoize()?;
        self.emit(b"}(");
        for name in ["_parameters", "_buffers", "_modules"] {
            self.text(name)?;
            self.dict(depth + 1)?;
        }
        self.text("_non_persistent_buffers_set")?;
        self.set(depth + 1)?;
        self.emit(b"ub");
        Ok(())
    }

    /// Pushes a tensor. Its view may exceed its storage.
    fn tensor(&mut self, depth: u32) -> Result<()> {
        let kind = self.u.int_in_range(0..=7)?;
        if kind == 0 {
            self.emit(b"ctorch._tensor\n_rebuild_from_type_v2\n");
            self.emit(b"(ctorch._utils\n_rebuild_tensor_v2\nctorch\nTensor\n");
            self.view(false, depth)?;
            self.emit(b"}tR");
            return Ok(());
        }
        if kind == 1 {
            self.emit(b"ctorch._utils\n_rebuild_parameter\n");
        }
        let has_dtype = kind == 2;
        let version = if has_dtype { 3 } else { 2 };
        self.emit(format!("ctorch._utils\n_rebuild_tensor_v{version}\n").as_bytes());
        self.view(has_dtype, depth)?;
        self.emit(b"R");
        if kind == 1 {
            self.emit(b"\x88}\x87R");
        }
        Ok(())
    }

    /// Pushes the arguments of a function that rebuilds a tensor. Only `_rebuild_tensor_v3` has a dtype among them.
    fn view(&mut self, has_dtype: bool, depth: u32) -> Result<()> {
        self.emit(b"(");
        self.storage()?;
        let offset = self.u.int_in_range(0..=2u8)?;
        self.emit(&[b'K', offset]);
        let rank = self.u.int_in_range(0..=3)?;
        for _shape_and_strides in 0..2 {
            self.emit(b"(");
            for _ in 0..rank {
                let length = self.u.int_in_range(0..=4u8)?;
                self.emit(&[b'K', length]);
            }
            self.emit(b"t");
        }
        self.emit(b"\x89N");
        if has_dtype {
            let dtype = *self.u.choose(&["float32", "float8_e5m2", "uint16", "complex64", "bool"])?;
            self.emit(format!("ctorch\n{dtype}\n").as_bytes());
        }
        if rarely(self.u, 8)? {
            self.dict(depth + 1)?;
        }
        self.emit(b"t");
        Ok(())
    }

    /// Pushes a new storage, or one that an earlier tensor uses.
    fn storage(&mut self) -> Result<()> {
        let (class, element_size) = *self.u.choose(STORAGES)?;
        let count = self.pickle.storages.len();
        let key = self.u.int_in_range(0..=count.min(9))?;
        let elements = self.u.int_in_range(0..=20u8)?;
        if key == count {
            self.pickle.storages.push(Storage { element_size, elements: elements.into() });
        }
        self.emit(b"(U\x07storagectorch\n");
        self.emit(format!("{class}\nU\x01{key}U\x03cpu").as_bytes());
        self.emit(&[b'K', elements]);
        self.emit(if self.legacy { b"NtQ" } else { b"tQ" });
        Ok(())
    }

    /// Stores the topmost value of the stack in the memo, in some cases.
    fn memoize(&mut self) -> Result<()> {
        if !rarely(self.u, 3)? {
            return Ok(());
        }
        match self.u.int_in_range(0..=3)? {
            0 => self.emit(b"\x94"),
            1 => self.emit(&[&b"r"[..], &self.memo.to_le_bytes()].concat()),
            2 => self.emit(format!("p{}\n", self.memo).as_bytes()),
            _ => self.emit(&[b'q', self.memo as u8]),
        }
        self.memo += 1;
        Ok(())
    }

    /// Pushes a value from the memo.
    fn recall(&mut self) -> Result<()> {
        if self.memo == 0 {
            self.emit(b"N");
            return Ok(());
        }
        let index = self.u.int_in_range(0..=self.memo - 1)?;
        match self.u.int_in_range(0..=2)? {
            0 => self.emit(&[&b"j"[..], &index.to_le_bytes()].concat()),
            1 => self.emit(format!("g{index}\n").as_bytes()),
            _ => self.emit(&[b'h', index as u8]),
        }
        Ok(())
    }

    /// Pushes a value. Before or after it, emits opcodes without effect: a frame, or other values and their removal.
    fn detour(&mut self, depth: u32) -> Result<()> {
        match self.u.int_in_range(0..=3)? {
            0 => {
                self.value(depth + 1)?;
                self.value(depth + 1)?;
                self.emit(b"0");
            }
            1 => {
                self.value(depth + 1)?;
                self.emit(b"20");
            }
            2 => {
                self.value(depth + 1)?;
                self.emit(b"(");
                self.values(depth)?;
                self.emit(b"1");
            }
            _ => {
                self.emit(b"\x95\0\0\0\0\0\0\0\0");
                self.value(depth + 1)?;
            }
        }
        Ok(())
    }

    /// Pushes `None`. In some cases, also emits bytes of the fuzzer, which are usually invalid opcodes.
    fn noise(&mut self) -> Result<()> {
        self.emit(b"N");
        if rarely(self.u, 4)? {
            let bytes: [u8; 2] = self.u.arbitrary()?;
            self.emit(&bytes);
        }
        Ok(())
    }
}
