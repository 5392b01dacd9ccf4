//! Generates the config of a network (a builder for the network's arguments) and the constructors.

use proc_macro2::{Ident, TokenStream};
use quote::{ToTokens, format_ident, quote};
use syn::Type;
use syn::ext::IdentExt;

use crate::ast::generic_argument;
use crate::attr::Arg;

use super::{Item, build, local};

pub fn expand(item: &Item) -> TokenStream {
    if !item.input.is_built() {
        return TokenStream::new();
    }
    let (config, mut code) = match &item.input.config {
        Some(config) => (config.value.to_token_stream(), TokenStream::new()),
        None => {
            let name = format_ident!("{}Config", item.input.ident.unraw(), span = item.input.ident.span());
            let (_, arguments, _) = item.input.generics.split_for_impl();
            (quote!(#name #arguments), builder(item, &name))
        }
    };
    code.extend(constructors(item, &config));
    code.extend(implementation(item, &config));
    code.extend(without_arguments(item));
    code
}

// impl __private::WithoutArguments for Model {
//     fn build_without_arguments(vb: &VarBuilder<'_>, name: &str) -> Result<Self> {
//         __private::layer(vb, name, Self::config())
//     }
// }
fn without_arguments(item: &Item) -> Option<TokenStream> {
    let input = item.input;
    if input.config.is_some() || input.args.iter().any(|arg| arg.default.is_none()) {
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

// #[derive(Clone, Debug)]
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
    let (serde, bound) = serde(krate, !input.generics.params.is_empty());
    let skip = bound.is_some().then(|| quote!(#[serde(skip)]));
    let marker = (!input.generics.params.is_empty())
        .then(|| quote!(#skip __network: ::core::marker::PhantomData<fn() -> #ident #arguments>,));
    let setters = input.args.iter().filter(|arg| arg.default.is_some()).map(|arg| setter(item, arg));
    let vb = local("vb");
    let path = local("path");
    let device = local("device");
    let doc = format!("The config of [`{ident}`]: the arguments from which it is built.");
    quote! {
        #[doc = #doc]
        #[derive(::core::clone::Clone, ::core::fmt::Debug)]
        #serde
        #bound
        #[must_use]
        #[allow(dead_code)]
        #vis struct #name #generics #bounds {
            #(#fields,)*
            #marker
        }

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

/// Returns `inputs: usize` for a required argument and `stride: Option<usize>` for one with a default. The default is
/// evaluated when the network is built, because its expression can use the preceding arguments.
fn field(Arg { name, ty, default }: &Arg) -> TokenStream {
    if default.is_none() {
        return quote!(#name: #ty);
    }
    let serde = cfg!(feature = "serde")
        .then(|| quote!(#[serde(default, skip_serializing_if = "::core::option::Option::is_none")]));
    quote!(#serde #name: ::core::option::Option<#ty>)
}

/// Returns the derives of serde and their bound if the feature `serde` is enabled.
fn serde(krate: &TokenStream, generic: bool) -> (Option<TokenStream>, Option<TokenStream>) {
    if !cfg!(feature = "serde") {
        return (None, None);
    }
    let path = quote!(#krate::__private::serde).to_string().replace(' ', "");
    let derives = quote! {
        #[derive(#krate::__private::serde::Serialize, #krate::__private::serde::Deserialize)]
        #[serde(crate = #path)]
    };
    (Some(derives), generic.then(|| quote!(#[serde(bound = "")])))
}

fn setter(item: &Item, Arg { name, ty, .. }: &Arg) -> TokenStream {
    let vis = &item.input.vis;
    let doc = format!("Sets `{}`.", name.unraw());
    let (parameter, value) = match generic_argument(ty, &["Option"]) {
        Some(_) => (quote!(impl ::core::convert::Into<#ty>), quote!(::core::convert::Into::into(#name))),
        None => (quote!(#ty), quote!(#name)),
    };
    quote! {
        #[doc = #doc]
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
    let (names, types): (Vec<&Ident>, Vec<&Type>) = match &input.config {
        Some(own) => (vec![&given], vec![&own.value]),
        None => {
            let required = input.args.iter().filter(|arg| arg.default.is_none());
            required.map(|arg| (&arg.name, &arg.ty)).unzip()
        }
    };
    let value = match &input.config {
        Some(_) => quote!(#given),
        None => {
            let name = format_ident!("{}Config", ident.unraw(), span = ident.span());
            let optional = input.args.iter().filter(|arg| arg.default.is_some()).map(|arg| &arg.name);
            let marker =
                (!input.generics.params.is_empty()).then(|| quote!(__network: ::core::marker::PhantomData));
            quote!(#name { #(#names,)* #(#optional: ::core::option::Option::None,)* #marker })
        }
    };
    let device = local("device");
    quote! {
        #[allow(dead_code, clippy::all, clippy::pedantic)]
        impl #generics #ident #arguments #bounds {
            /// Returns the config of the network. Arguments with a default have setters.
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
fn argument(item: &Item, Arg { name, default, ty }: &Arg) -> TokenStream {
    let Some(default) = default else { return quote!(let #name: #ty = self.#name;) };
    let copies = build::arg_clones(item, default);
    let given = local("given");
    quote! {
        let #name: #ty = match self.#name {
            ::core::option::Option::Some(#given) => #given,
            ::core::option::Option::None => { #copies #default }
        };
    }
}
