//! Trains an LSTM and a transformer to tell positive reviews from negative ones, and compares them with a bag of words.
//!
//! The reviews come from a grammar: "although the soup was not bad the waiter was hardly pleasant" is negative. A
//! linear classifier of a bag of words does not see which words a negation or a contrast refers to.

#[path = "../common/arguments.rs"]
mod arguments;
mod models;
mod reviews;

use lexopt::prelude::*;
use sconce::prelude::*;
use sconce::train::data::dataset_fn;
use sconce::train::metrics;

use models::{BagOfWords, Recurrent, Transformer};
use reviews::{Reviews, Vocabulary, generate, pad};

const HELP: &str = "\
Trains classifiers on 20,000 generated reviews, tests them on 2,000 others, and classifies the given sentences.
usage: cargo run --release --example text_classifier -- [OPTIONS] [SENTENCE…]

--model NAME  lstm or transformer (default: both)
--epochs N    passes over the reviews (default: 3)
--seed N      random seed of the run (default: 0)
--short       one epoch of 256 reviews, to check that the program runs";

const MODELS: [&str; 2] = ["lstm", "transformer"];

const SENTENCES: [&str; 4] = [
    "The soup was good.",
    "The soup was not good.",
    "Nobody says that the soup was not good, but the view was hardly superb.",
    "The dessert was wonderful, although the service was terrible.",
];

/// The longest sentence that the transformer can read, in tokens.
const POSITIONS: usize = 64;

fn main() -> Result<()> {
    let Arguments { models, epochs, seed, short, sentences } = arguments::parse(HELP, parse);
    manual_seed(seed);

    let (count, test_count, warmup) = if short { (256, 128, 1) } else { (20_000, 2_000, 50) };
    let mut train = generate(count + test_count, seed);
    let test = train.split_off(count);
    let vocabulary = Vocabulary::new(train.iter().map(|(text, _)| text.as_str()));
    let tokens = vocabulary.tokens();
    let task = Task {
        train: loader(&train, &vocabulary).shuffle(true),
        test: loader(&test, &vocabulary),
        epochs,
        warmup,
        sentence_tokens: sentences.iter().map(|text| vocabulary.tokenize(text)).collect(),
        sentences,
    };
    for (text, tokens) in task.sentences.iter().zip(&task.sentence_tokens) {
        if tokens.len() > POSITIONS {
            let found = tokens.len();
            return Err(Error::msg(format!(
                "expected at most {POSITIONS} tokens, found {found} in `{text}`"
            )));
        }
    }

    task.run("bag of words", &BagOfWords::new(tokens, &Device::Cpu)?, 0.05)?;
    if models.contains(&"lstm") {
        task.run("LSTM", &Recurrent::new(tokens, &Device::Cpu)?, 4e-3)?;
    }
    if models.contains(&"transformer") {
        task.run("transformer", &Transformer::new(tokens, POSITIONS, &Device::Cpu)?, 2e-3)?;
    }
    Ok(())
}

/// Returns a loader of batches of reviews `(text, label)`.
fn loader(reviews: &[(String, u32)], vocabulary: &Vocabulary) -> DataLoader<impl Dataset + use<>, Reviews> {
    let tokenize = |(text, label): &(String, u32)| (vocabulary.tokenize(text), *label);
    let reviews: Vec<_> = reviews.iter().map(tokenize).collect();
    let reviews = dataset_fn(reviews.len(), move |index, _| Ok(reviews[index].clone()));
    DataLoader::with_collate(reviews, |reviews, _indices| Reviews::collate(reviews))
}

/// The reviews, and sentences to classify after training.
struct Task<D> {
    train: D,
    test: D,
    epochs: usize,
    /// The number of steps in which the learning rate rises.
    warmup: usize,
    sentences: Vec<String>,
    /// The tokens of each sentence.
    sentence_tokens: Vec<Vec<u32>>,
}

impl<D: Batches<Batch = Reviews>> Task<D> {
    /// Trains a network. Prints the network's accuracy and F1, and the probability that each sentence is positive.
    fn run<M: Forward<(Signal, Signal), Output = Signal>>(
        &self,
        name: &str,
        network: &M,
        lr: f64,
    ) -> Result<()> {
        let loss = |logits: &Tensor, reviews: &Reviews| cross_entropy(logits, &reviews.labels);
        let labels = |logits: &Tensor, reviews: &Reviews| Ok((logits.clone(), reviews.labels.clone()));
        let mut trainer = Trainer::new(network, loss, AdamW::new(lr))
            .schedule(Cosine::new().warmup(self.warmup))
            .metric(metrics::of("accuracy", Accuracy::top(1), labels))
            .metric(metrics::of("f1", F1::binary(), labels));
        println!("{name}, {} parameters", network.num_parameters());
        trainer.fit(&self.train, &(), Epochs(self.epochs))?;
        println!("on unseen reviews: {}", trainer.evaluate(&self.test)?);

        let (tokens, lengths) = pad(&self.sentence_tokens)?;
        let logits = network.call((tokens.into(), lengths.into()), Mode::Eval);
        let positive = softmax(logits, 1).narrow(1, 1, 1).squeeze(1).into_tensor()?.to_vec1::<f32>()?;
        for (text, positive) in self.sentences.iter().zip(positive) {
            println!("  {:5.1} % positive: {text}", 100. * positive);
        }
        Ok(())
    }
}

struct Arguments {
    models: Vec<&'static str>,
    epochs: usize,
    seed: u64,
    short: bool,
    sentences: Vec<String>,
}

fn parse(mut parser: lexopt::Parser) -> std::result::Result<Arguments, lexopt::Error> {
    let (mut models, mut epochs, mut seed, mut short) = (MODELS.to_vec(), None, 0, false);
    let mut sentences = Vec::new();
    while let Some(argument) = parser.next()? {
        match argument {
            Long("model") => {
                let name = parser.value()?.string()?;
                models = MODELS.into_iter().filter(|model| *model == name).collect();
                if models.is_empty() {
                    return Err(format!("expected one of {}, found {name:?}", MODELS.join(", ")).into());
                }
            }
            Long("epochs") => epochs = Some(parser.value()?.parse()?),
            Long("seed") => seed = parser.value()?.parse()?,
            Long("short") => short = true,
            Value(sentence) => sentences.push(sentence.string()?),
            _ => return Err(argument.unexpected()),
        }
    }
    if sentences.is_empty() {
        sentences.extend(SENTENCES.map(str::to_owned));
    }
    Ok(Arguments { models, epochs: epochs.unwrap_or(if short { 1 } else { 3 }), seed, short, sentences })
}
