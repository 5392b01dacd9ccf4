//! A machine for the pickles that `torch.save` writes, protocols 2 to 5.
//!
//! A pickle is a program for a stack. This one builds dictionaries, lists, numbers, strings and the
//! descriptions of tensors, and can do nothing else: opcodes beyond those are errors.

use std::collections::HashMap;

use super::globals;
use super::heap::{Heap, Value, unexpected};
use crate::checkpoint::within;
use crate::{Error, Result};

/// What a pickle has made.
#[derive(Debug)]
pub(super) struct Pickle<'a> {
    pub heap: Heap<'a>,
    pub root: Value<'a>,
    /// How many bytes it took; others may follow it.
    pub length: usize,
}

impl<'a> Pickle<'a> {
    /// Runs the pickle that `bytes` begins with.
    pub fn load(bytes: &'a [u8]) -> Result<Self> {
        let mut machine = Machine::new(bytes);
        loop {
            let position = machine.input.position;
            let opcode = within(format_args!("byte {position}"), machine.input.byte())?;
            if opcode == b'.' {
                let root = within(format_args!("byte {position}"), machine.pop())?;
                return Ok(Self { heap: machine.heap, root, length: machine.input.position });
            }
            within(format_args!("byte {position}"), machine.step(opcode))?;
        }
    }
}

/// More than a thousand values between two marks is rare.
const MAX_STACK: usize = 1 << 20;
const MAX_MEMO: usize = 1 << 22;

struct Machine<'a> {
    input: Input<'a>,
    stack: Vec<Value<'a>>,
    /// Heights of the stack to which opcodes go back that take "all since the mark".
    marks: Vec<usize>,
    memo: HashMap<u32, Value<'a>>,
    heap: Heap<'a>,
}

impl<'a> Machine<'a> {
    fn new(bytes: &'a [u8]) -> Self {
        Self {
            input: Input { bytes, position: 0 },
            stack: Vec::new(),
            marks: Vec::new(),
            memo: HashMap::new(),
            heap: Heap::default(),
        }
    }

    fn step(&mut self, opcode: u8) -> Result<()> {
        if let Some(value) = self.atom(opcode)? {
            return self.push(value);
        }
        if let Some(value) = self.compound(opcode)? {
            return self.push(value);
        }
        match opcode {
            0x80 => self.protocol(),
            0x95 => self.input.take(8).map(drop),
            b'(' => self.mark(),
            b'0' => self.pop().map(drop),
            b'1' => self.pop_mark().map(drop),
            b'2' => self.top().and_then(|value| self.push(value)),
            b'q' => self.input.byte().and_then(|place| self.remember(place.into())),
            b'r' => self.input.u32().and_then(|place| self.remember(place)),
            0x94 => self.remember(self.memo.len() as u32),
            b'a' => self.append_one(),
            b'e' | 0x90 => self.append_all(),
            b's' => self.set_item(),
            b'u' => self.set_items(),
            b'b' => self.build(),
            _ => Err(Error::msg(format!(
                "the pickle has the opcode {opcode:#04x} (`{}`), which torch.save does not write",
                opcode.escape_ascii()
            ))),
        }
    }

    /// Values that the input spells out: constants, numbers, strings, bytes.
    fn atom(&mut self, opcode: u8) -> Result<Option<Value<'a>>> {
        let input = &mut self.input;
        Ok(Some(match opcode {
            b'N' => Value::None,
            0x88 => Value::Bool,
            0x89 => Value::Bool,
            b'K' => Value::Int(input.byte()?.into()),
            b'M' => Value::Int(u16::from_le_bytes(input.array()?).into()),
            b'J' => Value::Int(i32::from_le_bytes(input.array()?).into()),
            0x8a => input.byte().and_then(|length| input.take(length.into())).map(integer)?,
            0x8b => input.u32().and_then(|length| input.take(length.into())).map(integer)?,
            b'G' => input.take(8).map(|_| Value::Other)?,
            0x8c => input.byte().and_then(|length| input.text(length.into()))?,
            b'X' => input.u32().and_then(|length| input.text(length.into()))?,
            0x8d => input.u64().and_then(|length| input.text(length))?,
            // Python 2 makes no difference between strings and bytes.
            b'U' => input.byte().and_then(|length| input.take(length.into())).map(text_or_bytes)?,
            b'T' => input.u32().and_then(|length| input.take(length.into())).map(text_or_bytes)?,
            b'C' => input.byte().and_then(|length| input.take(length.into())).map(|_| Value::Other)?,
            b'B' => input.u32().and_then(|length| input.take(length.into())).map(|_| Value::Other)?,
            0x8e | 0x96 => input.u64().and_then(|length| input.take(length)).map(|_| Value::Other)?,
            _ => return Ok(None),
        }))
    }

    /// Values that are made of others, or recalled, or named.
    fn compound(&mut self, opcode: u8) -> Result<Option<Value<'a>>> {
        Ok(Some(match opcode {
            b'h' => self.input.byte().and_then(|place| self.recall(place.into()))?,
            b'j' => self.input.u32().and_then(|place| self.recall(place))?,
            b')' => self.heap.tuple(Vec::new())?,
            0x85..=0x87 => {
                let items = self.pop_last(usize::from(opcode - 0x84))?;
                self.heap.tuple(items)?
            }
            b't' => self.pop_mark().and_then(|items| self.heap.tuple(items))?,
            b']' => self.heap.list(Vec::new())?,
            b'l' => self.pop_mark().and_then(|items| self.heap.list(items))?,
            b'}' => self.heap.dict()?,
            b'd' => self.dict_from_mark()?,
            0x8f => Value::Other,
            0x91 => self.pop_mark().map(|_| Value::Other)?,
            b'c' => {
                let (module, name) = (self.input.line()?, self.input.line()?);
                Value::Global(globals::resolve(module, name)?)
            }
            0x93 => self.stack_global()?,
            b'R' => {
                let (arguments, callable) = (self.pop()?, self.pop()?);
                globals::call(&mut self.heap, callable, arguments)?
            }
            b'Q' => self.pop().and_then(|id| globals::storage(&mut self.heap, id))?,
            _ => return Ok(None),
        }))
    }

    fn protocol(&mut self) -> Result<()> {
        match self.input.byte()? {
            2..=5 => Ok(()),
            other => Err(Error::msg(format!("expected a pickle of protocol 2 to 5, got {other}"))),
        }
    }

    fn push(&mut self, value: Value<'a>) -> Result<()> {
        if self.stack.len() >= MAX_STACK {
            return Err(Error::msg(format!("more than {MAX_STACK} values on the pickle's stack")));
        }
        self.stack.push(value);
        Ok(())
    }

    /// What lies below the last mark is out of reach.
    fn top(&self) -> Result<Value<'a>> {
        match self.stack.last() {
            Some(&value) if self.stack.len() > self.marks.last().copied().unwrap_or(0) => Ok(value),
            _ => Err(Error::msg("the pickle takes a value from an empty stack")),
        }
    }

    fn pop(&mut self) -> Result<Value<'a>> {
        let value = self.top()?;
        self.stack.pop();
        Ok(value)
    }

    fn pop_last(&mut self, count: usize) -> Result<Vec<Value<'a>>> {
        let mut values = (0..count).map(|_| self.pop()).collect::<Result<Vec<_>>>()?;
        values.reverse();
        Ok(values)
    }

    fn mark(&mut self) -> Result<()> {
        if self.marks.len() >= MAX_STACK {
            return Err(Error::msg(format!("more than {MAX_STACK} marks on the pickle's stack")));
        }
        self.marks.push(self.stack.len());
        Ok(())
    }

    fn pop_mark(&mut self) -> Result<Vec<Value<'a>>> {
        let height =
            self.marks.pop().ok_or_else(|| Error::msg("the pickle goes back to a mark it never set"))?;
        Ok(self.stack.split_off(height))
    }

    fn remember(&mut self, place: u32) -> Result<()> {
        let value = self.top()?;
        if self.memo.len() >= MAX_MEMO {
            return Err(Error::msg(format!("more than {MAX_MEMO} values in the pickle's memo")));
        }
        self.memo.insert(place, value);
        Ok(())
    }

    fn recall(&self, place: u32) -> Result<Value<'a>> {
        let value = self.memo.get(&place).copied();
        value.ok_or_else(|| Error::msg(format!("the pickle recalls value {place}, which it never stored")))
    }

    fn stack_global(&mut self) -> Result<Value<'a>> {
        match (self.pop()?, self.pop()?) {
            (Value::Str(name), Value::Str(module)) => globals::resolve(module, name).map(Value::Global),
            (Value::Str(_), other) | (other, _) => Err(unexpected("the name of a global", other)),
        }
    }

    fn append_one(&mut self) -> Result<()> {
        let item = self.pop()?;
        self.heap.extend_list(self.top()?, &[item])
    }

    fn append_all(&mut self) -> Result<()> {
        let items = self.pop_mark()?;
        self.heap.extend_list(self.top()?, &items)
    }

    fn set_item(&mut self) -> Result<()> {
        let item = self.pop_last(2)?;
        self.heap.extend_dict(self.top()?, &item)
    }

    fn set_items(&mut self) -> Result<()> {
        let items = self.pop_mark()?;
        self.heap.extend_dict(self.top()?, &items)
    }

    fn dict_from_mark(&mut self) -> Result<Value<'a>> {
        let items = self.pop_mark()?;
        let dict = self.heap.dict()?;
        self.heap.extend_dict(dict, &items)?;
        Ok(dict)
    }

    /// Gives an object attributes; that of a state dict is `_metadata`, which no tensor needs.
    fn build(&mut self) -> Result<()> {
        self.pop()?;
        match self.top()? {
            Value::Dict(_) | Value::Tensor(_) | Value::Other => Ok(()),
            other => Err(unexpected("an object with attributes", other)),
        }
    }
}

/// Where the machine reads; every access beyond the end is an error.
struct Input<'a> {
    bytes: &'a [u8],
    position: usize,
}

impl<'a> Input<'a> {
    fn take(&mut self, length: u64) -> Result<&'a [u8]> {
        let rest = &self.bytes[self.position..];
        let taken = usize::try_from(length).ok().and_then(|length| rest.get(..length)).ok_or_else(|| {
            Error::msg(format!(
                "expected {length} more bytes of the pickle, got its end after {}",
                rest.len()
            ))
        })?;
        self.position += taken.len();
        Ok(taken)
    }

    fn array<const LENGTH: usize>(&mut self) -> Result<[u8; LENGTH]> {
        let mut array = [0; LENGTH];
        array.copy_from_slice(self.take(LENGTH as u64)?);
        Ok(array)
    }

    fn byte(&mut self) -> Result<u8> {
        self.array().map(|[byte]| byte)
    }

    fn u32(&mut self) -> Result<u32> {
        self.array().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Result<u64> {
        self.array().map(u64::from_le_bytes)
    }

    fn text(&mut self, length: u64) -> Result<Value<'a>> {
        self.take(length).and_then(utf8).map(Value::Str)
    }

    /// Up to the end of the line, which is passed over.
    fn line(&mut self) -> Result<&'a str> {
        let rest = &self.bytes[self.position..];
        let length = rest.iter().position(|&byte| byte == b'\n');
        let length = length.ok_or_else(|| Error::msg("the pickle ends within a name"))?;
        self.position += length + 1;
        utf8(&rest[..length])
    }
}

fn utf8(bytes: &[u8]) -> Result<&str> {
    std::str::from_utf8(bytes).map_err(|error| Error::msg(format!("a string of the pickle: {error}")))
}

fn text_or_bytes(bytes: &[u8]) -> Value<'_> {
    std::str::from_utf8(bytes).map_or(Value::Other, Value::Str)
}

/// A two's complement integer; no bytes at all are zero.
fn integer(bytes: &[u8]) -> Value<'_> {
    if bytes.len() > 8 {
        return Value::Long(bytes);
    }
    let negative = bytes.last().is_some_and(|&byte| byte >= 0x80);
    let mut extended = [if negative { 0xff } else { 0 }; 8];
    extended[..bytes.len()].copy_from_slice(bytes);
    Value::Int(i64::from_le_bytes(extended))
}
