//! Calls. A call to a layer field, or to an element of one, runs a layer. A call to a local variable, or to an
//! expression such as `block.conv`, runs a layer or a function, depending on the type. A call to a function by its name
//! stays unchanged.

use proc_macro2::{Ident, Span, TokenStream};
use quote::{ToTokens, format_ident, quote, quote_spanned};
use syn::ext::IdentExt;
use syn::spanned::Spanned;
use syn::{Expr, ExprCall, ExprMethodCall, Lit};

use crate::attr::Exprs;
use crate::expand::{local, located, private, respanned};
use crate::suggest::closest;

use super::MisspelledLayer;
use super::borrow::Borrow;
use super::liveness::{Event, Local};
use super::output::{into, is_into};
use super::placeholder::Use;
use super::scope::Binding;
use super::walk::{Walker, is_self};

/// The callee of a call.
enum Callee {
    /// A layer field.
    Field(usize),
    /// An element of a layer field: `blocks[i]`, or `stages[i][j]`.
    Element(usize),
    /// A value of unknown type: a local, or an expression such as `block.conv`.
    Value,
    /// A function, a constructor, a user-defined closure or a field that is not a layer.
    Function,
}

impl Walker<'_> {
    /// Walks `f(a, b)`.
    pub(super) fn walk_call(&mut self, expr: &mut Expr) {
        let Expr::Call(call) = expr else { return };
        let tokens = match self.callee(&call.func) {
            Callee::Field(field) => self.walk_field_call(field, call),
            Callee::Element(field) => self.walk_element_call(field, call),
            Callee::Value => self.walk_value_call(call),
            Callee::Function => return self.walk_function_call(call),
        };
        *expr = Expr::Verbatim(tokens);
    }

    /// Returns `true` if the expression calls a layer, or a value that may be a layer.
    pub(super) fn calls_layer(&self, expr: &Expr) -> bool {
        match expr {
            Expr::Call(call) => !matches!(self.callee(&call.func), Callee::Function),
            Expr::MethodCall(call) => self.called_by_method(call).is_some(),
            _ => false,
        }
    }

    fn callee(&self, func: &Expr) -> Callee {
        match func {
            Expr::Paren(paren) => self.callee(&paren.expr),
            Expr::Group(group) => self.callee(&group.expr),
            Expr::Closure(_) => Callee::Function,
            Expr::Index(_) => self.element_of(func).map_or(Callee::Value, Callee::Element),
            func => match self.field_of(func) {
                Some(field) if self.fields[field].is_layer() => Callee::Field(field),
                Some(_) => Callee::Function,
                None => self.callee_of_value(func),
            },
        }
    }

    fn callee_of_value(&self, func: &Expr) -> Callee {
        match (func, self.local_of(func)) {
            (_, Some((local, _))) if !self.scopes.binding(local).function => Callee::Value,
            (Expr::Path(_), _) => Callee::Function,
            _ => Callee::Value,
        }
    }

    /// If the expression is an element of a layer field, returns the field.
    fn element_of(&self, expr: &Expr) -> Option<usize> {
        let Expr::Index(index) = expr else { return None };
        let field = self.field_of(&index.expr).or_else(|| self.element_of(&index.expr))?;
        self.fields[field].is_layer().then_some(field)
    }

    /// Walks a call to an ordinary function, closure or constructor.
    fn walk_function_call(&mut self, call: &mut ExprCall) {
        match &mut *call.func {
            Expr::Path(path) => {
                if let Some(ident) = path.path.get_ident().cloned() {
                    self.record_name(&ident);
                }
            }
            func => {
                self.walk_place(func);
                if matches!(func, Expr::Verbatim(_)) {
                    *func = Expr::Verbatim(quote!((#func)));
                }
            }
        }
        self.walk_operands(&mut call.args);
    }

    fn walk_field_call(&mut self, field: usize, call: &mut ExprCall) -> TokenStream {
        let span = call.func.span();
        let layer = self.layer(&mut call.func);
        self.layer_call("", field, layer, None, std::mem::take(&mut call.args), span)
    }

    /// Returns a reference to the field in `conv1(x)` or `self.conv1(x)`.
    fn layer(&mut self, func: &mut Expr) -> TokenStream {
        match func {
            Expr::Paren(paren) => self.layer(&mut paren.expr),
            Expr::Group(group) => self.layer(&mut group.expr),
            Expr::Path(_) => {
                self.walk_place(func);
                func.to_token_stream()
            }
            func => {
                self.walk_place(func);
                quote!(&#func)
            }
        }
    }

    /// Returns `__private::call(conv1, "conv1", Into::into(x), mode)`. The index, if there is one, follows the name.
    /// With several inputs, the input is a tuple and the function is `call_with`. For a field with `recompute`, the
    /// function is `recompute`, `recompute_with` and so on.
    fn layer_call(
        &mut self,
        suffix: &str,
        field: usize,
        layer: TokenStream,
        index: Option<TokenStream>,
        args: Exprs,
        span: Span,
    ) -> TokenStream {
        let several = args.len() != 1;
        let call = self.fields[field].call_function();
        let function = format_ident!("{call}{suffix}{}", if several { "_with" } else { "" }, span = span);
        self.record_call(field);
        // If the layer does not support several inputs, the compiler reports the error at this span.
        let layer = if several && index.is_none() { located(layer, span) } else { layer };
        let index = index.map(|index| quote_spanned!(span=> #index,));
        let input = self.walk_inputs(args, span);
        let name = &self.fields[field].name;
        let mode = self.fields[field].mode_tokens(self.krate);
        let private = private(self.krate, span);
        quote_spanned!(span=> #private::#function(#layer, #name, #index #input, #mode))
    }

    /// Walks `blocks[i](x)`. The index of an element of nested lists is a tuple.
    fn walk_element_call(&mut self, field: usize, call: &mut ExprCall) -> TokenStream {
        let span = call.func.span();
        let mut indices = Vec::new();
        let list = self.walk_element(&mut call.func, &mut indices);
        let nested = indices.into_iter().reduce(|outer, inner| quote!((#outer, #inner)));
        self.layer_call("_element", field, list, nested, std::mem::take(&mut call.args), span)
    }

    /// Returns a reference to the list `blocks` in `blocks[i]`, and appends the indices to `indices`, outermost first.
    fn walk_element(&mut self, func: &mut Expr, indices: &mut Vec<TokenStream>) -> TokenStream {
        match func {
            Expr::Paren(paren) => self.walk_element(&mut paren.expr, indices),
            Expr::Group(group) => self.walk_element(&mut group.expr, indices),
            Expr::Index(index) => {
                let list = self.walk_element(&mut index.expr, indices);
                self.walk_place(&mut index.index);
                indices.push(index.index.to_token_stream());
                list
            }
            list => self.layer(list),
        }
    }

    /// Returns `block.call_layer_or_function((Convertible(x),), mode)`. If the call may consume the callee, a
    /// placeholder stands for the name of the method.
    fn walk_value_call(&mut self, call: &mut ExprCall) -> TokenStream {
        let span = call.func.span();
        let root = self.root(&call.func);
        let consumable = self.consumable(&call.func);
        self.walk_place(&mut call.func);
        let mut args: Vec<Expr> = std::mem::take(&mut call.args).into_iter().collect();
        let before = self.events.len();
        self.walk_operands(&mut args);
        let method = match consumable {
            // Rust evaluates the callee before the arguments. So the callee can move, unless an argument uses it.
            Some(local) if !self.events[before..].iter().any(|event| event.mentions(local)) => {
                self.push_use(Use::Call, local.into(), span)
            }
            _ => {
                // The callee is borrowed until the arguments are evaluated.
                self.events.extend(root.map(Event::Read));
                Ident::new("call_layer_or_function", span)
            }
        };

        let func = parenthesized(&call.func);
        let args = args.iter().map(|arg| {
            let span = arg.span();
            let private = respanned(private(self.krate, span), span);
            let wrapper =
                format_ident!("{}", if is_inferred(arg) { "Inferred" } else { "Convertible" }, span = span);
            quote_spanned!(span=> #private::#wrapper(#arg))
        });
        let mode = local("mode");
        quote_spanned!(span=> #func.#method((#(#args,)*), #mode))
    }

    /// Returns the local that is called, if the last call to this local may consume it.
    fn consumable(&self, func: &Expr) -> Option<Local> {
        let (local, _) = self.local_of(func)?;
        let Binding { consumable, depth, reborrowed, .. } = self.scopes.binding(local);
        let is_captured = *depth < self.frames.len();
        (*consumable && !is_captured && !reborrowed && self.inside_repetition == 0).then_some(local)
    }

    /// Walks the arguments of a call to a layer. Returns the input, which is a tuple unless there is one argument.
    fn walk_inputs(&mut self, args: Exprs, span: Span) -> TokenStream {
        let mut args: Vec<Expr> = args.into_iter().collect();
        self.walk_operands(&mut args);
        let inputs = args.iter().map(|arg| if is_inferred(arg) { arg.to_token_stream() } else { into(arg) });
        if args.len() == 1 { quote!(#(#inputs)*) } else { quote_spanned!(span=> (#(#inputs,)*)) }
    }

    /// Walks `receiver.method(a, b)`. `self.conv1(x)` is a call to the field. Any other method call keeps its receiver.
    /// If the receiver may be the output of a layer, it becomes `conv1(x).__as_receiver()`.
    pub(super) fn walk_method(&mut self, expr: &mut Expr) {
        let Expr::MethodCall(call) = expr else { return };
        if let Some(field) = self.called_by_method(call) {
            let span = call.method.span();
            let layer = self.layer_variable(field, span);
            let args = std::mem::take(&mut call.args);
            *expr = Expr::Verbatim(self.layer_call("", field, layer, None, args, span));
            return;
        }
        let receiver = self.root(&call.receiver);
        let mut borrows = self.borrows(&call.receiver);
        let may_be_output = self.calls_layer(&call.receiver);
        self.walk_place(&mut call.receiver);
        if may_be_output {
            // The method may be an activation, which is then fused into the layer.
            let output = &call.receiver;
            let span = Span::mixed_site().located_at(output.span());
            *call.receiver = Expr::Verbatim(quote_spanned!(span=> #output.__as_receiver()));
        }
        if let Some(layer) = self.misspelled_layer(call) {
            self.misspelled.push(MisspelledLayer {
                method: call.method.clone(),
                inputs: call.args.len(),
                layer,
            });
            // The compiler shows the hint only if the receiver has exactly the type of the network.
            let network = &call.receiver;
            *call.receiver = Expr::Verbatim(quote!((*#network)));
        }
        for arg in &mut call.args {
            borrows.extend(self.walk_operand(arg));
        }
        self.events.extend(receiver.map(Event::Read));
        self.events.extend(borrows.into_iter().map(Borrow::read));
    }

    /// Returns the name of a layer that is similar to the method in `self.cnov1(x)`.
    fn misspelled_layer(&self, call: &ExprMethodCall) -> Option<String> {
        let layers = self.fields.iter().filter(|field| field.is_layer()).map(|field| field.name.as_str());
        let is_candidate = is_self(&call.receiver) && call.turbofish.is_none();
        is_candidate.then(|| closest(&call.method.unraw().to_string(), layers))?.map(str::to_owned)
    }

    /// Returns the layer field that `self.conv1(x)` calls.
    fn called_by_method(&self, call: &ExprMethodCall) -> Option<usize> {
        let field = is_self(&call.receiver).then(|| self.field_named(&call.method))??;
        self.fields[field].is_layer().then_some(field)
    }
}

/// Returns the callee in parentheses, unless it is a name.
fn parenthesized(func: &Expr) -> TokenStream {
    if matches!(func, Expr::Path(_) | Expr::Paren(_)) { quote!(#func) } else { quote!((#func)) }
}

/// Returns `true` for a literal, `None`, `value.into()` or a closure. The type of such an argument follows from the
/// layer's input type. A conversion would make the argument's type ambiguous.
fn is_inferred(arg: &Expr) -> bool {
    match arg {
        Expr::MethodCall(_) => is_into(arg),
        Expr::Lit(literal) => !matches!(literal.lit, Lit::Verbatim(_)),
        Expr::Unary(unary) => matches!(*unary.expr, Expr::Lit(_)),
        Expr::Path(path) => path.path.is_ident("None"),
        Expr::Closure(_) => true,
        _ => false,
    }
}
