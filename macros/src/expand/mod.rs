//! From checked input to code: one generator a file, each under a picture of what it writes.

mod build;
mod config;
mod display;
mod forward;
mod hints;
mod registry;
mod train;

use proc_macro2::{Ident, Span, TokenStream, TokenTree};
use quote::quote;

use crate::ast::{Field, Input};
use crate::closure::{self, Rewritten};
use crate::ctxt::Ctxt;
use crate::name::Numbered;

/// Everything the derive writes. With mistakes in `ctxt` the bodies are `unimplemented!()`, so that code
/// which uses the network draws no errors of its own.
pub fn expand(ctxt: &Ctxt, input: &Input) -> TokenStream {
    let item = Item::new(input);
    for (ident, meant) in item.rewritten.iter().flatten().flat_map(|rewritten| &rewritten.misspelt) {
        ctxt.error_on(ident, format!("no field `{ident}` to call; did you mean `{meant}`?"));
    }
    let item = Item { stub: !ctxt.is_clean(), ..item };
    let parts = [
        registry::expand(&item),
        display::expand(&item),
        forward::expand(&item),
        config::expand(&item),
        train::expand(&item),
        hints::expand(&item),
    ];
    parts.into_iter().collect()
}

/// The input with what several generators need of it.
struct Item<'a> {
    input: &'a Input,
    /// One for each variant that has a forward closure.
    rewritten: Vec<Option<Rewritten>>,
    /// Whether bodies are left out because of mistakes.
    stub: bool,
}

impl<'a> Item<'a> {
    fn new(input: &'a Input) -> Self {
        let rewrite = |variant: &crate::ast::Variant| match &variant.forward {
            crate::ast::Forward::Closure(closure) => {
                Some(closure::rewrite(&input.krate, &variant.fields, closure))
            }
            _ => None,
        };
        Self { input, rewritten: input.variants.iter().map(rewrite).collect(), stub: false }
    }

    /// `body`, unless there are mistakes.
    fn body(&self, body: TokenStream) -> TokenStream {
        if self.stub { quote!(::core::unimplemented!()) } else { body }
    }

    /// `match self { … }` over an enum's variants, or the one body of a struct; `body` makes it of the
    /// variant's number.
    fn each_variant(&self, body: impl Fn(usize) -> TokenStream) -> TokenStream {
        if !self.input.is_enum {
            return body(0);
        }
        let arms = self.input.variants.iter().enumerate().map(|(i, variant)| {
            let (path, body) = (variant.path(), body(i));
            let members = variant.fields.iter().map(|Field { member, local, .. }| quote!(#member: #local));
            quote!(#path { #(#members),* } => { #body })
        });
        quote!(match self { #(#arms)* })
    }
}

/// A local of the generated code, which no name of the user's can clash with.
fn local(name: &str) -> Ident {
    Ident::new(name, Span::mixed_site())
}

/// `&__private::numbered("denselayer", 1 + index, "")`: the name of a list's layer.
pub fn numbered(krate: &TokenStream, names: &Numbered, index: TokenStream) -> TokenStream {
    let Numbered { before, first, after } = names;
    quote!(&#krate::__private::numbered(#before, #first + #index, #after))
}

/// The runtime's support for generated code, as if written at `span`: errors about it point there.
pub fn private(krate: &TokenStream, span: Span) -> TokenStream {
    located(quote!(#krate::__private), span)
}

/// The same tokens, as if written at `span`.
pub fn located(tokens: TokenStream, span: Span) -> TokenStream {
    let locate = |mut token: TokenTree| {
        token.set_span(token.span().located_at(span));
        token
    };
    tokens.into_iter().map(locate).collect()
}

impl Field {
    /// The mode that a call of this field gets.
    pub fn mode_tokens(&self, krate: &TokenStream) -> TokenStream {
        let Some(mode) = &self.mode else {
            let mode = local("mode");
            return quote!(#mode);
        };
        let mode = if mode == "eval" { quote!(Eval) } else { quote!(Train) };
        quote!(#krate::Mode::#mode)
    }
}
