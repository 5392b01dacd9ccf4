use sconce::prelude::*;

#[derive(Module)]
#[module(args(build: usize = 1, init: usize = 1, load: usize = 1, load_with: usize = 1))]
struct Methods {
    #[layer(build + init, load + load_with)]
    fc: Linear,
}

/// Calls the setters of the arguments, and the methods of the config that have the names of setters.
fn calls() -> Result<()> {
    let net = Methods::config().build(2).load(3).init(4).init(&Device::Cpu)?;
    println!("{}", net.num_parameters());
    let (net, report) = Methods::config().load_with("a.safetensors", &Device::Cpu)?;
    println!("{report} {net}");
    let config = Methods::config().load(4);
    let _: Methods = Config::init(config, &Device::Cpu)?;
    Ok(())
}

#[derive(Module)]
#[module(args(self: usize))]
struct SelfName {
    #[layer(3, 3)]
    fc: Linear,
}

#[derive(Module)]
#[module(args(fn: usize))]
struct Keyword {
    #[layer(3, 3)]
    fc: Linear,
}

#[derive(Module)]
#[module(args(_: usize))]
struct Underscore {
    #[layer(3, 3)]
    fc: Linear,
}

fn main() {}
