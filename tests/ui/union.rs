use sconce::prelude::*;

#[derive(Module)]
union Net {
    fc: std::mem::ManuallyDrop<Linear>,
}

fn main() {}
