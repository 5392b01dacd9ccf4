use sconce::prelude::*;

#[derive(Batch)]
struct NoInput {
    image: Tensor,
}

#[derive(Batch)]
struct PlainData {
    #[batch(input)]
    image: Tensor,
    name: String,
}

#[derive(Batch)]
struct Misspelled {
    #[batch(inputs)]
    image: Tensor,
}

#[derive(Batch)]
struct SkippedInput {
    #[batch(input, skip)]
    image: Tensor,
}

#[derive(Batch)]
enum Variants {
    Image(Tensor),
}

fn main() {}
