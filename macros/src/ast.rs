//! The derive's input as the generators see it: one item, its variants, their fields.

use proc_macro2::{Span, TokenStream};
use quote::{ToTokens, format_ident, quote};
use syn::ext::IdentExt;
use syn::{Data, DeriveInput, Expr, ExprClosure, Fields, Generics, Ident, Index, Member, Type, Visibility};

use crate::attr::{Arg, ContainerAttrs, FieldAttrs, Keyed, LayerAttr, Repeat, TensorAttr};
use crate::ctxt::Ctxt;
use crate::name::Numbered;

/// A struct or enum that derives `Module`.
pub struct Input {
    pub ident: Ident,
    pub vis: Visibility,
    pub generics: Generics,
    /// The path of the runtime: `::sconce`, or what `crate = …` says.
    pub krate: TokenStream,
    pub args: Vec<Arg>,
    /// `config = Type`: the user's own struct of arguments.
    pub config: Option<Keyed<Type>>,
    pub loss: Option<Keyed<Expr>>,
    pub optimizer: Option<Keyed<Expr>>,
    pub is_enum: bool,
    /// One for a struct.
    pub variants: Vec<Variant>,
}

/// A struct, or one variant of an enum.
pub struct Variant {
    /// The variant's name; none for a struct.
    pub ident: Option<Ident>,
    pub fields: Vec<Field>,
    pub when: Option<Keyed<Expr>>,
    pub forward: Forward,
}

/// How a value goes through a variant.
pub enum Forward {
    /// No `forward`: the fields in their order.
    Chain,
    /// `forward = Self::run`
    Function(Expr),
    /// `forward = |x| …`
    Closure(Box<ExprClosure>),
}

pub struct Field {
    pub member: Member,
    /// The name in Rust without `r#`: what the forward pass calls.
    pub name: String,
    pub ty: Type,
    pub role: Role,
    pub rename: Option<Keyed<syn::LitStr>>,
    pub mode: Option<Ident>,
    pub tie: Option<syn::LitStr>,
    /// The field in an expression: `self.conv1`, or the binding of a variant's pattern.
    pub place: TokenStream,
    /// A local for the field that no name of the user's can clash with.
    pub local: Ident,
}

/// What a field is.
pub enum Role {
    /// `#[layer(…)]`
    Layer(LayerAttr),
    /// No attribute: a layer with `Default`.
    Default,
    Param(TensorAttr),
    Buffer(TensorAttr),
    /// Plain data: its value, or `Default`.
    Skip(Option<Expr>),
}

impl Input {
    /// Reads a derive input; mistakes go to `ctxt`. None where there is nothing to generate code for.
    pub fn from_syn(ctxt: &Ctxt, node: &DeriveInput) -> Option<Self> {
        let attrs = ContainerAttrs::of_item(ctxt, &node.attrs);
        let (variants, is_enum) = match &node.data {
            Data::Struct(data) => {
                let forward = Forward::from_expr(attrs.forward);
                (vec![Variant::new(ctxt, None, &data.fields, None, forward)], false)
            }
            Data::Enum(data) => {
                if let Some(forward) = &attrs.forward {
                    ctxt.error_on(&forward.key, "each variant of an enum has its own `forward`");
                }
                let read = |variant: &syn::Variant| {
                    let attrs = ContainerAttrs::of_variant(ctxt, &variant.attrs);
                    let forward = Forward::from_expr(attrs.forward);
                    Variant::new(ctxt, Some(&variant.ident), &variant.fields, attrs.when, forward)
                };
                (data.variants.iter().map(read).collect(), true)
            }
            Data::Union(data) => {
                ctxt.error_on(data.union_token, "a union cannot be a network; make it a struct or an enum");
                return None;
            }
        };
        Some(Self {
            ident: node.ident.clone(),
            vis: node.vis.clone(),
            generics: node.generics.clone(),
            krate: attrs.krate.map_or_else(|| quote!(::sconce), |path| path.value.into_token_stream()),
            args: attrs.args.map(|args| args.value).unwrap_or_default(),
            config: attrs.config,
            loss: attrs.loss,
            optimizer: attrs.optimizer,
            is_enum,
            variants,
        })
    }

    pub fn fields(&self) -> impl Iterator<Item = &Field> {
        self.variants.iter().flat_map(|variant| &variant.fields)
    }

    /// Whether the derive can construct the item: an enum without one construction attribute is wrapped
    /// around networks by hand.
    pub fn is_built(&self) -> bool {
        !self.is_enum
            || !self.args.is_empty()
            || self.config.is_some()
            || self.variants.iter().any(|variant| variant.when.is_some())
            || self.fields().any(|field| !matches!(field.role, Role::Default | Role::Skip(None)))
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

    /// `Model` or `Self::Variant`, to construct or match.
    pub fn path(&self) -> TokenStream {
        self.ident.as_ref().map_or_else(|| quote!(Self), |ident| quote!(Self::#ident))
    }
}

impl Forward {
    fn from_expr(forward: Option<Keyed<Expr>>) -> Self {
        match forward.map(|forward| forward.value) {
            None => Self::Chain,
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
        Self {
            place: if in_enum { quote!((*#local)) } else { quote!(self.#member) },
            rename: attrs.rename.clone(),
            mode: attrs.mode.as_ref().map(|mode| mode.value.clone()),
            tie: attrs.tie.as_ref().map(|tie| tie.value.clone()),
            role: Role::new(ctxt, attrs, &node.ty),
            ty: node.ty.clone(),
            member,
            name,
            local,
        }
    }

    /// The name in checkpoints.
    pub fn key(&self) -> String {
        self.rename.as_ref().map_or_else(|| self.name.clone(), |rename| rename.value.value())
    }

    /// The names in checkpoints of a list's layers, where they are not the usual ones.
    pub fn numbered(&self) -> Option<Numbered> {
        Numbered::parse(&self.key())
    }

    /// Whether `name(x)` calls it.
    pub fn is_layer(&self) -> bool {
        matches!(self.role, Role::Layer(_) | Role::Default)
    }

    /// The type of one layer: what is inside `Option`, `Vec`, an array, `Box` or `Arc`.
    pub fn layer_type(&self) -> &Type {
        let inner = match &self.role {
            Role::Layer(LayerAttr { repeat: Repeat::For(..), .. }) => element(&self.ty),
            _ => generic_argument(&self.ty, &["Option"]),
        };
        let inner = inner.unwrap_or(&self.ty);
        pointee(inner).map_or(inner, |(_, inner)| inner)
    }
}

impl Role {
    /// The one role of a field; two at once are a mistake.
    fn new(ctxt: &Ctxt, attrs: FieldAttrs, ty: &Type) -> Self {
        if attrs.is_broken {
            return Self::Skip(None);
        }
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
                Self::Default
            };
        };
        for (key, _) in roles {
            ctxt.error_at(key.span(), format!("a field is one thing: `{first}` or `{key}`, not both"));
        }
        role
    }
}

/// The last name of a type's path.
pub fn last_segment(ty: &Type) -> Option<&Ident> {
    match ty {
        Type::Path(path) => path.path.segments.last().map(|segment| &segment.ident),
        Type::Group(group) => last_segment(&group.elem),
        Type::Paren(paren) => last_segment(&paren.elem),
        _ => None,
    }
}

/// `T` of `Name<T>`, where the name is one of `names`.
pub fn generic_argument<'a>(ty: &'a Type, names: &[&str]) -> Option<&'a Type> {
    let Type::Path(path) = ty else { return None };
    let segment = path.path.segments.last()?;
    let syn::PathArguments::AngleBracketed(arguments) = &segment.arguments else { return None };
    match arguments.args.first()? {
        syn::GenericArgument::Type(inner) if names.iter().any(|name| segment.ident == name) => Some(inner),
        _ => None,
    }
}

/// `T` of `Vec<T>` or `[T; N]`.
pub fn element(ty: &Type) -> Option<&Type> {
    match ty {
        Type::Array(array) => Some(&array.elem),
        _ => generic_argument(ty, &["Vec"]),
    }
}

/// `Box` or `Arc` and the type it points to.
pub fn pointee(ty: &Type) -> Option<(&Ident, &Type)> {
    Some((last_segment(ty)?, generic_argument(ty, &["Box", "Arc"])?))
}

/// The type inside any `Option`, `Vec`, array, `Box` or `Arc`.
pub fn innermost(ty: &Type) -> &Type {
    let inside = generic_argument(ty, &["Option"]).or(element(ty)).or(pointee(ty).map(|(_, inner)| inner));
    inside.map_or(ty, innermost)
}
