use sconce::prelude::*;

macro_rules! network {
    ($name:ident, $t:ty, $width:expr) => {
        #[derive(Module)]
        struct $name {
            #[layer($width, 3)]
            fc: $t,
        }
    };
}

network!(First, Linear, "three");
network!(Second, Vec<Linear>, 3);

fn main() {}
