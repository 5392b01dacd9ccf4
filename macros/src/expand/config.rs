//! Generates the config of a network (a builder for the network's arguments) and the constructors.

use proc_macro2::{Ident, Span, TokenStream};
use quote::{ToTokens, format_ident, quote};
use syn::ext::IdentExt;
use syn::{GenericParam, Generics, WherePredicate, parse_quote};

use crate::ast::{Input, generic_argument};
use crate::attr::Arg;

use super::args::{Runs, with_args};
use super::{Item, build, docs, local};

pub fn expand(item: &Item) -> TokenStream {
    let input = item.input;
    if !input.is_built() {
        return TokenStream::new();
    }
    if let Some(config) = &input.config {
        let config = config.value.to_token_stream();
        return [constructors(item, &config), implementation(item, &config)].into_iter().collect();
    }
    let name = internal_name(input);
    let (_, arguments, _) = input.generics.split_for_impl();
    let config = quote!(#name #arguments);
    let mut code = builder(item, &name);
    code.extend(constructors(item, &config));
    code.extend(implementation(item, &config));
    code.extend(without_arguments(item));
    match public_name(input) {
        Some(public) => [code, export(item, &name, &public)].into_iter().collect(),
        None => quote!(const _: () = { #code };),
    }
}

/// Returns the name by which the user knows the config: `ModelConfig`, or the name given by `config_name`. Returns
/// `None` for a config without arguments, which has no setters and therefore no public name.
fn public_name(input: &Input) -> Option<Ident> {
    (input.config_name.is_some() || !input.args.is_empty()).then(|| display_name(input))
}

/// Returns the name that `Debug` prints: `ModelConfig`, or the name given by `config_name`.
fn display_name(input: &Input) -> Ident {
    match &input.config_name {
        Some(name) => name.value.clone(),
        None => format_ident!("{}Config", input.ident.unraw(), span = input.ident.span()),
    }
}

/// Returns the name by which the generated code refers to the config: `__ModelConfig`. The user may have a type
/// `ModelConfig`, which then causes no errors in the generated code.
fn internal_name(input: &Input) -> Ident {
    format_ident!("__{}Config", input.ident.unraw(), span = input.ident.span())
}

// #[cfg(not(doc))]
// pub type ModelConfig = __ModelConfig;
// #[cfg(doc)]
// pub use __ModelConfig as ModelConfig;
// const _: () = {
//     use __private::ConfigNameConflict as _;
//     let _ = ModelConfig::build;
// };
//
// If the user has a type `ModelConfig`, the compiler reports the second definition at the name of the network. For an
// import it would also suggest `struct Model as OtherModelConfig`. rustdoc shows the methods of an import, but not
// those of an alias. If the names conflict, `ModelConfig::build` is the deprecated function of `ConfigNameConflict`,
// whose deprecation warning says what to do.
fn export(item: &Item, name: &Ident, public: &Ident) -> TokenStream {
    let input = item.input;
    let krate = &input.krate;
    let vis = &input.vis;
    let probe = input.generics.params.is_empty().then(|| {
        let build = Ident::new("build", public.span());
        quote! {
            const _: () = {
                #[allow(unused_imports)]
                use #krate::__private::ConfigNameConflict as _;
                let _ = #public::#build;
            };
        }
    });
    let (_, arguments, _) = input.generics.split_for_impl();
    let parameters = parameters(&input.generics);
    let doc = docs::of_config(&input.ident);
    // All tokens are located at the name, because the compiler reports a second definition at the whole item.
    let alias = quote! {
        #[cfg(not(doc))]
        #[doc = #doc]
        #[allow(dead_code, type_alias_bounds)]
        #vis type #public #parameters = #name #arguments;
    };
    let alias = alias.into_iter().map(|mut token| {
        token.set_span(public.span());
        token
    });
    let alias: TokenStream = alias.collect();
    quote! {
        #alias
        #[cfg(doc)]
        #[doc(inline)]
        #[allow(unused_imports)]
        #vis use #name as #public;
        #probe
    }
}

/// Returns the parameters of a type alias, which has no bounds: `<T, const N: usize>`.
fn parameters(generics: &Generics) -> Generics {
    let mut generics = generics.clone();
    generics.where_clause = None;
    for param in generics.type_params_mut() {
        param.colon_token = None;
        param.bounds.clear();
    }
    for param in &mut generics.params {
        match param {
            GenericParam::Type(param) => param.default = None,
            GenericParam::Const(param) => param.default = None,
            GenericParam::Lifetime(_) => {}
        }
    }
    generics
}

/// Returns the name of the field that makes the config depend on the parameters of a generic network. It differs from
/// the names of all arguments.
fn marker_name(input: &Input) -> Ident {
    let mut name = String::from("__network");
    while input.args.iter().any(|arg| arg.name == name) {
        name.push('_');
    }
    Ident::new(&name, Span::call_site())
}

// impl __private::WithoutArguments for Model {
//     fn build_without_arguments(vb: &VarBuilder<'_>, name: &str) -> Result<Self> {
//         __private::layer(vb, name, Self::config())
//     }
// }
fn without_arguments(item: &Item) -> Option<TokenStream> {
    let input = item.input;
    if input.args.iter().any(|arg| arg.default.is_none()) {
        return None;
    }
    let ident = &input.ident;
    let krate = &input.krate;
    let (generics, arguments, bounds) = input.generics.split_for_impl();
    let vb = local("vb");
    let name = local("name");
    Some(quote! {
        #[automatically_derived]
        impl #generics #krate::__private::WithoutArguments for #ident #arguments #bounds {
            fn build_without_arguments(
                #vb: &#krate::nn::VarBuilder<'_>,
                #name: &::core::primitive::str,
            ) -> #krate::Result<Self> {
                #krate::__private::layer(#vb, #name, Self::config())
            }
        }
    })
}

// pub struct ModelConfig { inputs: usize, stride: Option<usize> }
//
// impl ModelConfig {
//     pub fn stride(mut self, stride: usize) -> Self { self.stride = Some(stride); self }
//     pub fn build(self, vb: VarBuilder<'_>) -> Result<Model> { Config::build(self, vb) }
//     pub fn init(self, device: &Device) -> Result<Model> { Config::init(self, device) }
//     pub fn load(self, path: impl AsRef<Path>, device: &Device) -> Result<Model> { Config::load(self, path, device) }
// }
fn builder(item: &Item, name: &Ident) -> TokenStream {
    let input = item.input;
    let ident = &input.ident;
    let krate = &input.krate;
    let vis = &input.vis;
    let (generics, arguments, bounds) = input.generics.split_for_impl();
    let fields = input.args.iter().map(field);
    let marker_name = marker_name(input);
    let serde = serde(input);
    let skip = serde.is_some().then(|| quote!(#[serde(skip)]));
    let hidden = public_name(input).is_some().then(|| quote!(#[doc(hidden)]));
    let marker = (!input.generics.params.is_empty())
        .then(|| quote!(#skip #marker_name: ::core::marker::PhantomData<fn() -> #ident #arguments>,));
    let setters = input.args.iter().filter(|arg| arg.default.is_some() && !is_config_method(&arg.name));
    let setters = setters.map(|arg| setter(item, arg));
    let text = display_name(input).unraw().to_string();
    let traits = clone_and_debug(input, name, &text);
    let vb = local("vb");
    let path = local("path");
    let device = local("device");
    let doc = docs::of_config(ident);
    quote! {
        #[doc = #doc]
        #hidden
        #serde
        #[must_use]
        #[allow(dead_code)]
        #vis struct #name #generics #bounds {
            #(#fields,)*
            #marker
        }

        #traits

        #[allow(dead_code, clippy::all, clippy::pedantic)]
        impl #generics #name #arguments #bounds {
            #(#setters)*

            /// Builds the network with the tensors of a candle `VarBuilder`.
            #vis fn build(self, #vb: #krate::nn::VarBuilder<'_>) -> #krate::Result<#ident #arguments> {
                #krate::Config::build(self, #vb)
            }

            /// Builds the network with newly initialized parameters.
            #vis fn init(self, #device: &#krate::candle::Device) -> #krate::Result<#ident #arguments> {
                #krate::Config::init(self, #device)
            }

            /// Builds the network with the parameters of a checkpoint.
            #vis fn load(
                self,
                #path: impl ::core::convert::AsRef<::std::path::Path>,
                #device: &#krate::candle::Device,
            ) -> #krate::Result<#ident #arguments> {
                #krate::Config::load(self, #path, #device)
            }

            /// Builds the network with the parameters of a checkpoint, which is read with the options of `Load`.
            #vis fn load_with(
                self,
                #path: impl ::core::borrow::Borrow<#krate::Load>,
                #device: &#krate::candle::Device,
            ) -> #krate::Result<(#ident #arguments, #krate::LoadReport)> {
                #krate::Config::load_with(self, #path, #device)
            }
        }
    }
}

// impl Clone for ModelConfig where for<'arg> usize: Clone {
//     fn clone(&self) -> Self { Self { inputs: Clone::clone(&self.inputs), … } }
// }
// impl Debug for ModelConfig where for<'arg> usize: Debug { … }
//
// The config has these traits if all arguments have them. Without `for<'arg>`, a bound on a type without parameters
// would be an error instead of a condition.
fn clone_and_debug(input: &Input, name: &Ident, text: &str) -> TokenStream {
    let names: Vec<&Ident> = input.args.iter().map(|arg| &arg.name).collect();
    let marker = (!input.generics.params.is_empty()).then(|| marker_name(input));
    let marker = marker.map(|marker| quote!(#marker: ::core::marker::PhantomData,));
    let labels = names.iter().map(|name| name.unraw().to_string());
    let f = local("f");
    let clone = quote! {
        fn clone(&self) -> Self {
            Self { #(#names: ::core::clone::Clone::clone(&self.#names),)* #marker }
        }
    };
    let debug = quote! {
        fn fmt(&self, #f: &mut ::core::fmt::Formatter<'_>) -> ::core::fmt::Result {
            #f.debug_struct(#text)#(.field(#labels, &self.#names))*.finish()
        }
    };
    let methods = [(quote!(::core::clone::Clone), clone), (quote!(::core::fmt::Debug), debug)];
    let impls = methods.into_iter().map(|(bound, method)| {
        let mut conditional = input.generics.clone();
        let predicates = &mut conditional.make_where_clause().predicates;
        predicates.extend(
            input.args.iter().map(|Arg { ty, .. }| -> WherePredicate { parse_quote!(for<'arg> #ty: #bound) }),
        );
        let (generics, arguments, bounds) = conditional.split_for_impl();
        quote! {
            #[automatically_derived]
            impl #generics #bound for #name #arguments #bounds {
                #method
            }
        }
    });
    impls.collect()
}

/// Returns `true` if an argument has the name of a method of the config, so that it cannot have a setter.
pub fn is_config_method(name: &Ident) -> bool {
    ["build", "init", "load", "load_with"].iter().any(|method| name.unraw() == method)
}

/// Returns `inputs: usize` for a required argument and `stride: Option<usize>` for one with a default. The default is
/// evaluated when the network is built, because its expression can use the preceding arguments.
fn field(arg: &Arg) -> TokenStream {
    let Arg { name, ty, default, .. } = arg;
    let docs = docs::argument(arg);
    if default.is_none() {
        return quote!(#docs #name: #ty);
    }
    let serde = cfg!(feature = "serde")
        .then(|| quote!(#[serde(default, skip_serializing_if = "::core::option::Option::is_none")]));
    quote!(#docs #serde #name: ::core::option::Option<#ty>)
}

/// Returns the derives of serde if the feature `serde` is enabled. As with `Clone`, the config has these traits if all
/// arguments have them.
fn serde(input: &Input) -> Option<TokenStream> {
    if !cfg!(feature = "serde") {
        return None;
    }
    let krate = &input.krate;
    let path = quote!(#krate::__private::serde).to_string().replace(' ', "");
    let bounds = |bound: &str| {
        let bounds =
            input.args.iter().map(|Arg { ty, .. }| format!("for<'arg> {}: {path}::{bound}", quote!(#ty)));
        bounds.collect::<Vec<_>>().join(", ")
    };
    let rename = public_name(input).map(|name| name.unraw().to_string()).map(|name| quote!(rename = #name,));
    let serialize = bounds("Serialize");
    let deserialize = bounds("Deserialize<'de>");
    Some(quote! {
        #[derive(#krate::__private::serde::Serialize, #krate::__private::serde::Deserialize)]
        #[serde(crate = #path, #rename bound(serialize = #serialize, deserialize = #deserialize))]
    })
}

fn setter(item: &Item, arg: &Arg) -> TokenStream {
    let Arg { name, ty, .. } = arg;
    let vis = &item.input.vis;
    let docs = docs::setter(arg);
    let (parameter, value) = match generic_argument(ty, &["Option"]) {
        Some(_) => (quote!(impl ::core::convert::Into<#ty>), quote!(::core::convert::Into::into(#name))),
        None => (quote!(#ty), quote!(#name)),
    };
    quote! {
        #docs
        #vis fn #name(mut self, #name: #parameter) -> Self {
            self.#name = ::core::option::Option::Some(#value);
            self
        }
    }
}

// impl Model {
//     pub fn config(inputs: usize) -> ModelConfig { ModelConfig { inputs, stride: None } }
//     pub fn new(inputs: usize, device: &Device) -> Result<Self> { Config::init(Self::config(inputs), device) }
// }
fn constructors(item: &Item, config: &TokenStream) -> TokenStream {
    let input = item.input;
    let ident = &input.ident;
    let krate = &input.krate;
    let vis = &input.vis;
    let (generics, arguments, bounds) = input.generics.split_for_impl();
    let given = local("config");
    let (names, types): (Vec<&Ident>, Vec<TokenStream>) = match &input.config {
        Some(own) => (vec![&given], vec![own.value.to_token_stream()]),
        None => {
            let required = input.args.iter().filter(|arg| arg.default.is_none());
            required.map(|arg| (&arg.name, parameter_type(arg))).unzip()
        }
    };
    let value = match &input.config {
        Some(_) => quote!(#given),
        None => {
            let name = internal_name(input);
            let marker_name = marker_name(input);
            let optional = input.args.iter().filter(|arg| arg.default.is_some()).map(|arg| &arg.name);
            let marker = (!input.generics.params.is_empty())
                .then(|| quote!(#marker_name: ::core::marker::PhantomData));
            item.body(quote!(#name { #(#names,)* #(#optional: ::core::option::Option::None,)* #marker }))
        }
    };
    let device = local("device");
    let docs = docs::config(&input.args);
    let unused = item.stub.then(|| quote!(#[allow(unused_variables)]));
    quote! {
        #unused
        #[allow(dead_code, clippy::all, clippy::pedantic)]
        impl #generics #ident #arguments #bounds {
            /// Returns the config of the network.
            #docs
            #vis fn config(#(#names: #types),*) -> #config {
                #value
            }

            /// Builds the network with newly initialized parameters.
            #vis fn new(#(#names: #types,)* #device: &#krate::candle::Device) -> #krate::Result<Self> {
                #krate::Config::init(Self::config(#(#names),*), #device)
            }
        }
    }
}

/// Returns the type of a parameter of `config`. A parameter whose type has a syntax error accepts every value.
fn parameter_type(arg: &Arg) -> TokenStream {
    if arg.is_broken { quote!(impl ::core::marker::Sized) } else { arg.ty.to_token_stream() }
}

// impl ::sconce::Config for ModelConfig {
//     type Output = Model;
//     fn build(self, vb: VarBuilder<'_>) -> Result<Model> {
//         let inputs = self.inputs;
//         let stride = match self.stride { Some(given) => given, None => 1 };
//         …                                                    // from build.rs
//     }
// }
fn implementation(item: &Item, config: &TokenStream) -> TokenStream {
    let input = item.input;
    let ident = &input.ident;
    let krate = &input.krate;
    let (generics, arguments, bounds) = input.generics.split_for_impl();
    let vb = local("vb");
    let scope = match &input.config {
        Some(own) => {
            let name = &own.key;
            quote!(#[allow(unused_variables)] let #name = &self;)
        }
        None => input.args.iter().map(|arg| argument(item, arg)).collect(),
    };
    let build = build::body(item);
    let body = item.body(quote!(#scope #build));
    quote! {
        #[automatically_derived]
        #[allow(clippy::redundant_locals)]
        impl #generics #krate::Config for #config #bounds {
            type Output = #ident #arguments;

            fn build(self, #vb: #krate::nn::VarBuilder<'_>) -> #krate::Result<#ident #arguments> {
                let _ = &#vb;
                #body
            }
        }
    }
}

/// Returns `let inputs = self.inputs;`. For an argument with a default, the value is the default if no setter was
/// called.
fn argument(item: &Item, Arg { name, default, ty, .. }: &Arg) -> TokenStream {
    let Some(default) = default else { return quote!(let #name: #ty = self.#name;) };
    let default = with_args(item, default, Runs::Once);
    let given = local("given");
    quote! {
        let #name: #ty = match self.#name {
            ::core::option::Option::Some(#given) => #given,
            ::core::option::Option::None => #default,
        };
    }
}
