//! Precision, recall, F1 and mean IoU: ratios of counts for each class.

use candle_core::Tensor;

use crate::Result;

use super::Metric;
use super::reader::{ClassReader, LogitShape, predicted};
use super::state::numbers;

/// The counts of one class.
#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    /// The number of elements that are of the class and are predicted to be.
    correct: u64,
    /// The number of elements that are predicted to be of the class.
    predicted: u64,
    /// The number of elements that are of the class.
    actual: u64,
}

/// Returns the numerator and the denominator of the ratio of a class.
type Ratio = fn(&Counts) -> [u64; 2];

/// Returns the quotient, or 0 if the denominator is 0.
fn divide([numerator, denominator]: [u64; 2]) -> f64 {
    if denominator == 0 { 0. } else { numerator as f64 / denominator as f64 }
}

/// How the ratios of the classes become one number.
#[derive(Clone, Copy, Debug)]
enum Average {
    /// The ratio of class 1.
    Binary,
    /// The sum of the numerators of all classes divided by the sum of their denominators.
    Micro,
    /// The mean over all classes that occur.
    Macro,
    /// The mean over all classes, weighted by the number of elements.
    Weighted,
}

impl Average {
    /// Returns the name of an averaged metric.
    fn name(self, metric: &str) -> String {
        match self {
            Self::Binary => metric.to_owned(),
            Self::Micro => format!("{metric}_micro"),
            Self::Macro => format!("{metric}_macro"),
            Self::Weighted => format!("{metric}_weighted"),
        }
    }
}

/// A metric that is a ratio of counts.
#[derive(Clone, Debug)]
struct ClassRatio {
    name: String,
    reader: ClassReader,
    ratio: Ratio,
    average: Average,
    classes: Vec<Counts>,
}

impl ClassRatio {
    fn new(name: String, reader: ClassReader, average: Average, ratio: Ratio) -> Self {
        Self { name, reader, ratio, average, classes: Vec::new() }
    }

    fn update(&mut self, output: &Tensor, target: &Tensor) -> Result<()> {
        let new = |classes| Ok(vec![Counts::default(); classes]);
        let batch = self.reader.read(output, target, new, |counts, class, logits| {
            let predicted = predicted(logits);
            counts[class].actual += 1;
            counts[predicted].predicted += 1;
            counts[class].correct += u64::from(class == predicted);
        })?;
        self.add(batch);
        Ok(())
    }

    /// Adds the counts of each class.
    fn add(&mut self, counts: Vec<Counts>) {
        self.classes.resize(self.classes.len().max(counts.len()), Counts::default());
        for (sum, counts) in self.classes.iter_mut().zip(counts) {
            sum.correct += counts.correct;
            sum.predicted += counts.predicted;
            sum.actual += counts.actual;
        }
    }

    fn reset(&mut self) {
        self.reader.reset();
        self.classes.clear();
    }

    /// Returns the counts of each class. The number of classes follows from the length of the list.
    fn state(&self) -> Vec<f64> {
        let counts = self.classes.iter().flat_map(|class| [class.correct, class.predicted, class.actual]);
        numbers(counts)
    }

    fn load_state(&mut self, state: &[f64]) -> Result<()> {
        let mut reader = self.reader.state(state);
        let classes = (0..state.len().div_ceil(3)).map(|_| {
            Ok(Counts { correct: reader.count()?, predicted: reader.count()?, actual: reader.count()? })
        });
        let classes = classes.collect::<Result<Vec<_>>>()?;
        if matches!(self.average, Average::Binary) && classes.len() == 1 {
            return Err(reader.invalid());
        }
        self.reader.restore_classes(classes.len());
        self.classes = classes;
        Ok(())
    }

    fn merge(&mut self, state: &[f64]) -> Result<()> {
        let mut other = self.clone();
        other.load_state(state)?;
        self.reader.merge(&other.reader)?;
        self.add(other.classes);
        Ok(())
    }

    /// Returns the ratio of each class, or NaN for a class that is neither predicted nor in the targets.
    fn per_class(&self) -> Vec<f64> {
        let value = |class: &Counts| match class.predicted + class.actual {
            0 => f64::NAN,
            _ => divide((self.ratio)(class)),
        };
        self.classes.iter().map(value).collect()
    }

    fn value(&self) -> f64 {
        let elements: u64 = self.classes.iter().map(|class| class.actual).sum();
        if elements == 0 {
            return f64::NAN;
        }
        match self.average {
            Average::Binary => divide((self.ratio)(&self.classes[1])),
            Average::Micro => {
                let add = |[a, b]: [u64; 2], [c, d]: [u64; 2]| [a + c, b + d];
                divide(self.classes.iter().map(self.ratio).fold([0; 2], add))
            }
            Average::Macro => {
                let occurring: Vec<f64> =
                    self.per_class().into_iter().filter(|value| !value.is_nan()).collect();
                occurring.iter().sum::<f64>() / occurring.len() as f64
            }
            Average::Weighted => {
                let weighted = |class: &Counts| class.actual as f64 * divide((self.ratio)(class));
                self.classes.iter().map(weighted).sum::<f64>() / elements as f64
            }
        }
    }
}

macro_rules! ratio_metric {
    ($metric:ident) => {
        impl $metric {
            /// Sets the target index of the elements to ignore, by default −100.
            pub fn ignore_index(mut self, index: i64) -> Self {
                self.0.reader.ignore_index = index;
                self
            }

            /// Returns the value of each class, or NaN for a class that is neither predicted nor in the targets. The
            /// list is empty before the first batch.
            pub fn per_class(&self) -> Vec<f64> {
                self.0.per_class()
            }
        }

        impl Metric for $metric {
            fn name(&self) -> String {
                self.0.name.clone()
            }

            fn update(&mut self, output: &Tensor, target: &Tensor) -> Result<()> {
                self.0.update(output, target)
            }

            fn value(&self) -> Result<f64> {
                Ok(self.0.value())
            }

            fn reset(&mut self) {
                self.0.reset();
            }

            fn state(&self) -> Result<Vec<f64>> {
                Ok(self.0.state())
            }

            fn load_state(&mut self, state: &[f64]) -> Result<()> {
                self.0.load_state(state)
            }

            fn merge(&mut self, state: &[f64]) -> Result<()> {
                self.0.merge(state)
            }

            fn higher_is_better(&self) -> bool {
                true
            }
        }
    };
}

macro_rules! averaged_metric {
    ($(#[$doc:meta])* $metric:ident, $name:literal, $ratio:expr) => {
        $(#[$doc])*
        #[derive(Clone, Debug)]
        pub struct $metric(ClassRatio);

        impl $metric {
            /// Creates the metric of class 1, from binary logits with targets (0 or 1) of the same shape, or from
            /// two-class logits `[batch, 2, …]` with class indices `[batch, …]`.
            pub fn binary() -> Self {
                Self::new(LogitShape::Binary, Average::Binary)
            }

            /// Creates the metric from the counts of all classes, added together. Every element has one target class
            /// and one predicted class, so the value equals the accuracy.
            pub fn micro_average() -> Self {
                Self::new(LogitShape::Classes, Average::Micro)
            }

            /// Creates the mean over the classes that occur in the predictions or in the targets.
            pub fn macro_average() -> Self {
                Self::new(LogitShape::Classes, Average::Macro)
            }

            /// Creates the mean over the classes, weighted by the number of their elements in the targets.
            pub fn weighted_average() -> Self {
                Self::new(LogitShape::Classes, Average::Weighted)
            }

            fn new(logit_shape: LogitShape, average: Average) -> Self {
                let reader = ClassReader::new(stringify!($metric), logit_shape);
                Self(ClassRatio::new(average.name($name), reader, average, $ratio))
            }
        }

        ratio_metric!($metric);
    };
}

averaged_metric! {
    /// Of the elements that are predicted to be of a class, the fraction that are of this class.
    ///
    /// Except with [`binary`](Self::binary), logits have shape `[batch, classes, …]` and targets are class indices
    /// `[batch, …]`. The precision of a class that is never predicted is 0, as with scikit-learn's default
    /// `zero_division`.
    ///
    /// ```
    /// use sconce::prelude::*;
    /// # fn main() -> Result<()> {
    /// let mut precision = Precision::binary();
    /// let logits = Tensor::new(&[2f32, 1., 0.5, -1.], &Device::Cpu)?;
    /// precision.update(&logits, &Tensor::new(&[1u32, 1, 0, 1], &Device::Cpu)?)?;
    /// assert_eq!(precision.value()?, 2. / 3.);
    /// # Ok(())
    /// # }
    /// ```
    Precision, "precision", |class| [class.correct, class.predicted]
}

averaged_metric! {
    /// Of the elements that are of a class, the fraction that are predicted to be of this class.
    ///
    /// Except with [`binary`](Self::binary), logits have shape `[batch, classes, …]` and targets are class indices
    /// `[batch, …]`. The recall of a class that is predicted but not in the targets is 0, as with scikit-learn's
    /// default `zero_division`.
    ///
    /// ```
    /// use sconce::prelude::*;
    /// # fn main() -> Result<()> {
    /// let mut recall = Recall::macro_average();
    /// let logits = Tensor::new(&[[2f32, 1.], [2., 1.], [1., 2.]], &Device::Cpu)?;
    /// recall.update(&logits, &Tensor::new(&[0u32, 1, 1], &Device::Cpu)?)?;
    /// assert_eq!(recall.per_class(), [1., 0.5]);
    /// assert_eq!(recall.value()?, 0.75);
    /// # Ok(())
    /// # }
    /// ```
    Recall, "recall", |class| [class.correct, class.actual]
}

averaged_metric! {
    /// The harmonic mean of [`Precision`] and [`Recall`] of a class.
    ///
    /// Except with [`binary`](Self::binary), logits have shape `[batch, classes, …]` and targets are class indices
    /// `[batch, …]`. The value of a class without a correctly predicted element is 0, as with scikit-learn's default
    /// `zero_division`.
    ///
    /// ```
    /// use sconce::prelude::*;
    /// # fn main() -> Result<()> {
    /// let mut f1 = F1::macro_average();
    /// let logits = Tensor::new(&[[2f32, 1.], [2., 1.], [1., 2.]], &Device::Cpu)?;
    /// f1.update(&logits, &Tensor::new(&[0u32, 1, 1], &Device::Cpu)?)?;
    /// assert_eq!(f1.value()?, 2. / 3.); // 2/3 for each of the two classes
    /// # Ok(())
    /// # }
    /// ```
    F1, "f1", |class| [2 * class.correct, class.predicted + class.actual]
}

/// The intersection over union (IoU, Jaccard index) of predictions and targets, averaged over the classes, for
/// segmentation.
///
/// Logits have shape `[batch, classes, …]`, such as `[batch, classes, height, width]`. Targets are class indices
/// `[batch, …]`. The IoU of a class is the number of elements that are of the class and predicted to be, divided by the
/// number of elements that are of the class or predicted to be. Classes that are neither predicted nor in the targets
/// are left out of the mean.
///
/// ```
/// use sconce::prelude::*;
/// # fn main() -> Result<()> {
/// let mut iou = MeanIou::new().ignore_index(255);
/// let logits = Tensor::new(&[[[3f32, 3., 0., 0.], [0., 0., 3., 3.], [1., 1., 1., 1.]]], &Device::Cpu)?;
/// iou.update(&logits, &Tensor::new(&[[0u32, 1, 1, 255]], &Device::Cpu)?)?;
/// assert_eq!(iou.value()?, 0.5); // 1/2 for class 0 and for class 1; class 2 does not occur
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct MeanIou(ClassRatio);

impl MeanIou {
    /// Creates the metric for class logits.
    pub fn new() -> Self {
        Self::with_logit_shape(LogitShape::Classes)
    }

    /// Creates the metric for binary logits with targets (0 or 1) of the same shape. The value is the mean of two IoUs:
    /// of the foreground and of the background.
    pub fn binary() -> Self {
        Self::with_logit_shape(LogitShape::Binary)
    }

    fn with_logit_shape(logit_shape: LogitShape) -> Self {
        let ratio: Ratio = |class| [class.correct, class.predicted + class.actual - class.correct];
        let reader = ClassReader::new("MeanIou", logit_shape);
        Self(ClassRatio::new("mean_iou".into(), reader, Average::Macro, ratio))
    }
}

impl Default for MeanIou {
    fn default() -> Self {
        Self::new()
    }
}

ratio_metric!(MeanIou);
