//! An interpreter of pickles, protocols 0 to 5.
//!
//! A pickle is a program for a stack machine. The interpreter builds only dictionaries, lists, numbers, strings and
//! descriptions of tensors. An instance of any other class is an object that records its class and attributes. Nothing
//! is imported or run.

use std::collections::HashMap;

use crate::checkpoint::budget::Budget;
use crate::checkpoint::with_context;
use crate::{Error, Result};

use super::call::{call, persistent};
use super::class::Class;
use super::globals::resolve;
use super::read::{PickleInput, integer, text_or_bytes};
use super::values::{PickledValues, Value, unexpected};
use super::{opcode, text};

/// The result of running a pickle.
#[derive(Debug)]
pub(super) struct Pickle<'a> {
    pub values: PickledValues<'a>,
    pub root: Value<'a>,
    /// The length of the pickle in bytes.
    pub length: usize,
}

impl<'a> Pickle<'a> {
    /// Runs the pickle at the start of `bytes`.
    pub fn load(bytes: &'a [u8], budget: &mut Budget) -> Result<Self> {
        let mut interpreter = Interpreter::new(bytes);
        // A growing vector briefly holds its old allocation and a new one of twice the size. The memory can therefore
        // triple before the loop compares it with the limit.
        let limit = budget.left() / 3;
        loop {
            let position = interpreter.input.position;
            let opcode = with_context(format_args!("byte {position}"), interpreter.input.byte())?;
            if opcode == opcode::STOP {
                let root = with_context(format_args!("byte {position}"), interpreter.pop())?;
                budget.spend(Some(interpreter.values.memory()))?;
                return Ok(Self { values: interpreter.values, root, length: interpreter.input.position });
            }
            with_context(format_args!("byte {position}"), interpreter.step(opcode))?;
            if interpreter.memory() > limit {
                return Err(Error::msg(format!(
                    "byte {position}: the objects of the pickle need more memory than the limit of {limit} bytes \
                     (`Load::limit` can raise the limit)"
                )));
            }
        }
    }
}

struct Interpreter<'a> {
    input: PickleInput<'a>,
    stack: Vec<Value<'a>>,
    /// The height of the stack at each MARK opcode.
    marks: Vec<usize>,
    memo: HashMap<u32, Value<'a>>,
    values: PickledValues<'a>,
}

impl<'a> Interpreter<'a> {
    fn new(bytes: &'a [u8]) -> Self {
        Self {
            input: PickleInput { bytes, position: 0 },
            stack: Vec::new(),
            marks: Vec::new(),
            memo: HashMap::new(),
            values: PickledValues::default(),
        }
    }

    /// Returns the approximate memory of the interpreter in bytes.
    fn memory(&self) -> usize {
        let stack = self.stack.capacity() * size_of::<Value>() + self.marks.capacity() * size_of::<usize>();
        // A hash map fills at most 7/8 of its slots and has one control byte per slot.
        let memo = self.memo.capacity() * (size_of::<(u32, Value)>() + 1) / 7 * 8;
        stack + memo + self.values.memory()
    }

    /// Runs one opcode.
    fn step(&mut self, opcode: u8) -> Result<()> {
        if let Some(value) = self.atom(opcode)? {
            self.push(value);
            return Ok(());
        }
        if let Some(value) = self.compound(opcode)? {
            self.push(value);
            return Ok(());
        }
        match opcode {
            opcode::PROTO => self.protocol(),
            opcode::FRAME => self.input.take(8).map(drop),
            opcode::MARK => {
                self.marks.push(self.stack.len());
                Ok(())
            }
            opcode::POP => self.pop().map(drop),
            opcode::POP_MARK => self.pop_mark().map(drop),
            opcode::DUP => self.top().map(|value| self.push(value)),
            opcode::BINPUT => self.input.byte().and_then(|index| self.put_memo(index.into())),
            opcode::LONG_BINPUT => self.input.u32().and_then(|index| self.put_memo(index)),
            opcode::PUT => self.input.index().and_then(|index| self.put_memo(index)),
            opcode::MEMOIZE => self.put_memo(self.memo.len() as u32),
            opcode::APPEND => self.append_one(),
            opcode::APPENDS | opcode::ADDITEMS => self.append_all(),
            opcode::SETITEM => self.set_item(),
            opcode::SETITEMS => self.set_items(),
            opcode::BUILD => self.build(),
            _ => Err(Error::msg(format!(
                "expected an opcode of a pickle, found {opcode:#04x} (`{}`)",
                opcode.escape_ascii()
            ))),
        }
    }

    /// Reads a constant, number, string or bytes. Returns `None` for other opcodes.
    fn atom(&mut self, opcode: u8) -> Result<Option<Value<'a>>> {
        let input = &mut self.input;
        Ok(Some(match opcode {
            opcode::NONE => Value::None,
            opcode::NEWTRUE | opcode::NEWFALSE => Value::Bool,
            opcode::BININT1 => Value::Int(input.byte()?.into()),
            opcode::BININT2 => Value::Int(u16::from_le_bytes(input.array()?).into()),
            opcode::BININT => Value::Int(i32::from_le_bytes(input.array()?).into()),
            opcode::INT | opcode::LONG => input.line().and_then(text::integer)?,
            opcode::LONG1 => input.byte().and_then(|length| input.take(length.into())).map(integer)?,
            opcode::LONG4 => input.u32().and_then(|length| input.take(length.into())).map(integer)?,
            opcode::FLOAT => input.line().map(|_| Value::Opaque("float"))?,
            opcode::BINFLOAT => input.take(8).map(|_| Value::Opaque("float"))?,
            opcode::STRING => input.line_bytes().and_then(text::quoted)?,
            opcode::UNICODE => input.line_bytes().map(text::unescaped)?,
            opcode::SHORT_BINUNICODE => input.byte().and_then(|length| input.text(length.into()))?,
            opcode::BINUNICODE => input.u32().and_then(|length| input.text(length.into()))?,
            opcode::BINUNICODE8 => input.u64().and_then(|length| input.text(length))?,
            // Python 2 does not distinguish strings from bytes.
            opcode::SHORT_BINSTRING => {
                input.byte().and_then(|length| input.take(length.into())).map(text_or_bytes)?
            }
            opcode::BINSTRING => {
                input.u32().and_then(|length| input.take(length.into())).map(text_or_bytes)?
            }
            opcode::SHORT_BINBYTES => input.byte().and_then(|length| input.skip(length.into(), "bytes"))?,
            opcode::BINBYTES => input.u32().and_then(|length| input.skip(length.into(), "bytes"))?,
            opcode::BINBYTES8 => input.u64().and_then(|length| input.skip(length, "bytes"))?,
            opcode::BYTEARRAY8 => input.u64().and_then(|length| input.skip(length, "bytearray"))?,
            _ => return Ok(None),
        }))
    }

    /// Builds a value from other values, from the memo or from a name. Returns `None` for other opcodes.
    fn compound(&mut self, opcode: u8) -> Result<Option<Value<'a>>> {
        Ok(Some(match opcode {
            opcode::BINGET => self.input.byte().and_then(|index| self.get_memo(index.into()))?,
            opcode::LONG_BINGET => self.input.u32().and_then(|index| self.get_memo(index))?,
            opcode::GET => self.input.index().and_then(|index| self.get_memo(index))?,
            opcode::EMPTY_TUPLE => self.values.tuple(Vec::new()),
            opcode::TUPLE1 | opcode::TUPLE2 | opcode::TUPLE3 => {
                let items = self.pop_last(usize::from(opcode - opcode::TUPLE1 + 1))?;
                self.values.tuple(items)
            }
            opcode::TUPLE => self.pop_mark().map(|items| self.values.tuple(items))?,
            opcode::EMPTY_LIST => self.values.list(Vec::new()),
            opcode::LIST => self.pop_mark().map(|items| self.values.list(items))?,
            opcode::EMPTY_DICT => self.values.dict(),
            opcode::DICT => self.dict_from_mark()?,
            opcode::EMPTY_SET => self.values.set(Vec::new()),
            opcode::FROZENSET => self.pop_mark().map(|items| self.values.set(items))?,
            opcode::GLOBAL => self.global()?,
            opcode::STACK_GLOBAL => self.stack_global()?,
            opcode::EXT1 => self.input.take(1).map(|_| self.extension())?,
            opcode::EXT2 => self.input.take(2).map(|_| self.extension())?,
            opcode::EXT4 => self.input.take(4).map(|_| self.extension())?,
            opcode::REDUCE | opcode::NEWOBJ => {
                let arguments = self.pop()?;
                let callable = self.pop()?;
                call(&mut self.values, callable, arguments)?
            }
            opcode::NEWOBJ_EX => {
                let _keyword_arguments = self.pop()?;
                let arguments = self.pop()?;
                let callable = self.pop()?;
                call(&mut self.values, callable, arguments)?
            }
            opcode::INST => {
                let class = self.global()?;
                let arguments = self.pop_mark().map(|items| self.values.tuple(items))?;
                call(&mut self.values, class, arguments)?
            }
            opcode::OBJ => self.object_from_mark()?,
            opcode::PERSID => {
                let line = self.input.line_bytes().map(text::unescaped)?;
                persistent(&mut self.values, line)?
            }
            opcode::BINPERSID => self.pop().and_then(|id| persistent(&mut self.values, id))?,
            _ => return Ok(None),
        }))
    }

    fn global(&mut self) -> Result<Value<'a>> {
        let module = self.input.line()?;
        let name = self.input.line()?;
        Ok(Value::Global(resolve(&mut self.values, module, name)))
    }

    /// Returns a placeholder for a class to which the pickle refers by a number. Only the program that wrote the pickle
    /// knows the class: it has registered the number with Python's `copyreg`.
    fn extension(&mut self) -> Value<'a> {
        Value::Global(self.values.foreign(Class { module: "copyreg", name: "extension", attribute: None }))
    }

    /// Calls the class at the last mark with the arguments after it.
    fn object_from_mark(&mut self) -> Result<Value<'a>> {
        let items = self.pop_mark()?;
        let (&class, arguments) = items.split_first().ok_or_else(|| Error::msg("an object has no class"))?;
        let arguments = self.values.tuple(arguments.to_vec());
        call(&mut self.values, class, arguments)
    }

    fn protocol(&mut self) -> Result<()> {
        match self.input.byte()? {
            0..=5 => Ok(()),
            other => Err(Error::msg(format!("expected a pickle of protocol 0 to 5, found {other}"))),
        }
    }

    fn push(&mut self, value: Value<'a>) {
        self.stack.push(value);
    }

    /// Returns the top value. Values below the last mark are inaccessible.
    fn top(&self) -> Result<Value<'a>> {
        match self.stack.last() {
            Some(&value) if self.stack.len() > self.marks.last().copied().unwrap_or(0) => Ok(value),
            _ => Err(empty_stack()),
        }
    }

    fn pop(&mut self) -> Result<Value<'a>> {
        let value = self.top()?;
        self.stack.pop();
        Ok(value)
    }

    fn pop_last(&mut self, count: usize) -> Result<Vec<Value<'a>>> {
        let accessible = self.stack.len() - self.marks.last().copied().unwrap_or(0);
        if accessible < count {
            return Err(empty_stack());
        }
        Ok(self.stack.split_off(self.stack.len() - count))
    }

    fn pop_mark(&mut self) -> Result<Vec<Value<'a>>> {
        let height =
            self.marks.pop().ok_or_else(|| Error::msg("the pickle pops a mark that it has not set"))?;
        Ok(self.stack.split_off(height))
    }

    fn put_memo(&mut self, index: u32) -> Result<()> {
        let value = self.top()?;
        self.memo.insert(index, value);
        Ok(())
    }

    fn get_memo(&self, index: u32) -> Result<Value<'a>> {
        let value = self.memo.get(&index).copied();
        value.ok_or_else(|| {
            Error::msg(format!("the pickle reads entry {index} of the memo, which it has not stored"))
        })
    }

    fn stack_global(&mut self) -> Result<Value<'a>> {
        match (self.pop()?, self.pop()?) {
            (Value::Str(name), Value::Str(module)) => {
                Ok(Value::Global(resolve(&mut self.values, module, name)))
            }
            (Value::Str(_), other) | (other, _) => Err(unexpected("the name of a global", other)),
        }
    }

    fn append_one(&mut self) -> Result<()> {
        let item = self.pop()?;
        self.values.extend_list(self.top()?, &[item])
    }

    fn append_all(&mut self) -> Result<()> {
        let items = self.pop_mark()?;
        self.values.extend_list(self.top()?, &items)
    }

    fn set_item(&mut self) -> Result<()> {
        let item = self.pop_last(2)?;
        self.values.extend_dict(self.top()?, &item)
    }

    fn set_items(&mut self) -> Result<()> {
        let items = self.pop_mark()?;
        self.values.extend_dict(self.top()?, &items)
    }

    fn dict_from_mark(&mut self) -> Result<Value<'a>> {
        let items = self.pop_mark()?;
        let dict = self.values.dict();
        self.values.extend_dict(dict, &items)?;
        Ok(dict)
    }

    fn build(&mut self) -> Result<()> {
        let state = self.pop()?;
        let object = self.top()?;
        self.values.build(object, state);
        Ok(())
    }
}

fn empty_stack() -> Error {
    Error::msg("the pickle takes a value from an empty stack")
}
