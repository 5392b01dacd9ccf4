//! Generates `impl Forward` and the inherent methods `forward` and `forward_t`.

use std::collections::HashSet;

use proc_macro2::{Ident, Span, TokenStream};
use quote::{ToTokens, format_ident, quote, quote_spanned};
use syn::ext::IdentExt;
use syn::spanned::Spanned;
use syn::{Member, Pat, parse_quote};

use crate::ast::{Field, Forward, Role};
use crate::closure::{MisspelledLayer, OutputType, Parameter, Rewritten, data};

use super::field_type::checked;
use super::registry::field_access;
use super::{Item, local, located, private};

/// The inputs and output of the forward pass, which are the same for all variants.
struct Signature {
    inputs: Vec<SignatureInput>,
    output: TokenStream,
    /// The span of the annotated output type, for errors.
    output_span: Span,
    /// Whether the network maps one signal to one signal.
    is_layer: bool,
}

/// An input of the forward pass.
struct SignatureInput {
    name: Ident,
    /// The annotated type, or `None` for a signal.
    ty: Option<syn::Type>,
}

pub fn expand(item: &Item) -> TokenStream {
    let signature = Signature::new(item);
    let mut code = implementation(item, &signature);
    code.extend(methods(item, &signature));
    if signature.is_layer {
        code.extend(module_t(item));
    }
    code
}

impl Signature {
    fn new(item: &Item) -> Self {
        let krate = &item.input.krate;
        match item.rewritten.first().and_then(Option::as_ref) {
            Some(Rewritten { inputs, output, .. }) if !inputs.is_empty() => Self {
                inputs: inputs.iter().enumerate().map(SignatureInput::new).collect(),
                output: output.ty(krate),
                output_span: output.span(),
                is_layer: inputs.len() == 1 && inputs[0].ty.is_none() && output.is_signal(),
            },
            _ => Self {
                inputs: vec![SignatureInput { name: local("x"), ty: None }],
                output: OutputType::Signal.ty(krate),
                output_span: Span::call_site(),
                is_layer: true,
            },
        }
    }

    /// Returns the type of the input: `Signal`, or a tuple such as `(Signal, usize)` for several inputs.
    fn input(&self, krate: &TokenStream) -> TokenStream {
        let types = self.inputs.iter().map(|input| input.ty(krate));
        if self.inputs.len() == 1 { quote!(#(#types)*) } else { quote!((#(#types,)*)) }
    }
}

impl SignatureInput {
    fn new((i, Parameter { pat, ty }): (usize, &Parameter)) -> Self {
        let name = match pat {
            Pat::Ident(pat) => pat.ident.clone(),
            _ => format_ident!("input_{i}", span = Span::mixed_site()),
        };
        Self { name, ty: ty.clone() }
    }

    fn ty(&self, krate: &TokenStream) -> TokenStream {
        self.ty.as_ref().map_or_else(|| quote!(#krate::Signal), ToTokens::to_token_stream)
    }
}

// impl ::sconce::Forward<Signal> for Model {
//     type Output = Signal;
//     fn forward_pass(&self, input: Signal, mode: Mode) -> Signal {
//         __private::run_network(self, move || {
//             __private::ForwardBody(move || -> Result<Signal> { let x = input; Ok({ … }) }).output()
//         })
//     }
// }
fn implementation(item: &Item, signature: &Signature) -> TokenStream {
    let ident = &item.input.ident;
    let krate = &item.input.krate;
    let (generics, arguments, bounds) = item.input.generics.split_for_impl();
    let input_type = signature.input(krate);
    let output = &signature.output;
    let input = local("input");
    let mode = local("mode");
    let lints = &item.input.lints;
    let body = item.each_variant(|i| {
        let run = match (&item.input.variants[i].forward, &item.rewritten[i]) {
            (Forward::Closure(_), Some(rewritten)) => return closure(item, i, rewritten, output),
            (Forward::Function(function), _) => function_call(function),
            _ => sequential(item, i),
        };
        quote!(let _ = &#mode; #run)
    });
    let body = item.body(quote!(#krate::__private::run_network(self, move || { #body })));
    quote! {
        #[automatically_derived]
        #(#lints)*
        impl #generics #krate::Forward<#input_type> for #ident #arguments #bounds {
            type Output = #output;

            #[allow(unused_braces)]
            fn forward_pass(&self, #input: #input_type, #mode: #krate::Mode) -> #output {
                #body
            }
        }
    }
}

// use __private::{CallFunction as _, CallLayer as _, …};
// __private::ForwardBody(move || -> Result<Signal> {
//     let blocks = &self.blocks;
//     let mode = mode;
//     let (x, mask) = input;
//     Ok({ … })
// })
// .output()
fn closure(item: &Item, variant: usize, rewritten: &Rewritten, output: &TokenStream) -> TokenStream {
    let krate = &item.input.krate;
    let input = local("input");
    let mode = local("mode");
    let fields = field_variables(item, variant, rewritten);
    let modes = &rewritten.modes;
    let pats: Vec<&Pat> = rewritten.inputs.iter().map(|parameter| &parameter.pat).collect();
    let pattern = if let [pat] = *pats { quote!(#pat) } else { quote!((#(#pats,)*)) };
    let body = &rewritten.body;
    let misspelled = misspelled_layers(item, rewritten);
    quote! {
        #misspelled
        #[allow(unused_imports)]
        use #krate::__private::{
            CallFunction as _, CallFunctionMut as _, CallFunctionOnce as _, CallLayer as _, CallLayerAtLastUse as _,
            DataByReference as _, DataByValue as _, Lend as _, Receiver as _, UnsupportedOutput as _,
        };
        let _ = &#mode;
        #krate::__private::ForwardBody(move || -> #krate::Result<#output> {
            #fields
            #(#[allow(unused_variables)] let #modes = #mode;)*
            let #pattern = #input;
            ::core::result::Result::Ok(#body)
        })
        .output()
    }
}

// #[diagnostic::on_unimplemented(message = "no method `classifer` of `Net`; did you mean `classifier`?")]
// trait __DidYouMean_classifier_for_classifer {}
// trait __Misspelled_classifer {
//     fn classifer<T0>(&mut self, _: T0) -> Signal { unimplemented!() }
// }
// impl __Misspelled_classifer for Net where for<'call> Net: __DidYouMean_classifier_for_classifer {}
//
// Generated for `self.classifer(x)`, because the compiler suggests no field for the name of a method. The condition of
// the impl is never satisfied. If the user has no such method, the compiler therefore reports the condition with its
// message. Without `for<'call>`, it would report the condition here instead of at the call.
fn misspelled_layers(item: &Item, rewritten: &Rewritten) -> TokenStream {
    let mut seen = HashSet::new();
    let calls = rewritten.misspelled.iter().filter(|call| seen.insert(call.method.unraw().to_string()));
    calls.map(|call| misspelled_layer(item, call)).collect()
}

fn misspelled_layer(item: &Item, MisspelledLayer { method, inputs, layer }: &MisspelledLayer) -> TokenStream {
    let krate = &item.input.krate;
    let network = &item.input.ident;
    let message = format!("no method `{method}` of `{network}`; did you mean `{layer}`?");
    let types: Vec<Ident> = (0..*inputs).map(|i| format_ident!("T{i}")).collect();
    let did_you_mean = format_ident!("__DidYouMean_{layer}_for_{}", method.unraw(), span = method.span());
    let name = format_ident!("__Misspelled_{}", method.unraw(), span = method.span());
    let (_, arguments, _) = item.input.generics.split_for_impl();
    let mut generics = item.input.generics.clone();
    let condition = parse_quote!(for<'call> #network #arguments: #did_you_mean);
    generics.make_where_clause().predicates.push(condition);
    let (generics, _, conditions) = generics.split_for_impl();
    quote! {
        #[diagnostic::on_unimplemented(message = #message, label = "no layer has this name")]
        #[allow(dead_code, non_camel_case_types)]
        trait #did_you_mean {}
        #[allow(dead_code, non_camel_case_types)]
        trait #name {
            fn #method<#(#types),*>(&mut self, #(_: #types),*) -> #krate::Signal {
                ::core::unimplemented!()
            }
        }
        impl #generics #name for #network #arguments #conditions {}
    }
}

/// Returns the variables for the fields that the body names, and for all other layers, so that the compiler can suggest
/// them for a misspelled name.
fn field_variables(item: &Item, variant: usize, rewritten: &Rewritten) -> TokenStream {
    let fields = &item.input.variants[variant].fields;
    let is_named = |i: usize| rewritten.fields.iter().any(|(_, field)| *field == i);
    let others = fields.iter().enumerate().filter(|(i, field)| field.is_layer() && !is_named(*i));
    let others = others.filter_map(|(_, field)| match &field.member {
        Member::Named(name) => Some(field_variable(item, variant, name, field)),
        Member::Unnamed(_) => None,
    });
    let named =
        rewritten.fields.iter().map(|(name, field)| field_variable(item, variant, name, &fields[*field]));
    others.chain(named).collect()
}

// let conv1: &<Conv2d as __private::Pointee<{ … }>>::Layer = &self.conv1;     // the type from `checked`
// let width = __private::Data(&self.width).data();
fn field_variable(item: &Item, variant: usize, name: &Ident, field: &Field) -> TokenStream {
    let place = located(field.place.clone(), name.span());
    let variable = match field.role {
        Role::Skip(_) => {
            let value = data(&item.input.krate, &place, name.span());
            quote!(#name = #value)
        }
        _ if field.is_layer() => {
            let ty = checked(item, variant, field);
            quote!(#name: &#ty = &#place)
        }
        _ => quote!(#name = &#place),
    };
    quote! {
        #[allow(unused_variables, non_snake_case)]
        let #variable;
    }
}

// Into::into(Self::run(self, input, mode))
fn function_call(function: &syn::Expr) -> TokenStream {
    let input = local("input");
    let mode = local("mode");
    let callee = if matches!(function, syn::Expr::Path(_)) { quote!(#function) } else { quote!((#function)) };
    quote_spanned!(function.span()=> ::core::convert::Into::into(#callee(self, #input, #mode)))
}

// let x = __private::sequential_field::<Conv2d>().call(&self.conv1, "conv1", input, mode);
// let x = __private::sequential_field::<Relu>().call(&self.act1, "act1", x, mode);
// x
//
// A field with `recompute` is called with `__private::recompute(&self.conv1, "conv1", input, mode)`.
fn sequential(item: &Item, variant: usize) -> TokenStream {
    let input = local("input");
    let x = local("x");
    let layers = item.input.variants[variant].fields.iter().filter(|field| field.is_layer());
    let steps = layers.map(|field| {
        let place = &field.place;
        let name = &field.name;
        let mode = field.mode_tokens(&item.input.krate);
        if field.recompute.is_some() {
            let private = private(&item.input.krate, field.ty.span());
            return quote_spanned!(field.ty.span()=> let #x = #private::recompute(&#place, #name, #x, #mode););
        }
        let access = field_access(item, variant, field);
        quote_spanned!(field.ty.span()=> let #x = #access.call(&#place, #name, #x, #mode);)
    });
    quote!(let #x = #input; #(#steps)* #x)
}

// impl Model {
//     pub fn forward(&self, x: impl Into<Signal>) -> Result<Tensor> {
//         __private::forward(self, "Model", x.into(), Mode::Eval).tensors()
//     }
//     pub fn forward_t(&self, x: impl Into<Signal>, train: bool) -> Result<Tensor> { … }
// }
fn methods(item: &Item, signature: &Signature) -> TokenStream {
    let input = item.input;
    let ident = &input.ident;
    // All tokens have the span of the output type, so that the compiler reports an unsupported type only once.
    let span = Span::call_site().located_at(signature.output_span);
    let krate = &located(input.krate.clone(), span);
    let vis = &input.vis;
    let (generics, arguments, bounds) = input.generics.split_for_impl();
    let name = ident.unraw().to_string();
    let parameters: Vec<TokenStream> = signature.inputs.iter().map(|input| input.parameter(krate)).collect();
    let values = signature.inputs.iter().map(|SignatureInput { name, ty }| match ty {
        Some(_) => quote!(#name),
        None => quote!(::core::convert::Into::into(#name)),
    });
    let values = if signature.inputs.len() == 1 { quote!(#(#values)*) } else { quote!((#(#values,)*)) };
    let train = local("train");
    let lints = &input.lints;
    let output = if signature.is_layer {
        quote!(#krate::candle::Tensor)
    } else {
        let output = &signature.output;
        quote_spanned!(span=> <#output as #krate::IntoTensors>::Tensors)
    };
    // `UnsupportedOutput` has a method `tensors` for output types that have none, which prevents further errors. A
    // signal does not need this fallback.
    let fallback = (!signature.is_layer).then(|| {
        quote_spanned! {span=>
            #[allow(unused_imports)]
            use #krate::__private::UnsupportedOutput as _;
        }
    });
    quote_spanned! {span=>
        #(#lints)*
        #[allow(dead_code, clippy::all, clippy::pedantic)]
        impl #generics #ident #arguments #bounds {
            /// Runs the network in evaluation mode.
            #vis fn forward(&self, #(#parameters),*) -> #krate::Result<#output> {
                #fallback
                #krate::__private::forward(self, #name, #values, #krate::Mode::Eval).tensors()
            }

            /// Runs the network in training mode if `train` is true, and in evaluation mode otherwise.
            #vis fn forward_t(&self, #(#parameters,)* #train: ::core::primitive::bool) -> #krate::Result<#output> {
                #fallback
                #krate::__private::forward(self, #name, #values, ::core::convert::From::from(#train)).tensors()
            }
        }
    }
}

impl SignatureInput {
    /// Returns the parameter `x: impl Into<Signal>`, or `x` with the annotated type.
    fn parameter(&self, krate: &TokenStream) -> TokenStream {
        let Self { name, ty } = self;
        match ty {
            Some(ty) => quote!(#name: #ty),
            None => quote!(#name: impl ::core::convert::Into<#krate::Signal>),
        }
    }
}

// impl ::sconce::nn::ModuleT for Model {
//     fn forward_t(&self, xs: &Tensor, train: bool) -> candle::Result<Tensor> {
//         __private::module_forward_t(self, "Model", xs, train)
//     }
// }
fn module_t(item: &Item) -> TokenStream {
    let ident = &item.input.ident;
    let krate = &item.input.krate;
    let (generics, arguments, bounds) = item.input.generics.split_for_impl();
    let xs = local("xs");
    let train = local("train");
    let name = ident.unraw().to_string();
    quote! {
        #[automatically_derived]
        impl #generics #krate::nn::ModuleT for #ident #arguments #bounds {
            fn forward_t(
                &self,
                #xs: &#krate::candle::Tensor,
                #train: ::core::primitive::bool,
            ) -> #krate::candle::Result<#krate::candle::Tensor> {
                #krate::__private::module_forward_t(self, #name, #xs, #train)
            }
        }
    }
}
