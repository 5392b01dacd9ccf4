//! Arguments may have the names of methods and variables of the generated code.

#![allow(non_snake_case)]

use sconce::prelude::*;

const DEVICE: Device = Device::Cpu;

macro_rules! with_args {
    ($($required:ident $optional:ident $name:ident;)*) => {
        $(
            #[derive(Module)]
            #[module(args($name: usize))]
            struct $required {
                #[layer($name, $name)]
                fc: Linear,
                #[layer($name, $name; for _ in 0..$name)]
                list: Vec<Linear>,
            }

            #[derive(Module)]
            #[module(args($name: usize = 2))]
            struct $optional {
                #[layer($name, $name)]
                fc: Linear,
                #[module(skip = $name)]
                $name: usize,
            }
        )*

        #[test]
        fn arguments_can_have_the_names_of_methods() -> Result<()> {
            $(
                assert_eq!($required::new(3, &DEVICE)?.fc.weight().dims(), [3, 3]);
                let config = $required::config(3);
                assert!(format!("{config:?}").contains('3'));
                assert_eq!(config.clone().init(&DEVICE)?.list.len(), 3);
                assert_eq!($optional::config().$name(4).init(&DEVICE)?.fc.weight().dims(), [4, 4]);
                assert_eq!($optional::new(&DEVICE)?.$name, 2);
                let _ = $optional::config().$name(4);
            )*
            Ok(())
        }
    };
}

with_args! {
    R1 O1 new;
    R2 O2 config;
    R3 O3 forward;
    R4 O4 mode;
    R5 O5 x;
    R6 O6 input;
    R7 O7 default;
    R8 O8 into;
    R9 O9 from;
    R10 O10 fmt;
    R11 O11 vb;
    R12 O12 krate;
    R13 O13 sconce;
    R14 O14 r#fn;
    R15 O15 scope;
    R16 O16 _private;
    R17 O17 value;
    R18 O18 ok;
    R19 O19 device;
    R20 O20 drop;
    R21 O21 N;
    R22 O22 core;
    R23 O23 std;
    R24 O24 bool;
    R25 O25 usize_;
    R26 O26 i;
    R28 O28 share;
    R29 O29 set_mode;
    R30 O30 output;
}

#[derive(Module)]
#[module(args(build: usize, init: usize, load: usize, load_with: usize, clone: usize))]
struct Reserved {
    #[layer(build + init, load + load_with + clone)]
    fc: Linear,
}

#[derive(Module)]
#[module(args(clone: usize = 3))]
struct CloneSetter {
    #[layer(clone, clone)]
    fc: Linear,
}

#[test]
fn required_arguments_can_have_the_names_of_config_methods() -> Result<()> {
    let config = Reserved::config(1, 1, 1, 1, 1);
    assert_eq!(config.clone().init(&DEVICE)?.fc.weight().dims(), [3, 2]);
    assert_eq!(CloneSetter::config().clone(4).init(&DEVICE)?.fc.weight().dims(), [4, 4]);
    Ok(())
}
