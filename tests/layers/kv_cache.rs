//! The cache of keys and values: agreement with concatenation and with attention to whole sequences, growth, clones,
//! and invalid arguments.

use proptest::prelude::*;
use sconce::candle;
use sconce::prelude::*;

use crate::common::{Rng, check_close, config, fail, message, values};

const CPU: Device = Device::Cpu;

/// A change of a cache.
#[derive(Clone, Copy, Debug)]
enum Change {
    Append(usize),
    Truncate(usize),
    Clear,
    /// Continues with a clone and appends other positions to the original.
    Clone,
}

fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        6 => (0..90usize).prop_map(Change::Append),
        2 => (0..120usize).prop_map(Change::Truncate),
        1 => Just(Change::Clear),
        1 => Just(Change::Clone),
    ]
}

proptest! {
    #![proptest_config(config(200))]

    #[test]
    fn a_cache_returns_the_concatenation(
        changes in prop::collection::vec(change(), 1..12), batch in prop::collection::vec(1..3usize, 0..3), seed: u64,
    ) {
        let check = || -> Result<()> {
            let mut numbers = Rng::new(seed);
            let shape = |length: usize, features: usize| [&batch[..], &[length, features]].concat();
            let axis = batch.len();
            let mut cache = KvCache::new();
            let mut expected = [numbers.tensor(&shape(0, 2), 1.), numbers.tensor(&shape(0, 3), 1.)];
            // All outputs, with copies of their elements: later changes must not affect an output.
            let mut outputs: Vec<(Tensor, Vec<f64>)> = Vec::new();
            for change in changes {
                match change {
                    Change::Append(count) => {
                        let new = [numbers.tensor(&shape(count, 2), 1.), numbers.tensor(&shape(count, 3), 1.)];
                        let (key, value) = cache.append(&new[0], &new[1]);
                        for (i, output) in [key.into_tensor()?, value.into_tensor()?].into_iter().enumerate() {
                            expected[i] = Tensor::cat(&[&expected[i], &new[i]], axis)?;
                            assert_eq!(output.dims(), expected[i].dims());
                            outputs.push((output, values(&expected[i])?));
                        }
                    }
                    Change::Truncate(len) => {
                        cache.truncate(len);
                        let len = len.min(expected[0].dim(axis)?);
                        expected = [expected[0].narrow(axis, 0, len)?, expected[1].narrow(axis, 0, len)?];
                    }
                    Change::Clear => {
                        cache.clear();
                        expected = [expected[0].narrow(axis, 0, 0)?, expected[1].narrow(axis, 0, 0)?];
                    }
                    Change::Clone => {
                        let mut original = std::mem::take(&mut cache);
                        cache = original.clone();
                        let (key, value) = (numbers.tensor(&shape(3, 2), 1.), numbers.tensor(&shape(3, 3), 1.));
                        original.append(key, value).0.into_tensor()?;
                    }
                }
                assert_eq!((cache.len(), cache.is_empty()), (expected[0].dim(axis)?, expected[0].dim(axis)? == 0));
            }
            for (output, expected) in outputs {
                assert_eq!(values(&output)?, expected);
            }
            Ok(())
        };
        check().map_err(fail)?;
    }

    #[test]
    fn attention_in_parts_agrees_with_attention_to_the_whole_sequence(
        parts in prop::collection::vec(1..40usize, 1..5), heads in 1..3usize, seed: u64,
    ) {
        let check = || -> Result<()> {
            let mut numbers = Rng::new(seed);
            let length = parts.iter().sum();
            let [q, k, v] = [4, 4, 3].map(|features| numbers.tensor(&[2, heads, length, features], 1.));
            let causal = AttentionOptions::default().is_causal(true);
            let whole = scaled_dot_product_attention(&q, &k, &v, causal.clone()).into_tensor()?;
            let mut cache = KvCache::new();
            let mut start = 0;
            for part in &parts {
                let new = |x: &Tensor| x.narrow(2, start, *part);
                let (key, value) = cache.append(new(&k)?, new(&v)?);
                let options = causal.clone().query_offset(start);
                let y = scaled_dot_product_attention(new(&q)?, key, value, options).into_tensor()?;
                check_close("part", &y, &new(&whole)?, 1e-12)?;
                start += part;
            }
            Ok(())
        };
        check().map_err(fail)?;
    }
}

/// Appending one position at a time copies each position at most twice on average.
#[test]
fn the_memory_grows_by_doubling() -> Result<()> {
    let mut cache = KvCache::new();
    let mut storages = std::collections::BTreeSet::new();
    let x = Tensor::ones((1, 2, 1, 4), DType::F32, &CPU)?;
    for _ in 0..1000 {
        let key = cache.append(&x, &x).0.into_tensor()?;
        storages.insert(key.stride()[1]);
    }
    // The stride of the heads is the capacity times the features.
    assert_eq!(
        storages.into_iter().collect::<Vec<_>>(),
        [64, 128, 256, 512, 1024].map(|capacity| 4 * capacity)
    );
    Ok(())
}

#[test]
fn a_cache_accepts_its_own_views() -> Result<()> {
    let x = Rng::new(1).tensor(&[2, 3, 4], 1.);
    let mut cache = KvCache::new();
    let (key, value) = cache.append(&x, &x);
    let (keys, _) = cache.append(key.narrow(1, 1, 2), value.narrow(1, 0, 2));
    let expected = Tensor::cat(&[&x, &x.narrow(1, 1, 2)?], 1)?;
    assert_eq!(values(&keys.into_tensor()?)?, values(&expected)?);
    Ok(())
}

#[test]
fn invalid_keys_and_values_are_errors_and_leave_the_cache_unchanged() -> Result<()> {
    let zeros = |shape: &[usize]| Tensor::zeros(shape, DType::F32, &CPU);
    let mut cache = KvCache::new();
    let error =
        |cache: &mut KvCache, key: &Tensor, value: &Tensor| message(cache.append(key, value).1.into_tensor());
    for (key, value) in
        [(&[3][..], &[3][..]), (&[2, 3], &[3, 3]), (&[1, 2, 3], &[2, 2, 3]), (&[2, 3], &[1, 2, 3])]
    {
        let found = error(&mut cache, &zeros(key)?, &zeros(value)?);
        assert!(found.ends_with(&format!("found {key:?} and {value:?}")), "{found}");
    }
    cache.append(zeros(&[2, 5, 3])?, zeros(&[2, 5, 4])?).0.into_tensor()?;
    for (key, value) in [([1, 1, 3], [1, 1, 4]), ([2, 1, 4], [2, 1, 4]), ([2, 1, 3], [2, 1, 3])] {
        let found = error(&mut cache, &zeros(&key)?, &zeros(&value)?);
        assert!(found.contains("as in the cache, found"), "{found}");
    }
    let (key, value) = (zeros(&[2, 1, 3])?, zeros(&[2, 1, 4])?);
    let found = error(&mut cache, &key, &value.to_dtype(DType::F64)?);
    assert!(
        found.contains("expected a key or value [2, 1, 4] of F32 as in the cache, found [2, 1, 4] of F64"),
        "{found}"
    );
    let trainable = candle::Var::from_tensor(&key)?;
    let found = error(&mut cache, trainable.as_tensor(), &value);
    assert!(found.starts_with("expected a key and a value without gradients"), "{found}");
    let failed = Signal::from(Err::<Tensor, _>(Error::msg("failed before")));
    assert_eq!(message(cache.append(failed, &value).0.into_tensor()), "failed before");
    assert_eq!(cache.len(), 5);
    assert_eq!(cache.append(&key, &value).0.dims()?, [2, 6, 3]);

    let (key, value) = cache.append(Signal::meta((2, 1, 3), DType::F32), &value);
    assert!(key.error().is_some() && value.error().is_some() && cache.len() == 6);

    let endless = Tensor::zeros((2, 1, 0), DType::F32, &CPU)?.broadcast_as((2, usize::MAX, 0))?;
    let mut cache = KvCache::new();
    cache.append(endless.narrow(1, 0, 1)?, endless.narrow(1, 0, 1)?).0.into_tensor()?;
    let found = error(&mut cache, &endless, &endless);
    assert!(found.contains("not enough memory for 18446744073709551615 more positions than 1"), "{found}");

    let huge = Tensor::zeros(1, DType::F32, &CPU)?.broadcast_as((1 << 20, 1, 1 << 40))?;
    let found = message(KvCache::new().append(&huge, &huge).0.into_tensor());
    assert!(found.contains("not enough memory for a cache of [1048576, 64, 1099511627776]"), "{found}");
    Ok(())
}
