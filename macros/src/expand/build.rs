//! Generates the body of `Config::build`, which builds the fields in order and then the network.

use proc_macro2::{Delimiter, Group, Ident, Span, TokenStream};
use quote::{format_ident, quote, quote_spanned};
use syn::spanned::Spanned;
use syn::{Expr, Type};

use crate::ast::{Field, Role, element, generic_argument};
use crate::attr::{LayerAttr, Repeat, Source, TensorAttr};

use super::args::{Runs, bind, config_expressions, with_args};
use super::key::{Place, name};
use super::self_type::replace_self;
use super::{Item, local, located, private};

// let field_conv1 = __private::layer(&vb, "conv1", <Conv2d>::config(1, 20, 5).padding(2))?;
// let field_act = { use __private::BuildDefault as _; __private::bare_field::<Relu>().build(&vb, "act")? };
// let field_scale = __private::param(&vb, "scale", (outputs, 1), None)?;
// Ok(Model { conv1: field_conv1, act: field_act, scale: field_scale })
pub fn body(item: &Item) -> TokenStream {
    replace_self(item.input, network(item))
}

/// Builds the struct, or the variant of the enum whose condition is true.
fn network(item: &Item) -> TokenStream {
    let krate = &item.input.krate;
    let ident = &item.input.ident;
    if !item.input.is_enum {
        return variant(item, 0);
    }
    let variants = item.input.variants.iter().enumerate();
    let (conditional, others): (Vec<_>, Vec<_>) = variants.partition(|(_, variant)| variant.when.is_some());
    let tests = conditional.iter().filter_map(|&(i, conditional)| {
        let condition = with_args(item, &conditional.when.as_ref()?.value, Runs::Once);
        let body = variant(item, i);
        Some(quote!(if #condition { return { #body }; }))
    });
    let last = match others.first() {
        Some(&(i, _)) => variant(item, i),
        None => {
            let message = format!("{ident}: no variant has a true `when` condition");
            quote!(::core::result::Result::Err(#krate::Error::msg(#message)))
        }
    };
    quote!(#(#tests)* #last)
}

/// Builds a struct or variant from its fields. Plain data whose value is part of a name in checkpoints is built first.
fn variant(item: &Item, index: usize) -> TokenStream {
    let ident = &item.input.ident;
    let variant = &item.input.variants[index];
    let path = variant.ident.as_ref().map_or_else(|| quote!(#ident), |name| quote!(#ident::#name));
    let is_in_name = |field: &&Field| {
        variant.fields.iter().any(|other| other.key.values().any(|value| value == field.name))
    };
    let (first, rest): (Vec<&Field>, Vec<&Field>) = variant.fields.iter().partition(is_in_name);
    let fields = first.into_iter().chain(rest).map(|field| {
        let local = &field.local;
        let value = value(item, index, field);
        let pin = pin(item, field);
        let mutable = pin.is_some().then(|| quote!(mut));
        quote!(let #mutable #local = #value; #pin)
    });
    let members = variant.fields.iter().map(|Field { member, local, .. }| quote!(#member: #local));
    let network = quote!(#path { #(#members),* });
    let ties = ties(item, index, &network);
    quote!(#(#fields)* #ties)
}

// let mut network = Model { … };
// __private::tie_after(&mut network, "head", "embed.weight")?;
// Ok(network)
//
// `__private::tie` builds the field from the tensor at the target's path; `tie_after` makes both paths share one
// tensor.
fn ties(item: &Item, variant: usize, network: &TokenStream) -> TokenStream {
    let krate = &item.input.krate;
    let this = local("network");
    let tied = || item.input.variants[variant].fields.iter().filter(|field| field.tie.is_some());
    // The names are read before the fields move into the network.
    let keys = tied().map(|field| {
        let key = name(item, variant, &field.key, &TokenStream::new(), Place::Build);
        let local = tie_key(field);
        quote!(let #local = #key;)
    });
    let ties = tied().map(|field| {
        let key = tie_key(field);
        let target = &field.tie;
        quote!(#krate::__private::tie_after(&mut #this, #key, #target)?;)
    });
    let keys: TokenStream = keys.collect();
    let ties: TokenStream = ties.collect();
    if ties.is_empty() {
        return quote!(::core::result::Result::Ok(#network));
    }
    quote!(#keys let mut #this = #network; #ties ::core::result::Result::Ok(#this))
}

/// Returns the local variable for the name of a tied field.
fn tie_key(field: &Field) -> Ident {
    format_ident!("key_{}", field.name, span = Span::mixed_site())
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
fn value(item: &Item, variant: usize, field: &Field) -> TokenStream {
    let krate = &item.input.krate;
    let ty = &field.ty;
    let key = name(item, variant, &field.key, &TokenStream::new(), Place::Build);
    let value = match &field.role {
        Role::Layer(attr) => layer(item, variant, field, attr),
        Role::DefaultLayer => {
            let private = private(krate, ty.span());
            let vb = local("vb");
            quote_spanned! {ty.span()=> {
                #[allow(unused_imports)]
                use #private::BuildDefault as _;
                #private::bare_field::<#ty>().build(&#vb, #key)?
            }}
        }
        Role::Param(attr) => tensor(item, &key, attr, quote!(param)),
        Role::Buffer(attr) => tensor(item, &key, attr, quote!(buffer)),
        Role::Skip(None) => quote_spanned!(ty.span()=> <#ty as ::core::default::Default>::default()),
        Role::Skip(Some(value)) => with_args(item, value, Runs::Once),
    };
    match &field.tie {
        Some(target) => {
            let vb = local("vb");
            quote!({ let #vb = #krate::__private::tie(#vb.clone(), #key, #target); #value })
        }
        None => value,
    }
}

/// Builds a layer, an optional layer, or a list of layers, under the name of the field.
fn layer(item: &Item, variant: usize, field: &Field, attr: &LayerAttr) -> TokenStream {
    let vb = local("vb");
    let vb = quote!(&#vb);
    let in_list = |index: &TokenStream| name(item, variant, &field.key, index, Place::Build);
    let name = if field.key.is_numbered() {
        LayerName::Numbered(&in_list)
    } else {
        LayerName::Fixed(in_list(&TokenStream::new()))
    };
    repeated(item, attr, &attr.repeats, &field.ty, &vb, name, Runs::Once)
}

/// The name under which a layer or a list of layers is built.
enum LayerName<'a> {
    /// An expression of the type `&str`.
    Fixed(TokenStream),
    /// The name of the layer at an index, without a name for the list.
    Numbered(&'a dyn Fn(&TokenStream) -> TokenStream),
}

impl LayerName<'_> {
    fn at(&self, index: &TokenStream) -> TokenStream {
        match self {
            Self::Fixed(name) => name.clone(),
            Self::Numbered(name) => name(index),
        }
    }
}

// __private::optional::<Option<Linear>>(if condition { Some(layer) } else { None })
//
// {
//     let vb = &__private::child(vb, "blocks");
//     let mut layers = Vec::<Linear>::new();
//     for i in 0..3 { layers.push(layer); }
//     __private::layer_list::<Vec<Linear>>("blocks", layers)?
// }
fn repeated(
    item: &Item,
    attr: &LayerAttr,
    repeats: &[Repeat],
    ty: &Type,
    vb: &TokenStream,
    name: LayerName,
    runs: Runs,
) -> TokenStream {
    let krate = &item.input.krate;
    match repeats.split_first() {
        None => single_layer(item, attr, ty, vb, &name.at(&quote!(0usize)), runs),
        Some((Repeat::If(_, condition), rest)) => {
            let condition = with_args(item, condition, runs);
            let layer = repeated(item, attr, rest, &optional_type(krate, ty), vb, name, runs);
            let private = private(krate, ty.span());
            let optional = quote_spanned!(ty.span()=> #private::optional::<#ty>);
            quote! {
                #optional(if #condition {
                    ::core::option::Option::Some(#layer)
                } else {
                    ::core::option::Option::None
                })
            }
        }
        Some((Repeat::For(_, pat, range), rest)) => {
            let list = local(&format!("layers_{}", rest.len()));
            let inner = local(&format!("vb_{}", rest.len()));
            let list_name = name.at(&quote!(0usize));
            let (parent, element) = match name {
                LayerName::Fixed(name) => (
                    quote!(&#krate::__private::child(#vb, #name)),
                    quote!(&#krate::__private::index(#list.len())),
                ),
                LayerName::Numbered(name) => (quote!(#vb), name(&quote!(#list.len()))),
            };
            let range = with_args(item, range, runs);
            let element_type = element_type(krate, ty);
            let element = LayerName::Fixed(element);
            let layer = repeated(item, attr, rest, &element_type, &quote!(#inner), element, Runs::Repeatedly);
            let private = private(krate, ty.span());
            let layer_list = quote_spanned!(ty.span()=> #private::layer_list::<#ty>);
            quote! {{
                let #inner = #parent;
                let mut #list = ::std::vec::Vec::<#element_type>::new();
                for #pat in #range { #list.push(#layer); }
                #layer_list(#list_name, #list)?
            }}
        }
    }
}

/// Returns the type in an `Option`: `T` of `Option<T>`, or `<Maybe as __private::Maybe>::Layer` if the type may be
/// an alias.
fn optional_type(krate: &TokenStream, ty: &Type) -> Type {
    let written = generic_argument(ty, &["Option"]).cloned();
    written.unwrap_or_else(|| projection(krate, ty, &quote!(Maybe)))
}

/// Returns the type of the elements of a list: `T` of `Vec<T>`, or `<Blocks as __private::List>::Layer` if the
/// type may be an alias.
fn element_type(krate: &TokenStream, ty: &Type) -> Type {
    element(ty).cloned().unwrap_or_else(|| projection(krate, ty, &quote!(List)))
}

/// Returns the type of a layer in a tuple: `A` of `(A, B)`, or `<Stem as __private::TupleLayer<0>>::Layer` if the type
/// may be an alias.
fn tuple_type(krate: &TokenStream, ty: &Type, index: usize) -> Type {
    match ty {
        Type::Tuple(tuple) => tuple.elems[index].clone(),
        _ => projection(krate, ty, &quote!(TupleLayer<#index>)),
    }
}

/// Returns `<Blocks as __private::List>::Layer`, located at the type.
fn projection(krate: &TokenStream, ty: &Type, container: &TokenStream) -> Type {
    let private = private(krate, ty.span());
    let container = located(container.clone(), ty.span());
    Type::Verbatim(quote_spanned!(ty.span()=> <#ty as #private::#container>::Layer))
}

/// Returns `__private::layer(&vb, "conv1", <Conv2d>::config(1, 20, 5).padding(2))?`, wrapped in `Option`, `Box` or
/// `Arc` if the type is written as one of these.
fn single_layer(
    item: &Item,
    attr: &LayerAttr,
    ty: &Type,
    vb: &TokenStream,
    name: &TokenStream,
    runs: Runs,
) -> TokenStream {
    let krate = &item.input.krate;
    for wrapper in ["Option", "Box", "Arc"] {
        if let Some(inner) = generic_argument(ty, &[wrapper]) {
            let layer = single_layer(item, attr, inner, vb, name, runs);
            return wrapped(wrapper, attr, inner, &layer);
        }
    }
    let span = Span::mixed_site().located_at(attr.span);
    match &attr.source {
        Source::With(function) => {
            let args = bind(item, &[function], runs);
            // The error type of a closure cannot be inferred.
            let is_closure = matches!(function, Expr::Closure(_));
            let build = format_ident!("{}", if is_closure { "layer_by_closure" } else { "layer_with" });
            quote!({ #args #krate::__private::#build(#vb, #name, #function)? })
        }
        Source::Config { args, setters } => {
            let values: TokenStream = setters.iter().map(|(name, value)| quote!(.#name(#value))).collect();
            let bound = bind(item, &config_expressions(args, setters), runs);
            let config = config(attr, ty, args);
            let private = private(krate, span);
            let layer = quote_spanned!(span=> #private::layer);
            if bound.is_empty() {
                quote!(#layer(#vb, #name, #config #values)?)
            } else {
                quote!({ #bound #layer(#vb, #name, #config #values)? })
            }
        }
        Source::Tuple(layers) => tuple(item, layers, ty, vb, name, runs),
    }
}

/// Returns `Some(layer)`, `Box::new(layer)` or `Arc::new(layer)` for a layer of type `ty`.
fn wrapped(wrapper: &str, attr: &LayerAttr, ty: &Type, layer: &TokenStream) -> TokenStream {
    match wrapper {
        "Option" => quote!(::core::option::Option::Some(#layer)),
        "Box" => quote!(::std::boxed::Box::new(#layer)),
        // The constructor can also return an existing `Arc`, to use one layer in several fields.
        _ if matches!(attr.source, Source::With(_)) => {
            quote!(::core::convert::Into::<::std::sync::Arc<#ty>>::into(#layer))
        }
        _ => quote!(::std::sync::Arc::new(#layer)),
    }
}

// {
//     let vb = __private::child(&vb, "stem");
//     (__private::layer(&vb, "0", …)?, __private::layer(&vb, "1", …)?,)
// }
fn tuple(
    item: &Item,
    layers: &[LayerAttr],
    ty: &Type,
    vb: &TokenStream,
    name: &TokenStream,
    runs: Runs,
) -> TokenStream {
    let krate = &item.input.krate;
    let inner = local("vb");
    let values = layers.iter().enumerate().map(|(i, attr)| {
        let index = i.to_string();
        single_layer(item, attr, &tuple_type(krate, ty, i), &quote!(&#inner), &quote!(#index), runs)
    });
    quote!({ let #inner = #krate::__private::child(#vb, #name); (#(#values,)*) })
}

/// Returns `<Conv2d>::config(1, 20, 5)` with the spans of `layer(1, 20, 5)`, so that the compiler reports a wrong
/// number of arguments there and suggests a correction.
fn config(attr: &LayerAttr, ty: &Type, args: &[Expr]) -> TokenStream {
    let mut list = Group::new(Delimiter::Parenthesis, quote!(#(#args),*));
    let has_no_setters = matches!(&attr.source, Source::Config { setters, .. } if setters.is_empty());
    match attr.parentheses {
        Some(span) if has_no_setters && attr.repeats.is_empty() => list.set_span(span),
        _ => list.set_span(attr.span),
    }
    quote_spanned!(attr.span=> <#ty>::config #list)
}

/// Returns `__private::param(&vb, "scale", (outputs, 1), Some(Into::into({ use init::*; ones })))?`.
fn tensor(item: &Item, key: &TokenStream, attr: &TensorAttr, function: TokenStream) -> TokenStream {
    let krate = &item.input.krate;
    let vb = local("vb");
    let TensorAttr { shape, init } = attr;
    let args = bind(item, &attr.expressions(), Runs::Once);
    let init = match init {
        None => quote!(::core::option::Option::None),
        Some(init) => quote_spanned! {init.span()=>
            ::core::option::Option::Some(::core::convert::Into::into({
                #[allow(unused_imports, clippy::wildcard_imports)]
                use #krate::init::*;
                #init
            }))
        },
    };
    quote!({ #args #krate::__private::#function(&#vb, #key, #shape, #init)? })
}
