//! Generates warnings for unused fields. On stable Rust, a derive can only warn through the use of a deprecated item.

use proc_macro2::{Span, TokenStream};
use quote::{format_ident, quote};
use syn::Member;

use crate::ast::Field;

use super::Item;

// const _: () = {
//     #[deprecated(note = "field `act2` is never used in `forward`")]
//     const act2: () = ();
//     const _: () = act2;          // with the span of the field
// };
pub fn expand(item: &Item) -> TokenStream {
    // Unused fields are worth a warning only if there are no errors.
    if item.stub {
        return TokenStream::new();
    }
    let variants = item.input.variants.iter().zip(&item.rewritten);
    let unused = variants.flat_map(|(variant, rewritten)| {
        rewritten.iter().flat_map(|rewritten| &rewritten.unused).map(|&i| &variant.fields[i])
    });
    unused.map(warning).collect()
}

fn warning(field: &Field) -> TokenStream {
    let note = format!("field `{}` is never used in `forward`", field.name);
    let name = match &field.member {
        Member::Named(ident) => ident.clone(),
        Member::Unnamed(index) => format_ident!("field_{}", index.index, span = index.span),
    };
    // The use has the span of the user's code: rustc reports no deprecation for spans of a derive's expansion.
    let usage = name.clone();
    let mut item = name;
    item.set_span(Span::mixed_site());
    quote! {
        const _: () = {
            #[deprecated(note = #note)]
            #[allow(non_upper_case_globals)]
            const #item: () = ();
            const _: () = #usage;
        };
    }
}
