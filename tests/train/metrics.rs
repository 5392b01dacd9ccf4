//! Metrics: agreement with scikit-learn, independence of the split into batches, and invalid batches.

use std::path::Path;

use proptest::prelude::*;
use sconce::checkpoint::StateDict;
use sconce::prelude::*;
use sconce::train::metrics::{Mean, binary_accuracy, confusion_matrix, top_k_accuracy};
use serde_json::Value;

use crate::common::{Rng, config, fail, message, restride};

const CPU: Device = Device::Cpu;

/// A batch, and scikit-learn's values of its metrics.
struct Case {
    label: String,
    output: Tensor,
    target: Tensor,
    ignore_index: i64,
    expected: Value,
}

/// Returns the golden cases of a kind: `multiclass`, `binary` or `regression`.
fn cases(kind: &str) -> Result<Vec<Case>> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/metrics");
    let text = std::fs::read_to_string(directory.join("cases.json"))?;
    let list: Vec<Value> = serde_json::from_str(&text).map_err(Error::msg)?;
    let tensors: StateDict = sconce::checkpoint::read(directory.join("cases.npz"), &CPU)?;
    let tensor = |name: String| tensors.get(&name).cloned().ok_or_else(|| Error::msg(name));
    let matching = list.into_iter().enumerate().filter(|(_, case)| case["kind"] == kind);
    matching
        .map(|(index, case)| {
            Ok(Case {
                label: format!("{kind} case {index}"),
                output: tensor(format!("{index}/output"))?,
                target: tensor(format!("{index}/target"))?,
                ignore_index: case["ignore_index"].as_i64().expect("the index should be an integer"),
                expected: case["expected"].clone(),
            })
        })
        .collect()
}

impl Case {
    /// Checks a value against that of scikit-learn, whose sums are rounded differently.
    fn check(&self, name: &str, found: f64, expected: &Value) {
        let is_undefined = expected.is_null() && found.is_nan();
        let is_close = |expected: f64| (found - expected).abs() <= 1e-12 * expected.abs().max(1.);
        let label = &self.label;
        assert!(
            is_undefined || expected.as_f64().is_some_and(is_close),
            "{label}: {name}: expected {expected}, found {found}"
        );
    }

    /// Updates each metric and compares its value with the expected value of the same name.
    fn check_metrics(&self, metrics: Vec<Box<dyn Metric>>) -> Result<()> {
        for mut metric in metrics {
            metric.update(&self.output, &self.target)?;
            let name = metric.name();
            self.check(&name, metric.value()?, &self.expected[&name]);
        }
        Ok(())
    }

    /// Checks the value of each class.
    fn check_classes(&self, name: &str, found: &[f64]) {
        let expected = self.expected[name].as_array().expect("the case should have a list");
        assert_eq!(found.len(), expected.len(), "{}: {name}", self.label);
        found.iter().zip(expected).for_each(|(&found, expected)| self.check(name, found, expected));
    }

    fn check_confusion_matrix(&self, mut matrix: ConfusionMatrix) -> Result<()> {
        matrix.update(&self.output, &self.target)?;
        self.check("accuracy", matrix.value()?, &self.expected["accuracy"]);
        let found = serde_json::to_value(matrix.to_tensor()?.to_vec2::<i64>()?).map_err(Error::msg)?;
        assert_eq!(found, self.expected["confusion_matrix"], "{}", self.label);
        Ok(())
    }
}

#[test]
fn metrics_of_several_classes_agree_with_scikit_learn() -> Result<()> {
    let cases = cases("multiclass")?;
    assert_eq!(cases.len(), 40);
    for case in cases {
        let ignored = case.ignore_index;
        case.check_metrics(class_metrics(ignored))?;
        case.check_confusion_matrix(ConfusionMatrix::new().ignore_index(ignored))?;

        macro_rules! check_classes {
            ($($metric:expr, $name:literal;)+) => {$(
                let mut metric = $metric.ignore_index(ignored);
                metric.update(&case.output, &case.target)?;
                case.check_classes($name, &metric.per_class());
            )+};
        }
        check_classes! {
            Precision::macro_average(), "precision_per_class";
            Recall::macro_average(), "recall_per_class";
            F1::macro_average(), "f1_per_class";
            MeanIou::new(), "iou_per_class";
            Auroc::macro_average(), "auroc_per_class";
            AveragePrecision::macro_average(), "average_precision_per_class";
        }
    }
    Ok(())
}

#[test]
fn metrics_of_binary_logits_agree_with_scikit_learn() -> Result<()> {
    let cases = cases("binary")?;
    assert_eq!(cases.len(), 40);
    for mut case in cases {
        case.check_metrics(binary_metrics())?;
        case.check_confusion_matrix(ConfusionMatrix::binary())?;
        // The logits [0, z] of two classes are equivalent to the binary logit z.
        case.output = Tensor::stack(&[case.output.zeros_like()?, case.output.clone()], 1)?;
        case.check_metrics(binary_metrics())?;
        case.check_confusion_matrix(ConfusionMatrix::binary())?;
    }
    Ok(())
}

#[test]
fn regression_metrics_agree_with_scikit_learn() -> Result<()> {
    let cases = cases("regression")?;
    assert_eq!(cases.len(), 24);
    cases.iter().try_for_each(|case| case.check_metrics(regression_metrics()))
}

/// Every metric of class logits.
fn class_metrics(ignored: i64) -> Vec<Box<dyn Metric>> {
    vec![
        Box::new(Accuracy::top(1).ignore_index(ignored)),
        Box::new(Accuracy::top(2).ignore_index(ignored)),
        Box::new(Accuracy::top(3).ignore_index(ignored)),
        Box::new(Precision::micro_average().ignore_index(ignored)),
        Box::new(Precision::macro_average().ignore_index(ignored)),
        Box::new(Precision::weighted_average().ignore_index(ignored)),
        Box::new(Recall::micro_average().ignore_index(ignored)),
        Box::new(Recall::macro_average().ignore_index(ignored)),
        Box::new(Recall::weighted_average().ignore_index(ignored)),
        Box::new(F1::micro_average().ignore_index(ignored)),
        Box::new(F1::macro_average().ignore_index(ignored)),
        Box::new(F1::weighted_average().ignore_index(ignored)),
        Box::new(MeanIou::new().ignore_index(ignored)),
        Box::new(Auroc::macro_average().ignore_index(ignored)),
        Box::new(AveragePrecision::macro_average().ignore_index(ignored)),
        Box::new(Perplexity::new().ignore_index(ignored)),
    ]
}

/// Every metric of binary logits.
fn binary_metrics() -> Vec<Box<dyn Metric>> {
    vec![
        Box::new(Accuracy::binary()),
        Box::new(Precision::binary()),
        Box::new(Recall::binary()),
        Box::new(F1::binary()),
        Box::new(MeanIou::binary()),
        Box::new(Auroc::binary()),
        Box::new(AveragePrecision::binary()),
    ]
}

/// Every regression metric.
fn regression_metrics() -> Vec<Box<dyn Metric>> {
    vec![Box::new(MeanAbsoluteError::new()), Box::new(RootMeanSquaredError::new()), Box::new(R2::new())]
}

/// Returns the bits of a value. All NaNs are equal.
fn bits(metric: &dyn Metric) -> Result<u64> {
    let value = metric.value()?;
    Ok(if value.is_nan() { f64::NAN.to_bits() } else { value.to_bits() })
}

/// Checks that a metric has the same bits for one batch and for the same examples in another order, split into batches
/// at `cuts`. After each batch, the state moves to another metric, as in a resumed run.
fn check_split(
    metrics: impl Fn() -> Vec<Box<dyn Metric>>,
    output: &Tensor,
    target: &Tensor,
    order: &[u32],
    cuts: &[usize],
) -> Result<()> {
    let order = Tensor::new(order, &CPU)?;
    let (shuffled_output, shuffled_target) =
        (output.index_select(&order, 0)?, target.index_select(&order, 0)?);
    for (mut metric, mut resumed) in metrics().into_iter().zip(metrics()) {
        metric.update(output, target)?;
        let expected = bits(&metric)?;
        metric.reset();
        assert!(metric.value()?.is_nan(), "{}", metric.name());
        for cut in cuts.windows(2) {
            let part = |all: &Tensor| all.narrow(0, cut[0], cut[1] - cut[0]);
            metric.update(&restride(&part(&shuffled_output)?)?, &part(&shuffled_target)?)?;
            resumed.load_state(&metric.state()?)?;
            assert_eq!(resumed.state()?, metric.state()?, "{}", metric.name());
            std::mem::swap(&mut metric, &mut resumed);
        }
        assert_eq!(bits(&metric)?, expected, "{}", metric.name());
    }
    Ok(())
}

/// Returns the numbers below `count` in random order.
fn permutation(count: usize, rng: &mut Rng) -> Vec<u32> {
    let mut order: Vec<(f64, u32)> = (0..count as u32).map(|index| (rng.uniform(), index)).collect();
    order.sort_by(|(a, _), (b, _)| a.total_cmp(b));
    order.into_iter().map(|(_, index)| index).collect()
}

proptest! {
    #![proptest_config(config(40))]

    #[test]
    fn values_do_not_depend_on_order_and_batches(
        seed in 0u64..1 << 32, examples in 1usize..60, classes in 1usize..6, positions in 1usize..4,
        cuts in prop::collection::vec(0usize..60, 0..6), round in prop::bool::ANY,
    ) {
        let mut rng = Rng::new(seed);
        let mut numbers = |shape: &[usize], scale| {
            // Rounded numbers contain ties.
            let numbers = rng.tensor(shape, scale);
            if round { numbers.round().unwrap() } else { numbers }
        };
        let logits = numbers(&[examples, classes, positions], 4.);
        let outputs = numbers(&[examples, positions], 1e3);
        let targets = numbers(&[examples, positions], 1e-3);
        let class: Vec<i64> = (0..examples * positions)
            .map(|_| if rng.uniform() > 0.8 { -100 } else { ((rng.uniform() + 1.) / 2. * classes as f64) as i64 })
            .collect();
        let class = Tensor::from_vec(class, (examples, positions), &CPU).unwrap();
        let label = class.clamp(-100i64, 1i64).unwrap();
        let order = permutation(examples, &mut rng);
        let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(examples)).chain([0, examples]).collect();
        cuts.sort_unstable();
        check_split(|| class_metrics(-100), &logits, &class, &order, &cuts).map_err(fail)?;
        check_split(binary_metrics, &outputs, &label, &order, &cuts).map_err(fail)?;
        check_split(regression_metrics, &outputs, &targets, &order, &cuts).map_err(fail)?;
    }
}

#[test]
fn states_of_other_metrics_are_errors() -> Result<()> {
    let logits = Tensor::new(&[[3f32, 2., 1.], [1., 2., 3.]], &CPU)?;
    let target = Tensor::new(&[0i64, 1], &CPU)?;
    let mut matrix = ConfusionMatrix::new();
    matrix.update(&logits, &target)?;
    let mut resumed = ConfusionMatrix::new();
    resumed.load_state(&matrix.state()?)?;
    assert_eq!(resumed.to_string(), matrix.to_string());
    let four_classes = Tensor::zeros((2, 4), DType::F32, &CPU)?;
    assert!(
        message(resumed.update(&four_classes, &target)).contains("expected 3 classes as in earlier batches")
    );

    let all = || {
        let mut all: Vec<Box<dyn Metric>> = vec![Box::new(ConfusionMatrix::new())];
        all.extend(class_metrics(-100).into_iter().chain(binary_metrics()).chain(regression_metrics()));
        all
    };
    for mut metric in all() {
        let empty = metric.state()?;
        metric.load_state(&empty)?;
        assert!(metric.value()?.is_nan(), "{}", metric.name());
        for state in [&[-1.][..], &[0.5, 1.], &[f64::NAN; 3], &[1., 1., 1e300, 1e300, 0.5]] {
            let error = message(metric.load_state(state));
            assert!(error.ends_with("the state is not that of this metric"), "{}: {error}", metric.name());
            assert_eq!(metric.state()?, empty, "{}", metric.name());
        }
    }
    Ok(())
}

#[test]
fn a_failed_update_changes_nothing() -> Result<()> {
    let logits = Tensor::new(&[[3f32, 2., 1.], [1., 2., 3.], [2., 3., 1.]], &CPU)?;
    let target = Tensor::new(&[0i64, 2, 0], &CPU)?;
    let invalid_logits = |last: [f32; 3]| Tensor::new(&[[1f32, 2., 3.], last], &CPU);
    let pair = Tensor::new(&[2i64, 1], &CPU)?;
    for mut metric in class_metrics(-100).into_iter().chain([Box::new(ConfusionMatrix::new()) as _]) {
        // A first batch that fails does not set the number of classes.
        assert!(
            metric.update(&Tensor::zeros((1, 9), DType::F32, &CPU)?, &Tensor::new(&[9u32], &CPU)?).is_err()
        );
        metric.update(&logits, &target)?;
        let before = bits(&metric)?;
        let mut check = |logits: &Tensor, target: &Tensor, expected: &str| {
            let found = message(metric.update(logits, target));
            assert!(found.contains(expected), "{}: {found}", metric.name());
            assert_eq!(bits(&metric).unwrap(), before, "{}", metric.name());
        };
        let nan = invalid_logits([1., f32::NAN, 2.])?;
        check(&nan, &pair, "expected finite logits, found NaN at [1]");
        check(&invalid_logits([1., f32::INFINITY, 2.])?, &pair, "found inf at [1]");
        check(
            &invalid_logits([f32::NEG_INFINITY; 3])?,
            &pair,
            "expected a finite logit, found only -inf at [1]",
        );
        check(
            &logits,
            &pair,
            "expected logits [batch, classes, …] and class indices [batch, …], found [3, 3] and [2]",
        );
        check(&logits, &logits, "found [3, 3] and [3, 3]");
        check(
            &logits,
            &Tensor::new(&[0i64, 0, 3], &CPU)?,
            "expected a class index below 3, or -100 to ignore it",
        );
        check(&logits, &Tensor::new(&[0i64, -1, 0], &CPU)?, "found -1 at [1]");
        check(&logits, &Tensor::new(&[0f32, 0., 0.5], &CPU)?, "found 0.5 at [2]");
        let four = Tensor::zeros((2, 4), DType::F32, &CPU)?;
        check(&four, &pair, "expected 3 classes as in earlier batches, found 4");
        check(&Tensor::zeros((2, 0), DType::F32, &CPU)?, &pair, "found [2, 0] and [2]");
        // The logits of ignored elements may be invalid.
        metric.update(&nan, &Tensor::new(&[2i64, -100], &CPU)?)?;
        metric.reset();
        metric.update(&four, &pair)?;
    }
    Ok(())
}

#[test]
fn invalid_batches_of_binary_and_regression_metrics_are_errors() -> Result<()> {
    let logits = Tensor::new(&[[1f32, -1.], [2., 0.]], &CPU)?;
    let target = Tensor::new(&[[1u32, 0], [1, 1]], &CPU)?;
    for mut metric in binary_metrics() {
        metric.update(&logits, &target)?;
        let before = bits(&metric)?;
        let found = message(metric.update(&logits, &Tensor::new(&[[1u32, 0], [2, 1]], &CPU)?));
        assert!(
            found.contains("expected a class index below 2") && found.contains("found 2 at [1, 0]"),
            "{found}"
        );
        let found = message(
            metric.update(&Tensor::zeros((2, 3), DType::F32, &CPU)?, &Tensor::new(&[1u32, 0], &CPU)?),
        );
        assert!(found.contains("found logits [2, 3] and a target [2]"), "{found}");
        assert_eq!(bits(&metric)?, before, "{}", metric.name());
    }
    for mut metric in regression_metrics() {
        metric.update(&logits, &target)?;
        let before = bits(&metric)?;
        let found = message(metric.update(&logits, &Tensor::new(&[[0f32, 0.], [f32::NAN, 0.]], &CPU)?));
        assert!(found.ends_with("expected a finite target, found NaN at [1, 0]"), "{found}");
        let found = message(metric.update(&logits, &Tensor::new(&[[1f32], [1.]], &CPU)?));
        assert!(found.contains("expected a target of the output's shape [2, 2], found [2, 1]"), "{found}");
        assert_eq!(bits(&metric)?, before, "{}", metric.name());
    }
    let zero = message(Accuracy::top(0).update(&logits, &Tensor::new(&[1u32, 0], &CPU)?));
    assert_eq!(zero, "Accuracy: expected k of at least 1, found 0");
    assert!(message(Perplexity::new().add_mean(f64::NAN, 1)).contains("NaN"));
    let many = Tensor::zeros((0, 20_000), DType::F32, &CPU)?;
    let found = message(ConfusionMatrix::new().update(&many, &Tensor::zeros(0, DType::U32, &CPU)?));
    assert_eq!(found, "ConfusionMatrix: expected at most 16384 classes, found 20000");
    Ok(())
}

#[test]
fn half_precision_is_read_without_rounding() -> Result<()> {
    let mut rng = Rng::new(1);
    let logits = rng.tensor(&[50, 3], 4.);
    let class = Tensor::from_vec((0..50u32).map(|i| i * 7 % 3).collect::<Vec<_>>(), 50, &CPU)?;
    for dtype in [DType::F16, DType::BF16] {
        let narrow = logits.to_dtype(dtype)?;
        let wide = narrow.to_dtype(DType::F64)?;
        for (mut metric, mut expected) in class_metrics(-100).into_iter().zip(class_metrics(-100)) {
            metric.update(&narrow, &class)?;
            expected.update(&wide, &class)?;
            assert_eq!(bits(&metric)?, bits(&expected)?, "{}", metric.name());
        }
    }
    Ok(())
}

#[test]
fn perplexity_supports_masked_logits() -> Result<()> {
    let masked = Tensor::new(&[[0f32, f32::NEG_INFINITY, 0.], [0., 1., f32::NEG_INFINITY]], &CPU)?;
    let mut perplexity = Perplexity::new();
    perplexity.update(&masked.narrow(0, 0, 1)?, &Tensor::new(&[2u32], &CPU)?)?;
    assert!((perplexity.value()? - 2.).abs() < 1e-15);
    perplexity.update(&masked, &Tensor::new(&[1u32, 0], &CPU)?)?;
    assert_eq!(perplexity.value()?, f64::INFINITY);
    Ok(())
}

#[test]
fn auroc_ranks_logits_whose_softmax_is_equal() -> Result<()> {
    // In f64, the softmax of all these logits is 1 at class 0.
    let confident = Tensor::new(&[[3000f32, 0., 0.], [2000., 0., 0.], [1000., 0., 0.]], &CPU)?;
    let mut auroc = Auroc::macro_average();
    auroc.update(&confident, &Tensor::new(&[0u32, 0, 1], &CPU)?)?;
    assert_eq!(auroc.per_class()[..2], [1., 1.]);
    Ok(())
}

#[test]
fn functions_return_the_metrics_of_one_batch() -> Result<()> {
    let logits = Tensor::new(&[[3f32, 2., 1.], [1., 2., 3.], [2., 2., 2.], [1., 3., 2.]], &CPU)?;
    let target = Tensor::new(&[0u32, 1, 1, 0], &CPU)?;
    // If logits are equal, the class with the lowest index is predicted.
    assert_eq!(accuracy(&logits, &target)?, 0.25);
    assert_eq!(top_k_accuracy(&logits, &target, 2)?, 0.75);
    assert_eq!(top_k_accuracy(&logits, &target, 3)?, 1.);
    assert_eq!(confusion_matrix(&logits, &target)?.to_vec2::<i64>()?, [[1, 1, 0], [1, 0, 1], [0, 0, 0]]);
    let signs = Tensor::new(&[1f32, -1., 2.], &CPU)?;
    assert_eq!(binary_accuracy(&signs, &Tensor::new(&[1f32, 0., 0.], &CPU)?)?, 2. / 3.);
    let found = message(accuracy(&logits, &Tensor::new(&[0u32], &CPU)?));
    assert!(found.starts_with("accuracy: expected logits"), "{found}");
    assert!(accuracy(&logits.narrow(0, 0, 0)?, &target.narrow(0, 0, 0)?)?.is_nan());
    Ok(())
}

#[test]
fn a_large_confusion_matrix_lists_the_most_frequent_errors() -> Result<()> {
    let mut matrix = ConfusionMatrix::new();
    let predicted = Tensor::new(&[3u32, 3, 3, 7, 24], &CPU)?;
    let logits = Tensor::eye(25, DType::F32, &CPU)?.index_select(&predicted, 0)?;
    matrix.update(&logits, &Tensor::new(&[3u32, 5, 5, 6, 24], &CPU)?)?;
    assert_eq!(
        matrix.to_string(),
        "25 classes, 2 of 5 elements correct\n2 of class 5 predicted as 3\n1 of class 6 predicted as 7\n"
    );
    assert_eq!((matrix.count(5, 3), matrix.count(3, 5), matrix.count(99, 0)), (2, 0, 0));
    Ok(())
}

#[test]
fn batches_count_in_the_mean_in_proportion_to_their_examples() {
    let mut mean = Mean::default();
    assert!(mean.value().is_nan());
    mean.add(1., 3);
    mean.add(5., 1);
    assert_eq!(mean.value(), 2.);
}

#[test]
fn large_batches_are_read_completely() -> Result<()> {
    // 120,000 logits, which are converted in several parts.
    let logits = Rng::new(2).tensor(&[400, 3, 100], 1.);
    let target = logits.argmax(1)?;
    let mut matrix = ConfusionMatrix::new();
    matrix.update(&logits, &target)?;
    assert_eq!(matrix.value()?, 1.);
    let elements: i64 = matrix.to_tensor()?.sum_all()?.to_scalar()?;
    assert_eq!(elements, 40_000);
    Ok(())
}

/// Updates a metric with every batch.
fn update_with_all(mut metric: impl Metric, data: &TensorDataset) -> Result<()> {
    for batch in data.epoch()? {
        let (output, target) = batch?;
        metric.update(&output, &target)?;
    }
    Ok(())
}

#[test]
fn evaluation_and_the_metric_ignore_the_same_elements() -> Result<()> {
    let logits = Rng::new(3).tensor(&[23, 4, 6], 1.).to_dtype(DType::F32)?;
    let target: Vec<i64> = (0..23 * 6).map(|i| if i % 5 < 2 || i < 40 { -100 } else { i * 7 % 4 }).collect();
    let data = TensorDataset::new(logits, Tensor::from_vec(target, (23, 6), &CPU)?)?.batch_size(5);
    let net = Identity::config();
    let mut trainer = Trainer::new(&net, CrossEntropyLoss::new().reduction(Reduction::Sum), Sgd::new(0.1));
    let mut metric = Accuracy::top(1);
    update_with_all(&mut metric, &data)?;
    let expected = metric.value()?;
    assert!((0.1..0.9).contains(&expected));
    assert_eq!(trainer.evaluate(&data)?.accuracy, Some(expected));
    Ok(())
}
