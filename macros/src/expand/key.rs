//! Generates the expressions for the names of fields in checkpoints.

use proc_macro2::TokenStream;
use quote::{ToTokens, quote};

use crate::name::{Name, Part};

use super::Item;

/// Returns an expression of the type `&str` for a name in checkpoints: `"conv1"`, or a reference to the expression that
/// [`dynamic_name`] returns.
pub fn name(
    item: &Item,
    variant: usize,
    name: &Name,
    index: &TokenStream,
    context: NameContext,
) -> TokenStream {
    match name.fixed() {
        Some(fixed) => quote!(#fixed),
        None => {
            let name = dynamic_name(item, variant, name, index, context);
            quote!(&#name)
        }
    }
}

/// Returns `__private::concat_name(&[&"block", &self.stage, &"-", &__private::element_number(0, 2, index)])`, an
/// expression of the type `String`.
pub fn dynamic_name(
    item: &Item,
    variant: usize,
    name: &Name,
    index: &TokenStream,
    context: NameContext,
) -> TokenStream {
    let krate = &item.input.krate;
    let parts = name.parts.iter().map(|part| match part {
        Part::Text(text) => quote!(&#text),
        Part::Value(name) => {
            let value = item.value_in_name(variant, name, context);
            quote!(&#value)
        }
        Part::Numbers { first, step } => quote!(&#krate::__private::element_number(#first, #step, #index)),
    });
    quote!(#krate::__private::concat_name(&[#(#parts),*]))
}

/// Where the generated code computes a name in checkpoints, which determines how it accesses the values of fields.
#[derive(Clone, Copy)]
pub enum NameContext {
    /// The fields are local variables of `Config::build`.
    Build,
    /// The fields belong to a network that is already built.
    Network,
}

impl Item<'_> {
    /// Returns the field or const parameter that a name in checkpoints contains in braces.
    fn value_in_name(&self, variant: usize, name: &str, context: NameContext) -> TokenStream {
        let field = self.input.variants[variant].fields.iter().find(|field| field.name == name);
        match (field, context) {
            (Some(field), NameContext::Build) => field.local.to_token_stream(),
            (Some(field), NameContext::Network) => field.place.clone(),
            (None, _) => {
                let param = self.input.generics.const_params().find(|param| param.ident == name);
                param.map(|param| &param.ident).to_token_stream()
            }
        }
    }
}
