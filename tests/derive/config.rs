//! The generated config: the names of arguments, and arguments of every type.

use std::rc::Rc;

use sconce::prelude::*;

const DEVICE: Device = Device::Cpu;

/// A user's type with the name that a config of [`Model`] has by default. `Model` has no arguments.
#[derive(Default)]
struct ModelConfig {
    width: usize,
}

#[derive(Module)]
struct Model {
    #[layer(ModelConfig::default().width + 4, 4)]
    fc: Linear,
}

/// A user's type with the name that a config of [`Named`] has by default. `Named` has arguments.
struct NamedConfig(usize);

#[derive(Module)]
#[module(args(width: usize, bias: bool = true), config_name = NamedSettings)]
struct Named {
    #[layer(width, width, bias = bias)]
    fc: Linear,
}

#[derive(Module)]
#[module(config_name = EmptySettings)]
struct Empty;

#[derive(Module)]
#[module(args(
    build_: usize, __network: usize, vb: usize, device: usize, self_: usize, config: usize, name: usize, layers: usize,
    network: usize, r#type: usize, given: usize = 1, path: usize = 1, loaded: bool = false,
))]
struct Names<L: Layer + Default> {
    #[layer(build_ + __network + vb + device + self_, config + name + network, bias = loaded)]
    fc: Linear,
    #[layer(layers, r#type + given + path; for _ in 0..layers)]
    list: Vec<Linear>,
    act: L,
}

/// A config that is neither `Clone` nor `Debug`.
struct Unique<C>(C);

impl<C: Config> Config for Unique<C> {
    type Output = C::Output;

    fn build(self, vb: sconce::nn::VarBuilder) -> Result<C::Output> {
        self.0.build(vb)
    }
}

#[derive(Module)]
#[module(args(c: C))]
struct Generic<C: Config>
where
    C::Output: Layer,
{
    #[layer(with = |vb| Ok(c.build(vb)?))]
    body: C::Output,
}

#[derive(Module)]
#[module(args(widths: Rc<[usize]>, label: String, unique: Vec<Box<dyn Fn() -> usize>>))]
struct Owned {
    #[layer(widths[0], widths[1]; for _ in 0..widths.len())]
    fc: Vec<Linear>,
    #[layer(label.len(), unique[0]())]
    head: Linear,
    #[module(skip = format!("{label}!"))]
    label: String,
}

#[test]
fn a_users_type_can_have_the_default_name_of_a_config() -> Result<()> {
    assert_eq!(Model::new(&DEVICE)?.fc.weight().dims(), [4, 4]);
    let config: NamedSettings = Named::config(NamedConfig(3).0);
    assert_eq!(config.bias(false).init(&DEVICE)?.num_parameters(), 9);
    let empty: EmptySettings = Empty::config();
    assert_eq!(empty.init(&DEVICE)?.num_parameters(), 0);
    Ok(())
}

/// Networks with restricted visibility. Their configs have the same visibility.
mod visibility {
    pub mod inner {
        use sconce::prelude::*;

        #[derive(Module)]
        #[module(args(width: usize))]
        pub(super) struct Parent {
            #[layer(width, width)]
            fc: Linear,
        }

        #[derive(Module)]
        #[module(args(width: usize))]
        pub(in super::super) struct Grandparent {
            #[layer(width, width)]
            fc: Linear,
        }

        #[derive(Module)]
        #[module(args(width: usize))]
        pub(in crate::config) struct Path {
            #[layer(width, width)]
            fc: Linear,
        }
    }

    pub fn parameters() -> usize {
        let config: inner::ParentConfig = inner::Parent::config(2);
        config.init(&super::DEVICE).map_or(0, |network| sconce::Network::num_parameters(&network))
    }
}

#[test]
fn a_config_has_the_name_and_the_visibility_of_its_network() {
    #[derive(Clone)]
    struct Width(usize);

    #[derive(Module)]
    #[module(args(width: Width, bias: bool = true))]
    struct Local {
        #[layer(width.0, width.0, bias = bias)]
        fc: Linear,
    }

    impl LocalConfig {
        fn narrow() -> Self {
            Local::config(Width(1))
        }
    }

    fn name<T>(_: &T) -> &str {
        std::any::type_name::<T>().rsplit("::").next().unwrap_or_default()
    }

    assert_eq!(name(&LocalConfig::narrow().bias(false)), "LocalConfig");
    assert_eq!(name(&Empty::config()), "EmptySettings");
    assert_eq!(name(&Model::config()), "ModelConfig");
    let grandparent: visibility::inner::GrandparentConfig = visibility::inner::Grandparent::config(3);
    let path: visibility::inner::PathConfig = visibility::inner::Path::config(3);
    assert_eq!(name(&grandparent), "GrandparentConfig");
    assert_eq!(name(&path), "PathConfig");
    assert_eq!(visibility::parameters(), 6);
}

#[test]
fn an_argument_can_have_any_name() -> Result<()> {
    let net =
        Names::<Relu>::config(1, 1, 1, 1, 1, 1, 1, 2, 1, 2).given(3).path(4).loaded(true).init(&DEVICE)?;
    assert_eq!(net.fc.weight().dims(), [3, 5]);
    assert_eq!(net.list[1].weight().dims(), [9, 2]);
    Ok(())
}

#[test]
fn an_argument_need_not_be_clone() -> Result<()> {
    let x = Tensor::ones((1, 4), DType::F32, &DEVICE)?;
    let net = Generic::new(Unique(Linear::config(4, 2)), &DEVICE)?;
    assert_eq!(net.forward(&x)?.dims(), [1, 2]);
    let net = Owned::new(Rc::from([3, 4]), "four".into(), vec![Box::new(|| 2)], &DEVICE)?;
    assert_eq!((net.fc.len(), net.head.weight().dims(), &*net.label), (2, [2, 4].as_slice(), "four!"));
    Ok(())
}

#[derive(Module)]
#[module(args(bias: bool = Self::BIAS))]
struct Constants<L: Layer + Default, const WIDTH: usize> {
    #[layer(Self::INPUTS, vec![Self::INPUTS; 2].len(), bias = bias)]
    fc: Linear,
    #[layer(with = Self::head; if Self::INPUTS > 2)]
    head: Option<Linear>,
    act: L,
    #[module(skip = {
        struct Depth(usize);
        impl Depth {
            const ONE: Self = Self(1);
        }
        Depth::ONE.0 + Self::INPUTS
    })]
    depth: usize,
}

impl<L: Layer + Default, const WIDTH: usize> Constants<L, WIDTH> {
    const BIAS: bool = false;
    const INPUTS: usize = 2 * WIDTH;

    fn head(vb: sconce::nn::VarBuilder) -> Result<Linear> {
        Linear::config(2, 5).build(vb)
    }
}

#[test]
fn the_type_self_in_attributes_is_the_network() -> Result<()> {
    let network = Constants::<Relu, 2>::new(&Device::Cpu)?;
    let x = Tensor::ones((1, 4), DType::F32, &Device::Cpu)?;
    assert_eq!(network.forward(x)?.dims(), [1, 5]);
    assert!(network.fc.bias().is_none());
    assert_eq!(network.depth, 5);
    Ok(())
}
