//! Code generation. Each file has one generator. Comments above its functions show examples of the generated code.

mod args;
mod build;
mod config;
mod display;
mod docs;
mod field_type;
mod forward;
// The golden files do not contain the code that the feature `serde` adds to the expansion of a config.
#[cfg(all(test, not(feature = "serde")))]
mod golden;
mod hints;
mod key;
mod registry;
mod self_type;
mod train;

use proc_macro2::{Ident, Span, TokenStream, TokenTree};
use quote::quote;
use syn::ext::IdentExt;
use syn::spanned::Spanned;

use crate::ast::{Field, Input};
use crate::closure::{self, Rewritten};
use crate::ctxt::Ctxt;
use crate::valid::not_kept;

/// Returns all generated code. If `ctxt` has errors, the bodies are `unimplemented!()`, so that code that uses the
/// network causes no further errors.
pub fn expand(ctxt: &Ctxt, input: &Input) -> TokenStream {
    let item = Item::new(input);
    check_args_in_forward(ctxt, &item);
    check_recomputed_fields(ctxt, &item);
    let item = Item { stub: !ctxt.is_clean(), ..item };
    let parts = [
        import(input).unwrap_or_default(),
        registry::expand(&item),
        display::expand(&item),
        forward::expand(&item),
        config::expand(&item),
        train::expand(&item),
        hints::expand(&item),
    ];
    parts.into_iter().collect()
}

// use framework::sconce as __Model_sconce;
//
// For `crate = framework::sconce`. All generated code uses the imported name, so that the compiler reports an incorrect
// path once, at the path.
fn import(input: &Input) -> Option<TokenStream> {
    let path = &input.crate_path.as_ref()?.value;
    let name = located(input.krate.clone(), path.span());
    Some(quote!(#[allow(unused_imports)] use #path as #name;))
}

/// Reports uses of arguments in `forward`. Arguments exist only while the network is built.
fn check_args_in_forward(ctxt: &Ctxt, item: &Item) {
    for used in item.rewritten.iter().flatten().flat_map(|rewritten| &rewritten.unknown) {
        if item.input.args.iter().any(|arg| arg.name.unraw() == used.unraw()) {
            ctxt.error_on(used, not_kept(&used.to_string()));
        }
    }
}

/// Reports fields with `recompute` that the forward closure does not call by name: `recompute` would have no effect.
fn check_recomputed_fields(ctxt: &Ctxt, item: &Item) {
    for (variant, rewritten) in item.input.variants.iter().zip(&item.rewritten) {
        let Some(rewritten) = rewritten else { continue };
        for (i, field) in variant.fields.iter().enumerate().filter(|(_, field)| field.is_layer()) {
            if let Some(recompute) = &field.recompute
                && !rewritten.called.contains(&i)
            {
                let name = &field.name;
                let message = format!(
                    "`recompute` has no effect: the forward closure does not call `{name}(x)` or `{name}[i](x)`"
                );
                ctxt.error_on(recompute, message);
            }
        }
    }
}

/// The input of the generators.
struct Item<'a> {
    input: &'a Input,
    /// The rewritten forward closure of each variant that has one.
    rewritten: Vec<Option<Rewritten>>,
    /// The number of attribute expressions that use each argument.
    arg_uses: Vec<usize>,
    /// Whether there are errors, so that bodies are stubs.
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
        Self {
            input,
            rewritten: input.variants.iter().map(rewrite).collect(),
            arg_uses: args::count_uses(input),
            stub: false,
        }
    }

    /// Returns `body`, or a stub if there are errors.
    fn body(&self, body: TokenStream) -> TokenStream {
        if self.stub { quote!(::core::unimplemented!()) } else { body }
    }

    /// Returns `match self { … }` over the variants of an enum, or the single body of a struct. `body` returns the body
    /// for the index of a variant.
    fn each_variant(&self, body: impl Fn(usize) -> TokenStream) -> TokenStream {
        if !self.input.is_enum {
            return body(0);
        }
        let arms = self.input.variants.iter().enumerate().map(|(i, variant)| {
            let path = variant.path();
            let body = body(i);
            let members = variant.fields.iter().map(|Field { member, local, .. }| quote!(#member: #local));
            quote!(#path { #(#members),* } => { #body })
        });
        quote!(match self { #(#arms)* })
    }
}

/// Returns a hygienic identifier for a local of the generated code, which cannot clash with the user's names.
pub fn local(name: &str) -> Ident {
    Ident::new(name, Span::mixed_site())
}

/// Returns the path of `__private`, located at `span` so that errors point there.
pub fn private(krate: &TokenStream, span: Span) -> TokenStream {
    located(quote!(#krate::__private), span)
}

/// Returns the tokens, located at `span` for errors.
pub fn located(tokens: TokenStream, span: Span) -> TokenStream {
    let locate = |mut token: TokenTree| {
        token.set_span(token.span().located_at(span));
        token
    };
    tokens.into_iter().map(locate).collect()
}

/// Returns tokens with exactly the given span of the user's code, so that errors point there. With [`located`], the
/// errors of some expressions would point at the derive. The token `$crate` keeps the crate that it stands for.
pub fn respanned(tokens: TokenStream, span: Span) -> TokenStream {
    let respan = |mut token: TokenTree| {
        let is_crate = matches!(&token, TokenTree::Ident(ident) if ident == "$crate");
        token.set_span(if is_crate { token.span().located_at(span) } else { span });
        token
    };
    tokens.into_iter().map(respan).collect()
}

impl Field {
    /// Returns the name of the function that calls this field.
    pub fn call_function(&self) -> &'static str {
        if self.recompute.is_some() { "recompute" } else { "call" }
    }

    /// Returns the mode with which this field is called.
    pub fn mode_tokens(&self, krate: &TokenStream) -> TokenStream {
        let Some(mode) = &self.mode else {
            let mode = local("mode");
            return quote!(#mode);
        };
        let mode = if mode == "eval" { quote!(Eval) } else { quote!(Train) };
        quote!(#krate::Mode::#mode)
    }
}
