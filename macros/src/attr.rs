//! Parses the attributes `#[module(…)]`, `#[layer(…)]`, `#[param(…)]` and `#[buffer(…)]`.
//!
//! A value with a syntax error is reported and replaced by a placeholder. The derive then still generates all items, so
//! that code that uses the network causes no further errors.

use proc_macro2::{Delimiter, Spacing, Span, TokenStream, TokenTree};
use quote::format_ident;
use syn::ext::IdentExt;
use syn::parse::discouraged::Speculative;
use syn::parse::{ParseStream, Parser};
use syn::punctuated::Punctuated;
use syn::spanned::Spanned;
use syn::{
    Attribute, Expr, ExprClosure, ExprTuple, Ident, LitStr, Meta, Pat, PatType, Path, Result, ReturnType,
    Token, Type, TypeTuple, parse_quote, parse_quote_spanned, token,
};

use crate::ast::innermost;
use crate::ctxt::Ctxt;
use crate::fragment::{self, Fragment};
use crate::suggest::hint;

/// A value and its key. The key has a span at which errors can be reported.
#[derive(Clone)]
pub struct Keyed<T> {
    pub key: Ident,
    pub value: T,
}

/// An argument of `args(…)`. It is required if it has no default.
pub struct Arg {
    pub name: Ident,
    pub ty: Type,
    pub default: Option<Expr>,
    /// The documentation comments.
    pub docs: Vec<Attribute>,
    /// Whether the type could not be parsed.
    pub is_broken: bool,
}

/// `#[module(…)]` on a struct, an enum or a variant.
#[derive(Default)]
pub struct ContainerAttrs {
    pub args: Option<Keyed<Vec<Arg>>>,
    pub config: Option<Keyed<Type>>,
    pub config_name: Option<Keyed<Ident>>,
    pub forward: Option<Keyed<Expr>>,
    pub loss: Option<Keyed<Expr>>,
    pub optimizer: Option<Keyed<Expr>>,
    pub schedule: Option<Keyed<Expr>>,
    pub krate: Option<Keyed<Path>>,
    pub when: Option<Keyed<Expr>>,
}

/// All attributes of a field.
#[derive(Default)]
pub struct FieldAttrs {
    pub layer: Option<Keyed<LayerAttr>>,
    pub param: Option<Keyed<TensorAttr>>,
    pub buffer: Option<Keyed<TensorAttr>>,
    pub skip: Option<Keyed<Option<Expr>>>,
    pub rename: Option<Keyed<LitStr>>,
    pub mode: Option<Keyed<Ident>>,
    pub recompute: Option<Keyed<()>>,
    pub tie: Option<Keyed<LitStr>>,
    /// Whether `#[layer]`, `#[param]` or `#[buffer]` could not be parsed, so that its value is a placeholder.
    pub is_broken: bool,
}

/// `#[layer(…)]`
pub struct LayerAttr {
    /// The span of the word `layer`.
    pub span: Span,
    /// The span of the parentheses, for errors about the arguments.
    pub parentheses: Option<Span>,
    pub source: Source,
    /// The conditions and ranges after the semicolon, outermost first.
    pub repeats: Vec<Repeat>,
}

/// How a layer is built.
pub enum Source {
    /// `Type::config(args…).setter(value)…`
    Config { args: Vec<Expr>, setters: Vec<(Ident, Expr)> },
    /// A constructor that takes a `VarBuilder`.
    With(Expr),
    /// The layers of a tuple, each with its own arguments.
    Tuple(Vec<LayerAttr>),
    /// Lists in parentheses, for a type that may be an alias of a tuple.
    Lists(Lists),
}

/// `(args…), (args…)`: one list of arguments for each layer of a tuple, or one tuple for each argument of a single
/// layer. The type of the field decides.
pub struct Lists {
    /// All expressions in the lists, at any depth, each with the local variable that holds its value in the generated
    /// code. Empty in nested `Lists`, because the outermost one has all expressions.
    pub values: Vec<(Ident, Expr)>,
    /// The first reading: each list has the arguments of one layer of a tuple. The arguments are the variables in
    /// `values`.
    pub layers: Vec<LayerAttr>,
    /// The second reading: each list is one argument of a single layer, a tuple of variables in `values`.
    pub args: Vec<Expr>,
}

/// `if condition` or `for pattern in range` after the semicolon of `#[layer(…)]`. With a condition, the field holds an
/// optional layer; with a range, a list of layers.
pub enum Repeat {
    If(Token![if], Expr),
    For(Token![for], Box<Pat>, Box<Expr>),
}

/// `#[param(shape, init = …)]` or `#[buffer(shape, init = …)]`
pub struct TensorAttr {
    pub shape: Expr,
    pub init: Option<Expr>,
}

const STRUCT_KEYS: [&str; 8] =
    ["args", "config", "config_name", "forward", "loss", "optimizer", "schedule", "crate"];
const VARIANT_KEYS: [&str; 2] = ["when", "forward"];
const FIELD_KEYS: [&str; 5] = ["rename", "skip", "mode", "recompute", "tie"];

impl ContainerAttrs {
    pub fn of_item(ctxt: &Ctxt, attrs: &[Attribute]) -> Self {
        let mut this = Self::default();
        for attr in attrs {
            reject_field_attribute(ctxt, attr, "struct");
            each_key(ctxt, attr, |key, input| match key.to_string().as_str() {
                "args" => set(ctxt, &mut this.args, key, parse_args(ctxt, input)?),
                "config" => set(ctxt, &mut this.config, key, value(input)?),
                "config_name" => set(ctxt, &mut this.config_name, key, value(input)?),
                "forward" => set(ctxt, &mut this.forward, key, expr(ctxt, input)?),
                "loss" => set(ctxt, &mut this.loss, key, expr(ctxt, input)?),
                "optimizer" => set(ctxt, &mut this.optimizer, key, expr(ctxt, input)?),
                "schedule" => set(ctxt, &mut this.schedule, key, expr(ctxt, input)?),
                "crate" => {
                    input.parse::<Token![=]>()?;
                    set(ctxt, &mut this.krate, key, input.call(Path::parse_mod_style)?)
                }
                "when" => Err(syn::Error::new(key.span(), "`when` is only allowed on a variant of an enum")),
                _ => Err(unknown(&key, &STRUCT_KEYS, &FIELD_KEYS, "a field")),
            });
        }
        this
    }

    pub fn of_variant(ctxt: &Ctxt, attrs: &[Attribute]) -> Self {
        let mut this = Self::default();
        for attr in attrs {
            reject_field_attribute(ctxt, attr, "variant");
            each_key(ctxt, attr, |key, input| match key.to_string().as_str() {
                "when" => set(ctxt, &mut this.when, key, expr(ctxt, input)?),
                "forward" => set(ctxt, &mut this.forward, key, expr(ctxt, input)?),
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
            this.parse_role(ctxt, attr, ty);
            each_key(ctxt, attr, |key, input| match key.to_string().as_str() {
                "rename" => set(ctxt, &mut this.rename, key, value(input)?),
                "mode" => set(ctxt, &mut this.mode, key, parse_mode(input)?),
                "recompute" => set(ctxt, &mut this.recompute, key, ()),
                "tie" => set(ctxt, &mut this.tie, key, value(input)?),
                "skip" => {
                    let given = if input.peek(Token![=]) { Some(expr(ctxt, input)?) } else { None };
                    set(ctxt, &mut this.skip, key, given)
                }
                _ => Err(unknown(&key, &FIELD_KEYS, &STRUCT_KEYS, "the struct")),
            });
        }
        this
    }

    /// Parses `#[layer]`, `#[param]` and `#[buffer]`. Ignores other attributes.
    fn parse_role(&mut self, ctxt: &Ctxt, attr: &Attribute, ty: &Type) {
        let Some(key) = attr.path().get_ident().cloned() else { return };
        if key == "layer" {
            let parsed = ctxt.ok(LayerAttr::from_attribute(attr, key.span(), ty));
            self.is_broken |= parsed.is_none();
            ctxt.ok(set(ctxt, &mut self.layer, key, parsed.unwrap_or_else(LayerAttr::placeholder)));
        } else if key == "param" || key == "buffer" {
            let parsed = ctxt.ok(parse_tensor(attr, &key));
            self.is_broken |= parsed.is_none();
            let slot = if key == "param" { &mut self.param } else { &mut self.buffer };
            let parsed = parsed.unwrap_or_else(|| TensorAttr { shape: placeholder(), init: None });
            ctxt.ok(set(ctxt, slot, key, parsed));
        }
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
            Ok(Self { span, parentheses, source, repeats: Repeat::parse_all(input)? })
        };
        parse_content(attr, parse)
    }

    /// Returns the value for an attribute that cannot be parsed.
    fn placeholder() -> Self {
        let source = Source::With(placeholder());
        Self { span: Span::call_site(), parentheses: None, source, repeats: Vec::new() }
    }
}

impl Source {
    /// Parses the arguments up to the semicolon, for a field of type `ty`.
    fn parse(input: ParseStream, span: Span, ty: &Type) -> Result<Self> {
        match innermost(ty) {
            Type::Tuple(tuple) if !is_setter(input) => Self::parse_tuple(input, span, tuple),
            // The type may be an alias of a tuple. The derive does not know the types of such a tuple's layers.
            Type::Path(_) | Type::Macro(_) | Type::Infer(_) => match ListReading::peek(input) {
                Some(ListReading::Layers) => Self::parse_lists(input),
                Some(ListReading::LayersOrValues) => Lists::parse(input).map(Self::Lists),
                None => Self::parse_one(input),
            },
            _ => Self::parse_one(input),
        }
    }

    /// Parses `(args…), (args…)`, one list for each layer of a tuple, for a field whose type is an alias. The alias
    /// hides the number and the types of the layers.
    fn parse_lists(input: ParseStream) -> Result<Self> {
        let mut layers = Vec::new();
        while input.peek(token::Paren) {
            let content;
            let span = syn::parenthesized!(content in input).span.join();
            let source = Self::parse(&content, span, &parse_quote!(_))?;
            layers.push(LayerAttr { span, parentheses: Some(span), source, repeats: Vec::new() });
            input.parse::<Option<Token![,]>>()?;
        }
        Ok(Self::Tuple(layers))
    }

    /// Parses `(args…), (args…)`, one list for each layer of a tuple.
    fn parse_tuple(input: ParseStream, span: Span, tuple: &TypeTuple) -> Result<Self> {
        let mut layers = Vec::new();
        for ty in &tuple.elems {
            if !input.peek(token::Paren) {
                break;
            }
            let content;
            let span = syn::parenthesized!(content in input).span.join();
            let source = Self::parse(&content, span, ty)?;
            layers.push(LayerAttr { span, parentheses: Some(span), source, repeats: Vec::new() });
            input.parse::<Option<Token![,]>>()?;
        }
        if layers.len() == tuple.elems.len() && (input.is_empty() || input.peek(Token![;])) {
            return Ok(Self::Tuple(layers));
        }
        let count = tuple.elems.len();
        let message = format!(
            "expected {count} argument lists in parentheses, one for each layer of the tuple: \
             #[layer((…), (…))]"
        );
        Err(syn::Error::new(span, message))
    }

    fn parse_one(input: ParseStream) -> Result<Self> {
        let mut args = Vec::new();
        let mut setters = Vec::<(Ident, Expr)>::new();
        let mut with = None;
        while !input.is_empty() && !input.peek(Token![;]) {
            if is_setter(input) {
                let name = input.parse::<Ident>()?;
                let value = value(input)?;
                if setters.iter().any(|(existing, _)| *existing == name) || (name == "with" && with.is_some())
                {
                    return Err(syn::Error::new(name.span(), format!("`{name}` is specified twice")));
                }
                if name == "with" { with = Some((name, value)) } else { setters.push((name, value)) }
            } else {
                let arg: Expr = fragment::parse(input)?;
                if !setters.is_empty() {
                    return Err(syn::Error::new_spanned(
                        arg,
                        "positional arguments must come before named arguments",
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
                let message = "`with` cannot be combined with other arguments";
                Err(syn::Error::new(name.span(), message))
            }
        }
    }
}

impl LayerAttr {
    /// Returns the number of arguments without a name.
    pub fn argument_count(&self) -> usize {
        match &self.source {
            Source::Config { args, .. } | Source::Lists(Lists { args, .. }) => args.len(),
            Source::With(_) | Source::Tuple(_) => 0,
        }
    }
}

impl Lists {
    /// Parses `(args…), (args…)`.
    fn parse(input: ParseStream) -> Result<Self> {
        let mut values = Vec::new();
        let Elements { args, lists, .. } = Elements::parse(input, &mut values)?;
        Ok(Self { values, layers: lists.unwrap_or_default(), args })
    }
}

/// Arguments of a layer, some of which may be lists in parentheses.
struct Elements {
    args: Vec<Expr>,
    /// The arguments if they are read as one list for each layer of a tuple. `None` if an argument is not in
    /// parentheses.
    lists: Option<Vec<LayerAttr>>,
    has_trailing_comma: bool,
}

impl Elements {
    /// Parses arguments. Replaces every value by a local variable, and adds both to `values`.
    fn parse(input: ParseStream, values: &mut Vec<(Ident, Expr)>) -> Result<Self> {
        let mut this = Self { args: Vec::new(), lists: Some(Vec::new()), has_trailing_comma: false };
        while !input.is_empty() && !input.peek(Token![;]) {
            if is_list(input) {
                let (list, arg) = Self::parse_list(input, values)?;
                this.args.push(arg);
                if let Some(lists) = &mut this.lists {
                    lists.push(list);
                }
            } else {
                let value: Expr = fragment::parse(input)?;
                let span = Span::mixed_site().located_at(value.span());
                let local = format_ident!("value_{}", values.len(), span = span);
                this.args.push(parse_quote!(#local));
                this.lists = None;
                values.push((local, value));
            }
            this.has_trailing_comma = input.peek(Token![,]);
            if !input.is_empty() && !input.peek(Token![;]) {
                input.parse::<Token![,]>()?;
            }
        }
        Ok(this)
    }

    /// Parses `(args…)`. Returns both readings: the arguments of a layer, and a tuple or parenthesized expression.
    fn parse_list(input: ParseStream, values: &mut Vec<(Ident, Expr)>) -> Result<(LayerAttr, Expr)> {
        let content;
        let paren_token = syn::parenthesized!(content in input);
        let span = paren_token.span.join();
        let Self { args, lists, has_trailing_comma } = Self::parse(&content, values)?;
        let value = match &args[..] {
            [value] if !has_trailing_comma => value.clone(),
            _ => Expr::Tuple(ExprTuple {
                attrs: Vec::new(),
                paren_token,
                elems: args.iter().cloned().collect(),
            }),
        };
        let source = match lists {
            Some(layers) if !layers.is_empty() => Source::Lists(Lists { values: Vec::new(), layers, args }),
            _ => Source::Config { args, setters: Vec::new() },
        };
        Ok((LayerAttr { span, parentheses: Some(span), source, repeats: Vec::new() }, value))
    }
}

impl Repeat {
    /// Parses `; if condition, for pattern in range`.
    fn parse_all(input: ParseStream) -> Result<Vec<Self>> {
        let mut repeats = Vec::new();
        if input.parse::<Option<Token![;]>>()?.is_none() {
            return Ok(repeats);
        }
        while !input.is_empty() {
            repeats.push(Self::parse(input)?);
            if !input.is_empty() && input.parse::<Option<Token![,]>>()?.is_none() {
                return Err(input.error("unexpected tokens after the condition or range"));
            }
        }
        Ok(repeats)
    }

    fn parse(input: ParseStream) -> Result<Self> {
        if input.peek(Token![if]) {
            return Ok(Self::If(input.parse()?, fragment::parse(input)?));
        }
        if !input.peek(Token![for]) {
            return Err(input.error("expected `if condition` or `for i in range` after `;`"));
        }
        let token = input.parse()?;
        let pat = fragment::parse_pattern(input)?;
        input.parse::<Token![in]>()?;
        Ok(Self::For(token, Box::new(pat), Box::new(fragment::parse(input)?)))
    }
}

/// Calls `parse_value` with each key of `#[module(…)]`. If a value cannot be parsed, skips to the next key.
fn each_key(ctxt: &Ctxt, attr: &Attribute, mut parse_value: impl FnMut(Ident, ParseStream) -> Result<()>) {
    if !attr.path().is_ident("module") {
        return;
    }
    let parse = |input: ParseStream| -> Result<()> {
        while !input.is_empty() {
            let key = input.call(Ident::parse_any)?;
            let result = parse_value(key, input).and_then(|()| {
                if input.is_empty() || input.peek(Token![,]) {
                    Ok(())
                } else {
                    Err(input.error("expected `,`"))
                }
            });
            if ctxt.ok(result).is_none() {
                skip_to_key(input)?;
            }
            input.parse::<Option<Token![,]>>()?;
        }
        Ok(())
    };
    ctxt.ok(parse_content(attr, parse));
}

/// Parses the tokens in an attribute's parentheses, or no tokens for a bare `#[layer]`. Reports an unexpected end at
/// the closing parenthesis.
fn parse_content<T>(attr: &Attribute, parse: impl FnOnce(ParseStream) -> Result<T>) -> Result<T> {
    match &attr.meta {
        Meta::Path(_) => parse.parse2(Default::default()),
        Meta::List(list) => list.parse_args_with(parse),
        Meta::NameValue(pair) => {
            let name = attr.path().get_ident().map(Ident::to_string).unwrap_or_default();
            Err(syn::Error::new_spanned(pair, format!("expected #[{name}(…)]")))
        }
    }
}

/// Skips to the comma before the next `key = …` or `args(…)`, or to the end. A comma in an expression, as in
/// `|x, y| …`, is not followed by a key.
fn skip_to_key(input: ParseStream) -> Result<()> {
    while !input.is_empty() {
        if input.peek(Token![,]) {
            let after = input.fork();
            after.parse::<Token![,]>()?;
            if after.is_empty() || is_key(&after) {
                return Ok(());
            }
        }
        input.parse::<TokenTree>()?;
    }
    Ok(())
}

/// Returns `true` if the input begins with `key = …` or `args(…)`, or if it is only the word `skip`.
fn is_key(input: ParseStream) -> bool {
    let rest = input.fork();
    let Ok(key) = rest.call(Ident::parse_any) else { return false };
    let is_assigned = rest.peek(Token![=]) && !rest.peek(Token![==]) && !rest.peek(Token![=>]);
    is_assigned || (key == "args" && rest.peek(token::Paren)) || (key == "skip" && rest.is_empty())
}

fn skip_to_comma(input: ParseStream) -> Result<()> {
    while !input.is_empty() && !input.peek(Token![,]) {
        input.parse::<TokenTree>()?;
    }
    Ok(())
}

/// Parses `= value`.
fn value<T: Fragment>(input: ParseStream) -> Result<T> {
    input.parse::<Token![=]>()?;
    fragment::parse(input)
}

/// Parses `= expression`. Reports a syntax error in the expression, skips to the next key and returns a placeholder.
/// The placeholder for a closure has the parameters and the output type of the closure.
fn expr(ctxt: &Ctxt, input: ParseStream) -> Result<Expr> {
    input.parse::<Token![=]>()?;
    let given = input.fork();
    match fragment::parse::<Expr>(&given) {
        Ok(expr) if given.is_empty() || given.peek(Token![,]) => {
            input.advance_to(&given);
            Ok(expr)
        }
        result => {
            ctxt.push(result.err().unwrap_or_else(|| given.error("expected `,`")));
            let placeholder = signature(input).map_or_else(placeholder, Expr::Closure);
            skip_to_key(input)?;
            Ok(placeholder)
        }
    }
}

/// Returns the expression that replaces an expression with a syntax error.
fn placeholder() -> Expr {
    parse_quote!(::core::unimplemented!())
}

/// Parses `|x, y| -> Type` up to the first syntax error, and returns a closure with a placeholder as its body. Returns
/// `None` if the expression is not a closure.
fn signature(input: ParseStream) -> Option<ExprClosure> {
    input.parse::<Option<Token![move]>>().ok()?;
    if !input.peek(Token![|]) {
        return None;
    }
    let begin: Token![|] = input.parse().ok()?;
    let mut inputs = Punctuated::<Pat, Token![,]>::new();
    while let Ok(input) = parameter(input) {
        inputs.push(input);
    }
    let _ = input.parse::<Token![|]>();
    let body = placeholder();
    let closure: ExprClosure = parse_quote_spanned!(begin.span()=> |#inputs| #body);
    let arrow: Result<Token![->]> = input.parse();
    let output = arrow.and_then(|arrow| Ok(ReturnType::Type(arrow, Box::new(fragment::parse(input)?))));
    Some(ExprClosure { output: output.unwrap_or(ReturnType::Default), ..closure })
}

/// Parses `x` or `x: Type`, and the comma after it. A type that cannot be parsed becomes `_`, which stands for
/// a signal.
fn parameter(input: ParseStream) -> Result<Pat> {
    let pat = fragment::parse_pattern(input)?;
    let pat = if input.peek(Token![:]) {
        let colon_token = input.parse()?;
        let given = input.fork();
        let ty = fragment::parse(&given).inspect(|_| input.advance_to(&given));
        let ty = Box::new(ty.unwrap_or_else(|_| parse_quote!(_)));
        Pat::Type(PatType { attrs: Vec::new(), pat: Box::new(pat), colon_token, ty })
    } else {
        pat
    };
    while !input.is_empty() && !input.peek(Token![,]) && !input.peek(Token![|]) {
        input.parse::<TokenTree>()?;
    }
    input.parse::<Option<Token![,]>>()?;
    Ok(pat)
}

fn set<T>(ctxt: &Ctxt, slot: &mut Option<Keyed<T>>, key: Ident, value: T) -> Result<()> {
    if slot.is_some() {
        ctxt.error_on(&key, format!("`{key}` is specified twice"));
    } else {
        *slot = Some(Keyed { key, value });
    }
    Ok(())
}

/// Returns `true` if the input begins with `name = …`, but not with the comparison `name == …`.
fn is_setter(input: ParseStream) -> bool {
    input.peek(Ident) && input.peek2(Token![=]) && !input.peek2(Token![==])
}

/// The possible readings of `(args…), (args…)`.
enum ListReading {
    /// One list for each layer of a tuple, because one of the lists is empty or contains a named argument or a closure
    /// whose parameters have no types. Such a closure must be an argument of a function, which determines the types.
    Layers,
    /// One list for each layer of a tuple, or one tuple for each argument of a single layer.
    LayersOrValues,
}

impl ListReading {
    /// Returns `None` if the input does not consist of lists in parentheses.
    fn peek(input: ParseStream) -> Option<Self> {
        let input = input.fork();
        let mut lists = Vec::new();
        while !input.is_empty() && !input.peek(Token![;]) {
            if !is_list(&input) {
                return None;
            }
            let Ok(TokenTree::Group(group)) = input.parse() else { return None };
            lists.push(group.stream());
            let _ = input.parse::<Token![,]>();
        }
        let has_empty = lists.iter().any(TokenStream::is_empty);
        if lists.is_empty() || (lists.len() == 1 && has_empty) {
            return None;
        }
        let needs_layer = |list: TokenStream| has_named_argument(list.clone()) || has_untyped_closure(list);
        let are_for_layers = has_empty || lists.into_iter().any(needs_layer);
        Some(if are_for_layers { Self::Layers } else { Self::LayersOrValues })
    }
}

/// Returns `true` if the next argument is `(args…)`.
fn is_list(input: ParseStream) -> bool {
    let input = input.fork();
    input.peek(token::Paren)
        && input.parse::<TokenTree>().is_ok()
        && (input.is_empty() || input.peek(Token![,]) || input.peek(Token![;]))
}

/// Returns `true` if a list or a list in it contains a named argument.
fn has_named_argument(list: TokenStream) -> bool {
    let tokens: Vec<TokenTree> = list.into_iter().collect();
    let is_inner_list = |token: &TokenTree| match token {
        TokenTree::Group(group) => {
            group.delimiter() == Delimiter::Parenthesis && has_named_argument(group.stream())
        }
        _ => false,
    };
    tokens.windows(3).any(is_named_argument) || tokens.iter().any(is_inner_list)
}

/// Returns `true` if a list or a list in it contains a closure whose parameters have no types.
fn has_untyped_closure(list: TokenStream) -> bool {
    fn is_untyped(value: &Expr) -> bool {
        match value {
            Expr::Closure(closure) => closure.inputs.iter().any(|input| !matches!(input, Pat::Type(_))),
            Expr::Paren(paren) => is_untyped(&paren.expr),
            Expr::Tuple(tuple) => tuple.elems.iter().any(is_untyped),
            _ => false,
        }
    }
    Exprs::parse_terminated.parse2(list).is_ok_and(|values| values.iter().any(is_untyped))
}

/// Returns `true` if three tokens begin with `name =`, but not with `name ==` or `name =>`.
fn is_named_argument(tokens: &[TokenTree]) -> bool {
    let [TokenTree::Ident(_), TokenTree::Punct(equals), _] = tokens else { return false };
    equals.as_char() == '=' && equals.spacing() == Spacing::Alone
}

/// Parses `(name: Type, name: Type = default, …)`.
fn parse_args(ctxt: &Ctxt, input: ParseStream) -> Result<Vec<Arg>> {
    let content;
    syn::parenthesized!(content in input);
    let mut args = Vec::new();
    while !content.is_empty() {
        match ctxt.ok(parse_arg(ctxt, &content)) {
            Some(arg) if args.iter().any(|existing: &Arg| existing.name == arg.name) => {
                ctxt.error_on(&arg.name, format!("argument `{}` is declared twice", arg.name));
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

/// Parses `name: Type` or `name: Type = default`. If the type or the default cannot be parsed, reports the error and
/// returns an argument with the same name, because code that uses the network passes this argument.
fn parse_arg(ctxt: &Ctxt, input: ParseStream) -> Result<Arg> {
    let docs = parse_docs(ctxt, input)?;
    let name: Ident = input.parse()?;
    let Some(ty) = ctxt.ok(parse_type(&name, input)) else {
        let mut default = None;
        while !input.is_empty() && !input.peek(Token![,]) {
            default = default.or(input.peek(Token![=]).then(placeholder));
            input.parse::<TokenTree>()?;
        }
        return Ok(Arg { name, ty: parse_quote!(()), default, docs, is_broken: true });
    };
    let default = if input.peek(Token![=]) { Some(default(ctxt, input)?) } else { None };
    Ok(Arg { name, ty, default, docs, is_broken: false })
}

/// Parses `: Type` after the name of an argument.
fn parse_type(name: &Ident, input: ParseStream) -> Result<Type> {
    if !input.peek(Token![:]) {
        let message = format!("expected a type, for example `{name}: usize`");
        return Err(syn::Error::new(name.span(), message));
    }
    input.parse::<Token![:]>()?;
    if input.is_empty() || input.peek(Token![,]) || input.peek(Token![=]) {
        return Err(input.error("expected a type"));
    }
    fragment::parse(input)
}

/// Parses `= default`. Reports a syntax error in the expression and returns a placeholder.
fn default(ctxt: &Ctxt, input: ParseStream) -> Result<Expr> {
    match ctxt.ok(value(input)) {
        Some(value) => Ok(value),
        None => skip_to_comma(input).map(|()| placeholder()),
    }
}

/// Parses the documentation comments of an argument.
fn parse_docs(ctxt: &Ctxt, input: ParseStream) -> Result<Vec<Attribute>> {
    let (docs, others): (Vec<_>, Vec<_>) = input
        .call(Attribute::parse_outer)?
        .into_iter()
        .partition(|attribute| attribute.path().is_ident("doc"));
    for other in others {
        ctxt.error_on(other, "only a doc comment is allowed on an argument");
    }
    Ok(docs)
}

/// Parses `= train` or `= eval`.
fn parse_mode(input: ParseStream) -> Result<Ident> {
    let mode: Ident = value(input)?;
    match mode.to_string().as_str() {
        "train" | "eval" => Ok(mode),
        other => {
            let message = format!("expected `train` or `eval`{}", hint(other, ["train", "eval"]));
            Err(syn::Error::new(mode.span(), message))
        }
    }
}

/// Parses `#[param((outputs, inputs), init = kaiming_uniform)]`.
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
        let shape = fragment::parse(input)?;
        let mut init = None;
        while input.parse::<Option<Token![,]>>()?.is_some() && !input.is_empty() {
            if !is_setter(input) {
                return Err(
                    input.error("a shape with several dimensions needs parentheses: (outputs, inputs)")
                );
            }
            let name: Ident = input.parse()?;
            if name != "init" {
                let hint = hint(&name.to_string(), ["init"]);
                return Err(syn::Error::new(name.span(), format!("unknown key `{name}`{hint}")));
            }
            if init.replace(value(input)?).is_some() {
                return Err(syn::Error::new(name.span(), "`init` is specified twice"));
            }
        }
        if input.is_empty() { Ok(TensorAttr { shape, init }) } else { Err(input.error("expected `,`")) }
    };
    parse_content(attr, parse)
}

/// Returns the error for a key that is not in `known`. If the key is in `elsewhere_keys`, the error says that it
/// belongs on the item that `elsewhere` names. If the key is `layer`, `param` or `buffer`, the error says that it is a
/// separate attribute. Otherwise, the error suggests the closest key of `known`, or lists all of them.
fn unknown(key: &Ident, known: &[&str], elsewhere_keys: &[&str], elsewhere: &str) -> syn::Error {
    let name = key.to_string();
    let message = if elsewhere_keys.contains(&name.as_str()) {
        format!("`{name}` is only allowed on {elsewhere}")
    } else if name == "layer" || name == "param" || name == "buffer" {
        format!("`{name}` is a separate attribute: write #[{name}(…)] on the field")
    } else {
        let closest = hint(&name, known.iter().copied());
        let list: Vec<_> = known.iter().map(|key| format!("`{key}`")).collect();
        if closest.is_empty() {
            format!("unknown key `{name}`: expected one of {}", list.join(", "))
        } else {
            format!("unknown key `{name}`{closest}")
        }
    };
    syn::Error::new(key.span(), message)
}

/// Reports `#[layer]`, `#[param]` and `#[buffer]` on a struct or variant.
fn reject_field_attribute(ctxt: &Ctxt, attr: &Attribute, item_kind: &str) {
    for name in ["layer", "param", "buffer"] {
        if attr.path().is_ident(name) {
            ctxt.error_on(
                attr.path(),
                format!("#[{name}(…)] is only allowed on a field, not on the {item_kind}"),
            );
        }
    }
}

/// Comma-separated expressions, like the arguments of a call.
pub type Exprs = Punctuated<Expr, Token![,]>;
