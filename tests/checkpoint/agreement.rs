//! Building a network from a checkpoint and loading the checkpoint into an existing network accept the same files
//! and give the same errors, reports and values. The tests cover tied tensors, batch norms without
//! `num_batches_tracked`, prefixes of wrappers, and files that do not fit the network.

use std::borrow::Cow;
use std::sync::Arc;

use candle_core::{DType, Tensor};
use proptest::prelude::*;
use sconce::nn::VarBuilder;
use sconce::prelude::*;
use sconce::{Visitor, VisitorMut};

use crate::common::{Rng, config, fail};
use crate::load_checks::{CPU, Directory, built, check, values};

#[derive(Module)]
#[module(forward = |x| head(embed(x)))]
struct Tied {
    #[layer(5, 4)]
    embed: Embedding,
    #[layer(4, 5, bias = false)]
    #[module(tie = "embed.weight")]
    head: Linear,
}

const TIED: [&str; 2] = ["embed.weight", "head.weight"];

#[derive(Module)]
#[module(forward = |x| up(down(x)))]
struct Tower {
    #[layer(3, 3)]
    down: Linear,
    #[layer(3, 3)]
    #[module(tie = "down.bias")]
    up: Linear,
}

/// A network with a parameter that three fields share (two layers and a plain tensor), a batch norm, and a list of
/// towers with tied biases.
#[derive(Module)]
#[module(forward = |x| {
    let mut x = x.matmul(weight.t()?) + norm(second(first(x)));
    for tower in towers {
        x = tower(x);
    }
    x
})]
struct Mixed {
    #[layer(3, 3)]
    first: Linear,
    #[layer(3, 3, bias = false)]
    #[module(tie = "first.weight")]
    second: Linear,
    #[param((3, 3))]
    #[module(tie = "first.weight")]
    weight: Tensor,
    #[layer(3)]
    norm: BatchNorm,
    #[layer(; for _ in 0..2)]
    towers: Vec<Tower>,
}

/// A network in which the fields `left` and `right` share their parameters.
#[derive(Module)]
#[module(forward = |x| right(middle(left(x))))]
struct Shared {
    #[layer(with = left_layer)]
    left: Arc<Linear>,
    #[layer(3, 3)]
    middle: Linear,
    #[layer(with = left_layer)]
    right: Arc<Linear>,
}

fn left_layer(vb: VarBuilder) -> sconce::candle::Result<Linear> {
    Ok(Linear::config(3, 3).build(vb.root().pp("left"))?)
}

/// Returns a random tensor for each tensor of `network`. Tensors with equal shapes and values are regarded as tied and
/// get the same random values.
fn random(network: &impl Network, seed: u64) -> StateDict {
    let mut numbers = Rng::new(seed);
    let mut by_values = Vec::<(Vec<f64>, Tensor)>::new();
    let state = network.state_dict();
    let tensors = state.iter().map(|(name, old)| {
        let key = values(old);
        let known = by_values.iter().find(|(values, new)| *values == key && new.dims() == old.dims());
        let new = known.map(|(_, new)| new.clone()).unwrap_or_else(|| {
            let new = numbers
                .tensor(old.dims(), 10.)
                .to_dtype(old.dtype())
                .expect("f64 should convert to the dtype");
            by_values.push((key, new.clone()));
            new
        });
        (name.to_string(), new)
    });
    tensors.collect()
}

/// A modification of a checkpoint. A `usize` selects the tensor to modify.
#[derive(Clone, Debug)]
enum Damage {
    Remove(usize),
    Reshape(usize),
    /// Changes the values.
    Replace(usize),
    /// Converts the values to f16. Changes them if they are not floats.
    Round(usize),
    /// Adds a tensor with an unknown name.
    Add,
    /// Adds the tensor `weight` of a module whose name is this number.
    AddModule(usize),
    /// Adds `_orig_mod`, the component of `torch.compile`, before the last component of a name.
    Compile(usize),
    /// Prepends a prefix to all names.
    Wrap(&'static str),
}

fn damages() -> impl Strategy<Value = Vec<Damage>> {
    let damage = prop_oneof![
        3 => any::<usize>().prop_map(Damage::Remove),
        1 => any::<usize>().prop_map(Damage::Reshape),
        1 => any::<usize>().prop_map(Damage::Replace),
        1 => any::<usize>().prop_map(Damage::Round),
        1 => Just(Damage::Add),
        1 => (0..9usize).prop_map(Damage::AddModule),
        1 => any::<usize>().prop_map(Damage::Compile),
        3 => prop::sample::select(&["module.", "_orig_mod.", "model.", "backbone."][..]).prop_map(Damage::Wrap),
    ];
    prop::collection::vec(damage, 0..5)
}

fn damage(state: &mut StateDict, damage: &Damage) -> Result<()> {
    let name_of = |index: &usize| state.keys().nth(index % state.len().max(1)).map(str::to_string);
    match damage {
        Damage::Remove(index) => {
            let name = name_of(index);
            name.map(|name| state.remove(&name));
        }
        Damage::Add => {
            state.insert("unknown", Tensor::ones(2, DType::F32, &CPU)?);
        }
        Damage::AddModule(number) => {
            state.insert(format!("{number}.weight"), Tensor::ones(2, DType::F32, &CPU)?);
        }
        Damage::Compile(index) => {
            let name = name_of(index);
            let renamed = |name: String| match name.rsplit_once('.') {
                Some((module, last)) => format!("{module}._orig_mod.{last}"),
                None => name,
            };
            if let Some((name, tensor)) =
                name.and_then(|name| state.remove(&name).map(|tensor| (name, tensor)))
            {
                state.insert(renamed(name), tensor);
            }
        }
        Damage::Wrap(prefix) => {
            let wrapped = state.iter().map(|(name, tensor)| (format!("{prefix}{name}"), tensor.clone()));
            *state = wrapped.collect();
        }
        Damage::Reshape(index) => {
            if let Some(name) = name_of(index) {
                state.insert(name, Tensor::ones((7, 7), DType::F32, &CPU)?);
            }
        }
        Damage::Replace(index) | Damage::Round(index) => {
            let Some(name) = name_of(index) else { return Ok(()) };
            let old = &state.get(&name).expect("the state should have the name").clone();
            let new = match damage {
                Damage::Round(_) if old.dtype().is_float() => old.to_dtype(DType::F16)?,
                _ => (old + 1.)?,
            };
            state.insert(name, new);
        }
    }
    Ok(())
}

/// Checks that building and loading agree on a damaged checkpoint. Both may succeed, or both may fail.
fn check_damaged<C: Config>(config: impl Fn() -> C, seed: u64, damages: &[Damage]) -> Result<()> {
    let mut state = random(&config().init(&CPU)?, seed);
    damages.iter().try_for_each(|kind| damage(&mut state, kind))?;
    let directory = Directory::new();
    check(config, &directory.file(&state))?.map(|_| ()).or(Ok(()))
}

proptest! {
    #![proptest_config(config(150))]

    #[test]
    fn building_and_loading_agree_on_any_file(seed: u64, damages in damages()) {
        check_damaged(Tied::config, seed, &damages).map_err(fail)?;
        check_damaged(Mixed::config, seed, &damages).map_err(fail)?;
        check_damaged(Shared::config, seed, &damages).map_err(fail)?;
        check_damaged(|| BatchNorm::config(3), seed, &damages).map_err(fail)?;
    }
}

/// Returns a state with a tensor for each of `names`. The values of the tensors differ if `differing` is true.
fn tied_state(names: &[&str], differing: bool) -> Result<StateDict> {
    let base = Tensor::arange(0f32, 20., &CPU)?.reshape((5, 4))?;
    let values = |i: usize| if differing { base.affine(1., i as f64) } else { Ok(base.clone()) };
    names.iter().enumerate().map(|(i, name)| Ok((name.to_string(), values(i)?))).collect()
}

#[test]
fn one_of_the_tied_names_is_enough() -> Result<()> {
    let directory = Directory::new();
    for names in [&TIED[..], &TIED[..1], &TIED[1..]] {
        let outcome = check(Tied::config, &directory.file(&tied_state(names, false)?))?;
        let (report, state, parameters) = outcome.expect("the file should fit");
        assert_eq!((report.loaded, parameters), (names.iter().map(|name| name.to_string()).collect(), 1));
        assert!(report.missing.is_empty() && report.unexpected.is_empty() && report.mismatched.is_empty());
        let expected: Vec<f64> = (0..20).map(f64::from).collect();
        assert!(state.len() == 2 && state.iter().all(|(_, values)| *values == expected), "{state:?}");
    }
    let error = check(Tied::config, &directory.file(&tied_state(&[], false)?))?
        .expect_err("expected an error for an empty file");
    assert!(error.contains("1 missing\nmissing  embed.weight  [5, 4]") && !error.contains("head"), "{error}");
    Ok(())
}

#[test]
fn different_values_of_tied_names_are_an_error() -> Result<()> {
    let directory = Directory::new();
    let path = directory.file(&tied_state(&TIED, true)?);
    let error = check(Tied::config, &path)?.expect_err("expected a conflict");
    assert!(
        error.contains(
            "conflicting  head.weight  differs from the values of embed.weight, to which it is tied"
        ),
        "{error}"
    );
    let partial = built(Tied::config(), &Load::new(&path).partial()).expect_err("expected a conflict");
    assert_eq!(partial, error);
    // If one of the two tensors is renamed, only the other one is loaded, and there is no conflict.
    let load = Load::new(&path).map("^embed.weight", "old").partial();
    let (report, state, _) = built(Tied::config(), &load).expect("the file should fit");
    assert_eq!((report.loaded, report.unexpected.len()), (vec![TIED[1].to_string()], 1));
    assert_eq!(state[0].1[..3], [1., 2., 3.]);
    Ok(())
}

#[test]
fn tied_float8_values_are_loaded_in_every_dtype() -> Result<()> {
    // The bytes 0x30 to 0x37 are the numbers 0.5 to 0.9375 in steps of 1/16. Adding 8 to a byte doubles its number.
    let bits: Vec<u8> = (0x30..0x44).collect();
    let expected: Vec<f64> = (0..20).map(|i| f64::from((8 + i % 8) << (i / 8)) / 16.).collect();
    let weight = Tensor::from_raw_buffer(&bits, DType::F8E4M3, &[5, 4], &CPU)?;
    let directory = Directory::new();
    let path = directory.file(&TIED.iter().map(|name| (name.to_string(), weight.clone())).collect());
    let (_, state, _) = check(Tied::config, &path)?.expect("the file should fit");
    assert!(state.iter().all(|(_, values)| *values == expected), "{state:?}");
    for dtype in [DType::F64, DType::BF16, DType::F16] {
        let (network, _) = Tied::config().load_with(Load::new(&path).dtype(dtype), &CPU)?;
        assert_eq!((network.head.weight().dtype(), values(network.head.weight())), (dtype, expected.clone()));
    }
    Ok(())
}

#[test]
fn tied_names_may_both_have_nan() -> Result<()> {
    let mut state = tied_state(&TIED, false)?;
    for name in TIED {
        let nan = state.get(name).expect("the state should have the tied name").affine(f64::NAN, 0.)?;
        state.insert(name, nan);
    }
    let directory = Directory::new();
    let (network, _) = Tied::config().load_with(Load::new(directory.file(&state)), &CPU)?;
    assert!(values(network.head.weight()).iter().all(|value| value.is_nan()));
    Ok(())
}

#[test]
fn a_tied_name_with_the_wrong_shape_is_mismatched() -> Result<()> {
    let mut state = tied_state(&TIED, false)?;
    state.insert(TIED[1], Tensor::ones((6, 4), DType::F32, &CPU)?);
    let directory = Directory::new();
    let path = directory.file(&state);
    let error = check(Tied::config, &path)?.expect_err("expected an error for the shape");
    assert!(
        error.contains("1 mismatched\nmismatched  head.weight  expected [5, 4], found [6, 4]"),
        "{error}"
    );
    let (report, ..) =
        built(Tied::config(), &Load::new(&path).partial()).expect("the partial load should succeed");
    assert_eq!((report.loaded, report.mismatched.len()), (vec![TIED[0].to_string()], 1));
    Ok(())
}

#[test]
fn detached_and_reloaded_networks_keep_tied_parameters() -> Result<()> {
    let mut network = Tied::new(&CPU)?;
    assert_eq!(network.detached().num_parameters(), 20);
    network.freeze("**")?;
    let state = network.state_dict();
    network.load_state_dict(&state)?;
    network.unfreeze("**")?;
    assert_eq!(network.trainable_parameters().len(), 1);
    Ok(())
}

#[test]
fn a_batch_norm_loads_without_num_batches_tracked() -> Result<()> {
    let directory = Directory::new();
    let mut norm = BatchNorm::config(3).init(&CPU)?;
    let mut old = random(&norm, 1);
    old.remove("num_batches_tracked");
    let path = directory.file(&old);
    let (report, state, _) = check(|| BatchNorm::config(3), &path)?.expect("the old checkpoint should fit");
    assert_eq!((report.loaded.len(), report.missing.len()), (4, 0));
    assert_eq!(state[4], ("num_batches_tracked".to_string(), vec![0.]));
    let x = Tensor::ones((4, 3), DType::F32, &CPU)?;
    norm.call(x.into(), Mode::Train).into_tensor()?;
    norm.load_with(Load::new(&path))?;
    assert_eq!(
        values(norm.state_dict().get("num_batches_tracked").expect("the batch norm should have a counter")),
        [1.]
    );
    Ok(())
}

/// A layer whose constructor loads two tensors, of which `visit` reports only `shown`.
struct Hidden {
    shown: Tensor,
    hidden: Tensor,
}

struct HiddenConfig;

impl Config for HiddenConfig {
    type Output = Hidden;

    fn build(self, vb: VarBuilder) -> Result<Hidden> {
        Ok(Hidden { shown: vb.get(2, "shown")?, hidden: vb.get(3, "hidden")? })
    }
}

impl Module for Hidden {
    fn kind(&self) -> Cow<'static, str> {
        "Hidden".into()
    }

    fn visit<'a>(&'a self, visitor: &mut dyn Visitor<'a>) {
        visitor.parameter("shown", &self.shown);
    }

    fn visit_mut(&mut self, visitor: &mut dyn VisitorMut) {
        visitor.parameter("shown", &mut self.shown);
    }

    fn share(&self) -> Self {
        Self { shown: self.shown.clone(), hidden: self.hidden.clone() }
    }
}

#[test]
fn tensors_that_only_the_constructor_reads_are_loaded_and_reported() -> Result<()> {
    let directory = Directory::new();
    let tensor = |size: usize| Tensor::full(size as f32, size, &CPU);
    let mut state = StateDict::from_iter([("hidden", tensor(3)?), ("shown", tensor(2)?)]);
    let (network, report) = HiddenConfig.load_with(Load::new(directory.file(&state)), &CPU)?;
    assert_eq!(report.loaded, ["shown", "hidden"]);
    assert_eq!((values(&network.shown), values(&network.hidden)), (vec![2.; 2], vec![3.; 3]));
    state.remove("hidden");
    let error = built(HiddenConfig, &Load::new(directory.file(&state)))
        .expect_err("expected an error for the missing tensor");
    assert!(error.contains("1 missing\nmissing  hidden  [3]"), "{error}");
    Ok(())
}
