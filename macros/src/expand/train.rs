//! Generates `impl Trainable`: the loss, the optimizer and the learning-rate schedule of a network.

use proc_macro2::{Ident, Span, TokenStream};
use quote::{ToTokens, quote, quote_spanned};
use syn::spanned::Spanned;
use syn::{Expr, Member};

use crate::ast::Role;
use crate::mention;

use super::{Item, local, private, respanned};

// impl ::sconce::train::Trainable for Model {
//     fn loss(&self, output: &Tensor, target: &Tensor) -> Result<Tensor> {
//         __private::loss_expression(cross_entropy).loss(output, target)
//     }
//     fn optimizer(&self) -> Box<dyn Optimizer> {
//         let rate = Clone::clone(&self.rate);
//         __private::optimizer(AdamW::new(rate))
//     }
//     fn schedule(&self) -> Option<LearningRate<'static>> {
//         __private::schedule((StepLr::new(10), Every::Epoch))
//     }
// }
pub fn expand(item: &Item) -> TokenStream {
    let input = item.input;
    let (Some(loss), Some(optimizer)) = (&input.loss, &input.optimizer) else { return TokenStream::new() };
    // If the network does not map one signal to one signal, the error points at `loss`.
    let ident = respanned(input.ident.to_token_stream(), loss.key.span());
    let krate = &input.krate;
    let (generics, arguments, bounds) = input.generics.split_for_impl();
    let output = local("output");
    let target = local("target");
    let loss_body = body(item, &loss.value, loss_call(krate, &loss.value));
    let optimizer = &optimizer.value;
    let private = private(krate, optimizer.span());
    let call = quote_spanned!(optimizer.span()=> #private::optimizer(#optimizer));
    let optimizer_body = body(item, optimizer, call);
    let schedule = input.schedule.as_ref().map(|schedule| schedule_method(item, &schedule.value));
    quote! {
        #[automatically_derived]
        impl #generics #krate::train::Trainable for #ident #arguments #bounds {
            fn loss(
                &self,
                #output: &#krate::candle::Tensor,
                #target: &#krate::candle::Tensor,
            ) -> #krate::Result<#krate::candle::Tensor> {
                #loss_body
            }

            fn optimizer(&self) -> ::std::boxed::Box<dyn #krate::train::Optimizer> {
                #optimizer_body
            }

            #schedule
        }
    }
}

/// Returns `__private::loss(|o, t| …, output, target)` for a closure, whose types are then inferred, and
/// `__private::loss_expression(cross_entropy).loss(output, target)` for a function or a configured loss.
fn loss_call(krate: &TokenStream, loss: &Expr) -> TokenStream {
    let span = loss.span();
    let output = Ident::new("output", Span::mixed_site().located_at(span));
    let target = Ident::new("target", Span::mixed_site().located_at(span));
    let private = respanned(quote!(#krate::__private), span);
    match loss {
        Expr::Closure(_) => quote_spanned!(span=> #private::loss(#loss, #output, #target)),
        _ => quote_spanned!(span=> #private::loss_expression(#loss).loss(#output, #target)),
    }
}

fn schedule_method(item: &Item, schedule: &Expr) -> TokenStream {
    let krate = &item.input.krate;
    let private = private(krate, schedule.span());
    let call = quote_spanned!(schedule.span()=> #private::schedule(#schedule));
    let body = body(item, schedule, call);
    quote! {
        fn schedule(&self) -> ::core::option::Option<#krate::train::LearningRate<'static>> {
            #body
        }
    }
}

/// Returns `code`, preceded by a local variable for each plain-data field that the expression uses.
fn body(item: &Item, expr: &Expr, code: TokenStream) -> TokenStream {
    item.body(item.each_variant(|variant| {
        let fields = item.input.variants[variant].fields.iter();
        let data = fields.filter(|field| matches!(field.role, Role::Skip(_))).filter_map(|field| {
            let Member::Named(ident) = &field.member else { return None };
            let name = mention::find(expr, ident)?;
            let place = &field.place;
            Some(quote_spanned!(name.span()=> let #name = ::core::clone::Clone::clone(&#place);))
        });
        quote!(#(#data)* #code)
    }))
}
