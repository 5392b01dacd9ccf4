//! Inline format arguments have the values of fields, inputs, locals and `mode`.

use std::sync::Mutex;

use sconce::prelude::*;

const DEVICE: Device = Device::Cpu;

static TEXTS: Mutex<Vec<String>> = Mutex::new(Vec::new());

#[derive(Module)]
#[module(forward = |x, n: usize| {
    let rank = x.rank()?;
    let text = format!("{mode:?} {depth} {name} {n:>3} {rank} {0} {width:.1$} {fc}", fc(x).rank()?, depth);
    let inner = || format!("{depth}{n}");
    TEXTS.lock().expect("no thread panicked").extend([text, inner()]);
    if rank != 2 {
        panic!("{name} expects rank {depth}");
    }
    fc(x)
})]
struct Net {
    #[layer(3, 3)]
    fc: Linear,
    #[module(skip = 2)]
    depth: usize,
    #[module(skip = 0.123)]
    width: f64,
    #[module(skip = "net".to_string())]
    name: String,
}

#[test]
fn inline_format_arguments_have_the_values_of_the_closure() -> Result<()> {
    let x = Tensor::ones((1, 3), DType::F32, &DEVICE)?;
    Net::new(&DEVICE)?.forward(&x, 7)?;
    let texts = TEXTS.lock().expect("no thread panicked").clone();
    assert_eq!(texts, ["Eval 2 net   7 2 2 0.12 Linear(in_features=3, out_features=3, bias=True)", "27"]);
    Ok(())
}
