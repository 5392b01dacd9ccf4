use sconce::prelude::*;

#[derive(Batch, Clone)]
struct Pair {
    #[batch(input)]
    left: Tensor,
    #[batch(input)]
    right: Tensor,
}

fn norm(output: &Tensor, _: &Pair) -> Result<Tensor> {
    Ok(output.sqr()?.mean_all()?)
}

fn train(net: &Linear, data: &Vec<Pair>, numbers: &Vec<f32>) -> Result<()> {
    Trainer::new(net, norm, Sgd::new(0.1)).fit(data, &(), Epochs(1))?;
    Trainer::new(net, mse_loss, Sgd::new(0.1)).fit(data, &(), Epochs(1))?;
    Trainer::new(net, mse_loss, Sgd::new(0.1)).fit(numbers, &(), Epochs(1))?;
    Trainer::new(net, 3, Sgd::new(0.1)).fit(data, &(), Epochs(1))?;
    let _ = Trainer::new(net, norm, Sgd::new(0.1)).schedule(0.5).metric(Accuracy::top(1));
    Ok(())
}

fn main() {}
