//! The parsed input of the derive: an item, its variants and their fields.

use proc_macro2::{Span, TokenStream};
use quote::{ToTokens, format_ident, quote};
use syn::ext::IdentExt;
use syn::{
    Attribute, Data, DeriveInput, Expr, ExprClosure, Fields, Generics, Ident, Index, Member, Path, Type,
    Visibility,
};

use crate::attr::{Arg, ContainerAttrs, FieldAttrs, Keyed, LayerAttr, Repeat, TensorAttr};
use crate::ctxt::Ctxt;
use crate::name::Name;

/// A struct or enum that derives `Module`.
pub struct Input {
    pub ident: Ident,
    pub vis: Visibility,
    pub generics: Generics,
    /// The lint levels of the item, such as `#[allow(non_snake_case)]`. They also apply to the forward closure.
    pub lints: Vec<Attribute>,
    /// How generated code refers to sconce: `::sconce`, a keyword such as `$crate`, or the name under which it imports
    /// `crate_path`.
    pub krate: TokenStream,
    /// `crate = path`, the path of sconce that generated code imports. `None` if the path is a keyword.
    pub crate_path: Option<Keyed<Path>>,
    pub args: Vec<Arg>,
    /// `config = Type`: a user-defined struct of arguments.
    pub config: Option<Keyed<Type>>,
    /// `config_name = Name`: the name of the generated config.
    pub config_name: Option<Keyed<Ident>>,
    pub loss: Option<Keyed<Expr>>,
    pub optimizer: Option<Keyed<Expr>>,
    pub schedule: Option<Keyed<Expr>>,
    pub is_enum: bool,
    /// The variants of an enum. A struct has one.
    pub variants: Vec<Variant>,
}

/// A struct, or one variant of an enum.
pub struct Variant {
    /// The variant's name, or `None` for a struct.
    pub ident: Option<Ident>,
    pub fields: Vec<Field>,
    /// `when = condition`: the variant is built if the condition is true.
    pub when: Option<Keyed<Expr>>,
    pub forward: Forward,
}

/// The forward pass of a variant.
pub enum Forward {
    /// No `forward`: the fields run in order.
    Sequential,
    /// `forward = Self::run`
    Function(Expr),
    /// `forward = |x| …`
    Closure(Box<ExprClosure>),
}

pub struct Field {
    pub member: Member,
    /// The field's name without `r#`. The forward closure refers to the field by this name.
    pub name: String,
    pub ty: Type,
    pub role: Role,
    /// The name in checkpoints.
    pub key: Name,
    pub rename: Option<Keyed<syn::LitStr>>,
    /// `mode = train` or `mode = eval`: the mode in which the field always runs.
    pub mode: Option<Ident>,
    /// The key `recompute`, if the backward pass runs the field again.
    pub recompute: Option<Ident>,
    /// `tie = "path"`: the path of the parameter that the field shares.
    pub tie: Option<syn::LitStr>,
    /// Whether `#[layer]`, `#[param]` or `#[buffer]` has a syntax error.
    pub is_broken: bool,
    /// The field as a place expression: `self.conv1`, or the binding in a variant's pattern.
    pub place: TokenStream,
    /// A hygienic local variable for the field, which cannot clash with the user's names.
    pub local: Ident,
}

/// The kind of a field.
pub enum Role {
    /// `#[layer(…)]`
    Layer(LayerAttr),
    /// No attribute: a layer that is built with `Default`.
    DefaultLayer,
    Param(TensorAttr),
    Buffer(TensorAttr),
    /// Plain data: `#[module(skip = value)]`, `#[module(skip)]` without a value, or a `PhantomData` field without an
    /// attribute.
    Skip(Option<Expr>),
}

impl Input {
    /// Parses a derive input and reports errors to `ctxt`. Returns `None` if no code can be generated.
    pub fn from_syn(ctxt: &Ctxt, node: &DeriveInput) -> Option<Self> {
        let attrs = ContainerAttrs::of_item(ctxt, &node.attrs);
        let (variants, is_enum) = match &node.data {
            Data::Struct(data) => {
                let forward = Forward::from_expr(attrs.forward);
                (vec![Variant::new(ctxt, None, &data.fields, None, forward)], false)
            }
            Data::Enum(data) => {
                if let Some(forward) = &attrs.forward {
                    ctxt.error_on(&forward.key, "write `forward` on each variant of the enum");
                }
                let read = |variant: &syn::Variant| {
                    let attrs = ContainerAttrs::of_variant(ctxt, &variant.attrs);
                    let forward = Forward::from_expr(attrs.forward);
                    Variant::new(ctxt, Some(&variant.ident), &variant.fields, attrs.when, forward)
                };
                (data.variants.iter().map(read).collect(), true)
            }
            Data::Union(data) => {
                ctxt.error_on(data.union_token, "unions are not supported: use a struct or an enum");
                return None;
            }
        };
        Some(Self {
            ident: node.ident.clone(),
            vis: node.vis.clone(),
            generics: node.generics.clone(),
            lints: node.attrs.iter().filter(|attr| is_lint_level(attr)).cloned().collect(),
            krate: match &attrs.krate {
                // Rust before 1.95 cannot import `$crate`, `self` or `super`.
                Some(path) if is_keyword(&path.value) => path.value.to_token_stream(),
                Some(_) => format_ident!("__{}_sconce", node.ident.unraw()).into_token_stream(),
                None => quote!(::sconce),
            },
            crate_path: attrs.krate.filter(|path| !is_keyword(&path.value)),
            args: attrs.args.map(|args| args.value).unwrap_or_default(),
            config: attrs.config,
            config_name: attrs.config_name,
            loss: attrs.loss,
            optimizer: attrs.optimizer,
            schedule: attrs.schedule,
            is_enum,
            variants,
        })
    }

    pub fn fields(&self) -> impl Iterator<Item = &Field> {
        self.variants.iter().flat_map(|variant| &variant.fields)
    }

    /// Returns `true` if the derive generates a config and constructors. Returns `false` for an enum that the user must
    /// construct, because no attribute of the enum, its variants or its fields says how to build it.
    pub fn is_built(&self) -> bool {
        !self.is_enum
            || !self.args.is_empty()
            || self.config.is_some()
            || self.variants.iter().any(|variant| variant.when.is_some())
            || self.fields().any(|field| !matches!(field.role, Role::DefaultLayer | Role::Skip(None)))
    }
}

impl Variant {
    fn new(
        ctxt: &Ctxt,
        ident: Option<&Ident>,
        fields: &Fields,
        when: Option<Keyed<Expr>>,
        forward: Forward,
    ) -> Self {
        let read = |(i, field)| Field::from_syn(ctxt, i, field, ident.is_some());
        Self { ident: ident.cloned(), fields: fields.iter().enumerate().map(read).collect(), when, forward }
    }

    /// Returns `Self` or `Self::Variant`, for construction and patterns.
    pub fn path(&self) -> TokenStream {
        self.ident.as_ref().map_or_else(|| quote!(Self), |ident| quote!(Self::#ident))
    }
}

impl Forward {
    fn from_expr(forward: Option<Keyed<Expr>>) -> Self {
        match forward.map(|forward| forward.value) {
            None => Self::Sequential,
            Some(Expr::Closure(closure)) => Self::Closure(Box::new(closure)),
            Some(function) => Self::Function(function),
        }
    }
}

impl Field {
    fn from_syn(ctxt: &Ctxt, index: usize, node: &syn::Field, in_enum: bool) -> Self {
        let attrs = FieldAttrs::of_field(ctxt, &node.attrs, &node.ty);
        let member = match &node.ident {
            Some(ident) => Member::Named(ident.clone()),
            None => {
                Member::Unnamed(Index { index: index as u32, span: syn::spanned::Spanned::span(&node.ty) })
            }
        };
        let name = match &member {
            Member::Named(ident) => ident.unraw().to_string(),
            Member::Unnamed(index) => index.index.to_string(),
        };
        let local = format_ident!("field_{name}", span = Span::mixed_site());
        let key = match &attrs.rename {
            Some(rename) => {
                Name::parse(&rename.value.value()).map_err(|message| ctxt.error_on(&rename.value, message))
            }
            None => Ok(Name::of_field(&name)),
        };
        Self {
            key: key.unwrap_or_else(|()| Name::of_field(&name)),
            place: if in_enum { quote!((*#local)) } else { quote!(self.#member) },
            rename: attrs.rename.clone(),
            mode: attrs.mode.as_ref().map(|mode| mode.value.clone()),
            recompute: attrs.recompute.as_ref().map(|recompute| recompute.key.clone()),
            tie: attrs.tie.as_ref().map(|tie| tie.value.clone()),
            is_broken: attrs.is_broken,
            role: Role::new(ctxt, attrs, &node.ty),
            ty: node.ty.clone(),
            member,
            name,
            local,
        }
    }

    /// Returns `true` if `name(x)` in a forward closure calls the field.
    pub fn is_layer(&self) -> bool {
        matches!(self.role, Role::Layer(_) | Role::DefaultLayer)
    }

    /// Returns `true` if the field holds a list of layers, one for each element of a range. Also returns `true` if the
    /// attribute has a syntax error, because it may then contain a range.
    pub fn is_list(&self) -> bool {
        let is_for = |repeat: &Repeat| matches!(repeat, Repeat::For(..));
        self.is_broken || matches!(&self.role, Role::Layer(attr) if attr.repeats.iter().any(is_for))
    }
}

impl Role {
    /// Returns the role of a field. If the field has several, returns the first and reports an error for each of the
    /// others.
    fn new(ctxt: &Ctxt, attrs: FieldAttrs, ty: &Type) -> Self {
        let mut roles = Vec::new();
        roles.extend(attrs.layer.map(|layer| (layer.key, Self::Layer(layer.value))));
        roles.extend(attrs.param.map(|param| (param.key, Self::Param(param.value))));
        roles.extend(attrs.buffer.map(|buffer| (buffer.key, Self::Buffer(buffer.value))));
        roles.extend(attrs.skip.map(|skip| (skip.key, Self::Skip(skip.value))));
        let mut roles = roles.into_iter();
        let Some((first, role)) = roles.next() else {
            return if last_segment(ty).is_some_and(|name| name == "PhantomData") {
                Self::Skip(None)
            } else {
                Self::DefaultLayer
            };
        };
        for (key, _) in roles {
            ctxt.error_at(key.span(), format!("`{first}` and `{key}` cannot be combined on one field"));
        }
        role
    }
}

/// Returns `true` for the paths `$crate`, `crate`, `self` and `super`. Generated code uses these paths directly: older
/// compilers cannot import them, and they contain no name that the user could misspell.
fn is_keyword(path: &Path) -> bool {
    path.get_ident()
        .is_some_and(|name| ["$crate", "crate", "self", "super"].iter().any(|keyword| name == keyword))
}

fn is_lint_level(attr: &Attribute) -> bool {
    ["allow", "warn", "deny", "forbid"].iter().any(|level| attr.path().is_ident(level))
}

/// Returns the last segment of a type's path.
pub fn last_segment(ty: &Type) -> Option<&Ident> {
    match ty {
        Type::Path(path) => path.path.segments.last().map(|segment| &segment.ident),
        _ => None,
    }
}

/// Returns `T` of `Name<T>` if `Name` is one of `names`.
pub fn generic_argument<'a>(ty: &'a Type, names: &[&str]) -> Option<&'a Type> {
    let Type::Path(path) = ty else { return None };
    let segment = path.path.segments.last()?;
    let syn::PathArguments::AngleBracketed(arguments) = &segment.arguments else { return None };
    match arguments.args.first()? {
        syn::GenericArgument::Type(inner) if names.iter().any(|name| segment.ident == name) => Some(inner),
        _ => None,
    }
}

/// Returns `T` of `Vec<T>` or `[T; N]`.
pub fn element(ty: &Type) -> Option<&Type> {
    match ty {
        Type::Array(array) => Some(&array.elem),
        _ => generic_argument(ty, &["Vec"]),
    }
}

/// Returns the pointer name, `Box` or `Arc`, and the type that it points to.
pub fn pointee(ty: &Type) -> Option<(&Ident, &Type)> {
    Some((last_segment(ty)?, generic_argument(ty, &["Box", "Arc"])?))
}

/// Returns the type inside all levels of `Option`, `Vec`, array, `Box` and `Arc`.
pub fn innermost(ty: &Type) -> &Type {
    let inside = generic_argument(ty, &["Option"]).or(element(ty)).or(pointee(ty).map(|(_, inner)| inner));
    inside.map_or(ty, innermost)
}
