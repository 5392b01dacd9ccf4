//! Generates `impl Display`, which prints the network like PyTorch.

use proc_macro2::TokenStream;
use quote::quote;

use super::{Item, local};

// impl Display for Model {
//     fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result { ::sconce::__private::display(self, f) }
// }
pub fn expand(item: &Item) -> TokenStream {
    let ident = &item.input.ident;
    let krate = &item.input.krate;
    let (generics, arguments, bounds) = item.input.generics.split_for_impl();
    let f = local("f");
    quote! {
        #[automatically_derived]
        impl #generics ::core::fmt::Display for #ident #arguments #bounds {
            fn fmt(&self, #f: &mut ::core::fmt::Formatter<'_>) -> ::core::fmt::Result {
                #krate::__private::display(self, #f)
            }
        }
    }
}
