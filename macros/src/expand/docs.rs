//! Writes the documentation of the generated config: its arguments, their defaults and the user's comments.

use proc_macro2::{Delimiter, Spacing, TokenStream, TokenTree};
use quote::{ToTokens, quote};
use syn::ext::IdentExt;
use syn::{Attribute, Expr, Ident, Lit, Meta};

use crate::attr::Arg;

/// Returns the documentation of the config of a network. The link has `super::`, because the config is in a child
/// module of the network's module.
pub fn config_struct(network: &Ident) -> String {
    format!(" The config of [`{network}`](super::{network}): the arguments from which it is built.")
}

/// Returns the documentation of a setter: the comment on the argument, or "Sets `stride`.", and the default.
pub fn setter(Arg { name, default, docs, .. }: &Arg) -> TokenStream {
    let first = docs.is_empty().then(|| format!(" Sets `{}`.", name.unraw()));
    let default =
        default.as_ref().map(|default| format!(" Default: `{}`.", source(default.to_token_stream())));
    let blank_line = (first.is_none() && default.is_some()).then_some("");
    let first = first.iter();
    let blank_line = blank_line.iter();
    let default = default.iter();
    quote!(#(#[doc = #first])* #(#docs)* #(#[doc = #blank_line])* #(#[doc = #default])*)
}

/// Returns the documentation of the function `config`: a list of the arguments with their comments.
pub fn config_function(args: &[Arg]) -> TokenStream {
    let lines = args.iter().map(|arg| {
        let name = arg.name.unraw();
        let text = comment(&arg.docs);
        let text = if text.is_empty() { text } else { format!(": {text}") };
        match &arg.default {
            None => format!(" - `{name}`{text}"),
            Some(default) => {
                format!(" - `{name}` (setter, default `{}`){text}", source(default.to_token_stream()))
            }
        }
    });
    if args.is_empty() {
        TokenStream::new()
    } else {
        quote!(#[doc = ""] #[doc = " Arguments:"] #[doc = ""] #(#[doc = #lines])*)
    }
}

/// Returns the text of documentation comments in one line.
fn comment(docs: &[Attribute]) -> String {
    let lines = docs.iter().filter_map(|attribute| match &attribute.meta {
        Meta::NameValue(pair) => match &pair.value {
            Expr::Lit(literal) => match &literal.lit {
                Lit::Str(text) => Some(text.value().trim().to_string()),
                _ => None,
            },
            _ => None,
        },
        _ => None,
    });
    lines.collect::<Vec<_>>().join(" ")
}

/// Returns the tokens as one line, with spaces approximately as rustfmt writes them.
fn source(tokens: TokenStream) -> String {
    let mut text = String::new();
    let mut follows_joint = true;
    for token in tokens {
        let next = match &token {
            TokenTree::Group(group) => {
                let (open, close) = match group.delimiter() {
                    Delimiter::Parenthesis => ("(", ")"),
                    Delimiter::Bracket => ("[", "]"),
                    Delimiter::Brace => ("{ ", " }"),
                    Delimiter::None => ("", ""),
                };
                format!("{open}{}{close}", source(group.stream()))
            }
            token => token.to_string(),
        };
        let before = text.chars().last().unwrap_or(' ');
        let has_no_space = follows_joint || is_attached(before, &token);
        if !has_no_space {
            text.push(' ');
        }
        text.push_str(&next);
        follows_joint = is_joint(&token, before, has_no_space);
    }
    text
}

/// Returns `true` if no space belongs before `token`. `before` is the last character of the token before it.
fn is_attached(before: char, token: &TokenTree) -> bool {
    match token {
        TokenTree::Punct(punct) => {
            matches!(punct.as_char(), ',' | '.' | ';' | '?' | ':')
                || (punct.as_char() == '!' && before.is_alphanumeric())
        }
        TokenTree::Group(group) => {
            group.delimiter() != Delimiter::Brace
                && (before.is_alphanumeric() || matches!(before, '_' | '!' | ')' | ']' | '>' | '?'))
        }
        _ => false,
    }
}

/// Returns `true` if no space belongs after `token`. `before` is the last character of the token before it, and
/// `has_no_space` says that no space separates the two.
fn is_joint(token: &TokenTree, before: char, has_no_space: bool) -> bool {
    let TokenTree::Punct(punct) = token else { return false };
    if matches!(before, '&' | '|') && before == punct.as_char() {
        return false;
    }
    match punct.as_char() {
        '.' => true,
        ':' => punct.spacing() == Spacing::Joint || before == ':',
        // A prefix operator follows another operator or begins the text.
        '&' | '-' | '*' | '!' | '|' => {
            punct.spacing() == Spacing::Joint
                || has_no_space
                || !(before.is_alphanumeric() || matches!(before, '_' | ')' | ']' | '"' | '}'))
        }
        _ => punct.spacing() == Spacing::Joint,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expressions_are_printed_as_they_are_written() {
        for text in [
            "4 * inputs",
            "names.join(\"-\")",
            "Some(-1)",
            "vec![1, 2]",
            "self::width(a, &b)",
            "Padding::Same",
            "a == b && !c",
            "0..n",
            "(1, 2).0",
            "x as f64",
        ] {
            let tokens: TokenStream = text.parse().expect("the text consists of tokens");
            assert_eq!(source(tokens), text);
        }
    }
}
