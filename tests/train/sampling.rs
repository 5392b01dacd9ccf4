//! Weighted sampling draws each example in proportion to its weight, and random splits are partitions of the data.

use proptest::prelude::*;
use sconce::Result;
use sconce::train::data::*;

use crate::common::message;

/// Returns how often each of `len` examples is drawn by `sampler` in `epochs` epochs.
fn counts(sampler: WeightedSampler, len: usize, epochs: usize, seed: u64) -> Result<Vec<u32>> {
    let data = dataset_fn(len, |index, _| Ok(index as u32));
    let loader = DataLoader::new(data).sampler(sampler).batch_size(1000).seed(seed);
    let mut counts = vec![0; len];
    for _ in 0..epochs {
        for batch in loader.iter()? {
            batch?.to_vec1::<u32>()?.into_iter().for_each(|index| counts[index as usize] += 1);
        }
    }
    Ok(counts)
}

proptest! {
    #![proptest_config(crate::common::config(24))]

    #[test]
    fn examples_are_drawn_in_proportion_to_their_weights(
        weights in prop::collection::vec(prop_oneof![Just(0.), 0.1..10.], 1..8), seed: u64,
    ) {
        prop_assume!(weights.iter().any(|weight| *weight > 0.));
        let draws = 4000;
        let sum: f64 = weights.iter().sum();
        let sampler = WeightedSampler::new(weights.clone()).unwrap().draws(draws / 2);
        let counts = counts(sampler, weights.len(), 2, seed).unwrap();
        prop_assert_eq!(counts.iter().sum::<u32>() as usize, draws);
        for (weight, count) in weights.iter().zip(counts) {
            let p = weight / sum;
            // Six standard deviations of the binomial distribution.
            let deviation = 6. * (draws as f64 * p * (1. - p)).sqrt();
            prop_assert!((f64::from(count) - draws as f64 * p).abs() <= deviation, "{count} draws, probability {p}");
        }
    }

    #[test]
    fn a_random_split_is_a_partition(len in 0usize..50, a in 0.0f64..1., b in 0.0f64..1., seed: u64) {
        let (low, high) = (a.min(b), a.max(b));
        let fractions = [low, high - low, 1. - high];
        let parts = random_split(dataset_fn(len, |index, _| Ok(index)), fractions, seed).unwrap();
        for (part, fraction) in parts.iter().zip(fractions) {
            // The sizes are rounded down, and a part may get one of the remaining examples.
            prop_assert!((part.len() as f64 - fraction * len as f64).abs() < 2.);
        }
        let mut all: Vec<usize> = parts.iter().flat_map(|part| part.indices().to_vec()).collect();
        all.sort();
        prop_assert_eq!(all, (0..len).collect::<Vec<_>>());
    }
}

#[test]
fn each_draw_of_an_example_has_its_own_random_numbers() -> Result<()> {
    let data = dataset_fn(1, |_, rng| Ok(rng.uniform(0., 1.)));
    let sampler = WeightedSampler::new([1.])?.draws(100);
    let loader = DataLoader::new(data).sampler(sampler).batch_size(100).seed(0);
    let mut numbers = loader.iter()?.next().unwrap()?.to_vec1::<f64>()?;
    numbers.sort_by(f64::total_cmp);
    numbers.dedup();
    assert_eq!(numbers.len(), 100);
    Ok(())
}

#[test]
fn balanced_sampling_draws_classes_equally_often() -> Result<()> {
    let classes: Vec<u32> = (0..100).map(|index| if index < 90 { 7 } else { index % 2 }).collect();
    let counts = counts(WeightedSampler::balanced(&classes)?.draws(6000), 100, 1, 2)?;
    let draws_of_class =
        |class| counts.iter().zip(&classes).filter(|(_, c)| **c == class).map(|(n, _)| n).sum::<u32>();
    for class in [0, 1, 7] {
        assert!((1800..2200).contains(&draws_of_class(class)), "{}", draws_of_class(class));
    }
    Ok(())
}

#[test]
fn a_split_depends_on_its_seed_only() -> Result<()> {
    let split = |seed| random_split(dataset_fn(100, |index, _| Ok(index)), [70, 30], seed);
    let [[train, valid], [again, _], [other, _]] = [split(1)?, split(1)?, split(2)?];
    assert_eq!((train.len(), valid.len()), (70, 30));
    assert_eq!(train.indices(), again.indices());
    assert_ne!(train.indices(), other.indices());
    let rng = &mut Generator::from_seed(0);
    assert_eq!(valid.get(3, rng)?, valid.indices()[3]);
    assert_eq!(message(valid.get(30, rng)), "index 30 is out of range for 30 examples");
    Ok(())
}

#[test]
fn invalid_weights_and_sizes_are_errors() {
    let weights = |weights: &[f64]| message(WeightedSampler::new(weights));
    assert_eq!(weights(&[1., -2.]), "expected finite weights of at least 0, found -2 for example 1");
    assert_eq!(weights(&[f64::NAN]), "expected finite weights of at least 0, found NaN for example 0");
    assert_eq!(
        weights(&[f64::MAX, f64::MAX]),
        "expected weights with a finite sum above 0, found the sum inf"
    );
    assert_eq!(weights(&[0., 0.]), "expected weights with a finite sum above 0, found the sum 0");
    assert_eq!(weights(&[]), "expected weights with a finite sum above 0, found the sum 0");
    assert!(WeightedSampler::balanced(&[]).is_err());
    let data = || dataset_fn(10, |index, _| Ok(index));
    assert_eq!(
        message(random_split(data(), [0.5, 0.4], 0)),
        "expected fractions that sum to 1, found [0.5, 0.4]"
    );
    assert!(random_split(data(), [1.5, -0.5], 0).is_err());
    assert!(random_split(data(), [f64::NAN, 1.], 0).is_err());
    assert_eq!(
        message(random_split(data(), [5, 4], 0)),
        "expected parts that sum to 10 examples, found [5, 4]"
    );
    assert!(random_split(data(), [usize::MAX, 11], 0).is_err());
    let subset = Subset::new(std::sync::Arc::new(data()), vec![3, 10]);
    assert_eq!(message(subset), "index 10 is out of range for 10 examples");
}
