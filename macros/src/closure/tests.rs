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

/// Returns the rewritten body with shortened paths: `clone` for `::core::clone::Clone::clone`.
fn body(closure: ExprClosure) -> String {
    let input = network();
    let text = rewrite(&quote!(s), &input.variants[0].fields, &closure).body.to_string();
    let text = text.replace(":: core :: clone :: Clone :: clone", "clone");
    let text = text.replace(":: core :: convert :: Into :: into", "into");
    text.replace("s :: __private :: ", "").replace("s :: Mode", "Mode")
}

#[track_caller]
fn check(closure: ExprClosure, expected: TokenStream) {
    assert_eq!(body(closure), expected.to_token_stream().to_string());
}

#[test]
fn values_used_once_are_moved() {
    check(
        parse_quote!(|x| bn(conv(x))),
        quote!(into(call(&self.bn, "bn", into(call(&self.conv, "conv", into(x), mode)), mode))),
    );
}

#[test]
fn values_used_twice_are_cloned_at_the_first_use() {
    check(
        parse_quote!(|x| conv(x) + bn(x)),
        quote!(into(call(&self.conv, "conv", into(clone(&x)), mode) + call(&self.bn, "bn", into(x), mode))),
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
            into(y)
        }),
    );
}

#[test]
fn loops_over_a_field_are_enumerated() {
    check(
        parse_quote!(|mut x| {
            for block in blocks {
                x = block(x);
            }
            x
        }),
        quote!({
            for (_index_0, block) in
                ::core::iter::Iterator::enumerate(::core::iter::IntoIterator::into_iter(&self.blocks))
            {
                x = call_in(block, "blocks", &[_index_0], into(x), mode);
            }
            into(x)
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
            into(h)
        }),
    );
}

#[test]
fn elements_are_called_by_index() {
    check(
        parse_quote!(|x| blocks[0](blocks[1 + 1](x))),
        quote!(into(call_at(
            &self.blocks,
            "blocks",
            &[],
            0,
            into(call_at(&self.blocks, "blocks", &[], 1 + 1, into(x), mode)),
            mode
        ))),
    );
    check(
        parse_quote!(|x| stages[0][1](x)),
        quote!(into({
            let outer_0: usize = 0;
            call_at(&(&self.stages)[outer_0], "stages", &[outer_0], 1, into(x), mode)
        })),
    );
}

#[test]
fn several_inputs_are_passed_as_a_tuple() {
    check(
        parse_quote!(|x, h| conv(x, h)),
        quote!(into(call_with(&self.conv, "conv", &[], (into(x), into(h),), mode))),
    );
    check(
        parse_quote!(|x, h| blocks[0](x, h)),
        quote!(into(call_with_at(&self.blocks, "blocks", &[], 0, (into(x), into(h),), mode))),
    );
}

#[test]
fn closures_over_a_field_call_its_elements() {
    check(
        parse_quote!(|x| blocks.iter().fold(x, |x, block| block(x))),
        quote!(into(self.blocks.iter().fold(x, |x, block| call(block, "blocks", into(x), mode)))),
    );
}

#[test]
fn each_branch_moves_its_last_use() {
    check(
        parse_quote!(|x| if width > 2 { conv(x) } else { relu(x) }),
        quote!(if self.width > 2 {
            into(call(&self.conv, "conv", into(x), mode))
        } else {
            into(call(&self.relu, "relu", into(x), mode))
        }),
    );
    check(
        parse_quote!(|x| match downsample {
            Some(d) => d(x),
            None => x,
        }),
        quote!(match &self.downsample {
            Some(d) => into(call(d, "downsample", into(x), mode)),
            None => into(x),
        }),
    );
}

#[test]
fn fields_are_borrowed_and_data_is_cloned() {
    check(parse_quote!(|x| x * scale * width as f64), quote!(into(x * &self.scale * self.width as f64)));
    check(parse_quote!(|x| f(x, width, scale)), quote!(into(f(x, clone(&self.width), &self.scale))));
}

#[test]
fn field_mode_overrides_the_mode_of_the_call() {
    check(parse_quote!(|x| frozen(x)), quote!(into(call(&self.frozen, "frozen", into(x), Mode::Eval))));
}

#[test]
fn fields_can_be_called_through_self() {
    check(
        parse_quote!(|x| self.helper(self.conv(x), mode)),
        quote!(into(self.helper(call(&self.conv, "conv", into(x), mode), mode))),
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
            into(f(clone(&x), n))
        }),
    );
    check(parse_quote!(|x| f(&x, x)), quote!(into(f(&x, clone(&x)))));
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
            into(g(call(&self.conv, "conv", into(clone(&x)), mode)))
        }),
    );
    check(
        parse_quote!(|x| {
            let g = move |y| f(x, y);
            g(x)
        }),
        quote!({
            let g = {
                let x = clone(&x);
                move |y| f(clone(&x), y)
            };
            into(g(x))
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
            if self.width == 0 {
                return ::core::result::Result::Ok(into(x));
            }
            into(call(&self.conv, "conv", into(x), mode))
        }),
    );
}

#[test]
fn tuples_are_converted_by_element() {
    check(
        parse_quote!(|x, h| (conv(x), h)),
        quote!((into(call(&self.conv, "conv", into(x), mode)), into(h))),
    );
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
            println!("{x:?} {}", self.width);
            into(call(&self.conv, "conv", into(x), mode))
        }),
    );
}

#[test]
fn last_use_of_a_field_of_a_local_moves() {
    check(
        parse_quote!(|x| {
            let p = f(x);
            g(p.0, p.1)
        }),
        quote!({
            let p = f(x);
            into(g(clone(&p.0), p.1))
        }),
    );
    check(
        parse_quote!(|x| {
            let p = f(x);
            p[0] + p[1]
        }),
        quote!({
            let p = f(x);
            into(clone(&p[0]) + clone(&p[1]))
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
            into(conv(x))
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
