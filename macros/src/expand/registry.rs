//! `impl Module`: the registry of tensors and parts, in the order of the fields.

use proc_macro2::TokenStream;
use quote::{quote, quote_spanned};
use syn::Type;
use syn::spanned::Spanned;

use super::{Item, local, numbered, private};
use crate::ast::{Field, Forward, Role, element};
use crate::name::Numbered;

// impl ::sconce::Module for Model {
//     fn kind(&self) -> Cow<'static, str> { Cow::Borrowed("Model") }
//     fn visit<'module>(&'module self, visitor: &mut dyn Visitor<'module>) {
//         visitor.child("conv1", __private::part::<Conv2d>().show(&self.conv1));
//         visitor.parameter("scale", &self.scale);
//     }
//     fn visit_mut(&mut self, visitor: &mut dyn VisitorMut) { … }
//     fn share(&self) -> Self {
//         Self { conv1: __private::part::<Conv2d>().share(&self.conv1), scale: Clone::clone(&self.scale) }
//     }
// }
pub fn expand(item: &Item) -> TokenStream {
    let input = item.input;
    let (ident, krate) = (&input.ident, &input.krate);
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

/// `visitor.child("conv1", …);` for each field that is not plain data.
fn visits(item: &Item, variant: usize, mutable: bool) -> TokenStream {
    let visitor = local("visitor");
    let (reference, show) =
        if mutable { (quote!(&mut), quote!(show_mut)) } else { (quote!(&), quote!(show)) };
    let visit = |field: &Field| {
        let (key, place) = (field.key(), &field.place);
        match field.role {
            Role::Layer(_) | Role::Default => {
                let part = part(item, variant, field);
                if let (Some(names), Some(ty)) = (field.numbered(), element(&field.ty)) {
                    return each_layer(item, &names, ty, quote!(#reference #place));
                }
                quote!(#visitor.child(#key, #part.#show(#reference #place));)
            }
            Role::Param(_) => quote_spanned!(field.ty.span()=> #visitor.parameter(#key, #reference #place);),
            Role::Buffer(_) => quote_spanned!(field.ty.span()=> #visitor.buffer(#key, #reference #place);),
            Role::Skip(_) => TokenStream::new(),
        }
    };
    item.input.variants[variant].fields.iter().map(visit).collect()
}

/// `for (index, layer) in IntoIterator::into_iter(&self.layers).enumerate() { visitor.child(&…, layer); }`
fn each_layer(item: &Item, names: &Numbered, ty: &Type, list: TokenStream) -> TokenStream {
    let (visitor, index, layer) = (local("visitor"), local("index"), local("layer"));
    let name = numbered(&item.input.krate, names, quote!(#index));
    quote_spanned! {ty.span()=>
        for (#index, #layer) in ::core::iter::Iterator::enumerate(::core::iter::IntoIterator::into_iter(#list)) {
            #visitor.child(#name, #layer);
        }
    }
}

/// `__private::part::<Conv2d>()`: one spelling everywhere, so that the compiler complains once of a type
/// that is no layer. Where the fields run in order, each has to be a link of that chain.
pub fn part(item: &Item, variant: usize, field: &Field) -> TokenStream {
    let (span, ty) = (field.ty.span(), &field.ty);
    let private = private(&item.input.krate, span);
    match item.input.variants[variant].forward {
        Forward::Chain => quote_spanned!(span=> #private::link::<#ty>()),
        _ => quote_spanned!(span=> #private::part::<#ty>()),
    }
}

/// `Self { conv1: Module::share(&self.conv1), … }`
fn share(item: &Item, variant: usize) -> TokenStream {
    let path = item.input.variants[variant].path();
    let fields = item.input.variants[variant].fields.iter().map(|field| {
        let Field { member, place, role, ty, .. } = field;
        let copy = match role {
            Role::Layer(_) | Role::Default => {
                let part = part(item, variant, field);
                quote!(#part.share(&#place))
            }
            _ => quote_spanned!(ty.span()=> ::core::clone::Clone::clone(&#place)),
        };
        quote!(#member: #copy)
    });
    quote!(#path { #(#fields),* })
}
