//! Generates `impl Module`: the registry of tensors and child modules, in the order of the fields.

use proc_macro2::TokenStream;
use quote::{quote, quote_spanned};
use syn::Type;
use syn::spanned::Spanned;

use crate::ast::{Field, Forward, Role, element};
use crate::name::Numbered;

use super::{Item, local, numbered, private};

// impl ::sconce::Module for Model {
//     fn kind(&self) -> Cow<'static, str> { Cow::Borrowed("Model") }
//     fn visit<'module>(&'module self, visitor: &mut dyn Visitor<'module>) {
//         visitor.child("conv1", __private::module_field::<Conv2d>().as_module(&self.conv1));
//         visitor.parameter("scale", &self.scale);
//     }
//     fn visit_mut(&mut self, visitor: &mut dyn VisitorMut) { … }
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
    let share = item.body(item.each_variant(|i| share(item, i)));
    quote! {
        #[automatically_derived]
        impl #generics #krate::Module for #ident #arguments #bounds {
            fn kind(&self) -> #krate::__private::Cow<'static, ::core::primitive::str> {
                #krate::__private::Cow::Borrowed(#name)
            }

            fn visit<'module>(&'module self, #visitor: &mut dyn #krate::Visitor<'module>) {
                let _ = &#visitor;
                #visit
            }

            fn visit_mut(&mut self, #visitor: &mut dyn #krate::VisitorMut) {
                let _ = &#visitor;
                #visit_mut
            }

            fn share(&self) -> Self {
                #share
            }
        }
    }
}

/// Returns `visitor.child("conv1", …);` for each layer field, and the corresponding calls for parameters and buffers.
fn visits(item: &Item, variant: usize, mutable: bool) -> TokenStream {
    let visitor = local("visitor");
    let (reference, as_module) =
        if mutable { (quote!(&mut), quote!(as_module_mut)) } else { (quote!(&), quote!(as_module)) };
    let visit = |field: &Field| {
        let key = field.key();
        let place = &field.place;
        match field.role {
            Role::Layer(_) | Role::DefaultLayer => {
                let access = field_access(item, variant, field);
                if let (Some(names), Some(ty)) = (field.numbered(), element(&field.ty)) {
                    return each_layer(item, &names, ty, quote!(#reference #place));
                }
                quote!(#visitor.child(#key, #access.#as_module(#reference #place));)
            }
            Role::Param(_) => quote_spanned!(field.ty.span()=> #visitor.parameter(#key, #reference #place);),
            Role::Buffer(_) => quote_spanned!(field.ty.span()=> #visitor.buffer(#key, #reference #place);),
            Role::Skip(_) => TokenStream::new(),
        }
    };
    item.input.variants[variant].fields.iter().map(visit).collect()
}

/// Returns `for (index, layer) in IntoIterator::into_iter(&self.layers).enumerate() { visitor.child(&…, layer); }`.
fn each_layer(item: &Item, names: &Numbered, ty: &Type, list: TokenStream) -> TokenStream {
    let visitor = local("visitor");
    let index = local("index");
    let layer = local("layer");
    let name = numbered(&item.input.krate, names, quote!(#index));
    quote_spanned! {ty.span()=>
        for (#index, #layer) in ::core::iter::Iterator::enumerate(::core::iter::IntoIterator::into_iter(#list)) {
            #visitor.child(#name, #layer);
        }
    }
}

/// Returns `__private::module_field::<Conv2d>()`, or `sequential_field` if the fields run in order. All generators use
/// the same expression, so that the compiler reports only one error for a type that is not a layer.
pub fn field_access(item: &Item, variant: usize, field: &Field) -> TokenStream {
    let span = field.ty.span();
    let ty = &field.ty;
    let private = private(&item.input.krate, span);
    match item.input.variants[variant].forward {
        Forward::Sequential => quote_spanned!(span=> #private::sequential_field::<#ty>()),
        _ => quote_spanned!(span=> #private::module_field::<#ty>()),
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
            _ => quote_spanned!(ty.span()=> ::core::clone::Clone::clone(&#place)),
        };
        quote!(#member: #copy)
    });
    quote!(#path { #(#fields),* })
}
