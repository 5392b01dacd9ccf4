//! Tests that compare rewritten closures as text: moves, clones and calls.

use proc_macro2::TokenStream;
use quote::{ToTokens, quote};
use syn::{DeriveInput, ExprClosure, parse_quote};

use crate::ast::Input;
use crate::ctxt::Ctxt;

use super::rewrite;

/// Returns a network with a few fields of each kind.
fn network() -> Input {
    let node: DeriveInput = parse_quote! {
        struct Net {
            conv: Conv2d,
            bn: BatchNorm,
            relu: Relu,
            blocks: Vec<Block>,
            stages: Vec<Vec<Block>>,
            downsample: Option<Conv2d>,
            #[module(mode = eval)]
            frozen: BatchNorm,
            #[param((3,))]
            scale: Tensor,
            #[module(skip = 3)]
            width: usize,
        }
    };
    let ctxt = Ctxt::default();
    let input = Input::from_syn(&ctxt, &node).expect("the item is a valid struct");
    assert!(ctxt.is_clean());
    input
}

/// Returns the rewritten body with shortened paths: `clone` for `s::__private::clone`, in which `s` stands for the path
/// of sconce.
fn body(closure: ExprClosure) -> String {
    let input = network();
    let text = rewrite(&quote!(s), &input.variants[0].fields, &closure).body.to_string();
    let text = text.replace(":: core :: convert :: Into :: into", "into");
    let text = text.replace("s :: __private :: ", "").replace("s :: Mode", "Mode");
    text.replace("output :: < s :: Signal , _ >", "output")
}

#[track_caller]
fn check(closure: ExprClosure, expected: TokenStream) {
    assert_eq!(body(closure), expected.to_token_stream().to_string());
}

#[test]
fn values_used_once_are_moved() {
    check(
        parse_quote!(|x| bn(conv(x))),
        quote!(output(call(bn, "bn", into(call(conv, "conv", into(x), mode)), mode))),
    );
}

#[test]
fn values_used_twice_are_cloned_at_the_first_use() {
    check(
        parse_quote!(|x| conv(x) + bn(x)),
        quote!(output(call(conv, "conv", into(clone(&x)), mode) + call(bn, "bn", into(x), mode))),
    );
}

#[test]
fn shadowed_and_reassigned_values_are_moved() {
    check(
        parse_quote!(|x| {
            let x = f(x);
            let mut y = g(x);
            for i in 0..3 {
                y = h(y);
            }
            y
        }),
        quote!({
            let x = f(x);
            let mut y = g(x);
            for i in 0..3 {
                y = h(y);
            }
            output(y)
        }),
    );
}

#[test]
fn calls_to_locals_dispatch_by_type() {
    check(
        parse_quote!(|mut x| {
            for block in blocks {
                x = block(x);
            }
            x
        }),
        quote!({
            for block in blocks {
                x = block.call_layer_or_function((Convertible(x),), mode);
            }
            output(x)
        }),
    );
}

#[test]
fn values_used_in_every_iteration_are_cloned() {
    check(
        parse_quote!(|x, mut h| {
            for i in 0..3 {
                h = f(x, h);
            }
            h
        }),
        quote!({
            for i in 0..3 {
                h = f(clone(&x), h);
            }
            output(h)
        }),
    );
}

#[test]
fn elements_are_called_by_index() {
    check(
        parse_quote!(|x| blocks[0](blocks[1 + 1](x))),
        quote!(output(call_element(
            blocks,
            "blocks",
            0,
            into(call_element(blocks, "blocks", 1 + 1, into(x), mode)),
            mode
        ))),
    );
    check(
        parse_quote!(|x| stages[0][1](x)),
        quote!(output(call_element(stages, "stages", (0, 1), into(x), mode))),
    );
}

#[test]
fn several_inputs_are_passed_as_a_tuple() {
    check(
        parse_quote!(|x, h| conv(x, h)),
        quote!(output(call_with(conv, "conv", (into(x), into(h),), mode))),
    );
    check(
        parse_quote!(|x, h| blocks[0](x, h)),
        quote!(output(call_element_with(blocks, "blocks", 0, (into(x), into(h),), mode))),
    );
}

#[test]
fn nested_closures_can_call_the_elements_of_a_field() {
    check(
        parse_quote!(|x| blocks.iter().fold(x, |x, block| block(x))),
        quote!(output(
            blocks.iter().fold(x, |x, block| block.call_layer_or_function((Convertible(x),), mode))
        )),
    );
}

#[test]
fn values_move_at_the_last_use_in_each_branch() {
    check(
        parse_quote!(|x| if width > 2 { conv(x) } else { relu(x) }),
        quote!(if width > 2 {
            output(call(conv, "conv", into(x), mode))
        } else {
            output(call(relu, "relu", into(x), mode))
        }),
    );
    check(
        parse_quote!(|x| match downsample {
            Some(d) => d(x),
            None => x,
        }),
        quote!(match downsample {
            Some(d) => output(d.call_layer_or_function((Convertible(x),), mode)),
            None => output(x),
        }),
    );
}

#[test]
fn fields_are_variables() {
    check(parse_quote!(|x| x * scale * width as f64), quote!(output(x * scale * width as f64)));
    check(parse_quote!(|x| f(x, width, scale)), quote!(output(f(x, width, scale))));
}

#[test]
fn field_mode_overrides_the_mode_of_the_call() {
    check(parse_quote!(|x| frozen(x)), quote!(output(call(frozen, "frozen", into(x), Mode::Eval))));
}

#[test]
fn fields_can_be_called_through_self() {
    check(
        parse_quote!(|x| self.helper(self.conv(x), mode)),
        quote!(output(self.helper(call(field_conv, "conv", into(x), mode), mode))),
    );
}

#[test]
fn borrowed_locals_are_cloned() {
    check(
        parse_quote!(|x| {
            let [n, _] = x.dims()? else { panic!() };
            f(x, n)
        }),
        quote!({
            let [n, _] = x.dims()? else { panic!() };
            output(f(x.lend_at_last_use(type_of(&x)).take(), n))
        }),
    );
    check(parse_quote!(|x| f(&x, x)), quote!(output(f(&x, clone(&x)))));
}

#[test]
fn captured_locals_are_cloned() {
    check(
        parse_quote!(|x| {
            let g = |y| f(x, y);
            g(conv(x))
        }),
        quote!({
            let g = |y| f(clone(&x), y);
            output(g(call(conv, "conv", into(clone(&x)), mode)))
        }),
    );
    check(
        parse_quote!(|x| {
            let g = move |y| f(x, y);
            g(x)
        }),
        quote!({
            let g = {
                #[allow(unused_mut)]
                let mut x = clone(&x);
                move |y| f(clone(&x), y)
            };
            output(g(x))
        }),
    );
}

#[test]
fn early_returns_are_converted() {
    check(
        parse_quote!(|x| {
            if width == 0 {
                return x;
            }
            conv(x)
        }),
        quote!({
            if width == 0 {
                return ::core::result::Result::Ok(output(x));
            }
            output(call(conv, "conv", into(x), mode))
        }),
    );
}

#[test]
fn tuples_are_converted_by_element() {
    check(parse_quote!(|x, h| (conv(x), h)), quote!((output(call(conv, "conv", into(x), mode)), output(h))));
    check(parse_quote!(|x| -> Vec<Signal> { vec![x, x] }), quote!({ vec![clone(&x), x] }));
}

#[test]
fn arguments_of_formatting_macros_are_read() {
    check(
        parse_quote!(|x| {
            println!("{x:?} {}", width);
            conv(x)
        }),
        quote!({
            println!("{x:?} {}", width);
            output(call(conv, "conv", into(x), mode))
        }),
    );
}

#[test]
fn each_field_of_a_local_moves_at_its_last_use() {
    check(
        parse_quote!(|x| {
            let p = f(x);
            g(p.0, p.1)
        }),
        quote!({
            let p = f(x);
            output(g(p.0, p.1))
        }),
    );
    check(
        parse_quote!(|x| {
            let p = f(x);
            p[0] + p[1]
        }),
        quote!({
            let p = f(x);
            output(clone(&p[0]) + clone(&p[1]))
        }),
    );
}

#[test]
fn locals_shadow_fields() {
    check(
        parse_quote!(|x| {
            let conv = f;
            conv(x)
        }),
        quote!({
            let conv = f;
            output(conv.call_at_last_use((Convertible(x),), mode))
        }),
    );
}

#[test]
fn the_last_call_to_an_owned_local_may_consume_it() {
    check(
        parse_quote!(|x, f: F| {
            let mut g = h(x);
            f(f);
            f(1);
            g(2);
            for i in 0..3 {
                let k = h(i);
                k();
            }
            x
        }),
        quote!({
            let mut g = h(clone(&x));
            f.call_layer_or_function((Convertible(clone(&f)),), mode);
            f.call_at_last_use((Inferred(1),), mode);
            g.call_layer_or_function((Inferred(2),), mode);
            for i in 0..3 {
                let k = h(i);
                k.call_at_last_use((), mode);
            }
            output(x)
        }),
    );
}

#[test]
fn unused_fields_are_found() {
    let input = network();
    let closure: ExprClosure = parse_quote!(|x| scale * bn(blocks[0](relu(conv(x)))));
    let unused = rewrite(&quote!(s), &input.variants[0].fields, &closure).unused;
    let names: Vec<_> = unused.iter().map(|&i| input.variants[0].fields[i].name.as_str()).collect();
    assert_eq!(names, ["stages", "downsample", "frozen"]);
}

#[test]
fn methods_leave_their_receiver_unchanged() {
    check(
        parse_quote!(|x| {
            let count = Cell::new(0);
            count.update(|n| n + 1);
            f(count, x)
        }),
        quote!({
            let count = Cell::new(0);
            count.update(|n| n + 1);
            output(f(count, x))
        }),
    );
}

#[test]
fn borrowed_locals_live_as_long_as_the_borrow() {
    check(
        parse_quote!(|x| {
            let view = x.view();
            let y = f(x);
            g(view, y)
        }),
        quote!({
            let view = x.view();
            let y = f(x.lend_at_last_use(type_of(&x)).take());
            output(g(view, y))
        }),
    );
    check(
        parse_quote!(|x| {
            let view = &x;
            let y = f(x);
            g(view, y)
        }),
        quote!({
            let view = &x;
            let y = f(clone(&x));
            output(g(view, y))
        }),
    );
    check(
        parse_quote!(|x| {
            let view = x.view();
            let h = |y| g(view, y);
            h(f(x))
        }),
        quote!({
            let view = x.view();
            let h = |y| g(clone(&view), y);
            output(h(f(x.lend_at_last_use(type_of(&x)).take())))
        }),
    );
    check(
        parse_quote!(|x| {
            let view = x.view();
            g(view);
            f(x)
        }),
        quote!({
            let view = x.view();
            g(view);
            output(f(x))
        }),
    );
}

#[test]
fn assignments_may_destructure() {
    check(
        parse_quote!(|x, h, c| {
            let (mut h, mut c) = (h, c);
            (h, c) = f(x, h, c);
            [h, _] = g(h);
            h + c
        }),
        quote!({
            let (mut h, mut c) = (h, c);
            (h, c) = f(x, h, c);
            [h, _] = g(h);
            output(h + c)
        }),
    );
}

#[test]
fn results_are_unwrapped() {
    check(parse_quote!(|x| Ok(conv(x))), quote!(output(call(conv, "conv", into(x), mode))));
    check(
        parse_quote!(|x| {
            if width == 0 {
                return Err(f(width));
            }
            return Ok(x);
        }),
        quote!({
            if width == 0 {
                return Err(into(f(width)));
            }
            output(x)
        }),
    );
    check(parse_quote!(|x| -> Result<Signal> { Ok(x) }), quote!({ Ok(x) }));
}

#[test]
fn macros_call_layers_and_move_no_values() {
    let text = quote!(matches!(self.conv(x), Some(y) if blocks[0](y).is_some())).to_string();
    check(
        parse_quote!(|x| {
            ensure!(conv(x).rank()? == 4, "{width}");
            assert!(matches!(self.conv(x), Some(y) if blocks[0](y).is_some()));
            x
        }),
        quote!({
            ensure!(call(conv, "conv", into(clone(&x)), mode).__as_receiver().rank()? == 4, "{width}");
            assert!(
                matches!(
                    call(field_conv, "conv", into(clone(&x)), mode),
                    Some(y) if call_element(blocks, "blocks", 0, into(clone(&y)), mode).__as_receiver().is_some()
                ),
                "assertion failed: {}",
                ::core::concat!(#text)
            );
            output(x)
        }),
    );
}

#[test]
fn uppercase_names_in_irrefutable_patterns_are_locals() {
    check(
        parse_quote!(|X| {
            let Q = f(X);
            Q + X + Q
        }),
        quote!({
            let Q = f(clone(&X));
            output(clone(&Q) + X + Q)
        }),
    );
}

#[test]
fn names_in_refutable_patterns_may_be_constants() {
    check(
        parse_quote!(|x| match f(x) {
            None => g(None, None),
            Some(Y) => g(Y, Y),
            MAX => g(MAX, move |y| h(MAX, y), MAX),
            ref mut LIST => g(move |y| h(LIST, y)),
        }),
        quote!(match f(x) {
            None => output(g(None, None)),
            Some(Y) => output(g(clone(&Y), Y)),
            MAX => output(g(
                clone(&MAX),
                match clone(&MAX) {
                    MAX => move |y| h(clone(&MAX), y),
                    #[allow(unreachable_patterns)]
                    _ => ::core::unreachable!(),
                },
                MAX
            )),
            ref mut LIST => output(g({
                #[allow(unused_mut)]
                let mut LIST = LIST;
                move |y| h(clone(&LIST), y)
            })),
        }),
    );
}

#[test]
fn names_and_places_in_macros_stay_unchanged() {
    check(
        parse_quote!(|x| {
            let mut y = x;
            set!(y = conv(y));
            add!(y.0, y, Some(y), y + x, |z| conv(z))
        }),
        quote!({
            let mut y = clone(&x);
            set!(y = call(conv, "conv", into(clone(&y)), mode));
            add!(y.0, y, Some(y), clone(&y) + clone(&x), |z| call(conv, "conv", into(clone(&z)), mode))
        }),
    );
}

#[test]
fn mutable_references_are_reborrowed() {
    check(
        parse_quote!(|x| {
            let list = &mut Vec::new();
            f(list, x);
            f(list, x)
        }),
        quote!({
            let list = &mut Vec::new();
            f(list, clone(&x));
            output(f(list, x))
        }),
    );
}

#[test]
fn numbers_do_not_borrow() {
    check(
        parse_quote!(|x| {
            let (n, width): (usize, usize) = x.dims2()?;
            let height: usize = x.height();
            f(x, n + width + height)
        }),
        quote!({
            let (n, width): (usize, usize) = x.dims2()?;
            let height: usize = x.height();
            output(f(x, n + width + height))
        }),
    );
}

#[test]
fn values_move_out_of_loops_and_blocks() {
    check(
        parse_quote!(|x| {
            let y = 'a: {
                if width == 0 {
                    break 'a x;
                }
                f(x)
            };
            loop {
                break y;
            }
        }),
        quote!({
            let y = 'a: {
                if width == 0 {
                    break 'a x;
                }
                f(x)
            };
            loop {
                break y;
            }
        }),
    );
}
