//! The batches of an epoch contain every example once (with `drop_last`, at most once). Random numbers have the
//! documented distributions.

use proptest::prelude::*;
use sconce::Result;
use sconce::candle::{DType, Device, Tensor};
use sconce::random;
use sconce::train::data::*;

const CPU: Device = Device::Cpu;

/// Returns `n` examples with inputs `[i, −i]` and targets `i`.
fn examples(n: usize) -> (Tensor, Tensor) {
    let targets = Tensor::arange(0u32, n as u32, &CPU).unwrap();
    let x = targets.to_dtype(DType::F32).unwrap();
    (Tensor::stack(&[&x, &x.neg().unwrap()], 1).unwrap(), targets)
}

/// A source of inputs and targets.
type Source<'a> = dyn Batches<Batch = (Tensor, Tensor)> + 'a;

/// Returns the targets of each batch of an epoch. Asserts that inputs and targets belong together.
fn targets(batches: &Source<'_>) -> Result<Vec<Vec<u32>>> {
    let read = |batch: Result<(Tensor, Tensor)>| -> Result<Vec<u32>> {
        let (x, y) = batch?;
        let y = y.to_vec1::<u32>()?;
        let expected: Vec<Vec<f32>> = y.iter().map(|&i| vec![i as f32, -(i as f32)]).collect();
        assert_eq!(x.to_vec2::<f32>()?, expected);
        Ok(y)
    };
    batches.epoch()?.map(read).collect()
}

proptest! {
    #![proptest_config(crate::common::config(64))]

    #[test]
    fn each_example_occurs_once_per_epoch(
        n in 0usize..40, batch in 1usize..12, shuffle: bool, drop_last: bool, transposed: bool,
    ) {
        let (mut x, y) = examples(n);
        if transposed {
            x = x.t().unwrap().contiguous().unwrap().t().unwrap();
        }
        let data = TensorDataset::new(x, y).unwrap().batch_size(batch).shuffle(shuffle).drop_last(drop_last);
        if drop_last && n > 0 && n < batch {
            let error = data.epoch().err().unwrap().to_string();
            prop_assert!(error.starts_with("`drop_last` leaves no batch"), "{}", error);
            return Ok(());
        }
        let epoch = targets(&data).unwrap();
        prop_assert_eq!(Some(epoch.len()), data.len_hint());
        let sizes: Vec<usize> = epoch.iter().map(Vec::len).collect();
        let full = n / batch;
        prop_assert!(sizes[..full].iter().all(|&size| size == batch));
        prop_assert_eq!(&sizes[full..], if drop_last || n % batch == 0 { vec![] } else { vec![n % batch] });
        let mut seen = epoch.concat();
        if shuffle {
            seen.sort();
            seen.dedup();
            prop_assert_eq!(seen.len(), if drop_last { full * batch } else { n });
        } else {
            prop_assert_eq!(seen.clone(), (0..seen.len() as u32).collect::<Vec<_>>());
        }
    }
}

#[test]
fn every_source_of_batches_can_be_iterated_again() -> Result<()> {
    let pair = examples(130);
    assert_eq!(targets(&pair)?.iter().map(Vec::len).collect::<Vec<_>>(), [64, 64, 2]);
    assert_eq!(pair.len_hint(), Some(3));
    let batches = vec![examples(3), examples(2)];
    let source = batches.clone();
    let generated = from_fn(move || source.clone().into_iter().map(Ok)).batches(2);
    let boxed: Box<Source<'_>> = Box::new(batches.clone());
    for source in [&batches as &Source<'_>, &generated, &&batches, &boxed] {
        for _ in 0..2 {
            assert_eq!(targets(source)?, [vec![0, 1, 2], vec![0, 1]]);
        }
        assert_eq!(source.len_hint(), Some(2));
    }
    let failing = from_fn(|| [Ok(examples(1)), Err(sconce::Error::msg("the disk is gone"))]);
    assert!(failing.len_hint().is_none());
    assert_eq!(targets(&failing).unwrap_err().to_string(), "the disk is gone");
    Ok(())
}

#[test]
fn invalid_data_is_an_error() -> Result<()> {
    let (x, y) = examples(3);
    let error = TensorDataset::new(x.clone(), y.narrow(0, 0, 2)?).unwrap_err().to_string();
    assert_eq!(error, "expected inputs and targets with equal first dimensions, found [3, 2] and [2]");
    assert!(TensorDataset::new(x.clone(), Tensor::new(1f32, &CPU)?).is_err());
    assert!((x.clone(), y.narrow(0, 0, 2)?).epoch().is_err());
    let zero_batch_size = TensorDataset::new(x, y)?.batch_size(0);
    assert!(zero_batch_size.epoch().err().unwrap().to_string().contains("batch size"));
    assert_eq!(zero_batch_size.len_hint(), None);
    assert!(random::bernoulli(3, 1.5, DType::F32, &CPU).is_err());
    Ok(())
}

#[test]
fn random_numbers_have_the_documented_distribution() -> Result<()> {
    let n = 200_000;
    let moments = |t: &Tensor| -> Result<(f64, f64)> {
        let mean = t.mean_all()?.to_scalar::<f64>()?;
        Ok((mean, (t - mean)?.sqr()?.mean_all()?.to_scalar::<f64>()?.sqrt()))
    };
    let uniform = random::uniform(n, -3., 5., DType::F64, &CPU)?;
    let (mean, std) = moments(&uniform)?;
    assert!((mean - 1.).abs() < 0.03 && (std - 8. / 12f64.sqrt()).abs() < 0.03, "{mean} {std}");
    assert!(uniform.min_all()?.to_scalar::<f64>()? >= -3. && uniform.max_all()?.to_scalar::<f64>()? < 5.);
    let normal = random::normal(n, 2., 0.5, DType::F64, &CPU)?;
    let (mean, std) = moments(&normal)?;
    assert!((mean - 2.).abs() < 0.01 && (std - 0.5).abs() < 0.01, "{mean} {std}");
    let within =
        normal.ge(1.5)?.mul(&normal.le(2.5)?)?.to_dtype(DType::F64)?.mean_all()?.to_scalar::<f64>()?;
    assert!((within - 0.6827).abs() < 0.01, "{within} of the numbers are within one standard deviation");
    for p in [0., 0.3, 1.] {
        let share = random::bernoulli(n, p, DType::F64, &CPU)?.mean_all()?.to_scalar::<f64>()?;
        assert!((share - p).abs() < 0.01 && (p % 1. != 0. || share == p), "{share} for {p}");
    }
    let mut order = random::permutation(1000);
    assert!(order.windows(2).any(|w| w[0] > w[1]));
    order.sort();
    assert_eq!(order, (0..1000).collect::<Vec<_>>());
    Ok(())
}
