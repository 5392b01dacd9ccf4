//! Checks that need the whole item, such as clashing names and attributes that do not fit the field's type.

use std::collections::HashMap;

use syn::ext::IdentExt;
use syn::{GenericParam, Pat, Type};

use crate::ast::{Field, Forward, Input, Role, Variant, element, generic_argument, last_segment, pointee};
use crate::attr::{LayerAttr, Repeat, Source};
use crate::ctxt::Ctxt;
use crate::suggest::hint;

/// Reports all errors that parsing cannot detect.
pub fn validate(ctxt: &Ctxt, input: &Input) {
    generics(ctxt, input);
    args(ctxt, input);
    for variant in &input.variants {
        keys(ctxt, variant);
        forward(ctxt, variant);
        for field in &variant.fields {
            role(ctxt, input, field);
            tie(ctxt, variant, field);
        }
    }
    inputs(ctxt, input);
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
    for arg in &input.args {
        let name = arg.name.unraw().to_string();
        if ["build", "init", "load"].contains(&name.as_str()) && arg.default.is_some() {
            ctxt.error_on(&arg.name, format!("`{name}` is a method of the config: rename the argument"));
        }
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
}

/// Checks that the fields' names in checkpoints are valid and unique.
fn keys(ctxt: &Ctxt, variant: &Variant) {
    let mut seen: HashMap<String, &Field> = HashMap::new();
    for field in variant.fields.iter().filter(|field| !matches!(field.role, Role::Skip(_))) {
        let key = field.key();
        if let Some(rename) = field.rename.as_ref()
            && let Some(message) = invalid_name(field, &key)
        {
            ctxt.error_on(&rename.value, message);
            continue;
        }
        if let Some(first) = seen.get(&key) {
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

/// Returns an error message if a field's name in checkpoints is invalid.
fn invalid_name(field: &Field, key: &str) -> Option<&'static str> {
    let numbered = field.numbered();
    if numbered.is_some() && !matches!(&field.role, Role::Layer(LayerAttr { repeat: Repeat::For(..), .. })) {
        return Some("a numbered name requires a list of layers: end #[layer(…)] with `; for i in 0..n`");
    }
    let example = numbered.map_or_else(|| key.to_string(), |names| names.example());
    if example.contains(['{', '}']) {
        return Some("expected {0..} for the number in a name, or {1..} to start at 1");
    }
    (!is_path(&example)).then_some("expected a name of words separated by dots, such as \"features.0\"")
}

/// Returns whether `key` consists of words separated by dots.
fn is_path(key: &str) -> bool {
    key.split('.').all(|word| !word.is_empty() && !word.contains(char::is_whitespace))
}

/// Checks that a forward closure has at least one input, takes its inputs by value, and is not async.
fn forward(ctxt: &Ctxt, variant: &Variant) {
    let Forward::Closure(closure) = &variant.forward else { return };
    if closure.inputs.is_empty() {
        let span = closure.inputs_begin.spans[0];
        ctxt.error_at(span, "expected at least one input: `forward = |x| …`");
    }
    for pat in &closure.inputs {
        let Pat::Type(typed) = pat else { continue };
        if let Type::Reference(reference) = &*typed.ty {
            ctxt.error_on(reference, "inputs are passed by value: use `Signal` or another owned type");
        }
    }
    if let Some(token) = &closure.asyncness {
        ctxt.error_on(token, "a forward closure cannot be async");
    }
}

/// Checks that the attributes of a field fit its type.
fn role(ctxt: &Ctxt, input: &Input, field: &Field) {
    match &field.role {
        Role::Layer(attr) => layer(ctxt, field, attr),
        Role::Param(_) | Role::Buffer(_) => {
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
    if let (Role::Skip(_), Some(rename)) = (&field.role, &field.rename) {
        ctxt.error_on(&rename.key, "a skipped field is not in checkpoints and cannot be renamed");
    }
}

/// Checks that a field with `if` is an `Option`, that a field with `for` is a `Vec` or array, that a `Vec` or array has
/// `for` or `with`, and that a `Box<dyn Layer>` has `with`.
fn layer(ctxt: &Ctxt, field: &Field, attr: &LayerAttr) {
    match &attr.repeat {
        Repeat::If(token, _) if generic_argument(&field.ty, &["Option"]).is_none() => {
            ctxt.error_on(token, format!("`if` requires an `Option<…>` as the type of `{}`", field.name));
        }
        Repeat::For(token, ..) if element(&field.ty).is_none() => {
            ctxt.error_on(
                token,
                format!("`for` requires a `Vec<…>` or an array as the type of `{}`", field.name),
            );
        }
        Repeat::Once | Repeat::If(..)
            if element(&field.ty).is_some() && !matches!(attr.source, Source::With(_)) =>
        {
            let message =
                format!("`{}` holds several layers: end the attribute with `; for i in 0..n`", field.name);
            ctxt.error_on(&field.ty, message);
        }
        _ => {}
    }
    if let (Type::TraitObject(object), Source::Config { .. }) = (field.layer_type(), &attr.source) {
        ctxt.error_on(object, "cannot infer the layer: build it with #[layer(with = |vb| …)]");
    }
}

/// Checks that the type of a field without an attribute may be a layer. Without this check, the compiler would report
/// several errors for a field of plain data.
fn default_layer(ctxt: &Ctxt, input: &Input, field: &Field) {
    const DATA: [&str; 20] = [
        "usize", "isize", "u8", "u16", "u32", "u64", "u128", "i8", "i16", "i32", "i64", "i128", "f32", "f64",
        "bool", "char", "String", "HashMap", "PathBuf", "Device",
    ];
    let bare = element(&field.ty).or(generic_argument(&field.ty, &["Option"])).unwrap_or(&field.ty);
    let Some(name) = last_segment(bare) else { return };
    if name == "Tensor" {
        ctxt.error_on(
            &field.ty,
            "a `Tensor` is not a layer: mark it #[param(shape)], #[buffer(shape)] or #[module(skip)]",
        );
    } else if DATA.iter().any(|data| name == data) {
        ctxt.error_on(
            &field.ty,
            format!("`{name}` is not a layer: mark it #[module(skip)] or #[module(skip = value)]"),
        );
    } else if let (true, Type::TraitObject(object)) =
        (input.is_built(), pointee(bare).map_or(bare, |(_, inner)| inner))
    {
        ctxt.error_on(object, "cannot infer the layer: build it with #[layer(with = |vb| …)]");
    }
}

/// Checks that a tied field is a layer or a parameter, and that the path of the tie begins with the name of another
/// field. If the other field is a layer, the path must not end at the layer itself.
fn tie(ctxt: &Ctxt, variant: &Variant, field: &Field) {
    let Some(tie) = &field.tie else { return };
    let target = tie.value();
    let is_root = |other: &&Field| match other.numbered() {
        Some(names) => target.starts_with(&names.before),
        None => {
            let rest = target.strip_prefix(&other.key());
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        }
    };
    let targets = variant.fields.iter().filter(|other| !matches!(other.role, Role::Skip(_)));
    match targets.clone().find(is_root) {
        Some(other) if other.name == field.name => ctxt.error_on(tie, "a field cannot be tied to itself"),
        Some(_) if matches!(field.role, Role::Skip(_) | Role::Buffer(_)) => {
            ctxt.error_on(tie, "only a layer or a #[param(…)] can be tied");
        }
        Some(other) if other.is_layer() && target == other.key() => {
            let message =
                format!("`{target}` is a layer: tie to one of its parameters, such as \"{target}.weight\"");
            ctxt.error_on(tie, message);
        }
        Some(_) => {}
        None => {
            let first = target.split('.').next().unwrap_or_default();
            let keys: Vec<String> = targets.map(Field::key).collect();
            let hint = hint(first, keys.iter().map(String::as_str));
            ctxt.error_on(tie, format!("no field `{first}` to tie to{hint}"));
        }
    }
}

/// Checks that an enum has variants, that all variants have the same number of inputs, and that `loss` and `optimizer`
/// are set together or not at all.
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
    for pair in [(&input.loss, &input.optimizer, "optimizer"), (&input.optimizer, &input.loss, "loss")] {
        if let (Some(given), None, missing) = pair {
            ctxt.error_on(&given.key, format!("`{}` requires `{missing}`", given.key));
        }
    }
}
