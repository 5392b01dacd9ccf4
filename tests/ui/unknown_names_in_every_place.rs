use sconce::prelude::*;

#[derive(Module)]
struct UnknownType {
    #[layer(3, 3)]
    fc: Linaer,
}

#[derive(Module)]
struct UnknownBareType {
    act: Reluu,
}

#[derive(Module)]
#[module(args(width: usize))]
struct UnknownArgument {
    #[layer(widht, 3)]
    fc: Linear,
    #[layer(3, 3, bias = bais)]
    fd: Linear,
    #[layer(3, 3; for _ in 0..dpeth)]
    list: Vec<Linear>,
    #[layer(3, 3; if depe)]
    option: Option<Linear>,
    #[layer(with = biuld)]
    with: Linear,
    #[module(skip = dpeth)]
    depth: usize,
}

#[derive(Module)]
#[module(forward = |x| x * scale + mean)]
struct UnknownInit {
    #[param(3, init = onse)]
    scale: Tensor,
    #[buffer(widht)]
    mean: Tensor,
}

#[derive(Module)]
#[module(loss = mse_los, optimizer = Sdg::new(0.1), schedule = (StpLr::new(10), Every::Epoch))]
struct UnknownTraining {
    #[layer(3, 3)]
    fc: Linear,
}

#[derive(Module)]
#[module(args(width: uszie, depth: usize = dfault))]
struct UnknownArgs {
    #[layer(width, 3; for _ in 0..depth)]
    fc: Vec<Linear>,
}

#[derive(Module)]
#[module(config = Szies)]
struct UnknownConfig {
    #[layer(config.width, 3)]
    fc: Linear,
}

#[derive(Module)]
#[module(forward = |x, mask: Singal| fc(x) * mask)]
struct UnknownInput {
    #[layer(3, 3)]
    fc: Linear,
}

#[derive(Module)]
#[module(forward = |x| -> Singal { fc(x) })]
struct UnknownOutput {
    #[layer(3, 3)]
    fc: Linear,
}

#[derive(Module)]
#[module(args(width: usize))]
enum UnknownWhen {
    #[module(when = widht > 1)]
    A(#[layer(3, 3)] Linear),
    B(#[layer(3, 3)] Linear),
}

#[derive(Module)]
struct UnknownBound<L: Layerr + Default> {
    act: L,
}

fn main() {}
