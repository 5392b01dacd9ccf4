//! Attributes become data: what `#[module(…)]`, `#[layer(…)]`, `#[param(…)]` and `#[buffer(…)]` say.

use proc_macro2::{Span, TokenTree};
use syn::ext::IdentExt;
use syn::parse::{ParseStream, Parser};
use syn::punctuated::Punctuated;
use syn::{Attribute, Expr, Ident, LitStr, Meta, Pat, Path, Result, Token, Type, TypeTuple, token};

use crate::ast::innermost;
use crate::ctxt::Ctxt;
use crate::suggest::hint;

/// A value together with the key that introduced it, for errors about the pair.
#[derive(Clone)]
pub struct Keyed<T> {
    pub key: Ident,
    pub value: T,
}

/// An argument of `args(…)`: required, or with a default.
pub struct Arg {
    pub name: Ident,
    pub ty: Type,
    pub default: Option<Expr>,
}

/// `#[module(…)]` on a struct, an enum or a variant.
#[derive(Default)]
pub struct ContainerAttrs {
    pub args: Option<Keyed<Vec<Arg>>>,
    pub config: Option<Keyed<Type>>,
    pub forward: Option<Keyed<Expr>>,
    pub loss: Option<Keyed<Expr>>,
    pub optimizer: Option<Keyed<Expr>>,
    pub krate: Option<Keyed<Path>>,
    pub when: Option<Keyed<Expr>>,
}

/// Everything that stands above a field.
#[derive(Default)]
pub struct FieldAttrs {
    pub layer: Option<Keyed<LayerAttr>>,
    pub param: Option<Keyed<TensorAttr>>,
    pub buffer: Option<Keyed<TensorAttr>>,
    pub skip: Option<Keyed<Option<Expr>>>,
    pub rename: Option<Keyed<LitStr>>,
    pub mode: Option<Keyed<Ident>>,
    pub tie: Option<Keyed<LitStr>>,
    /// One of the first three is there but makes no sense.
    pub is_broken: bool,
}

/// `#[layer(…)]`
pub struct LayerAttr {
    /// The word `layer` and the parentheses behind it: where errors about the arguments point.
    pub span: Span,
    pub parentheses: Option<Span>,
    pub source: Source,
    pub repeat: Repeat,
}

/// Where a layer comes from.
pub enum Source {
    /// `Type::config(args…).setter(value)…`
    Config { args: Vec<Expr>, setters: Vec<(Ident, Expr)> },
    /// A constructor of candle's convention: it takes a `VarBuilder`.
    With(Expr),
    /// The layers of a tuple, each with arguments of its own.
    Tuple(Vec<LayerAttr>),
}

/// How often a layer is there.
pub enum Repeat {
    Once,
    If(Token![if], Expr),
    For(Token![for], Box<Pat>, Box<Expr>),
}

/// `#[param(shape, init = …)]` or `#[buffer(shape, init = …)]`
pub struct TensorAttr {
    pub shape: Expr,
    pub init: Option<Expr>,
}

const STRUCT_KEYS: [&str; 6] = ["args", "config", "forward", "loss", "optimizer", "crate"];
const VARIANT_KEYS: [&str; 2] = ["when", "forward"];
const FIELD_KEYS: [&str; 4] = ["rename", "skip", "mode", "tie"];

impl ContainerAttrs {
    pub fn of_item(ctxt: &Ctxt, attrs: &[Attribute]) -> Self {
        let mut this = Self::default();
        for attr in attrs {
            refuse_field_attribute(ctxt, attr, "struct");
            each_key(ctxt, attr, |key, input| match key.to_string().as_str() {
                "args" => set(ctxt, &mut this.args, key, parse_args(ctxt, input)?),
                "config" => set(ctxt, &mut this.config, key, value(input)?),
                "forward" => set(ctxt, &mut this.forward, key, value(input)?),
                "loss" => set(ctxt, &mut this.loss, key, value(input)?),
                "optimizer" => set(ctxt, &mut this.optimizer, key, value(input)?),
                "crate" => {
                    input.parse::<Token![=]>()?;
                    set(ctxt, &mut this.krate, key, input.call(Path::parse_mod_style)?)
                }
                "when" => Err(syn::Error::new(key.span(), "`when` goes above a variant of an enum")),
                _ => Err(unknown(&key, &STRUCT_KEYS, &FIELD_KEYS, "a field")),
            });
        }
        this
    }

    pub fn of_variant(ctxt: &Ctxt, attrs: &[Attribute]) -> Self {
        let mut this = Self::default();
        for attr in attrs {
            refuse_field_attribute(ctxt, attr, "variant");
            each_key(ctxt, attr, |key, input| match key.to_string().as_str() {
                "when" => set(ctxt, &mut this.when, key, value(input)?),
                "forward" => set(ctxt, &mut this.forward, key, value(input)?),
                _ => Err(unknown(&key, &VARIANT_KEYS, &STRUCT_KEYS, "the enum itself")),
            });
        }
        this
    }
}

impl FieldAttrs {
    pub fn of_field(ctxt: &Ctxt, attrs: &[Attribute], ty: &Type) -> Self {
        let mut this = Self::default();
        for attr in attrs {
            this.read_layer(ctxt, attr, ty);
            each_key(ctxt, attr, |key, input| match key.to_string().as_str() {
                "rename" => set(ctxt, &mut this.rename, key, value(input)?),
                "mode" => set(ctxt, &mut this.mode, key, parse_mode(input)?),
                "tie" => set(ctxt, &mut this.tie, key, value(input)?),
                "skip" => {
                    let given = if input.peek(Token![=]) { Some(value(input)?) } else { None };
                    set(ctxt, &mut this.skip, key, given)
                }
                _ => Err(unknown(&key, &FIELD_KEYS, &STRUCT_KEYS, "the struct")),
            });
        }
        this
    }

    /// Takes `#[layer]`, `#[param]` and `#[buffer]`.
    fn read_layer(&mut self, ctxt: &Ctxt, attr: &Attribute, ty: &Type) {
        let Some(key) = attr.path().get_ident().cloned() else { return };
        let done = if key == "layer" {
            LayerAttr::from_attribute(attr, key.span(), ty)
                .and_then(|parsed| set(ctxt, &mut self.layer, key, parsed))
        } else if key == "param" || key == "buffer" {
            let slot = if key == "param" { &mut self.param } else { &mut self.buffer };
            parse_tensor(attr, &key).and_then(|parsed| set(ctxt, slot, key, parsed))
        } else {
            Ok(())
        };
        self.is_broken |= ctxt.ok(done).is_none();
    }
}

impl LayerAttr {
    fn from_attribute(attr: &Attribute, span: Span, ty: &Type) -> Result<Self> {
        let parentheses = match &attr.meta {
            Meta::List(list) => Some(list.delimiter.span().join()),
            _ => None,
        };
        let parse = |input: ParseStream| {
            let source = Source::parse(input, span, ty)?;
            Ok(Self { span, parentheses, source, repeat: Repeat::parse(input)? })
        };
        parse.parse2(tokens_of(attr)?)
    }
}

impl Source {
    /// Everything up to the semicolon, for a field of type `ty`.
    fn parse(input: ParseStream, span: Span, ty: &Type) -> Result<Self> {
        match innermost(ty) {
            Type::Tuple(tuple) if !is_setter(input) => Self::parse_tuple(input, span, tuple),
            _ => Self::parse_one(input),
        }
    }

    /// `(args…), (args…)`: a list for each layer of a tuple.
    fn parse_tuple(input: ParseStream, span: Span, tuple: &TypeTuple) -> Result<Self> {
        let mut layers = Vec::new();
        for ty in &tuple.elems {
            if !input.peek(token::Paren) {
                break;
            }
            let content;
            let span = syn::parenthesized!(content in input).span.join();
            let source = Self::parse(&content, span, ty)?;
            layers.push(LayerAttr { span, parentheses: Some(span), source, repeat: Repeat::Once });
            input.parse::<Option<Token![,]>>()?;
        }
        if layers.len() == tuple.elems.len() && (input.is_empty() || input.peek(Token![;])) {
            return Ok(Self::Tuple(layers));
        }
        let count = tuple.elems.len();
        let message = format!(
            "a tuple of {count} layers takes {count} lists of arguments, each in parentheses: \
             #[layer((…), (…))]"
        );
        Err(syn::Error::new(span, message))
    }

    fn parse_one(input: ParseStream) -> Result<Self> {
        let (mut args, mut setters, mut with) = (Vec::new(), Vec::<(Ident, Expr)>::new(), None);
        while !input.is_empty() && !input.peek(Token![;]) {
            if is_setter(input) {
                let (name, value) = (input.parse::<Ident>()?, value(input)?);
                if setters.iter().any(|(known, _)| *known == name) || (name == "with" && with.is_some()) {
                    return Err(syn::Error::new(name.span(), format!("`{name}` is set twice")));
                }
                if name == "with" { with = Some((name, value)) } else { setters.push((name, value)) }
            } else {
                let arg: Expr = input.parse()?;
                if !setters.is_empty() {
                    return Err(syn::Error::new_spanned(
                        arg,
                        "arguments without a name come before the named ones",
                    ));
                }
                args.push(arg);
            }
            if !input.peek(Token![;]) && !input.is_empty() {
                input.parse::<Token![,]>()?;
            }
        }
        match with {
            None => Ok(Self::Config { args, setters }),
            Some((_, value)) if args.is_empty() && setters.is_empty() => Ok(Self::With(value)),
            Some((name, _)) => {
                let message = "`with` builds the whole layer: no other argument may stand beside it";
                Err(syn::Error::new(name.span(), message))
            }
        }
    }
}

impl Repeat {
    /// What follows the semicolon: `if condition` or `for pattern in range`.
    fn parse(input: ParseStream) -> Result<Self> {
        if input.parse::<Option<Token![;]>>()?.is_none() || input.is_empty() {
            return Ok(Self::Once);
        }
        let repeat = if input.peek(Token![if]) {
            Self::If(input.parse()?, input.parse()?)
        } else if input.peek(Token![for]) {
            let token = input.parse()?;
            let pat = Pat::parse_single(input)?;
            input.parse::<Token![in]>()?;
            Self::For(token, Box::new(pat), input.parse()?)
        } else {
            return Err(input.error("after `;` comes `if condition` or `for i in range`"));
        };
        input.parse::<Option<Token![,]>>()?;
        if input.is_empty() {
            Ok(repeat)
        } else {
            Err(input.error("nothing may follow the condition or range"))
        }
    }
}

/// Calls `take` with each key of a `#[module(…)]`; after a mistake it goes on behind the next comma.
fn each_key(ctxt: &Ctxt, attr: &Attribute, mut take: impl FnMut(Ident, ParseStream) -> Result<()>) {
    if !attr.path().is_ident("module") {
        return;
    }
    let parse = |input: ParseStream| -> Result<()> {
        while !input.is_empty() {
            let key = input.call(Ident::parse_any)?;
            let taken = take(key, input).and_then(|()| match input.is_empty() || input.peek(Token![,]) {
                true => Ok(()),
                false => Err(input.error("expected `,`")),
            });
            if ctxt.ok(taken).is_none() {
                skip_to_comma(input)?;
            }
            input.parse::<Option<Token![,]>>()?;
        }
        Ok(())
    };
    ctxt.ok(tokens_of(attr).and_then(|tokens| parse.parse2(tokens)));
}

/// The tokens between an attribute's parentheses; none for a bare `#[layer]`.
fn tokens_of(attr: &Attribute) -> Result<proc_macro2::TokenStream> {
    match &attr.meta {
        Meta::Path(_) => Ok(Default::default()),
        Meta::List(list) => Ok(list.tokens.clone()),
        Meta::NameValue(pair) => {
            let name = attr.path().get_ident().map(Ident::to_string).unwrap_or_default();
            Err(syn::Error::new_spanned(pair, format!("write #[{name}(…)]")))
        }
    }
}

fn skip_to_comma(input: ParseStream) -> Result<()> {
    while !input.is_empty() && !input.peek(Token![,]) {
        input.parse::<TokenTree>()?;
    }
    Ok(())
}

/// `= value`
fn value<T: syn::parse::Parse>(input: ParseStream) -> Result<T> {
    input.parse::<Token![=]>()?;
    input.parse()
}

fn set<T>(ctxt: &Ctxt, slot: &mut Option<Keyed<T>>, key: Ident, value: T) -> Result<()> {
    if slot.is_some() {
        ctxt.error_on(&key, format!("`{key}` is given twice"));
    } else {
        *slot = Some(Keyed { key, value });
    }
    Ok(())
}

/// `name = …`, but not the comparison `name == …`.
fn is_setter(input: ParseStream) -> bool {
    input.peek(Ident) && input.peek2(Token![=]) && !input.peek2(Token![==])
}

/// `(name: Type, name: Type = default, …)`
fn parse_args(ctxt: &Ctxt, input: ParseStream) -> Result<Vec<Arg>> {
    let content;
    syn::parenthesized!(content in input);
    let parse_arg = |input: ParseStream| {
        let name: Ident = input.parse()?;
        if !input.peek(Token![:]) {
            return Err(syn::Error::new(name.span(), format!("an argument has a type: `{name}: usize`")));
        }
        input.parse::<Token![:]>()?;
        let ty = input.parse()?;
        let default = if input.peek(Token![=]) { Some(value(input)?) } else { None };
        Ok(Arg { name, ty, default })
    };
    let mut args = Vec::new();
    while !content.is_empty() {
        match ctxt.ok(parse_arg(&content)) {
            Some(arg) if args.iter().any(|known: &Arg| known.name == arg.name) => {
                ctxt.error_on(&arg.name, format!("two arguments are called `{}`", arg.name));
            }
            Some(arg) => args.push(arg),
            None => skip_to_comma(&content)?,
        }
        if !content.is_empty() && !content.peek(Token![,]) {
            ctxt.push(content.error("expected `,` or `= default`"));
            skip_to_comma(&content)?;
        }
        content.parse::<Option<Token![,]>>()?;
    }
    Ok(args)
}

/// `= train` or `= eval`
fn parse_mode(input: ParseStream) -> Result<Ident> {
    let mode: Ident = value(input)?;
    match mode.to_string().as_str() {
        "train" | "eval" => Ok(mode),
        other => {
            let message = format!("a mode is `train` or `eval`{}", hint(other, ["train", "eval"]));
            Err(syn::Error::new(mode.span(), message))
        }
    }
}

/// `#[param((outputs, inputs), init = kaiming_uniform)]`
fn parse_tensor(attr: &Attribute, key: &Ident) -> Result<TensorAttr> {
    let missing = |span: Span| {
        syn::Error::new(
            span,
            format!("`{key}` needs a shape: #[{key}((outputs, inputs))] or #[{key}(features)]"),
        )
    };
    let parse = |input: ParseStream| {
        if input.is_empty() || is_setter(input) {
            return Err(missing(key.span()));
        }
        let shape = input.parse()?;
        let mut init = None;
        while input.parse::<Option<Token![,]>>()?.is_some() && !input.is_empty() {
            if !is_setter(input) {
                return Err(
                    input.error("a shape of several dimensions stands in parentheses: (outputs, inputs)")
                );
            }
            let name: Ident = input.parse()?;
            if name != "init" {
                let hint = hint(&name.to_string(), ["init"]);
                return Err(syn::Error::new(name.span(), format!("unknown key `{name}`{hint}")));
            }
            if init.replace(value(input)?).is_some() {
                return Err(syn::Error::new(name.span(), "`init` is given twice"));
            }
        }
        if input.is_empty() { Ok(TensorAttr { shape, init }) } else { Err(input.error("expected `,`")) }
    };
    parse.parse2(tokens_of(attr)?)
}

/// A key nobody knows: a misspelt one, or one that belongs to `elsewhere`.
fn unknown(key: &Ident, known: &[&str], foreign: &[&str], elsewhere: &str) -> syn::Error {
    let name = key.to_string();
    let message = if foreign.contains(&name.as_str()) {
        format!("`{name}` goes above {elsewhere}")
    } else if name == "layer" || name == "param" || name == "buffer" {
        format!("`{name}` is an attribute of its own: #[{name}(…)] above the field")
    } else {
        let closest = hint(&name, known.iter().copied());
        let list: Vec<_> = known.iter().map(|key| format!("`{key}`")).collect();
        match closest.is_empty() {
            true => format!("unknown key `{name}`: expected one of {}", list.join(", ")),
            false => format!("unknown key `{name}`{closest}"),
        }
    };
    syn::Error::new(key.span(), message)
}

/// `#[layer]` and its like belong to fields.
fn refuse_field_attribute(ctxt: &Ctxt, attr: &Attribute, what: &str) {
    for name in ["layer", "param", "buffer"] {
        if attr.path().is_ident(name) {
            ctxt.error_on(attr.path(), format!("#[{name}(…)] goes above a field, not above the {what}"));
        }
    }
}

/// Comma-separated expressions, as in the arguments of a call.
pub type Exprs = Punctuated<Expr, Token![,]>;
