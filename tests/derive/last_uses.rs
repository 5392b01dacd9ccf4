//! A local and a name of another hygiene context may have the same text. Both stay usable until the last use of either.

use sconce::prelude::*;

const DEVICE: Device = Device::Cpu;

macro_rules! orders {
    ($($name:ident $y:ident $factor:literal: { $($first:tt)* } $last:expr;)*) => {
        $(
            #[derive(Module)]
            #[module(forward = |x| {
                let y = fc(x);
                let $y = y * 2.0;
                $($first)*
                let sum = y + $y;
                let z = y;
                sum + $last + z + y
            })]
            struct $name {
                #[layer(3, 3)]
                fc: Linear,
            }
        )*

        #[test]
        fn last_uses_in_any_order() -> Result<()> {
            let x = Tensor::randn(0f32, 1., (1, 3), &DEVICE)?;
            $(
                let net = $name::new(&DEVICE)?;
                let expected = (net.fc.forward(&x)? * $factor)?;
                let difference = (net.forward(&x)? - expected)?.abs()?.max_all()?.to_scalar::<f32>()?;
                assert!(difference < 1e-4, "{}: {difference}", stringify!($name));
            )*
            Ok(())
        }
    };
}

// With y = fc(x) of the macro and y' = 2 y of the caller: sum = 3 y, z = y, so the result is 5 y plus the last
// expression.
orders! {
    Caller y 7.0: {} y;
    CallerTwice y 9.0: {} y + y;
    CallerClosure y 7.0: { let f = || y.clone(); } f();
    CallerMove y 7.0: { let f = move || y; } f();
    CallerMacro y 7.0: { assert!(y.rank()? == 2); } y;
    CallerFormat y 7.0: { let _text = format!("{y:?}"); } y;
}
