//! The grammar of a table of operations: lines `name | Layer(arguments) + Layer(arguments) | shape`, in which the
//! layers are calls in Python's syntax.

/// A line of the table.
#[derive(Debug)]
pub struct Row<'a> {
    /// The number of the line, from 1.
    pub line: usize,
    pub name: &'a str,
    pub layers: Vec<Call<'a>>,
    pub shape: Vec<usize>,
}

/// A call, such as `Conv2d(16, 96, 1, bias=False)`.
#[derive(Debug)]
pub struct Call<'a> {
    pub name: &'a str,
    pub positional: Vec<Value<'a>>,
    pub keyword: Vec<(&'a str, Value<'a>)>,
}

/// A value and its text in the table.
#[derive(Debug)]
pub struct Value<'a> {
    pub text: &'a str,
    pub kind: Kind<'a>,
}

#[derive(Debug)]
pub enum Kind<'a> {
    None,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(&'a str),
    /// A tuple or a list.
    Sequence(Vec<Value<'a>>),
    Call(Call<'a>),
}

/// Parses a table. `#` starts a comment; empty lines are skipped.
///
/// An error names the line and the invalid token.
pub fn parse(table: &str) -> Result<Vec<Row<'_>>, String> {
    let mut rows: Vec<Row> = Vec::new();
    for (i, text) in table.lines().enumerate() {
        let text = text.split('#').next().unwrap_or("").trim();
        if text.is_empty() {
            continue;
        }
        let line = i + 1;
        let row = row(line, text).map_err(|error| format!("line {line}: {error}"))?;
        if let Some(first) = rows.iter().find(|other| other.name == row.name) {
            let (name, first) = (row.name, first.line);
            return Err(format!(
                "line {line}: expected a new name, found `{name}`, the name of line {first}"
            ));
        }
        rows.push(row);
    }
    Ok(rows)
}

/// Parses a line.
fn row(line: usize, text: &str) -> Result<Row<'_>, String> {
    let parts: Vec<&str> = text.split('|').map(str::trim).collect();
    let [name, layers, shape] = parts[..] else {
        return Err(format!("expected `name | layers | shape`, found `{text}`"));
    };
    if name.is_empty() || name.contains(',') {
        return Err(format!("expected a name without commas, found `{name}`"));
    }
    let sizes = shape.split_whitespace().map(|word| {
        word.parse().map_err(|_| format!("expected a shape of integers, found `{word}` in `{shape}`"))
    });
    let shape = sizes.collect::<Result<Vec<usize>, String>>()?;
    if shape.is_empty() {
        return Err("expected the shape of the input after the second `|`, found the end of the line".into());
    }
    Ok(Row { line, name, layers: Parser::new(layers).layers()?, shape })
}

/// A parser of calls in Python's syntax.
struct Parser<'a> {
    /// The text that is not parsed yet, without leading spaces.
    rest: &'a str,
}

impl<'a> Parser<'a> {
    fn new(text: &'a str) -> Self {
        Self { rest: text.trim_start() }
    }

    /// Parses calls that are joined by `+`.
    fn layers(mut self) -> Result<Vec<Call<'a>>, String> {
        let mut layers = Vec::new();
        loop {
            let name = self.word();
            if name.is_empty() {
                return Err(format!("expected a layer, found {}", self.token()));
            }
            if !self.take('(') {
                return Err(format!("expected `(` after `{name}`, found {}", self.token()));
            }
            layers.push(self.call(name)?);
            if self.rest.is_empty() {
                return Ok(layers);
            }
            if !self.take('+') {
                return Err(format!("expected `+` or `|` after a layer, found {}", self.token()));
            }
        }
    }

    /// Parses the arguments of a call after its opening parenthesis.
    fn call(&mut self, name: &'a str) -> Result<Call<'a>, String> {
        let mut call = Call { name, positional: Vec::new(), keyword: Vec::new() };
        while !self.take(')') {
            match self.keyword() {
                Some(keyword) => call.keyword.push((keyword, self.value()?)),
                None if call.keyword.is_empty() => call.positional.push(self.value()?),
                None => {
                    return Err(format!(
                        "expected a keyword argument after `{}=`, found {}",
                        call.keyword[0].0,
                        self.token()
                    ));
                }
            }
            self.separator(')')?;
        }
        Ok(call)
    }

    /// Parses `name=` and returns the name. Returns `None` and parses nothing if the next token is not a keyword.
    fn keyword(&mut self) -> Option<&'a str> {
        let before = self.rest;
        let name = self.word();
        if !name.is_empty() && self.take('=') {
            return Some(name);
        }
        self.rest = before;
        None
    }

    /// Parses the comma between two values. The last value may be followed by `close` instead.
    fn separator(&mut self, close: char) -> Result<(), String> {
        if self.take(',') || self.rest.starts_with(close) {
            return Ok(());
        }
        Err(format!("expected `,` or `{close}`, found {}", self.token()))
    }

    fn value(&mut self) -> Result<Value<'a>, String> {
        let before = self.rest;
        let kind = self.kind()?;
        let length = before.len() - self.rest.len();
        Ok(Value { text: before[..length].trim_end(), kind })
    }

    fn kind(&mut self) -> Result<Kind<'a>, String> {
        for quote in ['"', '\''] {
            if self.rest.starts_with(quote) {
                let (text, rest) = self.rest[1..]
                    .split_once(quote)
                    .ok_or_else(|| format!("expected `{quote}` at the end of `{}`", self.rest))?;
                self.skip_to(rest);
                return Ok(Kind::Text(text));
            }
        }
        if self.take('[') {
            return Ok(Kind::Sequence(self.sequence(']')?.0));
        }
        if self.take('(') {
            let (mut values, comma) = self.sequence(')')?;
            // Without a comma, parentheses do not form a tuple: `(3)` is 3.
            return Ok(match values.len() {
                1 if !comma => values.swap_remove(0).kind,
                _ => Kind::Sequence(values),
            });
        }
        if self.rest.starts_with(|first: char| first.is_ascii_digit() || "+-.".contains(first)) {
            return self.number();
        }
        match self.word() {
            "None" => Ok(Kind::None),
            "True" => Ok(Kind::Bool(true)),
            "False" => Ok(Kind::Bool(false)),
            "" => Err(format!("expected a value, found {}", self.token())),
            name if self.take('(') => Ok(Kind::Call(self.call(name)?)),
            name => Err(format!("expected a value, found `{name}`")),
        }
    }

    /// Parses values up to and including `close`. Returns the values, and `true` if a comma follows the last one.
    fn sequence(&mut self, close: char) -> Result<(Vec<Value<'a>>, bool), String> {
        let mut values = Vec::new();
        let mut comma = false;
        while !self.take(close) {
            values.push(self.value()?);
            comma = self.rest.starts_with(',');
            self.separator(close)?;
        }
        Ok((values, comma))
    }

    fn number(&mut self) -> Result<Kind<'a>, String> {
        let mut previous = ' ';
        let end = self.rest.find(|next: char| {
            let sign = "+-".contains(next) && " eE".contains(previous);
            previous = next;
            !(sign || next.is_ascii_alphanumeric() || "._".contains(next))
        });
        let (word, rest) = self.rest.split_at(end.unwrap_or(self.rest.len()));
        let digits = word.replace('_', "");
        let int = digits.parse().map(Kind::Int).ok();
        let number = int.or_else(|| digits.parse().map(Kind::Float).ok());
        self.skip_to(rest);
        number.ok_or_else(|| format!("expected a number, found `{word}`"))
    }

    /// Parses and returns a name. Returns an empty string if the next character cannot begin a name.
    fn word(&mut self) -> &'a str {
        let end = self.rest.find(|next: char| !(next.is_ascii_alphanumeric() || next == '_'));
        let (word, rest) = self.rest.split_at(end.unwrap_or(self.rest.len()));
        if word.starts_with(|first: char| first.is_ascii_digit()) {
            return "";
        }
        self.skip_to(rest);
        word
    }

    /// Skips `token` and returns `true` if the rest begins with `token`. Otherwise returns `false`.
    fn take(&mut self, token: char) -> bool {
        let rest = self.rest.strip_prefix(token);
        if let Some(rest) = rest {
            self.skip_to(rest);
        }
        rest.is_some()
    }

    /// Continues at `rest`, after its leading spaces.
    fn skip_to(&mut self, rest: &'a str) {
        self.rest = rest.trim_start();
    }

    /// Returns the next token, for errors.
    fn token(&self) -> String {
        let in_word = |next: char| next.is_ascii_alphanumeric() || "._".contains(next);
        let Some(first) = self.rest.chars().next() else {
            return "the end of the layers".into();
        };
        let word = self.rest.find(|next| !in_word(next)).unwrap_or(self.rest.len());
        format!("`{}`", &self.rest[..word.max(first.len_utf8())])
    }
}
