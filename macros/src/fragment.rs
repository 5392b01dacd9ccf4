//! Removes the invisible groups around the fragments of `macro_rules!`, such as `$t:ty` and `$e:expr`.
//!
//! rustc wraps a fragment in a group without delimiters, which keeps `$a * 2` correct if `$a` is `1 + 1`. [`ungroup`]
//! removes the groups after parsing and writes parentheses where precedence needs them. The rest of the derive does not
//! distinguish between fragments and tokens written in place.

use proc_macro2::{Delimiter, Group, Span, TokenStream, TokenTree};
use quote::ToTokens;
use syn::parse::{Parse, ParseStream, Parser};
use syn::spanned::Spanned;
use syn::visit_mut::{self, VisitMut};
use syn::{DeriveInput, Expr, ExprParen, Ident, LitStr, Macro, Pat, Type, token};

/// A node of the syntax tree that can contain fragments.
pub trait Fragment: Parse {
    /// Removes the groups in `self`.
    fn ungroup(&mut self) {}
}

impl Fragment for Ident {}

impl Fragment for LitStr {}

impl Fragment for Type {
    fn ungroup(&mut self) {
        Ungroup.visit_type_mut(self);
    }
}

impl Fragment for Expr {
    /// Also removes a group around the whole expression, so that `forward = $f` is a closure if `$f` is one.
    fn ungroup(&mut self) {
        while let Self::Group(group) = self {
            *self = std::mem::replace(&mut group.expr, Self::PLACEHOLDER);
        }
        Ungroup.visit_expr_mut(self);
    }
}

/// Parses a node and removes the groups in it.
pub fn parse<T: Fragment>(input: ParseStream) -> syn::Result<T> {
    let mut node: T = input.parse()?;
    node.ungroup();
    Ok(node)
}

/// Parses a pattern and removes the groups in it.
pub fn parse_pattern(input: ParseStream) -> syn::Result<Pat> {
    let mut pat = Pat::parse_single(input)?;
    Ungroup.visit_pat_mut(&mut pat);
    Ok(pat)
}

/// Removes the groups around the types of an item. Attributes are parsed later, with [`parse`].
pub fn ungroup(item: &mut DeriveInput) {
    Ungroup.visit_derive_input_mut(item);
}

struct Ungroup;

impl VisitMut for Ungroup {
    fn visit_type_mut(&mut self, node: &mut Type) {
        while let Some(inner) = grouped(node) {
            *node = inner;
        }
        visit_mut::visit_type_mut(self, node);
    }

    fn visit_expr_mut(&mut self, node: &mut Expr) {
        while let Expr::Group(group) = node {
            let inner = std::mem::replace(&mut *group.expr, Expr::PLACEHOLDER);
            *node = if is_atomic(&inner) { inner } else { parenthesized(inner) };
        }
        visit_mut::visit_expr_mut(self, node);
    }

    fn visit_macro_mut(&mut self, node: &mut Macro) {
        node.tokens = ungroup_tokens(std::mem::take(&mut node.tokens));
        visit_mut::visit_macro_mut(self, node);
    }
}

/// Returns the type inside a group or parentheses. For a type with several bounds, such as `dyn A + B`, keeps the
/// parentheses or replaces the group with parentheses, and returns `None`: `&dyn A + B` would be an error.
fn grouped(ty: &mut Type) -> Option<Type> {
    let inner = match ty {
        Type::Group(group) => &mut group.elem,
        Type::Paren(paren) => &mut paren.elem,
        _ => return None,
    };
    let bounds = match &**inner {
        Type::TraitObject(object) => object.bounds.len(),
        Type::ImplTrait(object) => object.bounds.len(),
        _ => 1,
    };
    if bounds == 1 {
        return Some((**inner).clone());
    }
    let inner = inner.clone();
    let paren_token = paren(inner.span());
    *ty = Type::Paren(syn::TypeParen { attrs: Vec::new(), paren_token, elem: inner });
    None
}

/// Returns `true` if the expression needs no parentheses as an operand of an operator or as the receiver of a method.
fn is_atomic(expr: &Expr) -> bool {
    matches!(
        expr,
        Expr::Array(_)
            | Expr::Call(_)
            | Expr::Field(_)
            | Expr::Group(_)
            | Expr::Index(_)
            | Expr::Lit(_)
            | Expr::Macro(_)
            | Expr::MethodCall(_)
            | Expr::Paren(_)
            | Expr::Path(_)
            | Expr::Try(_)
            | Expr::Tuple(_)
    )
}

/// Returns `(expr)`. The parentheses have a macro-expansion span, so that rustc reports no unused parentheses.
fn parenthesized(expr: Expr) -> Expr {
    let paren_token = paren(expr.span());
    Expr::Paren(ExprParen { attrs: Vec::new(), paren_token, expr: Box::new(expr) })
}

fn paren(span: Span) -> token::Paren {
    token::Paren(Span::mixed_site().located_at(span))
}

/// Removes the groups in the tokens of a macro invocation. A group of several tokens becomes an expression in
/// parentheses if the tokens are an expression, and otherwise stays.
fn ungroup_tokens(tokens: TokenStream) -> TokenStream {
    tokens.into_iter().map(ungroup_token).collect()
}

fn ungroup_token(token: TokenTree) -> TokenStream {
    let TokenTree::Group(group) = token else { return token.into() };
    let content = ungroup_tokens(group.stream());
    if group.delimiter() == Delimiter::None {
        if content.clone().into_iter().count() == 1 {
            return content;
        }
        if let Ok(mut expr) = Expr::parse.parse2(content.clone()) {
            expr.ungroup();
            return parenthesized(expr).into_token_stream();
        }
    }
    let mut ungrouped = Group::new(group.delimiter(), content);
    ungrouped.set_span(group.span());
    TokenTree::Group(ungrouped).into()
}

#[cfg(test)]
mod tests {
    use quote::quote;

    use super::*;

    fn group(tokens: TokenStream) -> TokenTree {
        TokenTree::Group(Group::new(Delimiter::None, tokens))
    }

    fn expr(tokens: TokenStream) -> String {
        parse::<Expr>.parse2(tokens).expect("the tokens are an expression").into_token_stream().to_string()
    }

    #[test]
    fn precedence_is_kept() {
        let sum = group(quote!(a + b));
        assert_eq!(expr(quote!(#sum)), "a + b");
        assert_eq!(expr(quote!(#sum * 2)), "(a + b) * 2");
        assert_eq!(expr(quote!(#sum.pow(2))), "(a + b) . pow (2)");
        let call = group(quote!(f(x)));
        assert_eq!(expr(quote!(#call * 2)), "f (x) * 2");
    }

    #[test]
    fn closures_in_nested_groups_are_recognized() {
        let inner = group(quote!(|x| x));
        let outer = group(quote!(#inner));
        let parsed = parse::<Expr>.parse2(quote!(#outer)).expect("a closure");
        assert!(matches!(parsed, Expr::Closure(_)));
    }

    #[test]
    fn types_lose_groups_and_parentheses() {
        let ty = group(quote!(Vec<Linear>));
        let parsed = parse::<Type>.parse2(quote!(Option<#ty>)).expect("a type");
        assert_eq!(parsed, syn::parse_quote!(Option<Vec<Linear>>));
        let ty = group(quote!(dyn A + B));
        let parsed = parse::<Type>.parse2(quote!(&#ty)).expect("a type");
        assert_eq!(parsed.into_token_stream().to_string(), "& (dyn A + B)");
    }

    #[test]
    fn the_arguments_of_macros_lose_groups() {
        let sum = group(quote!(a + b));
        let name = group(quote!(a));
        let pattern = group(quote!(let Some(_) = a else));
        assert_eq!(expr(quote!(dbg!(#sum, #name))), "dbg ! ((a + b) , a)");
        assert!(expr(quote!(other!(#pattern))).contains("let Some"));
    }
}
