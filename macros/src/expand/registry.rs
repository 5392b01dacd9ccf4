//! Generates `impl Module`: the registry of tensors and child modules, in the order of the fields.

use proc_macro2::{Span, TokenStream};
use quote::{quote, quote_spanned};
use syn::spanned::Spanned;

use crate::ast::{Field, Forward, Role};

use super::field_type::is_generic;
use super::key::{NameContext, dynamic_name, name};
use super::{Item, local, located, private};

// impl ::sconce::Module for Model {
//     fn kind(&self) -> Cow<'static, str> { Cow::Borrowed("Model") }
//     fn visit<'module>(&'module self, visitor: &mut dyn Visitor<'module>) {
//         visitor.child("conv1", __private::module_field::<Conv2d>().as_module(&self.conv1));
//         visitor.parameter("scale", &self.scale);
//     }
//     fn visit_mut(&mut self, visitor: &mut dyn VisitorMut) { … }
//     fn visit_fields<'module>(&'module self, visitor: &mut dyn Visitor<'module>) { … } // with `rename`
//     fn share(&self) -> Self {
//         Self { conv1: __private::module_field::<Conv2d>().share(&self.conv1), scale: Clone::clone(&self.scale) }
//     }
// }
pub fn expand(item: &Item) -> TokenStream {
    let input = item.input;
    let ident = &input.ident;
    let krate = &input.krate;
    let (generics, arguments, bounds) = input.generics.split_for_impl();
    let name = ident.to_string();
    let name = name.strip_prefix("r#").unwrap_or(&name);
    let visitor = local("visitor");
    let visit = item.body(item.each_variant(|i| visits(item, i, false)));
    let visit_mut = item.body(item.each_variant(|i| visits(item, i, true)));
    let visit_fields = visit_fields(item);
    let share = item.body(item.each_variant(|i| share(item, i)));
    let is_visited = !item.stub && input.fields().any(|field| !matches!(field.role, Role::Skip(_)));
    let unused = (!is_visited).then(|| quote!(let _ = &#visitor;));
    quote! {
        #[automatically_derived]
        impl #generics #krate::Module for #ident #arguments #bounds {
            fn kind(&self) -> #krate::__private::Cow<'static, ::core::primitive::str> {
                #krate::__private::Cow::Borrowed(#name)
            }

            fn visit<'module>(&'module self, #visitor: &mut dyn #krate::Visitor<'module>) {
                #unused
                #visit
            }

            fn visit_mut(&mut self, #visitor: &mut dyn #krate::VisitorMut) {
                #unused
                #visit_mut
            }

            #visit_fields

            fn share(&self) -> Self {
                #share
            }
        }
    }
}

/// Returns `visitor.child("conv1", …);` for each layer field, and the corresponding calls for parameters and buffers.
fn visits(item: &Item, variant: usize, mutable: bool) -> TokenStream {
    let visitor = local("visitor");
    let reference = if mutable { quote!(&mut) } else { quote!(&) };
    let visit = |field: &Field| {
        let place = &field.place;
        let key = name(item, variant, &field.key, &TokenStream::new(), NameContext::Network);
        match field.role {
            Role::Layer(_) | Role::DefaultLayer => visit_layer(item, variant, field, mutable),
            Role::Param(_) => quote_spanned!(field.ty.span()=> #visitor.parameter(#key, #reference #place);),
            Role::Buffer(_) => quote_spanned!(field.ty.span()=> #visitor.buffer(#key, #reference #place);),
            Role::Skip(_) => TokenStream::new(),
        }
    };
    item.input.variants[variant].fields.iter().map(visit).collect()
}

// fn visit_fields<'module>(&'module self, visitor: &mut dyn Visitor<'module>) {
//     visitor.child("conv1", __private::module_field::<Conv2d>().as_module(&self.conv1));
// }
//
// Generated if a layer is renamed. Paths in errors and traces have the names of fields, not those in checkpoints.
fn visit_fields(item: &Item) -> Option<TokenStream> {
    let is_renamed = |field: &Field| field.is_layer() && field.rename.is_some();
    if item.stub || !item.input.fields().any(is_renamed) {
        return None;
    }
    let krate = &item.input.krate;
    let visitor = local("visitor");
    let body = item.each_variant(|i| {
        let layers = item.input.variants[i].fields.iter().filter(|field| field.is_layer());
        let visits = layers.map(|field| {
            let Field { name, place, .. } = field;
            let access = field_access(item, i, field);
            quote!(#visitor.child(#name, #access.as_module(&#place));)
        });
        let visits: TokenStream = visits.collect();
        if visits.is_empty() { quote!(let _ = &#visitor;) } else { visits }
    });
    Some(quote! {
        fn visit_fields<'module>(&'module self, #visitor: &mut dyn #krate::Visitor<'module>) {
            #body
        }
    })
}

// visitor.child("conv1", layer);                                                   // usually
// layer.visit(visitor);                                                            // rename = ""
// __private::visit_renamed(layer, visitor, &|index| __private::concat_name(…));    // rename = "layer{1..}"
fn visit_layer(item: &Item, variant: usize, field: &Field, mutable: bool) -> TokenStream {
    let krate = &item.input.krate;
    let visitor = local("visitor");
    let index = local("index");
    let index = quote!(#index);
    let access = field_access(item, variant, field);
    let place = &field.place;
    let layer =
        if mutable { quote!(#access.as_module_mut(&mut #place)) } else { quote!(#access.as_module(&#place)) };
    if field.key.is_empty() {
        let visit = if mutable { quote!(visit_mut) } else { quote!(visit) };
        return quote!(#krate::Module::#visit(#layer, #visitor););
    }
    if field.key.is_numbered() {
        let visit = if mutable { quote!(visit_renamed_mut) } else { quote!(visit_renamed) };
        let key = dynamic_name(item, variant, &field.key, &index, NameContext::Network);
        return quote!(#krate::__private::#visit(#layer, #visitor, &|#index| #key););
    }
    let key = name(item, variant, &field.key, &index, NameContext::Network);
    quote!(#visitor.child(#key, #layer);)
}

/// Returns `__private::module_field::<Conv2d>()`, or `sequential_field` if the fields run in order.
pub fn field_access(item: &Item, variant: usize, field: &Field) -> TokenStream {
    let function = access_function(item, variant, field);
    quote_spanned!(field.ty.span()=> #function())
}

/// Returns `let _ = __private::module_field::<Conv2d>;`, or `sequential_field` if the fields run in order. A constant
/// with this statement has no value if the type is not a layer. Returns nothing for a type with a generic parameter of
/// the network, on which a constant cannot depend.
pub fn layer_check(item: &Item, variant: usize, field: &Field) -> TokenStream {
    if is_generic(item, &field.ty) {
        return TokenStream::new();
    }
    let function = access_function(item, variant, field);
    quote_spanned!(field.ty.span()=> let _ = #function;)
}

/// Returns `__private::module_field::<Conv2d>`, or `sequential_field` if the fields run in order. All generators use
/// the same expression, so that the compiler reports only one error for a type that is not a layer.
fn access_function(item: &Item, variant: usize, field: &Field) -> TokenStream {
    let span = field.ty.span();
    let ty = &field.ty;
    let private = private(&item.input.krate, span);
    match item.input.variants[variant].forward {
        Forward::Sequential => quote_spanned!(span=> #private::sequential_field::<#ty>),
        _ => quote_spanned!(span=> #private::module_field::<#ty>),
    }
}

/// Returns `Self { conv1: __private::module_field::<Conv2d>().share(&self.conv1), … }`.
fn share(item: &Item, variant: usize) -> TokenStream {
    let path = item.input.variants[variant].path();
    let fields = item.input.variants[variant].fields.iter().map(|field| {
        let Field { member, place, role, ty, .. } = field;
        let copy = match role {
            Role::Layer(_) | Role::DefaultLayer => {
                let access = field_access(item, variant, field);
                quote!(#access.share(&#place))
            }
            _ => {
                let span = Span::mixed_site().located_at(ty.span());
                let place = located(place.clone(), span);
                quote_spanned!(span=> ::core::clone::Clone::clone(&#place))
            }
        };
        quote!(#member: #copy)
    });
    quote!(#path { #(#fields),* })
}
