//! Macro invocations in a forward closure. Calls to layers are rewritten in the arguments of every macro.
//!
//! `vec!` and `dbg!` take values, as functions do. Any other macro may evaluate an argument any number of times, or use
//! it as a name, a place or a pattern. Therefore, no local moves in its arguments, and names and places in them stay
//! unchanged.

use proc_macro2::{Delimiter, Group, Span, TokenStream, TokenTree};
use quote::{ToTokens, quote, quote_spanned};
use syn::parse::{ParseStream, Parser};
use syn::spanned::Spanned;
use syn::{BinOp, Block, Expr, Macro, Pat, Stmt, Token, UnOp};

use crate::attr::Exprs;

use super::names;
use super::scope::{Binding, Refutability};
use super::walk::Walker;

impl Walker<'_> {
    /// Walks a macro invocation as an expression. `dbg!` is replaced with its expansion, because the macro would print
    /// the rewritten argument.
    pub(super) fn walk_macro(&mut self, expr: &mut Expr) {
        let Expr::Macro(invocation) = &mut *expr else { return };
        match self.walk_dbg(&invocation.mac) {
            Some(tokens) => *expr = Expr::Verbatim(tokens),
            None => self.walk_invocation(&mut invocation.mac),
        }
    }

    pub(super) fn walk_invocation(&mut self, mac: &mut Macro) {
        let is = |name| mac.path.is_ident(name);
        let tokens = mac.tokens.clone();
        let walked = if is("vec") {
            self.walk_vec(tokens)
        } else if is("matches") {
            self.walk_repeated(tokens, Self::walk_matches)
        } else if is("assert") || is("debug_assert") {
            self.walk_repeated(tokens, Self::walk_assertion)
        } else {
            None
        };
        mac.tokens = walked.unwrap_or_else(|| self.walk_repeated(mac.tokens.clone(), Self::walk_arguments));
    }

    /// Walks the tokens of a macro invocation. The macro may evaluate them any number of times, or assign to locals in
    /// them.
    pub(super) fn walk_repeated<T>(
        &mut self,
        tokens: TokenStream,
        walk: impl FnOnce(&mut Self, TokenStream) -> T,
    ) -> T {
        self.read_names(tokens.clone());
        self.inside_repetition += 1;
        self.scopes.enter();
        let walked = self.walk_optional(|walker| walk(walker, tokens.clone()));
        self.scopes.leave();
        self.inside_repetition -= 1;
        self.read_names(tokens);
        walked
    }

    /// Records that every local in the tokens is read.
    fn read_names(&mut self, tokens: TokenStream) {
        names::for_each(tokens, &mut |ident| {
            if let Some(local) = self.scopes.find(ident) {
                self.read(local, ident);
            }
        });
    }

    /// Records the names in the definition of a macro. The locals among them never move, because the macro may use them
    /// wherever it is called.
    pub(super) fn make_immovable(&mut self, tokens: TokenStream) {
        names::for_each(tokens, &mut |ident| {
            self.record_name(ident);
            self.immovable.borrowed.extend(self.scopes.find(ident));
        });
    }

    /// Replaces `dbg!(value)` with its expansion, which prints the value as the user wrote it.
    pub(super) fn walk_dbg(&mut self, mac: &Macro) -> Option<TokenStream> {
        if !mac.path.is_ident("dbg") {
            return None;
        }
        let mut args = Exprs::parse_terminated.parse2(mac.tokens.clone()).ok()?;
        let written = args.clone().into_iter();
        self.walk_operands(&mut args);
        let span = mac.path.span();
        let values = args.iter().zip(written).map(|(value, written)| {
            let text = text_of(written.into_token_stream());
            quote_spanned! {span=>
                match #value {
                    value => {
                        ::std::eprintln!(
                            "[{}:{}:{}] {} = {:#?}",
                            ::core::file!(),
                            ::core::line!(),
                            ::core::column!(),
                            #text,
                            &value
                        );
                        value
                    }
                }
            }
        });
        match args.len() {
            0 => None,
            1 => Some(values.collect()),
            _ => Some(quote!((#(#values,)*))),
        }
    }

    /// Walks the arguments of `vec![a, b]` or `vec![a; n]`.
    fn walk_vec(&mut self, tokens: TokenStream) -> Option<TokenStream> {
        let value_and_count = |input: ParseStream| {
            let value: Expr = input.parse()?;
            input.parse::<Token![;]>()?;
            Ok((value, input.parse::<Expr>()?))
        };
        if let Ok((mut value, mut count)) = value_and_count.parse2(tokens.clone()) {
            self.walk_value(&mut value);
            self.walk_place(&mut count);
            return Some(quote!(#value; #count));
        }
        let mut args = Exprs::parse_terminated.parse2(tokens).ok()?;
        self.walk_operands(&mut args);
        Some(args.into_token_stream())
    }

    /// Walks an assertion without a message. Adds a message that shows the condition as the user wrote it.
    fn walk_assertion(&mut self, tokens: TokenStream) -> Option<TokenStream> {
        let mut condition: Expr = syn::parse2(tokens.clone()).ok()?;
        self.walk_argument(&mut condition);
        let text = text_of(tokens);
        Some(quote!(#condition, "assertion failed: {}", #text))
    }

    /// Walks the arguments of `matches!`: `value, pattern if guard`.
    fn walk_matches(&mut self, tokens: TokenStream) -> Option<TokenStream> {
        let arguments = |input: ParseStream| {
            let value: Expr = input.parse()?;
            let comma: Token![,] = input.parse()?;
            let pat = Pat::parse_multi_with_leading_vert(input)?;
            let guard: Option<Token![if]> = input.parse()?;
            let condition = if guard.is_some() { Some(input.parse::<Expr>()?) } else { None };
            Ok((value, comma, pat, guard, condition, input.parse::<Option<Token![,]>>()?))
        };
        let (mut value, comma, pat, guard, mut condition, end) = arguments.parse2(tokens).ok()?;
        self.walk_place(&mut value);
        self.define(&pat, Refutability::Refutable, &Binding::default());
        if let Some(condition) = &mut condition {
            self.walk_place(condition);
        }
        Some(quote!(#value #comma #pat #guard #condition #end))
    }

    /// Walks the arguments of a macro. Parses them as expressions separated by commas or, if that fails, as statements.
    /// If both fail, splits them at `,`, `;` and `=>`.
    fn walk_arguments(&mut self, tokens: TokenStream) -> TokenStream {
        if let Ok(mut args) = Exprs::parse_terminated.parse2(tokens.clone()) {
            args.iter_mut().for_each(|arg| self.walk_argument(arg));
            return args.into_token_stream();
        }
        if let Ok(mut stmts) = Block::parse_within.parse2(tokens.clone()) {
            stmts.iter_mut().for_each(|stmt| match stmt {
                Stmt::Expr(expr, _) => self.walk_argument(expr),
                stmt => self.walk_statement(stmt),
            });
            return quote!(#(#stmts)*);
        }
        let tokens: Vec<TokenTree> = tokens.into_iter().collect();
        let mut walked = TokenStream::new();
        let mut rest = &tokens[..];
        while !rest.is_empty() {
            let end = (0..rest.len()).find(|&i| separator_length(&rest[i..]) > 0).unwrap_or(rest.len());
            let (argument, after) = rest.split_at(end);
            let (separator, after) = after.split_at(separator_length(after));
            walked.extend(self.walk_segment(argument.iter().cloned().collect()));
            walked.extend(separator.iter().cloned());
            rest = after;
        }
        walked
    }

    /// Walks the tokens between two separators, which need not be an expression.
    fn walk_segment(&mut self, tokens: TokenStream) -> TokenStream {
        match syn::parse2::<Expr>(tokens.clone()) {
            Ok(mut arg) => {
                self.walk_argument(&mut arg);
                arg.into_token_stream()
            }
            Err(_) => self.walk_tokens(tokens),
        }
    }

    /// Walks an argument of a macro. Leaves names and places unchanged, also inside expressions that may be patterns.
    fn walk_argument(&mut self, arg: &mut Expr) {
        let calls_layer = self.calls_layer(arg);
        match arg {
            Expr::Path(path) => {
                if let Some(ident) = path.path.get_ident() {
                    self.record_name(ident);
                }
            }
            Expr::Lit(literal) => *arg = Expr::Verbatim(self.walk_tokens(literal.to_token_stream())),
            Expr::Call(call) if !calls_layer => {
                if let Expr::Path(_) = &*call.func {
                    self.walk_argument(&mut call.func);
                }
                call.args.iter_mut().for_each(|arg| self.walk_argument(arg));
            }
            Expr::Tuple(tuple) => tuple.elems.iter_mut().for_each(|elem| self.walk_argument(elem)),
            Expr::Array(array) => array.elems.iter_mut().for_each(|elem| self.walk_argument(elem)),
            Expr::Struct(_) => *arg = Expr::Verbatim(self.walk_tokens(arg.to_token_stream())),
            Expr::Paren(paren) => self.walk_argument(&mut paren.expr),
            Expr::Group(group) => self.walk_argument(&mut group.expr),
            Expr::Reference(reference) => self.walk_argument(&mut reference.expr),
            Expr::Binary(binary) if matches!(binary.op, BinOp::BitOr(_)) => {
                self.walk_argument(&mut binary.left);
                self.walk_argument(&mut binary.right);
            }
            Expr::Assign(assign) => {
                self.walk_argument(&mut assign.left);
                self.walk_argument(&mut assign.right);
            }
            Expr::Range(range) => {
                range.start.iter_mut().chain(&mut range.end).for_each(|bound| self.walk_argument(bound));
            }
            Expr::Field(_) | Expr::Index(_) => self.walk_place(arg),
            Expr::Unary(unary) if matches!(unary.op, UnOp::Deref(_)) => self.walk_place(arg),
            arg => self.walk_value(arg),
        }
    }

    /// Walks tokens of unknown syntax: rewrites the calls to layers, and records all names.
    pub(super) fn walk_tokens(&mut self, tokens: TokenStream) -> TokenStream {
        let tokens: Vec<TokenTree> = tokens.into_iter().collect();
        let mut walked = TokenStream::new();
        let mut next = 0;
        while next < tokens.len() {
            let is_member = is_member(&tokens[..next]);
            let length = if is_member { 0 } else { call_length(&tokens[next..]) };
            match self.walk_token_call(&tokens[next..next + length]) {
                Some(call) => {
                    walked.extend(call);
                    next += length;
                }
                None => {
                    walked.extend([self.walk_token(tokens[next].clone(), is_member)]);
                    next += 1;
                }
            }
        }
        walked
    }

    fn walk_token(&mut self, token: TokenTree, is_member: bool) -> TokenTree {
        match token {
            TokenTree::Ident(ident) => {
                if !is_member {
                    self.record_name(&ident);
                }
                TokenTree::Ident(ident)
            }
            TokenTree::Group(group) => {
                let mut walked = Group::new(group.delimiter(), self.walk_arguments(group.stream()));
                walked.set_span(group.span());
                TokenTree::Group(walked)
            }
            TokenTree::Literal(literal) => {
                names::for_each_in_format(&literal, &mut |name| self.record_name(name));
                TokenTree::Literal(literal)
            }
            punct => punct,
        }
    }

    /// Walks tokens that have the form of a call. Returns `None` unless the call is to a layer, or to a value that may
    /// be a layer.
    fn walk_token_call(&mut self, tokens: &[TokenTree]) -> Option<TokenStream> {
        if tokens.is_empty() {
            return None;
        }
        let mut call: Expr = syn::parse2(tokens.iter().cloned().collect()).ok()?;
        if !self.calls_layer(&call) {
            return None;
        }
        self.walk_value(&mut call);
        Some(call.into_token_stream())
    }
}

/// Returns the text of tokens as a string literal in `concat!`. Two tokens are separated by a space if they are
/// separated in the source.
fn text_of(tokens: TokenStream) -> TokenStream {
    let text = if proc_macro::is_available() {
        let mut text = Text::default();
        text.extend(tokens);
        text.text
    } else {
        tokens.to_string()
    };
    quote!(::core::concat!(#text))
}

/// The text of tokens.
#[derive(Default)]
struct Text {
    text: String,
    /// The end of the last token.
    end: Option<Position>,
}

/// A line and a column, both counted from 1.
type Position = (usize, usize);

impl Text {
    fn extend(&mut self, tokens: TokenStream) {
        for token in tokens {
            match token {
                TokenTree::Group(group) => {
                    let (open, close) = match group.delimiter() {
                        Delimiter::Parenthesis => ("(", ")"),
                        Delimiter::Brace => ("{", "}"),
                        Delimiter::Bracket => ("[", "]"),
                        Delimiter::None => ("", ""),
                    };
                    let (start, end) = positions(group.span());
                    self.push(open, start, (start.0, start.1 + 1));
                    self.extend(group.stream());
                    self.push(close, (end.0, end.1 - 1), end);
                }
                token => {
                    let (start, end) = positions(token.span());
                    self.push(&token.to_string(), start, end);
                }
            }
        }
    }

    fn push(&mut self, token: &str, start: Position, end: Position) {
        if token.is_empty() {
            return;
        }
        if self.end.is_some_and(|end| end != start) {
            self.text.push(' ');
        }
        self.text.push_str(token);
        self.end = Some(end);
    }
}

/// Returns the start and the end of a span.
fn positions(span: Span) -> (Position, Position) {
    let (start, end) = (span.unwrap().start(), span.unwrap().end());
    ((start.line(), start.column()), (end.line(), end.column()))
}

/// Returns the number of tokens of a call at the start of `tokens`: `conv1(x)`, `self.conv1(x)` or `blocks[i](x)`.
/// Returns 0 if they do not start with a call.
fn call_length(tokens: &[TokenTree]) -> usize {
    let is_ident = |i: usize| matches!(tokens.get(i), Some(TokenTree::Ident(_)));
    let is_group = |i: usize, delimiter| match tokens.get(i) {
        Some(TokenTree::Group(group)) => group.delimiter() == delimiter,
        _ => false,
    };
    let is_dot = |i: usize| matches!(tokens.get(i), Some(TokenTree::Punct(punct)) if punct.as_char() == '.');
    let starts_with_self = matches!(tokens.first(), Some(TokenTree::Ident(ident)) if ident == "self");
    let mut length = match starts_with_self && is_dot(1) {
        true if is_ident(2) => 3,
        false if is_ident(0) => 1,
        _ => return 0,
    };
    while is_group(length, Delimiter::Bracket) {
        length += 1;
    }
    if is_group(length, Delimiter::Parenthesis) { length + 1 } else { 0 }
}

/// Returns whether the next token is a member (`x.conv1`), a part of a path (`module::conv1`) or the name of a function
/// item (`fn conv1`), given the tokens before it.
fn is_member(before: &[TokenTree]) -> bool {
    let punct =
        |token: &TokenTree, char: char| matches!(token, TokenTree::Punct(punct) if punct.as_char() == char);
    match before {
        [.., first, second] if punct(first, ':') && punct(second, ':') => true,
        [.., first, second] if punct(first, '.') && punct(second, '.') => false,
        [.., last] => punct(last, '.') || matches!(last, TokenTree::Ident(ident) if ident == "fn"),
        [] => false,
    }
}

/// Returns the number of tokens of a separator at the start of `tokens`: 1 for `,` and `;`, 2 for `=>`, otherwise 0.
fn separator_length(tokens: &[TokenTree]) -> usize {
    let char = |i: usize| match tokens.get(i) {
        Some(TokenTree::Punct(punct)) => Some(punct.as_char()),
        _ => None,
    };
    match (char(0), char(1)) {
        (Some(',' | ';'), _) => 1,
        (Some('='), Some('>')) => 2,
        _ => 0,
    }
}
