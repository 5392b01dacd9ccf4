//! Restaurant reviews from a grammar, in which negation and contrast decide whether a review is positive.

use std::collections::{BTreeSet, HashSet};
use std::iter::repeat;

use sconce::prelude::*;
use sconce::train::data::Generator;

const SUBJECTS: [&str; 10] = [
    "the soup",
    "the fish",
    "the dessert",
    "the coffee",
    "the waiter",
    "the service",
    "the music",
    "the view",
    "our table",
    "the bill",
];
const NEGATIVE: [&str; 8] =
    ["bad", "awful", "disappointing", "terrible", "dreadful", "poor", "boring", "unpleasant"];
const POSITIVE: [&str; 8] =
    ["good", "great", "delightful", "excellent", "lovely", "wonderful", "superb", "pleasant"];
const NEGATIONS: [&str; 3] = ["not", "never", "hardly"];
const ADVERBS: [&str; 4] = ["", "really", "very", "particularly"];

/// The token that fills a sentence up to the length of the longest sentence of its batch.
pub const PADDING: u32 = 0;
/// The first token of every sentence.
const START: u32 = 1;

/// Returns `count` different reviews with their labels: 1 if positive, 0 if negative.
pub fn generate(count: usize, seed: u64) -> Vec<(String, u32)> {
    let mut rng = Generator::from_seed(seed);
    let mut seen = HashSet::new();
    let reviews = repeat(()).map(|()| review(&mut rng)).filter(|(text, _)| seen.insert(text.clone()));
    reviews.map(|(text, positive)| (text, u32::from(positive))).take(count).collect()
}

/// Returns a review, and `true` if it is positive. A review has one clause, or two clauses, one of which decides.
fn review(rng: &mut Generator) -> (String, bool) {
    let (first, first_is_positive) = clause(rng);
    let (second, second_is_positive) = clause(rng);
    match rng.below(4) {
        0 => (first, first_is_positive),
        1 => (format!("{first} but {second}"), second_is_positive),
        2 => (format!("although {first} {second}"), second_is_positive),
        _ => (format!("{first} although {second}"), first_is_positive),
    }
}

/// Returns a clause with up to two negations, such as "nobody says that the soup was not really bad", and `true` if it
/// is positive.
fn clause(rng: &mut Generator) -> (String, bool) {
    let [denied, negated] = [rng.bernoulli(0.15), rng.bernoulli(0.3)];
    let positive = rng.bernoulli(0.5);
    let words = [
        if denied { "nobody says that" } else { "" },
        pick(&SUBJECTS, rng),
        "was",
        if negated { pick(&NEGATIONS, rng) } else { "" },
        pick(&ADVERBS, rng),
        pick(if positive { &POSITIVE } else { &NEGATIVE }, rng),
    ];
    let words: Vec<&str> = words.into_iter().filter(|word| !word.is_empty()).collect();
    (words.join(" "), positive ^ negated ^ denied)
}

fn pick<'a>(words: &[&'a str], rng: &mut Generator) -> &'a str {
    words[rng.below(words.len())]
}

/// The words that have a token.
pub struct Vocabulary(Vec<String>);

impl Vocabulary {
    /// Creates the vocabulary of the words of all `texts`.
    pub fn new<'a>(texts: impl Iterator<Item = &'a str>) -> Self {
        Self(texts.flat_map(words).collect::<BTreeSet<_>>().into_iter().collect())
    }

    /// Returns the number of tokens, including the start token and the padding token.
    pub fn tokens(&self) -> usize {
        2 + self.0.len()
    }

    /// Returns the start token and the tokens of the words. Leaves out unknown words.
    pub fn tokenize(&self, text: &str) -> Vec<u32> {
        let tokens = words(text).filter_map(|word| self.0.binary_search(&word).ok());
        [START].into_iter().chain(tokens.map(|word| word as u32 + 2)).collect()
    }
}

/// Returns the words of a text in lower case, without punctuation.
fn words(text: &str) -> impl Iterator<Item = String> {
    let words = text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty());
    words.map(str::to_lowercase)
}

/// A batch of reviews.
#[derive(Batch)]
pub struct Reviews {
    /// The tokens of each review, padded to the length of the longest: `[batch, longest]`.
    #[batch(input)]
    pub tokens: Tensor,
    /// The number of tokens before the padding, `[batch]`.
    #[batch(input)]
    pub lengths: Tensor,
    /// 1 for a positive review and 0 for a negative one, `[batch]`.
    pub labels: Tensor,
}

impl Reviews {
    /// Creates a batch from the tokens and the label of each review.
    pub fn collate(reviews: Vec<(Vec<u32>, u32)>) -> Result<Self> {
        let (sentences, labels): (Vec<_>, Vec<_>) = reviews.into_iter().unzip();
        let (tokens, lengths) = pad(&sentences)?;
        Ok(Self { tokens, lengths, labels: Tensor::new(labels, &Device::Cpu)? })
    }
}

/// Returns the tokens of sentences `[batch, longest]`, padded at the end, and the lengths `[batch]`.
pub fn pad(sentences: &[Vec<u32>]) -> Result<(Tensor, Tensor)> {
    let longest = sentences.iter().map(Vec::len).max().unwrap_or(0);
    let padded = |sentence: &Vec<u32>| sentence.clone().into_iter().chain(repeat(PADDING)).take(longest);
    let tokens: Vec<u32> = sentences.iter().flat_map(padded).collect();
    let lengths: Vec<u32> = sentences.iter().map(|sentence| sentence.len() as u32).collect();
    let tokens = Tensor::from_vec(tokens, (sentences.len(), longest), &Device::Cpu)?;
    Ok((tokens, Tensor::new(lengths, &Device::Cpu)?))
}
