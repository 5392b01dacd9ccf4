use sconce::prelude::*;

fn bump(x: &mut Signal) {
    *x += 1;
}

struct Token;

impl Token {
    fn id(&self) -> usize {
        1
    }
}

fn spend(_: Token) -> usize {
    2
}

#[derive(Module)]
#[module(forward = |x, mut ys: Vec<Signal>| {
    if let Some(y) = ys.last_mut() {
        bump(y);
        bump(y);
    }
    let token = Token;
    let first = spend(token);
    let second = spend(token);
    let token = Token;
    let id = token.id();
    x * first * second * spend(token) * id
})]
struct Model {}

fn main() {}
