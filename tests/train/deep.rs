//! Graphs of many operations in sequence. Running, differentiating and dropping such a graph must not overflow a small
//! stack.

use std::thread;

use sconce::candle::Var;
use sconce::prelude::*;

const CPU: Device = Device::Cpu;

/// Runs `f` in a thread with a stack of 2 MiB, the default of Rust.
fn in_small_stack(f: impl FnOnce() -> Result<()> + Send + 'static) -> Result<()> {
    let thread = thread::Builder::new().stack_size(2 << 20).spawn(f)?;
    thread.join().expect("the thread should not panic")
}

/// Runs an LSTM cell `steps` times on the same input.
#[derive(Module)]
#[module(
    args(steps: usize),
    forward = |x: Signal| {
        let mut state: (Signal, Signal) = cell(x.clone());
        for _ in 1..steps {
            state = cell(x.clone(), state);
        }
        state.0
    },
)]
struct Steps {
    #[layer(4, 8)]
    cell: LSTMCell,
    #[module(skip = steps)]
    steps: usize,
}

#[test]
fn sixty_five_thousand_sums_have_a_gradient() -> Result<()> {
    in_small_stack(|| {
        let x = Var::new(&[1f64, 2.], &CPU)?;
        let mut y = Signal::from(x.as_tensor());
        for _ in 0..65_000 {
            y = &y + &y * 1e-5;
        }
        let loss = y.into_tensor()?.sum_all()?;
        let gradients = sconce::backward(&loss)?;
        let expected = (1f64 + 1e-5).powi(65_000);
        for gradient in gradients.get(&x).expect("`x` should have a gradient").to_vec1::<f64>()? {
            assert!((gradient / expected - 1.).abs() < 1e-9, "expected {expected}, found {gradient}");
        }
        Ok(())
    })
}

#[test]
fn a_graph_of_twenty_thousand_cell_steps_can_be_trained_and_dropped() -> Result<()> {
    in_small_stack(|| {
        let net = Steps::new(20_000, &CPU)?;
        let x = Tensor::ones((2, 4), DType::F32, &CPU)?;
        let y = net.forward(&x)?;
        drop(y);
        let data = vec![(x, Tensor::zeros((2, 8), DType::F32, &CPU)?)];
        let before =
            net.cell.state_dict().get("weight_ih").expect("a weight").flatten_all()?.to_vec1::<f32>()?;
        let history = Trainer::new(&net, mse_loss, Sgd::new(0.1)).quiet(true).fit(&data, &(), Epochs(1))?;
        assert!(history.unreached().is_empty());
        let after =
            net.cell.state_dict().get("weight_ih").expect("a weight").flatten_all()?.to_vec1::<f32>()?;
        assert_ne!(before, after);
        Ok(())
    })
}
