//! Checks that need the whole item, such as clashing names and attributes that do not fit the field's type.

use std::collections::HashMap;

use syn::ext::IdentExt;
use syn::{GenericParam, Pat, Type};

use crate::ast::{Field, Forward, Input, Role, Variant, element, generic_argument, last_segment, pointee};
use crate::attr::{Keyed, LayerAttr, Repeat, Source};
use crate::ctxt::Ctxt;
use crate::mention;
use crate::suggest::hint;

/// Reports all errors that parsing cannot detect.
pub fn validate(ctxt: &Ctxt, input: &Input) {
    generics(ctxt, input);
    args(ctxt, input);
    for variant in &input.variants {
        keys(ctxt, variant);
        values_in_names(ctxt, input, variant);
        forward(ctxt, variant);
        for field in &variant.fields {
            role(ctxt, input, field);
            tie(ctxt, variant, field);
        }
    }
    inputs(ctxt, input);
    conditions(ctxt, input);
    training(ctxt, input);
}

/// Checks that the network has no lifetime parameters.
fn generics(ctxt: &Ctxt, input: &Input) {
    for param in &input.generics.params {
        if let GenericParam::Lifetime(lifetime) = param {
            ctxt.error_on(lifetime, "lifetime parameters are not supported: a network owns its fields");
        }
    }
}

/// Checks that required arguments come first, that no setter has the name of a config method, and that `config` and
/// `args` are not combined.
fn args(ctxt: &Ctxt, input: &Input) {
    let mut optional = None;
    for arg in input.args.iter().filter(|arg| !arg.is_broken) {
        let name = arg.name.unraw().to_string();
        match (&arg.default, &optional) {
            (Some(_), None) => optional = Some(name),
            (None, Some(first)) => ctxt.error_on(
                &arg.name,
                format!("required argument `{name}` must come before `{first}`, which has a default"),
            ),
            _ => {}
        }
    }
    if let (Some(config), false) = (&input.config, input.args.is_empty()) {
        ctxt.error_on(&config.key, "`config` and `args` cannot be combined");
    }
    if let (Some(_), Some(name)) = (&input.config, &input.config_name) {
        ctxt.error_on(&name.key, "`config_name` names a generated config, but `config` replaces it");
    } else if let (Some(name), false) = (&input.config_name, input.is_built()) {
        ctxt.error_on(&name.key, "an enum of networks that are already built has no config");
    }
}

/// Checks that the fields' names in checkpoints fit their types and are unique.
fn keys(ctxt: &Ctxt, variant: &Variant) {
    let mut seen: HashMap<&str, &Field> = HashMap::new();
    for field in variant.fields.iter().filter(|field| !matches!(field.role, Role::Skip(_))) {
        if let Some(rename) = field.rename.as_ref()
            && let Some(message) = unsuitable_name(field)
        {
            ctxt.error_on(&rename.value, message);
            continue;
        }
        let Some(key) = field.key.fixed().filter(|key| !key.is_empty()) else { continue };
        if let Some(first) = seen.get(key) {
            let (wrong, other) = if field.rename.is_some() { (field, *first) } else { (*first, field) };
            let message = format!("the name {key:?} is already used by field `{}`", other.name);
            match &wrong.rename {
                Some(rename) => ctxt.error_on(&rename.value, message),
                None => ctxt.error_on(&wrong.member, message),
            }
        }
        seen.entry(key).or_insert(field);
    }
}

/// Returns an error message if a field of this kind cannot have its name.
fn unsuitable_name(field: &Field) -> Option<&'static str> {
    if field.key.is_numbered() && !field.is_list() {
        return Some("a numbered name requires a list of layers: end #[layer(…)] with `; for i in 0..n`");
    }
    if field.key.is_empty() && !field.is_layer() {
        return Some("only a layer can have an empty name: its tensors then keep their own names");
    }
    None
}

/// Checks that the names in braces in a checkpoint name are those of plain-data fields or of const parameters. An
/// argument is only known while the network is built, so the network must keep its value in a field.
fn values_in_names(ctxt: &Ctxt, input: &Input, variant: &Variant) {
    for field in variant.fields.iter().filter(|field| !matches!(field.role, Role::Skip(_))) {
        let Some(rename) = &field.rename else { continue };
        for value in field.key.values() {
            let is_data =
                variant.fields.iter().any(|other| other.name == value && matches!(other.role, Role::Skip(_)));
            if is_data || input.generics.const_params().any(|param| param.ident == value) {
                continue;
            }
            let message = match input.args.iter().find(|arg| arg.name.unraw() == value) {
                Some(_) => not_kept(value),
                None => {
                    let data = variant.fields.iter().filter(|other| matches!(other.role, Role::Skip(_)));
                    let hint = hint(value, data.map(|other| other.name.as_str()));
                    let hint = if hint.is_empty() { "; the number in a list is {0..}" } else { &hint };
                    format!("no plain-data field `{value}`{hint}")
                }
            };
            ctxt.error_on(&rename.value, message);
        }
    }
}

/// Returns the error message for an argument that is used after the network is built.
pub fn not_kept(arg: &str) -> String {
    format!(
        "the network does not keep the argument `{arg}`: add a field `{arg}` with #[module(skip = {arg})]"
    )
}

/// Checks that a forward closure has at least one input, takes signals by value, and is not async. Checks that no field
/// has `recompute` if the forward pass is a function, because the derive cannot change the function's calls.
fn forward(ctxt: &Ctxt, variant: &Variant) {
    if let Forward::Function(_) = &variant.forward {
        for recompute in variant.fields.iter().filter_map(|field| field.recompute.as_ref()) {
            ctxt.error_on(recompute, "`recompute` needs a forward closure, or no `forward`");
        }
    }
    let Forward::Closure(closure) = &variant.forward else { return };
    if closure.inputs.is_empty() {
        let span = closure.inputs_begin.spans[0];
        ctxt.error_at(span, "expected at least one input: `forward = |x| …`");
    }
    for pat in &closure.inputs {
        let Pat::Type(typed) = pat else { continue };
        if let Type::Reference(reference) = &*typed.ty
            && last_segment(&reference.elem).is_some_and(|name| name == "Signal")
        {
            ctxt.error_on(reference, "expected `Signal`: signals are passed by value");
        }
    }
    if let Some(token) = &closure.asyncness {
        ctxt.error_on(token, "a forward closure cannot be async");
    }
}

/// Checks that the attributes of a field fit its type.
fn role(ctxt: &Ctxt, input: &Input, field: &Field) {
    if let (true, Type::Reference(reference)) = (field.is_layer(), &field.ty) {
        ctxt.error_on(reference, "a network owns its layers: to share a layer, use an `Arc`");
        return;
    }
    match &field.role {
        Role::Layer(attr) => layer(ctxt, field, attr),
        Role::Param(_) | Role::Buffer(_) => {
            // A type with another name may be an alias of `Tensor`, so the compiler checks it.
            let inner = last_segment(&field.ty);
            if inner.is_none_or(|name| {
                ["usize", "f32", "f64", "Vec", "Option", "Conv2d", "Linear"]
                    .contains(&name.to_string().as_str())
            }) {
                ctxt.error_on(&field.ty, "a parameter or buffer must be a `Tensor`");
            }
        }
        Role::DefaultLayer => default_layer(ctxt, input, field),
        Role::Skip(_) => {}
    }
    if !field.is_layer()
        && let Some(mode) = &field.mode
    {
        ctxt.error_on(mode, "only a layer can have a mode");
    }
    if !field.is_layer()
        && let Some(recompute) = &field.recompute
    {
        ctxt.error_on(recompute, "only a layer can be recomputed");
    }
    if let (Role::Skip(_), Some(rename)) = (&field.role, &field.rename) {
        ctxt.error_on(&rename.key, "a skipped field is not in checkpoints and cannot be renamed");
    }
}

/// Checks that the written types fit `if` and `for`, that a `Vec` or array has `for` or `with`, and that a
/// `Box<dyn Layer>` has `with`. The compiler checks a type that may be an alias.
fn layer(ctxt: &Ctxt, field: &Field, attr: &LayerAttr) {
    let mut ty = &field.ty;
    for repeat in &attr.repeats {
        let inner = match repeat {
            Repeat::If(..) => generic_argument(ty, &["Option"]),
            Repeat::For(..) => element(ty),
        };
        match (inner, repeat) {
            (Some(inner), _) => ty = inner,
            (None, _) if may_be_alias(ty) => return,
            (None, Repeat::If(token, _)) => {
                ctxt.error_on(token, format!("`if` requires an `Option<…>` in the type of `{}`", field.name));
                return;
            }
            (None, Repeat::For(token, ..)) => {
                let message =
                    format!("`for` requires a `Vec<…>` or an array in the type of `{}`", field.name);
                ctxt.error_on(token, message);
                return;
            }
        }
    }
    let ty = generic_argument(ty, &["Option"]).unwrap_or(ty);
    if element(ty).is_some() && !matches!(attr.source, Source::With(_)) {
        let message =
            format!("`{}` holds several layers: end the attribute with `; for i in 0..n`", field.name);
        ctxt.error_on(ty, message);
    }
    let pointee = pointee(ty).map_or(ty, |(_, inner)| inner);
    if let (Type::TraitObject(object), Source::Config { .. } | Source::Lists(_)) = (pointee, &attr.source) {
        ctxt.error_on(object, "cannot infer the layer: build it with #[layer(with = |vb| …)]");
    }
}

/// Returns `true` if a type may be an alias of a container: it is a path or a macro, but not a known container.
fn may_be_alias(ty: &Type) -> bool {
    let is_container =
        element(ty).is_some() || generic_argument(ty, &["Option"]).is_some() || pointee(ty).is_some();
    matches!(ty, Type::Path(_) | Type::Macro(_)) && !is_container
}

/// Checks that a field without an attribute is not a `dyn Layer`, which has no default.
fn default_layer(ctxt: &Ctxt, input: &Input, field: &Field) {
    let bare = element(&field.ty).or(generic_argument(&field.ty, &["Option"])).unwrap_or(&field.ty);
    let pointee = pointee(bare).map_or(bare, |(_, inner)| inner);
    if let (true, Type::TraitObject(object)) = (input.is_built(), pointee) {
        ctxt.error_on(object, "cannot infer the layer: build it with #[layer(with = |vb| …)]");
    }
}

/// Checks that a tied field is a layer or a parameter, and that the path of the tie begins with the name of another
/// field. If the other field is a layer, the path must not end at the layer itself.
fn tie(ctxt: &Ctxt, variant: &Variant, field: &Field) {
    let Some(tie) = &field.tie else { return };
    let target = tie.value();
    // The tensors in a field without a fixed name can have any name that begins with the field's prefix.
    let is_root = |other: &&Field| match other.key.fixed().filter(|key| !key.is_empty()) {
        None => target.starts_with(other.key.prefix()),
        Some(key) => {
            let rest = target.strip_prefix(key);
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        }
    };
    let targets = variant.fields.iter().filter(|other| !matches!(other.role, Role::Skip(_)));
    let with_fixed_names =
        targets.clone().filter(|other| other.key.fixed().is_some_and(|key| !key.is_empty()));
    match with_fixed_names.clone().find(is_root).or_else(|| targets.clone().find(is_root)) {
        Some(other) if other.name == field.name => ctxt.error_on(tie, "a field cannot be tied to itself"),
        Some(_)
            if matches!(field.role, Role::Skip(_) | Role::Buffer(_))
                || (field.is_list() && !field.is_broken) =>
        {
            ctxt.error_on(tie, "only a layer or a #[param(…)] can be tied");
        }
        Some(other) if other.is_layer() && other.key.fixed() == Some(&target) => {
            let message =
                format!("`{target}` is a layer: tie to one of its parameters, such as \"{target}.weight\"");
            ctxt.error_on(tie, message);
        }
        Some(_) => {}
        None => {
            let first = target.split('.').next().unwrap_or_default();
            let hint = hint(first, with_fixed_names.filter_map(|other| other.key.fixed()));
            ctxt.error_on(tie, format!("no field `{first}` to tie to{hint}"));
        }
    }
}

/// Checks that an enum has variants, and that all variants have the same number of inputs.
fn inputs(ctxt: &Ctxt, input: &Input) {
    let arity = |variant: &Variant| match &variant.forward {
        Forward::Closure(closure) => closure.inputs.len(),
        _ => 1,
    };
    let mut variants = input.variants.iter();
    let Some(first) = variants.next() else {
        ctxt.error_on(&input.ident, "expected an enum with at least one variant");
        return;
    };
    for variant in variants {
        if arity(variant) != arity(first) {
            let message =
                format!("expected {} inputs, like the first variant, found {}", arity(first), arity(variant));
            ctxt.error_on(&variant.ident, message);
        }
    }
}

/// Checks that at most one variant has no `when`. If there were several, only the first of them would ever be built.
fn conditions(ctxt: &Ctxt, input: &Input) {
    if !input.is_enum || !input.is_built() {
        return;
    }
    let mut unconditional = input.variants.iter().filter(|variant| variant.when.is_none());
    let Some(first) = unconditional.next().and_then(|first| first.ident.as_ref()) else { return };
    for variant in unconditional {
        let message = format!(
            "this variant is never built, because `{first}` has no condition: add #[module(when = …)]"
        );
        ctxt.error_on(&variant.ident, message);
    }
}

/// Checks that `loss` and `optimizer` are set together or not at all, that `schedule` is not set alone, and that the
/// three expressions use only those arguments that the network keeps.
fn training(ctxt: &Ctxt, input: &Input) {
    let Input { loss, optimizer, schedule, .. } = input;
    let report = |given: &Keyed<syn::Expr>, missing: &str| {
        ctxt.error_on(&given.key, format!("`{}` requires `{missing}`", given.key));
    };
    match (loss, optimizer, schedule) {
        (Some(loss), None, _) => report(loss, "optimizer"),
        (None, Some(optimizer), _) => report(optimizer, "loss"),
        (None, None, Some(schedule)) => report(schedule, "loss"),
        _ => {}
    }
    let is_kept = |variant: &Variant, name: &syn::Ident| {
        variant.fields.iter().any(|field| name.unraw() == field.name && matches!(field.role, Role::Skip(_)))
    };
    for given in [loss, optimizer, schedule].into_iter().flatten() {
        for arg in &input.args {
            if let Some(name) = mention::find(&given.value, &arg.name)
                && !input.variants.iter().all(|variant| is_kept(variant, &arg.name))
            {
                ctxt.error_on(&name, not_kept(&name.unraw().to_string()));
            }
        }
    }
}
