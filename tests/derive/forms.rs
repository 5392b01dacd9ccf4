//! Ways to reach a layer in ordinary Rust: iterators, slices, patterns, tuples, conditions, helper functions, closures
//! and macros. In each, the layer has the right mode and path.

use sconce::prelude::*;

const DEVICE: Device = Device::Cpu;

fn call<L: Layer + ?Sized>(layer: &L, x: Signal, mode: Mode) -> Signal {
    layer.call(x, mode)
}

/// The error of a layer has the path of the layer.
mod errors {
    use super::*;

    /// The second norm has 4 features instead of 3, so that it fails.
    macro_rules! failing {
        ($($name:ident $forward:expr;)*) => {
            $(
                #[derive(Module)]
                #[module(forward = $forward)]
                struct $name {
                    #[layer(3, 3; for _ in 0..2)]
                    fcs: Vec<Linear>,
                    #[layer(3 + i; for i in 0..2)]
                    norms: Vec<LayerNorm>,
                }
            )*

            #[test]
            fn errors_name_the_layer_in_every_form() -> Result<()> {
                let x = Tensor::ones((4, 3), DType::F32, &DEVICE)?;
                let mut wrong = Vec::new();
                $(
                    let name = stringify!($name);
                    let error = $name::new(&DEVICE)?.forward(&x).expect_err("the second norm has 4 features");
                    let expected = format!("{name}.norms[1]");
                    let starts = error.to_string().starts_with(&format!("at {expected} (LayerNorm"));
                    if error.path() != expected || !starts {
                        wrong.push(error.to_string());
                    }
                )*
                assert!(wrong.is_empty(), "{wrong:#?}");
                Ok(())
            }
        };
    }

    failing! {
        Zip |mut x| { for (fc, norm) in fcs.iter().zip(norms) { x = norm(fc(x)); } x };
        ZipOfReferences |mut x| { for (fc, norm) in std::iter::zip(fcs, norms) { x = norm(fc(x)); } x };
        Fold |x| fcs.iter().zip(norms).fold(x, |x, (fc, norm)| norm(fc(x)));
        ChainOfElements |mut x| { for norm in norms[..1].iter().chain(&norms[1..]) { x = norm(x); } fcs[0](x) };
        Map |x| { let ys: Vec<Signal> = norms.iter().map(|norm| norm(x)).collect(); fcs[0](x) + ys[0] + ys[1] };
        MapOfPairs |x| {
            let layers: Vec<(&Linear, &LayerNorm)> = fcs.iter().zip(norms.iter()).collect();
            layers.into_iter().map(|(fc, norm)| norm(fc(x))).reduce(|a, b| a + b).ok_or_else(|| Error::msg("none"))?
        };
        Rev |mut x| { for norm in norms.iter().rev() { x = norm(x); } fcs[0](x) };
        Enumerate |mut x| { for (i, norm) in norms.iter().enumerate() { x = norm(fcs[i](x)); } x };
        Slices |x| { let [_, second] = &norms[..] else { return Err(Error::msg("two")) }; second(fcs[0](x)) };
        Split |x| { let (head, tail) = norms.split_at(1); tail[0](head[0](fcs[0](x))) };
        First |x| match norms.last() { Some(norm) => norm(fcs[0](x)), None => x };
        Tuple |x| { let pair = (&norms[0], &norms[1]); pair.1(pair.0(fcs[0](x))) };
        Array |mut x| { for norm in [&norms[0], &norms[1]] { x = norm(x); } fcs[0](x) };
        Matched |x| match (&fcs[..], &norms[..]) { ([fc, _], [_, norm]) => norm(fc(x)), _ => x };
        MatchedFields |x| match (&fcs, &norms) { (fcs, norms) => norms[1](fcs[0](x)) };
        SelfPattern |x| { let Self { norms, .. } = self; norms[1](fcs[0](x)) };
        SelfLoop |x| { let Self { fcs, norms } = self; let mut x = x; for (fc, norm) in fcs.iter().zip(norms) { x = norm(fc(x)); } x };
        Generic |x| call(&norms[1], call(&fcs[0], x, mode), mode);
        GenericLoop |mut x| { for norm in norms { x = call(norm, x, mode); } call(fcs, x, mode) };
        Dynamic |x| { let layers: [&dyn Layer; 2] = [&fcs[0], &norms[1]]; layers.iter().fold(x, |x, layer| layer(x)) };
        If |x| { let norm = if fcs.len() == 2 { &norms[1] } else { &norms[0] }; norm(fcs[0](x)) };
        IfCalled |x| (if fcs.len() == 2 { &norms[1] } else { &norms[0] })(fcs[0](x));
        MatchChosen |x| { let norm = match x.dim(1)? { 3 => &norms[1], _ => &norms[0] }; norm(fcs[0](x)) };
        InClosure |x| { let run = |i: usize, x: Signal| norms[i](x); run(1, fcs[0](x)) };
        Whole |x| fcs[0](norms(x));
        Find |x| {
            let norm = norms.iter().find(|norm| norm.extra().starts_with('4') || norm.extra().contains("(4,"));
            norm.ok_or_else(|| Error::msg("no such norm"))?.call(fcs[0](x), mode)
        };
    }
}

/// A pinned field is in its mode, and the same field without the pin is in the mode of the call.
mod modes {
    use super::*;

    /// Two networks that differ only in the pin of `fixed`.
    macro_rules! pinned {
        ($($pinned:ident $free:ident $forward:expr;)*) => {
            $(
                #[derive(Module)]
                #[module(forward = $forward)]
                struct $pinned {
                    #[layer(0.0; for _ in 0..2)]
                    live: Vec<Dropout>,
                    #[layer(0.5; for _ in 0..2)]
                    #[module(mode = eval)]
                    fixed: Vec<Dropout>,
                }

                #[derive(Module)]
                #[module(forward = $forward)]
                struct $free {
                    #[layer(0.0; for _ in 0..2)]
                    live: Vec<Dropout>,
                    #[layer(0.5; for _ in 0..2)]
                    fixed: Vec<Dropout>,
                }
            )*

            #[test]
            fn the_pin_applies_in_every_form() -> Result<()> {
                let x = Tensor::ones((10, 100), DType::F32, &DEVICE)?;
                let drops = |y: Tensor| -> Result<bool> { Ok(y.min_all()?.to_scalar::<f32>()? == 0.) };
                $(
                    assert!(!drops($pinned::new(&DEVICE)?.forward_t(&x, true)?)?, stringify!($pinned));
                    assert!(drops($free::new(&DEVICE)?.forward_t(&x, true)?)?, stringify!($free));
                )*
                Ok(())
            }
        };
    }

    pinned! {
        Chain FreeChain |mut x| { for layer in live.iter().chain(fixed) { x = layer(x); } x };
        Rev FreeRev |x| fixed.iter().rev().chain(live.iter().rev()).fold(x, |x, layer| layer(x));
        Map FreeMap |x| {
            let ys: Vec<Signal> = live.iter().zip(fixed).map(|(a, b)| b(a(x))).collect();
            ys[0] * ys[1]
        };
        Slice FreeSlice |x| { let [a, b] = &fixed[..] else { return Err(Error::msg("two")) }; live[0](b(a(x))) };
        Tuple FreeTuple |x| { let pair = (&live[0], &fixed[1]); pair.1(pair.0(x)) };
        Array FreeArray |mut x| { for layer in [&live[0], &fixed[0]] { x = layer(x); } x };
        Matched FreeMatched |x| match (&live, &fixed) { (live, fixed) => fixed[1](live[0](x)) };
        SelfPattern FreeSelfPattern |x| { let Self { live, fixed } = self; fixed[0](live[0](x)) };
        Generic FreeGeneric |x| call(&fixed[1], call(&live[0], x, mode), mode);
        Dynamic FreeDynamic |x| { let layer: &dyn Layer = fixed; call(layer, live(x), mode) };
        If FreeIf |x| { let layer = if live.len() == 2 { &fixed[0] } else { &live[0] }; layer(x) };
        Match FreeMatch |x| (match live.len() { 2 => &fixed[1], _ => &live[0] })(x);
        Closure FreeClosure |x| { let run = |i: usize, x: Signal| fixed[i](x); live[0](run(1, x)) };
        InMacro FreeInMacro |x| { assert!(live[0](x).rank()? == 2); dbg!(fixed[0](x)) };
    }
}

/// Launches have the paths of elements of arrays, tuples and nested lists.
mod containers {
    use super::*;

    #[derive(Module)]
    #[module(forward = |x| {
        let mut x = x;
        for layer in array {
            x = layer(x);
        }
        for layer in array.iter().rev() {
            x = layer(x);
        }
        let [first, second] = array;
        x = first(second(x));
        let (a, act, b) = tuple;
        x = b(act(a(x)));
        x = tuple.2(x);
        for (fc, act) in pairs {
            x = act(fc(x));
        }
        let [(fc, _), ..] = pairs;
        x = fc(x);
        for layers in nested {
            for layer in layers {
                x = layer(x);
            }
        }
        pairs[1].0(x)
    })]
    struct Net {
        #[layer(3, 3; for _ in 0..2)]
        array: [Linear; 2],
        #[layer((3, 3), (), (3, 3))]
        tuple: (Linear, Relu, Linear),
        #[layer((3, 3), (); for _ in 0..2)]
        pairs: [(Linear, Relu); 2],
        #[layer(3, 3; for _ in 0..2, for _ in 0..2)]
        nested: Vec<[Linear; 2]>,
    }

    #[test]
    fn elements_of_arrays_and_tuples_have_paths() -> Result<()> {
        let net = Net::new(&DEVICE)?;
        let x = Tensor::ones((2, 3), DType::F32, &DEVICE)?;
        let (result, launches) = sconce::trace(|| sconce::no_fusion(|| net.forward(&x)));
        result?;
        let lines = launches.iter().map(ToString::to_string).filter(|line| line.contains("linear"));
        let found: Vec<String> =
            lines.map(|line| line.split(':').next().unwrap_or_default().to_string()).collect();
        let expected = [
            "array[0]",
            "array[1]",
            "array[1]",
            "array[0]",
            "array[1]",
            "array[0]",
            "tuple[0]",
            "tuple[2]",
            "tuple[2]",
            "pairs[0][0]",
            "pairs[1][0]",
            "pairs[0][0]",
            "nested[0][0]",
            "nested[0][1]",
            "nested[1][0]",
            "nested[1][1]",
            "pairs[1][0]",
        ];
        assert_eq!(found, expected.map(|path| format!("Net.{path}")));
        Ok(())
    }
}
