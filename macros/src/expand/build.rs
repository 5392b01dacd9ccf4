//! Generates the body of `Config::build`, which builds the fields in order and then the network.

use proc_macro2::{Delimiter, Group, Span, TokenStream};
use quote::{ToTokens, format_ident, quote, quote_spanned};
use syn::spanned::Spanned;
use syn::{Expr, Type};

use crate::ast::{Field, Role, Variant, element, generic_argument, pointee};
use crate::attr::{LayerAttr, Repeat, Source, TensorAttr};
use crate::closure::mentions;

use super::{Item, local, numbered, private};

// let field_conv1 = __private::layer(&vb, "conv1", <Conv2d>::config(1, 20, 5).padding(2))?;
// let field_act = { use __private::BuildDefault as _; __private::bare_field::<Relu>().build(&vb, "act")? };
// let field_scale = __private::param(&vb, "scale", (outputs, 1), None)?;
// Ok(Model { conv1: field_conv1, act: field_act, scale: field_scale })
pub fn body(item: &Item) -> TokenStream {
    let krate = &item.input.krate;
    let name = &item.input.ident;
    if !item.input.is_enum {
        return variant(item, &item.input.variants[0]);
    }
    let (conditional, others): (Vec<_>, Vec<_>) =
        item.input.variants.iter().partition(|variant| variant.when.is_some());
    let tests = conditional.iter().filter_map(|conditional| {
        let condition = &conditional.when.as_ref()?.value;
        let copies = arg_clones(item, condition);
        let body = variant(item, conditional);
        Some(quote!(if { #copies #condition } { return { #body }; }))
    });
    let last = match others.first() {
        Some(other) => variant(item, other),
        None => {
            let message = format!("{name}: no variant has a true `when` condition");
            quote!(::core::result::Result::Err(#krate::Error::msg(#message)))
        }
    };
    quote!(#(#tests)* #last)
}

/// Builds a struct or variant from its fields.
fn variant(item: &Item, variant: &Variant) -> TokenStream {
    let ident = &item.input.ident;
    let path = variant.ident.as_ref().map_or_else(|| quote!(#ident), |name| quote!(#ident::#name));
    let fields = variant.fields.iter().map(|field| {
        let local = &field.local;
        let value = value(item, field);
        let pin = pin(item, field);
        let mutable = pin.is_some().then(|| quote!(mut));
        quote!(let #mutable #local = #value; #pin)
    });
    let members = variant.fields.iter().map(|Field { member, local, .. }| quote!(#member: #local));
    let network = quote!(#path { #(#members),* });
    let ties = ties(item, variant, &network);
    quote!(#(#fields)* #ties)
}

// let mut network = Model { … };
// __private::tie_after(&mut network, "head", "embed.weight")?;
// Ok(network)
//
// `__private::tie` builds the field from the tensor at the target's path; `tie_after` makes both paths share one
// tensor.
fn ties(item: &Item, variant: &Variant, network: &TokenStream) -> TokenStream {
    let krate = &item.input.krate;
    let this = local("network");
    let ties = variant.fields.iter().filter_map(|field| {
        let key = field.key();
        let target = field.tie.as_ref()?;
        Some(quote!(#krate::__private::tie_after(&mut #this, #key, #target)?;))
    });
    let ties: TokenStream = ties.collect();
    if ties.is_empty() {
        return quote!(::core::result::Result::Ok(#network));
    }
    quote!(let mut #this = #network; #ties ::core::result::Result::Ok(#this))
}

/// Returns `__private::pin(__private::module_field::<BatchNorm>().as_module_mut(&mut field_norm), Mode::Eval);` for a
/// field with `#[module(mode = eval)]`.
fn pin(item: &Item, field: &Field) -> Option<TokenStream> {
    field.mode.as_ref()?;
    let Field { ty, local, .. } = field;
    let private = private(&item.input.krate, ty.span());
    let mode = field.mode_tokens(&item.input.krate);
    Some(quote_spanned! {ty.span()=>
        #private::pin(#private::module_field::<#ty>().as_module_mut(&mut #local), #mode);
    })
}

/// Builds one field.
fn value(item: &Item, field: &Field) -> TokenStream {
    let krate = &item.input.krate;
    let ty = &field.ty;
    let value = match &field.role {
        Role::Layer(attr) => layer(item, field, attr),
        Role::DefaultLayer => {
            let private = private(krate, ty.span());
            let vb = local("vb");
            let key = field.key();
            quote_spanned! {ty.span()=> {
                #[allow(unused_imports)]
                use #private::BuildDefault as _;
                #private::bare_field::<#ty>().build(&#vb, #key)?
            }}
        }
        Role::Param(attr) => tensor(item, field, attr, quote!(param)),
        Role::Buffer(attr) => tensor(item, field, attr, quote!(buffer)),
        Role::Skip(None) => quote_spanned!(ty.span()=> <#ty as ::core::default::Default>::default()),
        Role::Skip(Some(value)) => {
            let copies = arg_clones(item, value);
            if copies.is_empty() { value.to_token_stream() } else { quote!({ #copies #value }) }
        }
    };
    match &field.tie {
        Some(target) => {
            let vb = local("vb");
            let key = field.key();
            quote!({ let #vb = #krate::__private::tie(#vb.clone(), #key, #target); #value })
        }
        None => value,
    }
}

/// Builds one layer, an optional layer, or one layer for each element of a range.
fn layer(item: &Item, field: &Field, attr: &LayerAttr) -> TokenStream {
    let krate = &item.input.krate;
    let vb = local("vb");
    let key = field.key();
    let optional = generic_argument(&field.ty, &["Option"]);
    match &attr.repeat {
        Repeat::Once => {
            let layer = single_layer(item, attr, optional.unwrap_or(&field.ty), quote!(&#vb), quote!(#key));
            if optional.is_some() { quote!(::core::option::Option::Some(#layer)) } else { layer }
        }
        Repeat::If(_, condition) => {
            let ty = optional.unwrap_or(&field.ty);
            let layer = single_layer(item, attr, ty, quote!(&#vb), quote!(#key));
            let copies = arg_clones(item, condition);
            let condition =
                if copies.is_empty() { quote!(#condition) } else { quote!({ #copies #condition }) };
            quote!(if #condition { ::core::option::Option::Some(#layer) } else { ::core::option::Option::None })
        }
        Repeat::For(_, pat, range) => {
            let list = local("layers");
            let ty = element(&field.ty).unwrap_or(&field.ty);
            let (vb, index) = match field.numbered() {
                None => (quote!(&#vb.pp(#key)), quote!(&#krate::__private::index(#list.len()))),
                Some(names) => (quote!(&#vb), numbered(krate, &names, quote!(#list.len()))),
            };
            let layer = single_layer(item, attr, ty, vb, index);
            let copies = arg_clones(item, range);
            let range = if copies.is_empty() { quote!(#range) } else { quote!({ #copies #range }) };
            quote! {{
                let mut #list = ::std::vec::Vec::new();
                for #pat in #range { #list.push(#layer); }
                #krate::__private::layer_list(#key, #list)?
            }}
        }
    }
}

/// Returns `__private::layer(&vb, "conv1", <Conv2d>::config(1, 20, 5).padding(2))?`, wrapped in `Box` or `Arc` if the
/// field has such a type.
fn single_layer(item: &Item, attr: &LayerAttr, ty: &Type, vb: TokenStream, name: TokenStream) -> TokenStream {
    let krate = &item.input.krate;
    let (pointer, ty) = pointee(ty).map_or((None, ty), |(pointer, inner)| (Some(pointer), inner));
    let span = Span::mixed_site().located_at(attr.span);
    let layer = match &attr.source {
        Source::With(function) => {
            let copies = arg_clones(item, function);
            quote!({ #copies #krate::__private::layer_with(#vb, #name, #function)? })
        }
        Source::Config { args, setters } => {
            let values: TokenStream = setters.iter().map(|(name, value)| quote!(.#name(#value))).collect();
            let copies = arg_clones(item, &quote!(#(#args,)* #values));
            let config = config(attr, ty, args);
            let private = private(krate, span);
            let layer = quote_spanned!(span=> #private::layer);
            if copies.is_empty() {
                quote!(#layer(#vb, #name, #config #values)?)
            } else {
                quote!({ #copies #layer(#vb, #name, #config #values)? })
            }
        }
        Source::Tuple(layers) => tuple(item, layers, ty, vb, name),
    };
    match pointer.map(ToString::to_string).as_deref() {
        Some("Box") => quote!(::std::boxed::Box::new(#layer)),
        // The constructor can also return an existing `Arc`, to use one layer in several fields.
        Some(_) if matches!(attr.source, Source::With(_)) => {
            quote!(::core::convert::Into::<::std::sync::Arc<#ty>>::into(#layer))
        }
        Some(_) => quote!(::std::sync::Arc::new(#layer)),
        None => layer,
    }
}

/// Returns `{ let vb = vb.pp("stem"); (__private::layer(&vb, "0", …)?, __private::layer(&vb, "1", …)?,) }`.
fn tuple(item: &Item, layers: &[LayerAttr], ty: &Type, vb: TokenStream, name: TokenStream) -> TokenStream {
    let types = match ty {
        Type::Tuple(tuple) => tuple.elems.iter().collect(),
        _ => Vec::new(),
    };
    let inner = local("vb");
    let values = layers.iter().zip(types).enumerate().map(|(i, (attr, ty))| {
        let index = i.to_string();
        single_layer(item, attr, ty, quote!(&#inner), quote!(#index))
    });
    quote!({ let #inner = (#vb).pp(#name); (#(#values,)*) })
}

/// Returns `<Conv2d>::config(1, 20, 5)` with the spans of `layer(1, 20, 5)`, so that the compiler reports a wrong
/// number of arguments there and suggests a correction.
fn config(attr: &LayerAttr, ty: &Type, args: &[Expr]) -> TokenStream {
    let mut list = Group::new(Delimiter::Parenthesis, quote!(#(#args),*));
    let has_no_setters = matches!(&attr.source, Source::Config { setters, .. } if setters.is_empty());
    match attr.parentheses {
        Some(span) if has_no_setters && matches!(attr.repeat, Repeat::Once) => list.set_span(span),
        _ => list.set_span(attr.span),
    }
    quote_spanned!(attr.span=> <#ty>::config #list)
}

/// Returns `__private::param(&vb, "scale", (outputs, 1), Some(Into::into({ use init::*; ones })))?`.
fn tensor(item: &Item, field: &Field, attr: &TensorAttr, function: TokenStream) -> TokenStream {
    let krate = &item.input.krate;
    let vb = local("vb");
    let key = field.key();
    let TensorAttr { shape, init } = attr;
    let copies = arg_clones(item, &quote!(#shape, #init));
    let init = match init {
        None => quote!(::core::option::Option::None),
        Some(init) => quote_spanned! {init.span()=>
            ::core::option::Option::Some(::core::convert::Into::into({
                #[allow(unused_imports)]
                use #krate::init::*;
                #init
            }))
        },
    };
    quote!({ #copies #krate::__private::#function(&#vb, #key, #shape, #init)? })
}

/// Returns `let widths = Clone::clone(&widths);` for every argument of the network that `tokens` mention, unless its
/// type is known to be `Copy`. Every attribute expression gets its own clones.
pub fn arg_clones(item: &Item, tokens: &impl ToTokens) -> TokenStream {
    let owned = item.input.args.iter().filter(|arg| !is_copy(&arg.ty));
    let copy = |arg: &crate::attr::Arg| {
        let name = mentions(tokens.to_token_stream(), &arg.name)?;
        let original = &arg.name;
        let name = format_ident!("{original}", span = name.span());
        Some(quote!(let #name = ::core::clone::Clone::clone(&#original);))
    };
    owned.filter_map(copy).collect()
}

/// Returns whether a type is known to be `Copy`: whether it is one of the types in `COPY`, or an array, tuple or option
/// of such types.
fn is_copy(ty: &Type) -> bool {
    const COPY: [&str; 16] = [
        "usize", "isize", "u8", "u16", "u32", "u64", "i8", "i16", "i32", "i64", "f32", "f64", "bool", "char",
        "DType", "Mode",
    ];
    match ty {
        Type::Array(array) => is_copy(&array.elem),
        Type::Tuple(tuple) => tuple.elems.iter().all(is_copy),
        ty => {
            crate::ast::last_segment(ty).is_some_and(|name| COPY.iter().any(|copy| name == copy))
                || generic_argument(ty, &["Option"]).is_some_and(is_copy)
        }
    }
}
