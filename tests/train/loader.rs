//! A data loader returns the same batches for any number of workers, continues after skipped batches, names the example
//! of an error, and never hangs.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use proptest::prelude::*;
use sconce::prelude::*;
use sconce::train::data::*;

use crate::common::message;

const CPU: Device = Device::Cpu;

/// Returns a data set of the numbers `0..len`, each with a random number.
fn numbers(len: usize) -> impl Dataset<Example = (f64, u32)> + 'static {
    dataset_fn(len, |index, rng| Ok((rng.uniform(0., 1.), index as u32)))
}

/// Returns the random numbers and the indices of each batch.
fn read(epoch: impl Iterator<Item = Result<(Tensor, Tensor)>>) -> Result<Vec<(Vec<f64>, Vec<u32>)>> {
    epoch
        .map(|batch| {
            let (x, y) = batch?;
            Ok((x.to_vec1()?, y.to_vec1()?))
        })
        .collect()
}

proptest! {
    #![proptest_config(crate::common::config(24))]

    #[test]
    fn batches_do_not_depend_on_the_number_of_workers(
        len in 1usize..60, batch in 1usize..12, shuffle: bool, drop_last: bool, weighted: bool, seed: u64,
    ) {
        prop_assume!(!drop_last || batch <= len);
        let loader = |workers| {
            let loader = DataLoader::new(numbers(len)).batch_size(batch).drop_last(drop_last).shuffle(shuffle);
            let loader = loader.seed(seed).workers(workers);
            let loader = if weighted {
                loader.sampler(WeightedSampler::new(vec![1.; len]).unwrap())
            } else {
                loader
            };
            loader.map_batches(|(x, y), rng| Ok((x.affine(1., rng.uniform(0., 1.))?, y)))
        };
        let sequential = loader(0);
        let expected: Vec<_> = (0..3).map(|_| read(sequential.iter().unwrap()).unwrap()).collect();
        prop_assert_eq!(Some(expected[0].len()), sequential.len_hint());
        for (_, indices) in &expected[0][..expected[0].len() - 1] {
            prop_assert_eq!(indices.len(), batch);
        }
        // The random numbers of each epoch differ.
        prop_assert!(expected[0] != expected[1] && expected[1] != expected[2]);
        if !weighted {
            let mut seen: Vec<u32> = expected[1].iter().flat_map(|(_, indices)| indices.clone()).collect();
            seen.sort();
            let distinct = seen.len();
            seen.dedup();
            prop_assert_eq!(seen.len(), distinct);
            prop_assert_eq!(seen.len(), if drop_last { len / batch * batch } else { len });
        }
        for workers in [1, 2, 5] {
            let parallel = loader(workers);
            for expected in &expected {
                prop_assert_eq!(&read(parallel.iter().unwrap()).unwrap(), expected);
            }
        }
    }

    #[test]
    fn an_epoch_continues_after_skipped_batches(skip in 0usize..9, later in 0usize..5, workers in 0usize..4) {
        let loader = DataLoader::new(numbers(31)).batch_size(4).shuffle(true).seed(5).workers(workers);
        let all = read(loader.iter().unwrap()).unwrap();
        loader.set_epoch(0);
        let mut resumed = loader.epoch().unwrap().skip(skip);
        let first = read(resumed.by_ref().take(1)).unwrap();
        prop_assert_eq!(&first, &all[skip.min(8)..(skip + 1).min(8)].to_vec());
        let rest = read(resumed.skip(later)).unwrap();
        prop_assert_eq!(rest, all[(skip + 1 + later).min(8)..].to_vec());
    }
}

#[test]
fn without_a_seed_the_shared_generator_determines_the_epochs() -> Result<()> {
    // Other tests draw from the shared generator at the same time, so this test runs alone in another process.
    if std::env::var_os("SCONCE_TEST_LOADER_SEED").is_none() {
        let status = std::process::Command::new(std::env::current_exe()?)
            .args(["--exact", "loader::without_a_seed_the_shared_generator_determines_the_epochs"])
            .env("SCONCE_TEST_LOADER_SEED", "1")
            .status()?;
        assert!(status.success());
        return Ok(());
    }
    let epochs = |workers| {
        manual_seed(3);
        let loader = DataLoader::new(numbers(20)).shuffle(true).batch_size(6).workers(workers);
        Ok::<_, Error>((read(loader.iter()?)?, read(loader.iter()?)?))
    };
    let (first, second) = epochs(0)?;
    assert_ne!(first, second);
    assert_eq!(epochs(0)?, (first.clone(), second.clone()));
    assert_eq!(epochs(3)?, (first, second));
    Ok(())
}

#[test]
fn skipped_batches_are_not_read() -> Result<()> {
    for workers in [0, 2] {
        let reads = Arc::new(AtomicUsize::new(0));
        let counter = reads.clone();
        let data = dataset_fn(1000, move |index, _| {
            counter.fetch_add(1, Ordering::Relaxed);
            Ok(index as u32)
        });
        let mut epoch = DataLoader::new(data).batch_size(10).workers(workers).iter()?;
        assert_eq!(epoch.size_hint(), (100, Some(100)));
        assert_eq!(epoch.nth(97).unwrap()?.to_vec1::<u32>()?[0], 970);
        assert_eq!(epoch.size_hint(), (2, Some(2)));
        assert_eq!(epoch.by_ref().count(), 2);
        assert_eq!(reads.load(Ordering::Relaxed), 30);
        assert!(epoch.next().is_none() && epoch.nth(3).is_none());
    }
    Ok(())
}

#[test]
fn workers_run_ahead_by_a_bounded_number_of_batches() -> Result<()> {
    let reads = Arc::new(AtomicUsize::new(0));
    let counter = reads.clone();
    let data = dataset_fn(1000, move |index, _| {
        counter.fetch_add(1, Ordering::SeqCst);
        Ok(index as u32)
    });
    let mut epoch = DataLoader::new(data).batch_size(1).workers(3).iter()?;
    epoch.next().unwrap()?;
    // After the first batch, three workers read at most six more batches of one example each.
    let start = Instant::now();
    while reads.load(Ordering::SeqCst) < 7 && start.elapsed() < Duration::from_secs(20) {
        std::thread::sleep(Duration::from_millis(1));
    }
    std::thread::sleep(Duration::from_millis(30));
    assert_eq!(reads.load(Ordering::SeqCst), 7);
    Ok(())
}

#[test]
fn dropping_the_iterator_stops_the_workers() -> Result<()> {
    // After the first batch, which has 100 examples, reading an example waits until the gate is open.
    let gate = Arc::new(AtomicBool::new(false));
    let waiting = Arc::new(AtomicUsize::new(0));
    let (open, count) = (gate.clone(), waiting.clone());
    let data = Arc::new(dataset_fn(10_000, move |index, _| {
        if index >= 100 {
            count.fetch_add(1, Ordering::SeqCst);
            while !open.load(Ordering::SeqCst) {
                std::thread::sleep(Duration::from_millis(1));
            }
        }
        Ok(index as u32)
    }));
    let mut epoch = DataLoader::new(data.clone()).batch_size(100).workers(4).iter()?;
    epoch.next().unwrap()?;
    while waiting.load(Ordering::SeqCst) < 4 {
        std::thread::sleep(Duration::from_millis(1));
    }
    std::thread::scope(|scope| {
        scope.spawn(|| {
            std::thread::sleep(Duration::from_millis(300));
            gate.store(true, Ordering::SeqCst);
        });
        drop(epoch);
    });
    // Each worker has finished one example, and has dropped its reference to the data set.
    assert_eq!(waiting.load(Ordering::SeqCst), 4);
    assert_eq!(Arc::strong_count(&data), 1);
    Ok(())
}

#[test]
fn an_error_names_its_example_and_the_epoch_continues() -> Result<()> {
    for workers in [0, 1, 2, 5] {
        let data = dataset_fn(12, |index, _| match index {
            4 => Err(Error::msg("the file is empty")),
            7 => panic!("number {index}"),
            _ => Ok(index as u32),
        });
        let loader = DataLoader::new(data).batch_size(3).workers(workers);
        let results: Vec<_> = loader.iter()?.collect();
        assert_eq!(results.len(), 4);
        assert_eq!(message(results[1].as_ref()), "example 4: the file is empty");
        assert_eq!(message(results[2].as_ref()), "example 7: panicked: number 7");
        assert_eq!(results[3].as_ref().unwrap().to_vec1::<u32>()?, [9, 10, 11]);
    }
    Ok(())
}

#[test]
fn a_panic_outside_of_the_data_set_is_an_error_of_its_batch() -> Result<()> {
    struct PanicsOnDrop;
    impl Drop for PanicsOnDrop {
        fn drop(&mut self) {
            panic!("in the destructor");
        }
    }
    for workers in [0, 2] {
        let data = dataset_fn(4, |index, _| Ok(index));
        let loader = DataLoader::with_collate(data, |examples, _| {
            assert_ne!(examples[0], 1, "collation fails");
            if examples[0] == 2 {
                drop(PanicsOnDrop);
            }
            Ok(examples[0])
        });
        let results: Vec<_> = loader.batch_size(1).workers(workers).iter()?.collect();
        let messages = [message(results[1].as_ref()), message(results[2].as_ref())];
        assert!(messages[0].starts_with("batch 2: panicked: ") && messages[0].contains("collation fails"));
        assert_eq!(messages[1], "batch 3: panicked: in the destructor");
        assert_eq!(*results[3].as_ref().unwrap(), 3);
    }
    Ok(())
}

#[test]
fn a_panic_in_the_destructor_of_an_example_is_an_error_of_its_batch() -> Result<()> {
    struct PanicsOnDrop(usize);
    impl Drop for PanicsOnDrop {
        fn drop(&mut self) {
            assert_ne!(self.0, 2, "in the destructor");
        }
    }
    for workers in [0, 2] {
        let data = dataset_fn(6, |index, _| match index {
            3 => Err(Error::msg("corrupt")),
            _ => Ok(PanicsOnDrop(index)),
        });
        let loader = DataLoader::with_collate(data, |examples, _| Ok(examples.len()));
        let results: Vec<_> = loader.batch_size(2).workers(workers).iter()?.collect();
        assert_eq!(results.len(), 3);
        // When example 3 fails, example 2 is dropped.
        let message = message(results[1].as_ref());
        assert!(
            message.starts_with("batch 2: panicked: ") && message.contains("in the destructor"),
            "{message}"
        );
        assert!(results[0].is_ok() && results[2].is_ok());
    }
    Ok(())
}

#[test]
fn corrupt_examples_can_be_skipped_and_counted() -> Result<()> {
    for workers in [0, 3] {
        let data = dataset_fn(10, |index, _| match index {
            1 | 4 | 5 => Err(Error::msg("corrupt")),
            _ => Ok(index as u32),
        });
        let loader = DataLoader::new(data).batch_size(2).workers(workers).skip_corrupt(true);
        let batches: Vec<Vec<u32>> =
            loader.iter()?.map(|batch| Ok(batch?.to_vec1()?)).collect::<Result<_>>()?;
        assert_eq!(batches, [vec![0], vec![2, 3], vec![6, 7], vec![8, 9]]);
        assert_eq!(loader.skipped(), 3);
        assert_eq!(loader.iter()?.count(), 4);
        assert_eq!(loader.skipped(), 6);

        let data = dataset_fn(5, |index, _| Err::<f32, _>(Error::msg(format!("file {index} is corrupt"))));
        let loader = DataLoader::new(data).batch_size(2).workers(workers).skip_corrupt(true);
        let results: Vec<_> = loader.iter()?.collect();
        assert_eq!(results.len(), 1);
        assert_eq!(
            message(results[0].as_ref()),
            "every example of the epoch was skipped; the first error: example 0: file 0 is corrupt"
        );
        assert_eq!(loader.skipped(), 5);
        let panics = dataset_fn(2, |_, _| -> Result<f32> { panic!("a bug") });
        let loader = DataLoader::new(panics).workers(workers).skip_corrupt(true);
        assert_eq!(message(loader.iter()?.next().unwrap()), "example 0: panicked: a bug");
    }
    Ok(())
}

#[test]
fn examples_that_do_not_fit_together_are_an_error_with_both_shapes() -> Result<()> {
    let data = dataset_fn(6, |index, _| {
        let width = if index == 4 { 3 } else { 2 };
        Ok((Tensor::zeros((1, width), DType::F32, &CPU)?, index as i64))
    });
    let batches: Vec<_> = DataLoader::new(data).batch_size(3).workers(1).iter()?.collect();
    assert!(batches[0].is_ok());
    assert_eq!(
        message(batches[1].as_ref()),
        "batch 2: element 0: cannot stack example 4 of shape [1, 3] with example 3 of shape [1, 2]"
    );
    let data = dataset_fn(2, |index, _| {
        Ok(Tensor::zeros(2, if index == 0 { DType::F32 } else { DType::U8 }, &CPU)?)
    });
    assert_eq!(
        message(DataLoader::new(data).iter()?.next().unwrap()),
        "batch 1: cannot stack example 1 of dtype U8 with example 0 of dtype F32"
    );
    assert_eq!(message(stack_examples(&[], &[])), "expected at least one tensor, found none");
    let triples = dataset_fn(2, |index, _| Ok((index as u8, index as f32, index as f64)));
    let (a, b, c) = DataLoader::new(triples).iter()?.next().unwrap()?;
    assert_eq!((a.dtype(), b.dtype(), c.dtype()), (DType::U8, DType::F32, DType::F64));
    Ok(())
}

#[test]
fn invalid_settings_are_errors() -> Result<()> {
    let loader = || DataLoader::new(numbers(10));
    assert_eq!(message(loader().batch_size(0).iter()), "expected a batch size above 0, found 0");
    assert_eq!(loader().batch_size(0).len_hint(), None);
    let expected = "`drop_last` leaves no batch: expected at least 64 examples for one batch, found 10 (set a smaller \
                    batch size, or `drop_last(false)`)";
    assert_eq!(message(loader().drop_last(true).iter()), expected);
    assert_eq!(message(loader().drop_last(true).epoch()), expected);
    assert_eq!(
        message(loader().sampler(WeightedSampler::new([1., 2.])?).iter()),
        "expected one weight in the sampler for each of the 10 examples, found 2 weights"
    );
    assert_eq!(DataLoader::new(numbers(0)).drop_last(true).workers(2).iter()?.count(), 0);
    let out_of_range = dataset_fn(3, |index, _| Ok(index)).get(3, &mut Generator::from_seed(0));
    assert_eq!(message(out_of_range), "index 3 is out of range for 3 examples");
    assert_eq!(loader().workers(2).dataset().len(), 10);
    assert!(format!("{:?}", loader().iter()?).starts_with("LoaderEpoch"));
    Ok(())
}

#[test]
fn a_tensor_dataset_implements_dataset() -> Result<()> {
    let x = Tensor::arange(0f32, 12., &CPU)?.reshape((4, 3))?;
    let y = Tensor::arange(0u32, 4, &CPU)?;
    let data = TensorDataset::new(x.clone(), y.clone())?;
    let error = Dataset::get(&data, 4, &mut Generator::from_seed(0));
    assert_eq!(message(error), "index 4 is out of range for 4 examples");
    let boxed: Box<dyn Dataset<Example = (Tensor, Tensor)>> = Box::new(data);
    let (inputs, targets) = DataLoader::new(boxed).workers(2).iter()?.next().unwrap()?;
    assert_eq!(inputs.to_vec2::<f32>()?, x.to_vec2::<f32>()?);
    assert_eq!(targets.to_vec1::<u32>()?, y.to_vec1::<u32>()?);
    Ok(())
}

#[test]
fn a_network_trains_on_a_loader_with_workers() -> Result<()> {
    #[derive(Module)]
    #[module(loss = mse_loss, optimizer = Sgd::new(0.1))]
    struct Line {
        #[layer(1, 1)]
        fc: Linear,
    }
    let data = dataset_fn(64, |index, _| {
        let x = index as f32 / 32. - 1.;
        Ok((Tensor::new(&[x], &CPU)?, Tensor::new(&[2. * x], &CPU)?))
    });
    let train = DataLoader::new(data).batch_size(16).shuffle(true).seed(1).workers(2);
    let line = Line::new(&CPU)?;
    let history = line.trainer().quiet(true).fit(&train, &(), Epochs(40))?;
    assert!(history.best().unwrap().train.loss < 1e-3);
    Ok(())
}
