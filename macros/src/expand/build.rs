//! Generates the body of `Config::build`, which builds the fields in order and then the network.

use proc_macro2::{Delimiter, Group, Ident, Span, TokenStream};
use quote::{ToTokens, format_ident, quote, quote_spanned};
use syn::ext::IdentExt;
use syn::spanned::Spanned;
use syn::{Expr, Type};

use crate::ast::{Field, Role, generic_argument};
use crate::attr::{LayerAttr, Lists, Repeat, Source, TensorAttr};

use super::args::{Runs, bind, config_expressions, with_args};
use super::field_type::{
    element_type, is_generic, is_inspectable_alias, is_tuple, may_be_alias, optional_type, pointer_depth,
    target, tuple_type,
};
use super::key::{NameContext, name};
use super::registry::layer_check;
use super::self_type::replace_self;
use super::{Item, local, private};

// use __private::NotContainer as _;
// let path = __private::BuildScope::enter("Model");
// path.field("conv1");
// let field_conv1 = __private::layer(&vb, "conv1", <Conv2d>::config(1, 20, 5).padding(2))?;
// path.field("act");
// let field_act = {
//     use __private::{BuildDefault as _, BuildNothing as _};
//     __private::bare_field::<Relu>().build(&vb, "act")?
// };
// path.field("scale");
// let field_scale = __private::param(&vb, "scale", (outputs, 1), None)?;
// Ok(Model { conv1: field_conv1, act: field_act, scale: field_scale })
pub fn body(item: &Item) -> TokenStream {
    replace_self(item.input, network(item))
}

/// Builds the struct, or the variant of the enum whose condition is true.
fn network(item: &Item) -> TokenStream {
    let krate = &item.input.krate;
    let path = local("path");
    let name = item.input.ident.unraw().to_string();
    let body = if item.input.is_enum { select_variant(item) } else { variant(item, 0) };
    quote! {
        #[allow(unused_imports)]
        use #krate::__private::NotContainer as _;
        let #path = #krate::__private::BuildScope::enter(#name);
        #body
    }
}

// if condition { return Ok(Head::Deep { … }); }
// Ok(Head::Shallow(…))
fn select_variant(item: &Item) -> TokenStream {
    let krate = &item.input.krate;
    let ident = &item.input.ident;
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
        let enter = enter(field);
        let ty = has_written_value(field).then(|| {
            let ty = &field.ty;
            quote!(: #ty)
        });
        quote!(#enter let #mutable #local #ty = #value; #pin)
    });
    let members = variant.fields.iter().map(|Field { member, local, .. }| quote!(#member: #local));
    let network = quote!(#path { #(#members),* });
    let ties = ties(item, index, &network);
    quote!(#(#fields)* #ties)
}

/// Returns `true` for a field with `#[layer(with = …)]` or `#[module(skip = value)]`. The variable of such a field is
/// declared with the field's type, so that the compiler reports a value of another type at the value.
fn has_written_value(field: &Field) -> bool {
    matches!(&field.role, Role::Layer(LayerAttr { source: Source::With(_), .. }) | Role::Skip(Some(_)))
}

/// Returns `path.field("conv1");`, which sets the path of errors. Plain data is built without the path.
fn enter(field: &Field) -> Option<TokenStream> {
    let path = local("path");
    let name = &field.name;
    (!matches!(field.role, Role::Skip(_))).then(|| quote!(#path.field(#name);))
}

// let mut network = Model { … };
// path.field("head");
// __private::tie_after_build(&mut network, "head", "embed.weight")?;
// Ok(network)
//
// The code from `value` builds the field with `__private::tie`, from the tensor at the target's path. `tie_after_build`
// makes both paths share one tensor.
fn ties(item: &Item, variant: usize, network: &TokenStream) -> TokenStream {
    let krate = &item.input.krate;
    let this = local("network");
    let tied = || item.input.variants[variant].fields.iter().filter(|field| field.tie.is_some());
    // The names are read before the fields move into the network.
    let keys = tied().map(|field| {
        let key = name(item, variant, &field.key, &TokenStream::new(), NameContext::Build);
        let local = tie_key(field);
        quote!(let #local = #key;)
    });
    let ties = tied().map(|field| {
        let key = tie_key(field);
        let target = &field.tie;
        let enter = enter(field);
        quote!(#enter #krate::__private::tie_after_build(&mut #this, #key, #target)?;)
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
    let key = name(item, variant, &field.key, &TokenStream::new(), NameContext::Build);
    let value = match &field.role {
        Role::Layer(attr) => layer(item, variant, field, attr),
        Role::DefaultLayer => {
            let private = private(krate, ty.span());
            let vb = local("vb");
            quote_spanned! {ty.span()=> {
                #[allow(unused_imports)]
                use #private::{BuildDefault as _, BuildNothing as _};
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
    let name_at = |index: &TokenStream| name(item, variant, &field.key, index, NameContext::Build);
    let name = if field.key.is_numbered() {
        LayerName::Numbered(&name_at)
    } else {
        LayerName::Fixed(name_at(&TokenStream::new()))
    };
    let check = layer_check(item, variant, field);
    repeated(item, attr, &attr.repeats, &field.ty, &vb, name, Position::field(&check))
}

/// Where a layer is built: in which field, how often its expressions run, and how deep it is nested in the field.
#[derive(Clone, Copy)]
struct Position<'a> {
    /// The [`layer_check`] of the field.
    check: &'a TokenStream,
    runs: Runs,
    /// The depth of the elements of the value that is built: 1 for the elements of a field, 2 for the elements of a
    /// list or tuple in a field.
    depth: usize,
}

impl<'a> Position<'a> {
    /// Returns the position of the value of a field.
    fn field(check: &'a TokenStream) -> Self {
        Self { check, runs: Runs::Once, depth: 1 }
    }

    /// Returns the position of the elements of a list.
    fn in_list(self) -> Self {
        Self { runs: Runs::Repeatedly, depth: self.depth + 1, ..self }
    }

    /// Returns `path.element(1, index);`, which sets the path of errors.
    fn enter(self, index: &TokenStream) -> TokenStream {
        let path = local("path");
        let depth = self.depth;
        quote!(#path.element(#depth, #index);)
    }

    /// Returns `path.leave(1);`, which removes an element from the path of errors.
    fn leave(self) -> TokenStream {
        let path = local("path");
        let depth = self.depth;
        quote!(#path.leave(#depth);)
    }
}

/// The name under which a layer or a list of layers is built.
enum LayerName<'a> {
    /// An expression of the type `&str`.
    Fixed(TokenStream),
    /// A function that returns the name of the layer at an index. The list itself has no name, as with
    /// `rename = "layer{1..}"`.
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

// __private::optional::<Option<Linear>, _>(if condition { Some(layer) } else { None })
//
// {
//     let vb = &__private::child(vb, "blocks");
//     let mut layers = Vec::<Linear>::new();
//     for i in 0..3 {
//         path.element(1, layers.len());
//         layers.push(layer);
//     }
//     path.leave(1);
//     __private::layer_list::<Vec<Linear>, _>(layers)?
// }
fn repeated(
    item: &Item,
    attr: &LayerAttr,
    repeats: &[Repeat],
    ty: &Type,
    vb: &TokenStream,
    name: LayerName,
    position: Position<'_>,
) -> TokenStream {
    let krate = &item.input.krate;
    let runs = position.runs;
    match repeats.split_first() {
        None => single_layer(item, attr, ty, vb, &name.at(&quote!(0usize)), position),
        Some((Repeat::If(_, condition), rest)) => {
            let condition = with_args(item, condition, runs);
            let layer = repeated(item, attr, rest, &optional_type(item, ty), vb, name, position);
            let private = private(krate, ty.span());
            let optional = quote_spanned!(ty.span()=> #private::optional::<#ty, _>);
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
            let (parent, element) = match name {
                LayerName::Fixed(name) => (
                    quote!(&#krate::__private::child(#vb, #name)),
                    quote!(&#krate::__private::element_name(#list.len())),
                ),
                LayerName::Numbered(name) => (quote!(#vb), name(&quote!(#list.len()))),
            };
            let range = with_args(item, range, runs);
            let element_type = element_type(item, ty);
            let element = LayerName::Fixed(element);
            let layer =
                repeated(item, attr, rest, &element_type, &quote!(#inner), element, position.in_list());
            let enter = position.enter(&quote!(#list.len()));
            let leave = position.leave();
            let private = private(krate, ty.span());
            let layer_list = quote_spanned!(ty.span()=> #private::layer_list::<#ty, _>);
            quote! {{
                let #inner = #parent;
                let mut #list = ::std::vec::Vec::<#element_type>::new();
                for #pat in #range {
                    #enter
                    #list.push(#layer);
                }
                #leave
                #layer_list(#list)?
            }}
        }
    }
}

/// Returns `__private::layer(&vb, "conv1", <Conv2d>::config(1, 20, 5).padding(2))?`, wrapped in `Option`, `Box` or
/// `Arc` if the type is written as one of these.
fn single_layer(
    item: &Item,
    attr: &LayerAttr,
    ty: &Type,
    vb: &TokenStream,
    name: &TokenStream,
    position: Position<'_>,
) -> TokenStream {
    let krate = &item.input.krate;
    let runs = position.runs;
    for wrapper in ["Option", "Box", "Arc"] {
        if let Some(inner) = generic_argument(ty, &[wrapper]) {
            let layer = single_layer(item, attr, inner, vb, name, position);
            return wrapped(wrapper, attr, inner, &layer);
        }
    }
    let span = Span::mixed_site().located_at(attr.span);
    match &attr.source {
        Source::With(function) => {
            let args = bind(item, &[function], runs);
            // `layer_by_closure` determines the error type of the closure, which could not be inferred.
            let is_closure = matches!(function, Expr::Closure(_));
            let span = Span::mixed_site().located_at(function.span());
            let build = if is_closure { "layer_by_closure" } else { "layer_with" };
            let build = Ident::new(build, span);
            let private = private(krate, span);
            // The variable keeps `?` out of the compiler's message about a value of another type.
            let layer = Ident::new("layer", span);
            quote_spanned!(span=> { #args let #layer = #private::#build(#vb, #name, #function)?; #layer })
        }
        Source::Config { args, setters } => {
            let values: TokenStream = setters.iter().map(|(name, value)| quote!(.#name(#value))).collect();
            let bound = bind(item, &config_expressions(args, setters), runs);
            let config = config(attr, &target(item, ty, position.check), args);
            let private_at_layer = private(krate, span);
            let layer = quote_spanned!(span=> #private_at_layer::layer);
            let layer = quote!(#layer(#vb, #name, #config #values)?);
            let layer = if is_inspectable_alias(item, ty) {
                into_field(item, &layer, ty, position)
            } else {
                reject_alias(item, &layer, ty, args.len())
            };
            if bound.is_empty() { layer } else { quote!({ #bound #layer }) }
        }
        Source::Tuple(layers) => tuple_field(item, layers, ty, vb, name, position),
        Source::Lists(lists) => {
            let bound = bind(item, &lists.expressions(), runs);
            let field = lists_field(item, attr, lists, ty, vb, name, position);
            let (locals, values): (Vec<&Ident>, Vec<&Expr>) =
                lists.values.iter().map(|(l, v)| (l, v)).unzip();
            if locals.is_empty() {
                field
            } else {
                quote!({ #bound match (#(#values,)*) { (#(#locals,)*) => #field } })
            }
        }
    }
}

/// Returns `__private::Built(layer).into_field::<Shared, { … }>()` for a type that may be an alias of a pointer.
fn into_field(item: &Item, layer: &TokenStream, ty: &Type, position: Position<'_>) -> TokenStream {
    let private = private(&item.input.krate, ty.span());
    let depth = pointer_depth(item, ty, position.check);
    quote_spanned!(ty.span()=> #private::Built(#layer).into_field::<#ty, #depth>())
}

// {
//     trait __ConfigOfAlias {
//         fn config<T0, T1, C>(_: T0, _: T1) -> C where Self: __private::Recognized { unimplemented!() }
//     }
//     impl<T> __ConfigOfAlias for Arc<T> {}        // also for Box, Option and tuples
//     __private::layer(&vb, "fc", <Shared<L>>::config(4, 4))?
// }
//
// Generated for a type with a generic parameter of the network. If the type is an alias of a pointer or a tuple,
// `config` is the function of this trait, and the compiler reports the bound `Recognized`, which no type satisfies.
fn reject_alias(item: &Item, layer: &TokenStream, ty: &Type, count: usize) -> TokenStream {
    let is_bare = |param: &Ident| matches!(ty, Type::Path(ty) if ty.path.is_ident(param));
    let is_parameter = item.input.generics.type_params().any(|param| is_bare(&param.ident));
    if !may_be_alias(ty) || is_parameter {
        return layer.clone();
    }
    let private = private(&item.input.krate, ty.span());
    let types: Vec<Ident> = (0..count).map(|i| format_ident!("T{i}")).collect();
    quote!({
        #[allow(dead_code)]
        trait __ConfigOfAlias {
            fn config<#(#types,)* C>(#(_: #types),*) -> C
            where
                Self: #private::Recognized,
            {
                ::core::unimplemented!()
            }
        }
        impl<T> __ConfigOfAlias for ::core::option::Option<T> {}
        impl<T> __ConfigOfAlias for ::std::boxed::Box<T> {}
        impl<T> __ConfigOfAlias for ::std::sync::Arc<T> {}
        impl<#(#types),*> __ConfigOfAlias for (#(#types,)*) {}
        #layer
    })
}

/// Returns `Some(layer)`, `Box::new(layer)` or `Arc::new(layer)` for a layer of type `ty`.
fn wrapped(wrapper: &str, attr: &LayerAttr, ty: &Type, layer: &TokenStream) -> TokenStream {
    let constructor = match &attr.source {
        Source::With(function) => Some(function.span()),
        _ => None,
    };
    let span = Span::mixed_site().located_at(constructor.unwrap_or_else(Span::call_site));
    match wrapper {
        "Option" => quote_spanned!(span=> ::core::option::Option::Some(#layer)),
        "Box" => quote_spanned!(span=> ::std::boxed::Box::new(#layer)),
        // The constructor can also return an existing `Arc`, to use one layer in several fields.
        _ if constructor.is_some() => {
            quote_spanned!(span=> ::core::convert::Into::<::std::sync::Arc<#ty>>::into(#layer))
        }
        _ => quote_spanned!(span=> ::std::sync::Arc::new(#layer)),
    }
}

// __private::Built((…, …)).into_tuple::<Stem, true>()
//
// The conversion is omitted for a type that is written as a tuple.
fn tuple_field(
    item: &Item,
    layers: &[LayerAttr],
    ty: &Type,
    vb: &TokenStream,
    name: &TokenStream,
    position: Position<'_>,
) -> TokenStream {
    let target = target(item, ty, position.check);
    let tuple = tuple(item, layers, |i| tuple_type(item, &target, i), vb, name, position);
    if !may_be_alias(ty) {
        return tuple;
    }
    let private = private(&item.input.krate, ty.span());
    let tuple = quote_spanned!(ty.span()=> #private::Built(#tuple).into_tuple::<#target, true>());
    if is_inspectable_alias(item, ty) { into_field(item, &tuple, ty, position) } else { tuple }
}

// match (3, 4, 4, 5) {
//     (value_0, value_1, value_2, value_3) => {
//         type __Target1 = Stem;
//         type __One1 = <__Target1 as LayerOrUnused<{ has_layer(…) }, 2>>::Layer;
//         type __Layer1_0 = <__Target1 as TupleLayerOrUnused<0, { has_layer(…) }, 2>>::Layer;
//         …
//         if has_layer(<FieldKind<__Target1>>::LENGTH, 0) {
//             Built((…, …)).into_tuple::<__Target1, { … }>()     // <__Layer1_0>::config(value_0, value_1), …
//         } else {
//             Built(…).into_layer::<__Target1, { … }>()          // <__One1>::config((value_0, value_1), …)
//         }
//     }
// }
//
// Both branches compile: the layers of the branch that never runs have the type `__private::Unused`, whose `config`
// accepts any arguments. The values are locals, because only the branch that runs determines their types. A constant
// cannot depend on the generic parameters of the network: a type with such a parameter is assumed to be a single layer.
fn lists_field(
    item: &Item,
    attr: &LayerAttr,
    lists: &Lists,
    ty: &Type,
    vb: &TokenStream,
    name: &TokenStream,
    position: Position<'_>,
) -> TokenStream {
    let source = Source::Config { args: lists.args.clone(), setters: Vec::new() };
    let single = LayerAttr { source, repeats: Vec::new(), ..*attr };
    if is_generic(item, ty) {
        return single_layer(item, &single, ty, vb, name, position);
    }
    let span = ty.span();
    let private = private(&item.input.krate, span);
    let alias = |name: String| Type::Verbatim(Ident::new(&name, span).into_token_stream());
    let depth = position.depth;
    let pointee = target(item, ty, position.check);
    let target = alias(format!("__Target{depth}"));
    let single_type = alias(format!("__One{depth}"));
    let layer_type = |i: usize| alias(format!("__Layer{depth}_{i}"));
    let is_tuple = is_tuple(item, &target, 0);
    let layer_types = lists.layers.iter().enumerate().map(|(i, attr)| {
        let alias = layer_type(i);
        let is_layer = self::is_tuple(item, &target, i);
        let count = attr.argument_count();
        quote_spanned!(span=> type #alias = <#target as #private::TupleLayerOrUnused<#i, #is_layer, #count>>::Layer;)
    });
    let layer_types: TokenStream = layer_types.collect();
    let count = lists.args.len();
    let tuple = tuple(item, &lists.layers, layer_type, vb, name, position);
    let layer = single_layer(item, &single, &single_type, vb, name, position);
    let field = quote_spanned! {span=>
        if #private::has_layer(<#private::FieldKind<#target>>::LENGTH, 0) {
            #private::Built(#tuple).into_tuple::<#target, #is_tuple>()
        } else {
            #private::Built(#layer).into_layer::<#target, #is_tuple>()
        }
    };
    let field = into_field(item, &field, ty, position);
    quote_spanned! {span=> {
        type #target = #pointee;
        type #single_type = <#target as #private::LayerOrUnused<#is_tuple, #count>>::Layer;
        #layer_types
        #field
    }}
}

// {
//     let vb = __private::child(&vb, "stem");
//     ({ path.element(1, 0); __private::layer(&vb, "0", …)? }, …)
// }
fn tuple(
    item: &Item,
    layers: &[LayerAttr],
    element_type: impl Fn(usize) -> Type,
    vb: &TokenStream,
    name: &TokenStream,
    position: Position<'_>,
) -> TokenStream {
    let krate = &item.input.krate;
    let inner = local("vb");
    let element = Position { depth: position.depth + 1, ..position };
    let values = layers.iter().enumerate().map(|(i, attr)| {
        let index = i.to_string();
        let enter = position.enter(&quote!(#i));
        let ty = element_type(i);
        let layer = single_layer(item, attr, &ty, &quote!(&#inner), &quote!(#index), element);
        quote!({ #enter #layer })
    });
    quote!({
        let #inner = #krate::__private::child(#vb, #name);
        (#(#values,)*)
    })
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
