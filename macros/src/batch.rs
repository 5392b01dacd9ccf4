//! `#[derive(Batch)]`: implements the trait `Batch` for a struct that holds a batch of examples.

use proc_macro2::{Span, TokenStream};
use quote::{quote, quote_spanned};
use syn::spanned::Spanned;
use syn::{Attribute, Data, DeriveInput, Field, Member, Path, Type};

use crate::ctxt::Ctxt;

/// A field and the role that `#[batch(…)]` gives it.
struct ParsedField<'a> {
    member: Member,
    ty: &'a Type,
    is_input: bool,
    is_skipped: bool,
}

/// Parses and checks the struct, and returns the generated code followed by the errors.
pub fn derive(node: &DeriveInput) -> TokenStream {
    let ctxt = Ctxt::default();
    let krate = krate(&ctxt, &node.attrs);
    let fields = fields(&ctxt, node);
    let mut code = TokenStream::new();
    if ctxt.is_clean() {
        code = expand(node, &krate, &fields);
    }
    code.extend(ctxt.into_compile_errors());
    code
}

/// Returns the path of sconce: the `path` in `#[batch(crate = path)]`, or `::sconce`.
fn krate(ctxt: &Ctxt, attrs: &[Attribute]) -> TokenStream {
    let mut krate = quote!(::sconce);
    for attr in attrs.iter().filter(|attr| attr.path().is_ident("batch")) {
        ctxt.ok(attr.parse_nested_meta(|meta| {
            if !meta.path.is_ident("crate") {
                return Err(meta.error("expected `crate = path`"));
            }
            let path: Path = meta.value()?.parse()?;
            krate = quote!(#path);
            Ok(())
        }));
    }
    krate
}

/// Returns the fields of the struct. Reports an error if no field is an input, unless another error explains it.
fn fields<'a>(ctxt: &Ctxt, node: &'a DeriveInput) -> Vec<ParsedField<'a>> {
    let Data::Struct(data) = &node.data else {
        ctxt.error_on(&node.ident, "expected a struct of tensors");
        return Vec::new();
    };
    let members = data.fields.members().zip(&data.fields);
    let fields: Vec<_> = members.map(|(member, field)| parse_field(ctxt, member, field)).collect();
    if ctxt.is_clean() && !fields.iter().any(|field| field.is_input) {
        ctxt.error_on(&node.ident, "mark each input of the network with #[batch(input)]");
    }
    fields
}

fn parse_field<'a>(ctxt: &Ctxt, member: Member, field: &'a Field) -> ParsedField<'a> {
    let mut parsed = ParsedField { member, ty: &field.ty, is_input: false, is_skipped: false };
    for attr in field.attrs.iter().filter(|attr| attr.path().is_ident("batch")) {
        ctxt.ok(attr.parse_nested_meta(|meta| {
            if meta.path.is_ident("input") {
                parsed.is_input = true;
            } else if meta.path.is_ident("skip") {
                parsed.is_skipped = true;
            } else {
                return Err(meta.error("expected `input` or `skip`"));
            }
            if parsed.is_input && parsed.is_skipped {
                return Err(
                    meta.error("an input cannot be skipped: it must be moved to the network's device")
                );
            }
            Ok(())
        }));
    }
    parsed
}

// impl ::sconce::train::Batch for Pair {
//     type Input = (<Tensor as BatchField>::Input, <Tensor as BatchField>::Input);
//     type Target = Self;
//     fn input(&self) -> Self::Input {
//         (BatchField::to_input(&self.left), BatchField::to_input(&self.right))
//     }
//     fn target(&self) -> &Self { self }
//     fn examples(&self) -> usize {
//         None.or_else(|| BatchField::examples(&self.left)).or_else(|| BatchField::examples(&self.right)).unwrap_or(0)
//     }
//     fn map_tensors(&self, change: &dyn Fn(&Tensor) -> Result<Tensor>) -> Result<Self> {
//         Ok(Self { left: BatchField::map_tensors(&self.left, change)?, … name: Clone::clone(&self.name) })
//     }
// }
fn expand(node: &DeriveInput, krate: &TokenStream, fields: &[ParsedField<'_>]) -> TokenStream {
    let ident = &node.ident;
    let (generics, arguments, bounds) = node.generics.split_for_impl();
    let inputs = || fields.iter().filter(|field| field.is_input);
    let types = inputs().map(|ParsedField { ty, .. }| {
        let trait_path = trait_path(krate, ty.span());
        quote_spanned!(ty.span()=> <#ty as #trait_path>::Input)
    });
    let types = one_or_tuple(types.collect());
    let values = inputs().map(|field| call(krate, field, "to_input", None));
    let values = one_or_tuple(values.collect());
    let examples = inputs().map(|field| call(krate, field, "examples", None));
    let change = syn::Ident::new("change", Span::mixed_site());
    let copies = fields.iter().map(|field| {
        let member = &field.member;
        if field.is_skipped {
            return quote!(#member: ::core::clone::Clone::clone(&self.#member));
        }
        let copy = call(krate, field, "map_tensors", Some(&change));
        quote!(#member: #copy?)
    });
    quote! {
        #[automatically_derived]
        impl #generics #krate::train::Batch for #ident #arguments #bounds {
            type Input = #types;
            type Target = Self;

            fn input(&self) -> Self::Input {
                #values
            }

            fn target(&self) -> &Self {
                self
            }

            fn examples(&self) -> usize {
                ::core::option::Option::None #(.or_else(|| #examples))* .unwrap_or(0)
            }

            fn map_tensors(
                &self,
                #change: &dyn ::core::ops::Fn(&#krate::candle::Tensor) -> #krate::Result<#krate::candle::Tensor>,
            ) -> #krate::Result<Self> {
                ::core::result::Result::Ok(Self { #(#copies),* })
            }
        }
    }
}

/// Returns the path of the trait `BatchField`, with the span of a field's type, so that errors point at the type.
fn trait_path(krate: &TokenStream, span: Span) -> TokenStream {
    quote_spanned!(span=> #krate::train::BatchField)
}

/// Returns a call of a method of `BatchField`.
fn call(
    krate: &TokenStream,
    field: &ParsedField<'_>,
    method: &str,
    argument: Option<&syn::Ident>,
) -> TokenStream {
    let ParsedField { member, ty, .. } = field;
    let trait_path = trait_path(krate, ty.span());
    let method = syn::Ident::new(method, Span::mixed_site());
    let argument = argument.into_iter();
    quote_spanned!(ty.span()=> <#ty as #trait_path>::#method(&self.#member #(, #argument)*))
}

/// Returns the item if there is only one, and a tuple of the items otherwise.
fn one_or_tuple(items: Vec<TokenStream>) -> TokenStream {
    match &items[..] {
        [one] => one.clone(),
        _ => quote!((#(#items),*)),
    }
}
