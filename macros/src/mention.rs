//! Finds the uses of a name in an attribute expression.

use proc_macro2::{Ident, TokenStream, TokenTree};
use syn::ext::IdentExt;
use syn::visit::{self, Visit};
use syn::{Expr, ExprClosure, ExprPath, Macro, PatIdent};

/// Returns the first use of the variable `name` in `expr`. A method or field of this name, a path such as `self::width`
/// and a parameter of a closure are not uses. In a macro, every identifier of this name is a use.
pub fn find(expr: &Expr, name: &Ident) -> Option<Ident> {
    let mut finder = Finder { name: name.unraw().to_string(), found: None };
    finder.visit_expr(expr);
    finder.found
}

/// Searches an expression for the first use of the variable `name`.
struct Finder {
    name: String,
    found: Option<Ident>,
}

impl Finder {
    fn record(&mut self, ident: &Ident) {
        if self.found.is_none() && ident.unraw() == self.name {
            self.found = Some(ident.clone());
        }
    }

    fn search(&mut self, tokens: TokenStream) {
        for token in tokens {
            match token {
                TokenTree::Ident(ident) => self.record(&ident),
                TokenTree::Group(group) => self.search(group.stream()),
                TokenTree::Literal(literal) => {
                    if names_in_format(&literal.to_string()).any(|name| name == self.name) {
                        self.record(&Ident::new(&self.name.clone(), literal.span()));
                    }
                }
                TokenTree::Punct(_) => {}
            }
        }
    }
}

impl<'a> Visit<'a> for Finder {
    fn visit_expr_path(&mut self, node: &'a ExprPath) {
        if let (Some(ident), None) = (node.path.get_ident(), &node.qself) {
            self.record(ident);
        }
        visit::visit_expr_path(self, node);
    }

    fn visit_expr_closure(&mut self, node: &'a ExprClosure) {
        let mut parameters = Bindings { name: &self.name, found: false };
        node.inputs.iter().for_each(|pat| parameters.visit_pat(pat));
        if !parameters.found {
            visit::visit_expr_closure(self, node);
        }
    }

    fn visit_macro(&mut self, node: &'a Macro) {
        self.search(node.tokens.clone());
    }
}

/// Returns the names in braces in a format string, such as `"{width:?}"`.
fn names_in_format(literal: &str) -> impl Iterator<Item = &str> {
    let parts = literal.split('{').skip(1);
    parts.map(|part| part.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap_or_default())
}

/// Searches a pattern for a binding of `name`.
struct Bindings<'n> {
    name: &'n str,
    found: bool,
}

impl<'a> Visit<'a> for Bindings<'_> {
    fn visit_pat_ident(&mut self, node: &'a PatIdent) {
        self.found |= node.ident.unraw() == self.name;
        visit::visit_pat_ident(self, node);
    }
}

#[cfg(test)]
mod tests {
    use syn::parse_quote;

    use super::*;

    #[test]
    fn only_variables_are_uses() {
        let name: Ident = parse_quote!(width);
        let uses: [Expr; 6] = [
            parse_quote!(width + 1),
            parse_quote!(f(2 * width)),
            parse_quote!(|vb| build(vb, width)),
            parse_quote!(format!("{width}")),
            parse_quote!(vec![0; width]),
            parse_quote!(Size { width }),
        ];
        for expr in &uses {
            assert!(find(expr, &name).is_some(), "{}", quote::quote!(#expr));
        }
        let others: [Expr; 6] = [
            parse_quote!(x.width()),
            parse_quote!(x.width),
            parse_quote!(self::width),
            parse_quote!(|width| width),
            parse_quote!(format!("width")),
            parse_quote!(Size { width: 3 }),
        ];
        for expr in &others {
            assert!(find(expr, &name).is_none(), "{}", quote::quote!(#expr));
        }
    }
}
