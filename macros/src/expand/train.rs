//! Generates `impl Trainable`: the loss and the optimizer of a network.

use proc_macro2::TokenStream;
use quote::{quote, quote_spanned};
use syn::spanned::Spanned;

use super::{Item, local};

// impl ::sconce::train::Trainable for Model {
//     fn loss(&self, output: &Tensor, target: &Tensor) -> Result<Tensor> {
//         __private::into_result(cross_entropy(output, target))
//     }
//     fn optimizer(&self) -> Box<dyn ::sconce::train::Optimizer> { Box::new(AdamW::new(1e-3)) }
// }
pub fn expand(item: &Item) -> TokenStream {
    let input = item.input;
    let (Some(loss), Some(optimizer)) = (&input.loss, &input.optimizer) else { return TokenStream::new() };
    let ident = &input.ident;
    let krate = &input.krate;
    let (generics, arguments, bounds) = input.generics.split_for_impl();
    let loss = &loss.value;
    let optimizer = &optimizer.value;
    let output = local("output");
    let target = local("target");
    let loss = match loss {
        syn::Expr::Path(_) => quote!(#loss),
        _ => quote!((#loss)),
    };
    let call = quote_spanned!(loss.span()=> #loss(#output, #target));
    let loss = item.body(quote!(#krate::__private::into_result(#call)));
    let optimizer = item.body(quote_spanned!(optimizer.span()=> ::std::boxed::Box::new(#optimizer)));
    quote! {
        #[automatically_derived]
        impl #generics #krate::train::Trainable for #ident #arguments #bounds {
            fn loss(
                &self,
                #output: &#krate::candle::Tensor,
                #target: &#krate::candle::Tensor,
            ) -> #krate::Result<#krate::candle::Tensor> {
                #loss
            }

            fn optimizer(&self) -> ::std::boxed::Box<dyn #krate::train::Optimizer> {
                #optimizer
            }
        }
    }
}
