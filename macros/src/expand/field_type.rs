//! Types that the generated code computes from the written type of a field: the layer in a container, the layer of an
//! alias, and an error type for a field that is not a layer, so that its uses cause no further errors.

use proc_macro2::{Ident, TokenStream, TokenTree};
use quote::{ToTokens, quote, quote_spanned};
use syn::spanned::Spanned;
use syn::{GenericParam, Type};

use crate::ast::{Field, element, generic_argument};

use super::registry::layer_check;
use super::{Item, private};

/// Returns the type in an `Option`: `T` of `Option<T>`, or [`contents`] if the type may be an alias.
pub(super) fn optional_type(item: &Item, ty: &Type) -> Type {
    generic_argument(ty, &["Option"]).cloned().unwrap_or_else(|| contents(item, ty))
}

/// Returns the type of the elements of a list: `T` of `Vec<T>`, or [`contents`] if the type may be an alias.
pub(super) fn element_type(item: &Item, ty: &Type) -> Type {
    element(ty).cloned().unwrap_or_else(|| contents(item, ty))
}

/// Returns the type in a container:
/// `<Blocks as __private::Contents<{ <__private::FieldKind<Blocks>>::IS_CONTAINER }>>::Layer`.
/// If the type is not a container, this is the type itself. A constant cannot depend on the generic parameters of the
/// network, so for a type with such a parameter, `true` takes the place of the constant.
pub(super) fn contents(item: &Item, ty: &Type) -> Type {
    let span = ty.span();
    let private = private(&item.input.krate, span);
    let is_container = if is_generic(item, ty) {
        quote!(true)
    } else {
        quote_spanned!(span=> { <#private::FieldKind<#ty>>::IS_CONTAINER })
    };
    Type::Verbatim(quote_spanned!(span=> <#ty as #private::Contents<#is_container>>::Layer))
}

/// Returns the type of the layer to which an alias of a pointer points:
/// `<Shared as __private::Pointee<{ … }>>::Layer`. If the type is not an alias of a pointer, this is the type itself.
/// `check` is the [`layer_check`] of the field.
pub(super) fn target(item: &Item, ty: &Type, check: &TokenStream) -> Type {
    if !is_inspectable_alias(item, ty) {
        return ty.clone();
    }
    let span = ty.span();
    let private = private(&item.input.krate, span);
    let depth = pointer_depth(item, ty, check);
    Type::Verbatim(quote_spanned!(span=> <#ty as #private::Pointee<#depth>>::Layer))
}

/// Returns the number of pointers around the layer of a type: `{ let _ = …; <__private::FieldKind<Shared>>::POINTER +
/// <__private::FieldKind<Shared>>::POINTER_2 + … }`, where `let` is the [`layer_check`] of the field.
pub(super) fn pointer_depth(item: &Item, ty: &Type, check: &TokenStream) -> TokenStream {
    let span = ty.span();
    let private = private(&item.input.krate, span);
    let kind = quote_spanned!(span=> <#private::FieldKind<#ty>>);
    quote_spanned!(span=> { #check #kind::POINTER + #kind::POINTER_2 + #kind::POINTER_3 })
}

/// Returns the type of a layer in a tuple: `A` of `(A, B)`, or
/// `<Stem as __private::TupleLayer<0, { __private::has_layer(…) }>>::Layer` if the type may be an alias.
pub(super) fn tuple_type(item: &Item, ty: &Type, index: usize) -> Type {
    if let Type::Tuple(tuple) = ty {
        return tuple.elems[index].clone();
    }
    let span = ty.span();
    let private = private(&item.input.krate, span);
    let is_layer = is_tuple(item, ty, index);
    Type::Verbatim(quote_spanned!(span=> <#ty as #private::TupleLayer<#index, #is_layer>>::Layer))
}

/// Returns `{ __private::has_layer(<__private::FieldKind<Stem>>::LENGTH, 0) }`: whether the type is a tuple with a
/// layer at the index. For a type with a generic parameter of the network, returns `true`, as [`contents`] does.
pub(super) fn is_tuple(item: &Item, ty: &Type, index: usize) -> TokenStream {
    if is_generic(item, ty) {
        return quote!(true);
    }
    let private = private(&item.input.krate, ty.span());
    quote_spanned!(ty.span()=> { #private::has_layer(<#private::FieldKind<#ty>>::LENGTH, #index) })
}

/// Returns `true` if a type contains a generic parameter of the network.
pub(super) fn is_generic(item: &Item, ty: &Type) -> bool {
    fn contains(tokens: TokenStream, names: &[&Ident]) -> bool {
        tokens.into_iter().any(|token| match token {
            TokenTree::Ident(ident) => ident == "Self" || names.contains(&&ident),
            TokenTree::Group(group) => contains(group.stream(), names),
            _ => false,
        })
    }
    let params = item.input.generics.params.iter();
    let names: Vec<&Ident> = params
        .filter_map(|param| match param {
            GenericParam::Type(param) => Some(&param.ident),
            GenericParam::Const(param) => Some(&param.ident),
            GenericParam::Lifetime(_) => None,
        })
        .collect();
    contains(ty.to_token_stream(), &names)
}

/// Returns `true` if a type may be an alias whose definition the generated code can inspect. The inspection needs
/// constants, which cannot depend on the generic parameters of the network.
pub(super) fn is_inspectable_alias(item: &Item, ty: &Type) -> bool {
    may_be_alias(ty) && !is_generic(item, ty)
}

/// Returns `true` if a type may be an alias of a pointer: if it is a path, a macro, or a `Verbatim` type, which this
/// module generates.
pub(super) fn may_be_alias(ty: &Type) -> bool {
    matches!(ty, Type::Path(_) | Type::Verbatim(_) | Type::Macro(_))
}

/// Returns `<Block as __private::Pointee<{ let _ = …; 0 }>>::Layer`, which is the type of the field if that is a layer.
/// Otherwise, this is an error type: the compiler reports nothing about its uses, only that the field is not a layer.
/// Returns the type itself if it has a generic parameter of the network.
pub(super) fn checked(item: &Item, variant: usize, field: &Field) -> TokenStream {
    let ty = &field.ty;
    let check = layer_check(item, variant, field);
    if check.is_empty() {
        return ty.to_token_stream();
    }
    let span = ty.span();
    let private = private(&item.input.krate, span);
    quote_spanned!(span=> <#ty as #private::Pointee<{ #check 0 }>>::Layer)
}
