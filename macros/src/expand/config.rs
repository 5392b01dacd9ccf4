//! Generates the config of a network (a builder for the network's arguments) and the constructors.

use proc_macro2::{Delimiter, Group, Ident, Span, TokenStream};
use quote::{ToTokens, format_ident, quote};
use syn::ext::IdentExt;
use syn::spanned::Spanned;
use syn::{GenericParam, Generics, Type, VisRestricted, Visibility, WherePredicate, parse_quote};

use crate::ast::{Input, generic_argument};
use crate::attr::Arg;

use super::args::{Runs, with_args};
use super::{Item, build, docs, local, located, respanned};

pub fn expand(item: &Item) -> TokenStream {
    let input = item.input;
    if !input.is_built() {
        return TokenStream::new();
    }
    if let Some(config) = &input.config {
        let config = config.value.to_token_stream();
        return [constructors(item, &config), implementation(item, &config)].into_iter().collect();
    }
    let path = path(input);
    let (_, arguments, _) = input.generics.split_for_impl();
    let config = quote!(#path #arguments);
    let code: TokenStream =
        [definition(input), builder(item), constructors(item, &config), implementation(item, &config)]
            .into_iter()
            .chain(without_arguments(item))
            .collect();
    match public_name(input) {
        Some(public) => [code, export(item, &public)].into_iter().collect(),
        None => quote!(const _: () = { #code };),
    }
}

/// Returns the name by which the user knows the config: `ModelConfig`, or the name given by `config_name`. Returns
/// `None` for a config without arguments, which has no setters and therefore no public name.
fn public_name(input: &Input) -> Option<Ident> {
    (input.config_name.is_some() || !input.args.is_empty()).then(|| display_name(input))
}

/// Returns the name that messages show: `ModelConfig`, or the name given by `config_name`.
fn display_name(input: &Input) -> Ident {
    match &input.config_name {
        Some(name) => name.value.clone(),
        None => format_ident!("{}Config", input.ident.unraw(), span = input.ident.span()),
    }
}

/// Returns the name of the module of the config: `__Model`. The name has a span of the expansion, so that the compiler
/// reports no unnecessary qualification.
fn module_name(input: &Input) -> Ident {
    let span = Span::mixed_site().located_at(input.ident.span());
    format_ident!("__{}", input.ident.unraw(), span = span)
}

/// Returns the path by which the generated code refers to the config: `__Model::ModelConfig`.
fn path(input: &Input) -> TokenStream {
    let module = module_name(input);
    let name = display_name(input);
    quote!(#module::#name)
}

// mod __Model {
//     pub(super) trait __Arguments { type inputs; type stride; }
//     pub struct ModelConfig {
//         pub(super) inputs: <Self as __Arguments>::inputs,
//         pub(super) stride: Option<<Self as __Arguments>::stride>,
//     }
// }
// impl __Model::__Arguments for __Model::ModelConfig { type inputs = usize; type stride = usize; }
//
// The config is in a module, because the user may have a type `ModelConfig`, which then causes no errors in the
// generated code. The types of the arguments are associated types, because a module in a function cannot refer to the
// types in that function.
fn definition(input: &Input) -> TokenStream {
    let module = module_name(input);
    let name = display_name(input);
    let parameters = parameters(&input.generics);
    let marker = marker(input).map(|(name, ty)| quote!(pub(super) #name: #ty,));
    let fields = input.args.iter().map(field);
    let (declaration, implementation) = argument_types(input).unzip();
    let is_generic = !input.generics.params.is_empty();
    let condition = (declaration.is_some() && is_generic).then(|| quote!(where Self: __Arguments));
    let doc = docs::config_struct(&input.ident);
    let vis = vis_in_module(&input.vis);
    // In messages, the compiler shows the definition of the config at the name of the network.
    let head = located(quote!(#vis struct #name #parameters #condition), input.ident.span());
    let mut body = Group::new(Delimiter::Brace, quote!(#(#fields,)* #marker));
    body.set_span(Span::mixed_site().located_at(input.ident.span()));
    quote! {
        #[doc(hidden)]
        #[allow(dead_code, non_camel_case_types, non_snake_case, private_bounds, unreachable_pub)]
        mod #module {
            #declaration

            #[doc = #doc]
            #[must_use]
            #head #body
        }

        #implementation
    }
}

/// Returns the trait `__Arguments` and its implementation. Returns `None` for a network without arguments.
fn argument_types(input: &Input) -> Option<(TokenStream, TokenStream)> {
    if input.args.is_empty() {
        return None;
    }
    let module = module_name(input);
    let path = path(input);
    let (generics, arguments, bounds) = input.generics.split_for_impl();
    let (names, types): (Vec<&Ident>, Vec<&Type>) = input.args.iter().map(|arg| (&arg.name, &arg.ty)).unzip();
    let declaration = quote!(pub(super) trait __Arguments { #(type #names;)* });
    let implementation = quote! {
        #[allow(non_camel_case_types)]
        impl #generics #module::__Arguments for #path #arguments #bounds {
            #(type #names = #types;)*
        }
    };
    Some((declaration, implementation))
}

/// Returns the visibility that makes an item in a child module as visible as an item with `vis` in the parent module.
/// For a private item of the parent module, this is `pub(super)`.
fn vis_in_module(vis: &Visibility) -> TokenStream {
    let Visibility::Restricted(VisRestricted { path, .. }) = vis else {
        return if matches!(vis, Visibility::Public(_)) { quote!(pub) } else { quote!(pub(super)) };
    };
    let first = &path.segments[0].ident;
    let rest: TokenStream = path.segments.iter().skip(1).map(|segment| quote!(::#segment)).collect();
    if first == "self" {
        quote!(pub(in super #rest))
    } else if first == "super" {
        quote!(pub(in super::super #rest))
    } else {
        quote!(pub(in #path))
    }
}

// #[doc(inline)]
// pub use __Model::ModelConfig as ModelConfig;
// const _: () = { … };                                         // from `conflict_probe`
//
// The name before `as` does not have the span of the network's name. Otherwise, the compiler would also suggest
// `struct Model as OtherModelConfig`.
fn export(item: &Item, public: &Ident) -> TokenStream {
    let input = item.input;
    let vis = &input.vis;
    let mut module = module_name(input);
    module.set_span(public.span());
    let mut name = public.clone();
    name.set_span(Span::call_site());
    let probe = (!item.stub).then(|| conflict_probe(input, public));
    quote! {
        #[doc(inline)]
        #[allow(unused_imports)]
        #vis use #module::#name as #public;
        #probe
    }
}

// const _: () = {
//     use __private::ConfigNameConflict as _;
//     impl __Model::ModelConfig { fn __is_generated(&self) {} }
//     impl Model {
//         fn __config_name() { let _: fn(&__Model::ModelConfig) = ModelConfig::__is_generated; }
//     }
// };
//
// If the user also has a type `ModelConfig`, the compiler reports the second definition at the name of the network. The
// path `ModelConfig::__is_generated` then resolves to the deprecated function of `ConfigNameConflict`. The deprecation
// warning says what to do.
fn conflict_probe(input: &Input, public: &Ident) -> TokenStream {
    let krate = &input.krate;
    let ident = &input.ident;
    let path = path(input);
    let (generics, arguments, bounds) = input.generics.split_for_impl();
    let is_generated = Ident::new("__is_generated", public.span());
    quote! {
        const _: () = {
            #[allow(unused_imports)]
            use #krate::__private::ConfigNameConflict as _;
            #[allow(dead_code, clippy::all, clippy::pedantic)]
            impl #generics #path #arguments #bounds {
                fn __is_generated(&self) {}
            }
            #[allow(dead_code, clippy::all, clippy::pedantic)]
            impl #generics #ident #arguments #bounds {
                fn __config_name() {
                    let _: fn(&#path #arguments) = #public::#is_generated;
                }
            }
        };
    }
}

/// Returns the generic parameters of the config, without the bounds of the network: `<T: ?Sized, const N: usize>`.
fn parameters(generics: &Generics) -> Generics {
    let mut generics = generics.clone();
    generics.where_clause = None;
    for param in generics.type_params_mut() {
        param.bounds = parse_quote!(?::core::marker::Sized);
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

/// Returns the name and the type of the field that the config of a generic network needs to use all type parameters:
/// `__network: PhantomData<fn() -> (*const T,)>`. The name differs from the names of all arguments.
fn marker(input: &Input) -> Option<(Ident, TokenStream)> {
    if input.generics.params.is_empty() {
        return None;
    }
    let mut name = String::from("__network");
    while input.args.iter().any(|arg| arg.name == name) {
        name.push('_');
    }
    let types = input.generics.type_params().map(|param| &param.ident);
    // A lifetime is an error, which is reported elsewhere.
    let lifetimes = input.generics.lifetimes().map(|param| &param.lifetime);
    let ty = quote!(::core::marker::PhantomData<fn() -> (#(*const #types,)* #(&#lifetimes (),)*)>);
    Some((Ident::new(&name, Span::call_site()), ty))
}

/// Returns the value of the [`marker`] field: `__network: PhantomData,`.
fn marker_value(input: &Input) -> Option<TokenStream> {
    marker(input).map(|(name, _)| quote!(#name: ::core::marker::PhantomData,))
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

// impl __Model::ModelConfig {
//     pub fn stride(mut self, stride: usize) -> Self { self.stride = Some(stride); self }
//     …                                                    // from `methods`
// }
fn builder(item: &Item) -> TokenStream {
    let input = item.input;
    let name = path(input);
    let (generics, arguments, bounds) = input.generics.split_for_impl();
    let setters = input.args.iter().filter(|arg| arg.default.is_some()).map(|arg| setter(item, arg));
    let text = display_name(input).unraw().to_string();
    let traits = clone_and_debug(input, &name, &text);
    let serde = serde(input);
    let methods = CONFIG_METHODS.into_iter().filter(|name| !input.args.iter().any(|arg| replaces(arg, name)));
    let methods = methods.map(|name| method(input, name));
    quote! {
        #traits

        #serde

        #[allow(dead_code, clippy::all, clippy::pedantic)]
        impl #generics #name #arguments #bounds {
            #(#setters)*
            #(#methods)*
        }
    }
}

/// The methods that every config has.
const CONFIG_METHODS: [&str; 4] = ["build", "init", "load", "load_with"];

/// Returns `true` if the setter of an argument replaces a method of the config.
fn replaces(arg: &Arg, method: &str) -> bool {
    arg.default.is_some() && arg.name.unraw() == method
}

// <() as __private::Pointee<{ compile_error!("`init` is a method of the config: rename the argument"); 0 }>>::Layer
//
// The return type of `config` if a setter replaces a method. The constant has no value, so this is an error type: the
// compiler reports nothing about calls of the setter or of the method.
fn broken_config(input: &Input) -> Option<TokenStream> {
    let is_conflict = |arg: &&Arg| CONFIG_METHODS.iter().any(|method| replaces(arg, method));
    let errors = input.args.iter().filter(is_conflict).map(|Arg { name, .. }| {
        let message = format!("`{}` is a method of the config: rename the argument", name.unraw());
        syn::Error::new(name.span(), message)
    });
    let errors = errors.reduce(|mut errors, error| {
        errors.combine(error);
        errors
    });
    let krate = &input.krate;
    let errors = errors?.into_compile_error();
    Some(quote!(<() as #krate::__private::Pointee<{ #errors 0 }>>::Layer))
}

// pub fn build(self, vb: VarBuilder<'_>) -> Result<Model> { Config::build(self, vb) }
// pub fn init(self, device: &Device) -> Result<Model> { Config::init(self, device) }
// pub fn load(self, path: impl AsRef<Path>, device: &Device) -> Result<Model> { Config::load(self, path, device) }
fn method(input: &Input, name: &str) -> TokenStream {
    let ident = &input.ident;
    let krate = &input.krate;
    let vis = &input.vis;
    let (_, arguments, _) = input.generics.split_for_impl();
    let vb = local("vb");
    let path = local("path");
    let device = local("device");
    match name {
        "build" => quote! {
            /// Builds the network with the tensors of a candle `VarBuilder`.
            #vis fn build(self, #vb: #krate::nn::VarBuilder<'_>) -> #krate::Result<#ident #arguments> {
                #krate::Config::build(self, #vb)
            }
        },
        "init" => quote! {
            /// Builds the network with newly initialized parameters.
            #vis fn init(self, #device: &#krate::candle::Device) -> #krate::Result<#ident #arguments> {
                #krate::Config::init(self, #device)
            }
        },
        "load" => quote! {
            /// Builds the network with the parameters of a checkpoint.
            #vis fn load(
                self,
                #path: impl ::core::convert::AsRef<::std::path::Path>,
                #device: &#krate::candle::Device,
            ) -> #krate::Result<#ident #arguments> {
                #krate::Config::load(self, #path, #device)
            }
        },
        _ => quote! {
            /// Builds the network with the parameters of a checkpoint, which is read with the options of `Load`.
            #vis fn load_with(
                self,
                #path: impl ::core::borrow::Borrow<#krate::Load>,
                #device: &#krate::candle::Device,
            ) -> #krate::Result<(#ident #arguments, #krate::LoadReport)> {
                #krate::Config::load_with(self, #path, #device)
            }
        },
    }
}

// impl Clone for ModelConfig where for<'arg> usize: Clone {
//     fn clone(&self) -> Self { Self { inputs: Clone::clone(&self.inputs), … } }
// }
// impl Debug for ModelConfig where for<'arg> usize: Debug { … }
//
// The config has these traits if all arguments have them. Without `for<'arg>`, a bound on a type without parameters
// would be an error instead of a condition.
fn clone_and_debug(input: &Input, name: &TokenStream, text: &str) -> TokenStream {
    let names: Vec<&Ident> = input.args.iter().map(|arg| &arg.name).collect();
    let marker = marker_value(input);
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

/// Returns `pub(super) inputs: <Self as __Arguments>::inputs` for a required argument, and an `Option` for one with a
/// default. The default is evaluated when the network is built, because its expression can use the preceding arguments.
fn field(Arg { name, default, .. }: &Arg) -> TokenStream {
    let ty = quote!(<Self as __Arguments>::#name);
    let ty = if default.is_some() { quote!(::core::option::Option<#ty>) } else { ty };
    quote!(pub(super) #name: #ty)
}

// const _: () = {
//     #[derive(Serialize, Deserialize)]
//     #[serde(remote = "__Model::ModelConfig", …)]
//     struct __Remote { inputs: usize, stride: Option<usize> }
//     impl Serialize for __Model::ModelConfig { … __Remote::serialize(self, serializer) }
//     impl<'de> Deserialize<'de> for __Model::ModelConfig { … __Remote::deserialize(deserializer) }
// };
//
// Generated if the feature `serde` is enabled. As with `Clone`, the config has these traits if all arguments have them.
fn serde(input: &Input) -> Option<TokenStream> {
    if !cfg!(feature = "serde") {
        return None;
    }
    let krate = &input.krate;
    let serde = quote!(#krate::__private::serde);
    let serde_path = serde.to_string().replace(' ', "");
    let (generics, arguments, bounds) = input.generics.split_for_impl();
    let path = path(input);
    let config = quote!(#path #arguments);
    let turbofish = arguments.as_turbofish();
    // serde adds the generic arguments.
    let remote = path.to_string();
    let name = display_name(input).unraw().to_string();
    let fields = input.args.iter().map(remote_field);
    let marker = marker(input).map(|(name, ty)| quote!(#[serde(skip)] #name: #ty,));
    let conditions = |bound: &str| -> Vec<String> {
        let types = input.args.iter().map(|Arg { ty, .. }| quote!(#ty));
        types.map(|ty| format!("for<'arg> {ty}: {serde_path}::{bound}")).collect()
    };
    let serialize = conditions("Serialize").join(", ");
    let deserialize = conditions("Deserialize<'de>").join(", ");
    let with_conditions = |bound: TokenStream| {
        let mut generics = input.generics.clone();
        let types = input.args.iter().map(|Arg { ty, .. }| ty);
        let predicates = types.map(|ty| -> WherePredicate { parse_quote!(for<'arg> #ty: #bound) });
        generics.make_where_clause().predicates.extend(predicates);
        generics
    };
    let serializable = with_conditions(quote!(#serde::Serialize));
    let (_, _, if_serializable) = serializable.split_for_impl();
    let mut deserializable = with_conditions(quote!(#serde::Deserialize<'de>));
    deserializable.params.insert(0, parse_quote!('de));
    let (deserialize_generics, _, if_deserializable) = deserializable.split_for_impl();
    let serializer = local("serializer");
    let deserializer = local("deserializer");
    Some(quote! {
        const _: () = {
            #[derive(#serde::Serialize, #serde::Deserialize)]
            #[serde(
                crate = #serde_path,
                remote = #remote,
                rename = #name,
                bound(serialize = #serialize, deserialize = #deserialize)
            )]
            #[allow(dead_code)]
            struct __Remote #generics #bounds {
                #(#fields,)*
                #marker
            }

            #[automatically_derived]
            impl #generics #serde::Serialize for #config #if_serializable {
                fn serialize<__S: #serde::Serializer>(
                    &self,
                    #serializer: __S,
                ) -> ::core::result::Result<__S::Ok, __S::Error> {
                    __Remote #turbofish::serialize(self, #serializer)
                }
            }

            #[automatically_derived]
            impl #deserialize_generics #serde::Deserialize<'de> for #config #if_deserializable {
                fn deserialize<__D: #serde::Deserializer<'de>>(
                    #deserializer: __D,
                ) -> ::core::result::Result<Self, __D::Error> {
                    __Remote #turbofish::deserialize(#deserializer)
                }
            }
        };
    })
}

/// Returns a field of the struct through which serde reads and writes the config.
fn remote_field(Arg { name, ty, default, .. }: &Arg) -> TokenStream {
    if default.is_none() {
        return quote!(#name: #ty);
    }
    quote! {
        #[serde(default, skip_serializing_if = "::core::option::Option::is_none")]
        #name: ::core::option::Option<#ty>
    }
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
            let path = path(input);
            let optional = input.args.iter().filter(|arg| arg.default.is_some()).map(|arg| &arg.name);
            let marker = marker_value(input);
            item.body(quote!(#path { #(#names,)* #(#optional: ::core::option::Option::None,)* #marker }))
        }
    };
    let config = broken_config(input).unwrap_or_else(|| config.clone());
    let device = local("device");
    let docs = docs::config_function(&input.args);
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
    let output = quote!(type Output = #ident #arguments;);
    // If the user's config is visible where the network is not, the error points at the config.
    let output = match &input.config {
        Some(own) => respanned(output, own.value.span()),
        None => output,
    };
    quote! {
        #[automatically_derived]
        #[allow(clippy::redundant_locals)]
        impl #generics #krate::Config for #config #bounds {
            #output

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
