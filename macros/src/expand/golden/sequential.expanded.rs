#[automatically_derived]
impl ::sconce::Module for Sequential {
    fn kind(&self) -> ::sconce::__private::Cow<'static, ::core::primitive::str> {
        ::sconce::__private::Cow::Borrowed("Sequential")
    }
    fn visit<'module>(&'module self, visitor: &mut dyn ::sconce::Visitor<'module>) {
        visitor
            .child(
                "stem",
                ::sconce::__private::sequential_field::<(Conv2d, BatchNorm, Relu)>()
                    .as_module(&self.stem),
            );
        visitor
            .child(
                "blocks",
                ::sconce::__private::sequential_field::<[Conv2d; 2]>()
                    .as_module(&self.blocks),
            );
        visitor
            .child(
                "act",
                ::sconce::__private::sequential_field::<Relu>().as_module(&self.act),
            );
        visitor
            .child(
                "dropout",
                ::sconce::__private::sequential_field::<Option<Dropout>>()
                    .as_module(&self.dropout),
            );
        visitor
            .child(
                "head",
                ::sconce::__private::sequential_field::<Box<Conv2d>>()
                    .as_module(&self.head),
            );
    }
    fn visit_mut(&mut self, visitor: &mut dyn ::sconce::VisitorMut) {
        visitor
            .child(
                "stem",
                ::sconce::__private::sequential_field::<(Conv2d, BatchNorm, Relu)>()
                    .as_module_mut(&mut self.stem),
            );
        visitor
            .child(
                "blocks",
                ::sconce::__private::sequential_field::<[Conv2d; 2]>()
                    .as_module_mut(&mut self.blocks),
            );
        visitor
            .child(
                "act",
                ::sconce::__private::sequential_field::<Relu>()
                    .as_module_mut(&mut self.act),
            );
        visitor
            .child(
                "dropout",
                ::sconce::__private::sequential_field::<Option<Dropout>>()
                    .as_module_mut(&mut self.dropout),
            );
        visitor
            .child(
                "head",
                ::sconce::__private::sequential_field::<Box<Conv2d>>()
                    .as_module_mut(&mut self.head),
            );
    }
    fn share(&self) -> Self {
        Self {
            stem: ::sconce::__private::sequential_field::<(Conv2d, BatchNorm, Relu)>()
                .share(&self.stem),
            blocks: ::sconce::__private::sequential_field::<[Conv2d; 2]>()
                .share(&self.blocks),
            act: ::sconce::__private::sequential_field::<Relu>().share(&self.act),
            dropout: ::sconce::__private::sequential_field::<Option<Dropout>>()
                .share(&self.dropout),
            head: ::sconce::__private::sequential_field::<Box<Conv2d>>()
                .share(&self.head),
        }
    }
}
#[automatically_derived]
impl ::core::fmt::Display for Sequential {
    fn fmt(&self, f: &mut ::core::fmt::Formatter<'_>) -> ::core::fmt::Result {
        ::sconce::__private::display(self, f)
    }
}
#[automatically_derived]
impl ::sconce::Forward<::sconce::Signal> for Sequential {
    type Output = ::sconce::Signal;
    #[allow(unused_braces)]
    fn forward_pass(
        &self,
        input: ::sconce::Signal,
        mode: ::sconce::Mode,
    ) -> ::sconce::Signal {
        ::sconce::__private::run_network(
            self,
            move || {
                let _ = &mode;
                let x = input;
                let x = ::sconce::__private::sequential_field::<
                    (Conv2d, BatchNorm, Relu),
                >()
                    .call(&self.stem, "stem", x, mode);
                let x = ::sconce::__private::sequential_field::<[Conv2d; 2]>()
                    .call(&self.blocks, "blocks", x, mode);
                let x = ::sconce::__private::sequential_field::<Relu>()
                    .call(&self.act, "act", x, mode);
                let x = ::sconce::__private::sequential_field::<Option<Dropout>>()
                    .call(&self.dropout, "dropout", x, mode);
                let x = ::sconce::__private::sequential_field::<Box<Conv2d>>()
                    .call(&self.head, "head", x, mode);
                x
            },
        )
    }
}
#[allow(dead_code, clippy::all, clippy::pedantic)]
impl Sequential {
    /// Runs the network in evaluation mode.
    pub fn forward(
        &self,
        x: impl ::core::convert::Into<::sconce::Signal>,
    ) -> ::sconce::Result<::sconce::candle::Tensor> {
        ::sconce::__private::forward(
                self,
                "Sequential",
                ::core::convert::Into::into(x),
                ::sconce::Mode::Eval,
            )
            .tensors()
    }
    /// Runs the network in training mode if `train` is true, and in evaluation mode otherwise.
    pub fn forward_t(
        &self,
        x: impl ::core::convert::Into<::sconce::Signal>,
        train: ::core::primitive::bool,
    ) -> ::sconce::Result<::sconce::candle::Tensor> {
        ::sconce::__private::forward(
                self,
                "Sequential",
                ::core::convert::Into::into(x),
                ::core::convert::From::from(train),
            )
            .tensors()
    }
}
#[automatically_derived]
impl ::sconce::nn::ModuleT for Sequential {
    fn forward_t(
        &self,
        xs: &::sconce::candle::Tensor,
        train: ::core::primitive::bool,
    ) -> ::sconce::candle::Result<::sconce::candle::Tensor> {
        ::sconce::__private::module_forward_t(self, "Sequential", xs, train)
    }
}
const _: () = {
    #[doc(hidden)]
    #[allow(
        dead_code,
        non_camel_case_types,
        non_snake_case,
        private_bounds,
        unreachable_pub
    )]
    mod __Sequential {
        /// The config of [`Sequential`](super::Sequential): the arguments from which it is built.
        #[must_use]
        pub struct SequentialConfig {}
    }
    #[automatically_derived]
    impl ::core::clone::Clone for __Sequential::SequentialConfig {
        fn clone(&self) -> Self {
            Self {}
        }
    }
    #[automatically_derived]
    impl ::core::fmt::Debug for __Sequential::SequentialConfig {
        fn fmt(&self, f: &mut ::core::fmt::Formatter<'_>) -> ::core::fmt::Result {
            f.debug_struct("SequentialConfig").finish()
        }
    }
    #[allow(dead_code, clippy::all, clippy::pedantic)]
    impl __Sequential::SequentialConfig {
        /// Builds the network with the tensors of a candle `VarBuilder`.
        pub fn build(
            self,
            vb: ::sconce::nn::VarBuilder<'_>,
        ) -> ::sconce::Result<Sequential> {
            ::sconce::Config::build(self, vb)
        }
        /// Builds the network with newly initialized parameters.
        pub fn init(
            self,
            device: &::sconce::candle::Device,
        ) -> ::sconce::Result<Sequential> {
            ::sconce::Config::init(self, device)
        }
        /// Builds the network with the parameters of a checkpoint.
        pub fn load(
            self,
            path: impl ::core::convert::AsRef<::std::path::Path>,
            device: &::sconce::candle::Device,
        ) -> ::sconce::Result<Sequential> {
            ::sconce::Config::load(self, path, device)
        }
        /// Builds the network with the parameters of a checkpoint, which is read with the options of `Load`.
        pub fn load_with(
            self,
            path: impl ::core::borrow::Borrow<::sconce::Load>,
            device: &::sconce::candle::Device,
        ) -> ::sconce::Result<(Sequential, ::sconce::LoadReport)> {
            ::sconce::Config::load_with(self, path, device)
        }
    }
    #[allow(dead_code, clippy::all, clippy::pedantic)]
    impl Sequential {
        /// Returns the config of the network.
        pub fn config() -> __Sequential::SequentialConfig {
            __Sequential::SequentialConfig {}
        }
        /// Builds the network with newly initialized parameters.
        pub fn new(device: &::sconce::candle::Device) -> ::sconce::Result<Self> {
            ::sconce::Config::init(Self::config(), device)
        }
    }
    #[automatically_derived]
    #[allow(clippy::redundant_locals)]
    impl ::sconce::Config for __Sequential::SequentialConfig {
        type Output = Sequential;
        fn build(
            self,
            vb: ::sconce::nn::VarBuilder<'_>,
        ) -> ::sconce::Result<Sequential> {
            let _ = &vb;
            #[allow(unused_imports)]
            use ::sconce::__private::NotContainer as _;
            let path = ::sconce::__private::BuildScope::enter("Sequential");
            path.field("stem");
            let field_stem = {
                let vb = ::sconce::__private::child(&vb, "stem");
                (
                    {
                        path.element(1usize, 0usize);
                        ::sconce::__private::Built(
                                ::sconce::__private::layer(
                                    &vb,
                                    "0",
                                    <<Conv2d as ::sconce::__private::Pointee<
                                        {
                                            let _ = ::sconce::__private::sequential_field::<
                                                (Conv2d, BatchNorm, Relu),
                                            >;
                                            <::sconce::__private::FieldKind<Conv2d>>::POINTER
                                                + <::sconce::__private::FieldKind<Conv2d>>::POINTER_2
                                                + <::sconce::__private::FieldKind<Conv2d>>::POINTER_3
                                        },
                                    >>::Layer>::config(1, 8, 3)
                                        .padding(1)
                                        .bias(false),
                                )?,
                            )
                            .into_field::<
                                Conv2d,
                                {
                                    let _ = ::sconce::__private::sequential_field::<
                                        (Conv2d, BatchNorm, Relu),
                                    >;
                                    <::sconce::__private::FieldKind<Conv2d>>::POINTER
                                        + <::sconce::__private::FieldKind<Conv2d>>::POINTER_2
                                        + <::sconce::__private::FieldKind<Conv2d>>::POINTER_3
                                },
                            >()
                    },
                    {
                        path.element(1usize, 1usize);
                        ::sconce::__private::Built(
                                ::sconce::__private::layer(
                                    &vb,
                                    "1",
                                    <<BatchNorm as ::sconce::__private::Pointee<
                                        {
                                            let _ = ::sconce::__private::sequential_field::<
                                                (Conv2d, BatchNorm, Relu),
                                            >;
                                            <::sconce::__private::FieldKind<BatchNorm>>::POINTER
                                                + <::sconce::__private::FieldKind<BatchNorm>>::POINTER_2
                                                + <::sconce::__private::FieldKind<BatchNorm>>::POINTER_3
                                        },
                                    >>::Layer>::config(8),
                                )?,
                            )
                            .into_field::<
                                BatchNorm,
                                {
                                    let _ = ::sconce::__private::sequential_field::<
                                        (Conv2d, BatchNorm, Relu),
                                    >;
                                    <::sconce::__private::FieldKind<BatchNorm>>::POINTER
                                        + <::sconce::__private::FieldKind<BatchNorm>>::POINTER_2
                                        + <::sconce::__private::FieldKind<BatchNorm>>::POINTER_3
                                },
                            >()
                    },
                    {
                        path.element(1usize, 2usize);
                        ::sconce::__private::Built(
                                ::sconce::__private::layer(
                                    &vb,
                                    "2",
                                    <<Relu as ::sconce::__private::Pointee<
                                        {
                                            let _ = ::sconce::__private::sequential_field::<
                                                (Conv2d, BatchNorm, Relu),
                                            >;
                                            <::sconce::__private::FieldKind<Relu>>::POINTER
                                                + <::sconce::__private::FieldKind<Relu>>::POINTER_2
                                                + <::sconce::__private::FieldKind<Relu>>::POINTER_3
                                        },
                                    >>::Layer>::config(),
                                )?,
                            )
                            .into_field::<
                                Relu,
                                {
                                    let _ = ::sconce::__private::sequential_field::<
                                        (Conv2d, BatchNorm, Relu),
                                    >;
                                    <::sconce::__private::FieldKind<Relu>>::POINTER
                                        + <::sconce::__private::FieldKind<Relu>>::POINTER_2
                                        + <::sconce::__private::FieldKind<Relu>>::POINTER_3
                                },
                            >()
                    },
                )
            };
            path.field("blocks");
            let field_blocks = {
                let vb_0 = &::sconce::__private::child(&vb, "blocks");
                let mut layers_0 = ::std::vec::Vec::<Conv2d>::new();
                for _ in 0..2 {
                    path.element(1usize, layers_0.len());
                    layers_0
                        .push(
                            ::sconce::__private::Built(
                                    ::sconce::__private::layer(
                                        vb_0,
                                        &::sconce::__private::element_name(layers_0.len()),
                                        <<Conv2d as ::sconce::__private::Pointee<
                                            {
                                                let _ = ::sconce::__private::sequential_field::<
                                                    [Conv2d; 2],
                                                >;
                                                <::sconce::__private::FieldKind<Conv2d>>::POINTER
                                                    + <::sconce::__private::FieldKind<Conv2d>>::POINTER_2
                                                    + <::sconce::__private::FieldKind<Conv2d>>::POINTER_3
                                            },
                                        >>::Layer>::config(8, 8, 3)
                                            .padding("same"),
                                    )?,
                                )
                                .into_field::<
                                    Conv2d,
                                    {
                                        let _ = ::sconce::__private::sequential_field::<
                                            [Conv2d; 2],
                                        >;
                                        <::sconce::__private::FieldKind<Conv2d>>::POINTER
                                            + <::sconce::__private::FieldKind<Conv2d>>::POINTER_2
                                            + <::sconce::__private::FieldKind<Conv2d>>::POINTER_3
                                    },
                                >(),
                        );
                }
                path.leave(1usize);
                ::sconce::__private::layer_list::<[Conv2d; 2], _>(layers_0)?
            };
            path.field("act");
            let field_act = {
                #[allow(unused_imports)]
                use ::sconce::__private::{BuildDefault as _, BuildNothing as _};
                ::sconce::__private::bare_field::<Relu>().build(&vb, "act")?
            };
            path.field("dropout");
            let field_dropout = ::sconce::__private::optional::<
                Option<Dropout>,
                _,
            >(
                if true {
                    ::core::option::Option::Some(
                        ::sconce::__private::Built(
                                ::sconce::__private::layer(
                                    &vb,
                                    "dropout",
                                    <<Dropout as ::sconce::__private::Pointee<
                                        {
                                            let _ = ::sconce::__private::sequential_field::<
                                                Option<Dropout>,
                                            >;
                                            <::sconce::__private::FieldKind<Dropout>>::POINTER
                                                + <::sconce::__private::FieldKind<Dropout>>::POINTER_2
                                                + <::sconce::__private::FieldKind<Dropout>>::POINTER_3
                                        },
                                    >>::Layer>::config(0.5),
                                )?,
                            )
                            .into_field::<
                                Dropout,
                                {
                                    let _ = ::sconce::__private::sequential_field::<
                                        Option<Dropout>,
                                    >;
                                    <::sconce::__private::FieldKind<Dropout>>::POINTER
                                        + <::sconce::__private::FieldKind<Dropout>>::POINTER_2
                                        + <::sconce::__private::FieldKind<Dropout>>::POINTER_3
                                },
                            >(),
                    )
                } else {
                    ::core::option::Option::None
                },
            );
            path.field("head");
            let field_head = ::std::boxed::Box::new(
                ::sconce::__private::Built(
                        ::sconce::__private::layer(
                            &vb,
                            "head",
                            <<Conv2d as ::sconce::__private::Pointee<
                                {
                                    let _ = ::sconce::__private::sequential_field::<
                                        Box<Conv2d>,
                                    >;
                                    <::sconce::__private::FieldKind<Conv2d>>::POINTER
                                        + <::sconce::__private::FieldKind<Conv2d>>::POINTER_2
                                        + <::sconce::__private::FieldKind<Conv2d>>::POINTER_3
                                },
                            >>::Layer>::config(8, 10, 1),
                        )?,
                    )
                    .into_field::<
                        Conv2d,
                        {
                            let _ = ::sconce::__private::sequential_field::<Box<Conv2d>>;
                            <::sconce::__private::FieldKind<Conv2d>>::POINTER
                                + <::sconce::__private::FieldKind<Conv2d>>::POINTER_2
                                + <::sconce::__private::FieldKind<Conv2d>>::POINTER_3
                        },
                    >(),
            );
            ::core::result::Result::Ok(Sequential {
                stem: field_stem,
                blocks: field_blocks,
                act: field_act,
                dropout: field_dropout,
                head: field_head,
            })
        }
    }
    #[automatically_derived]
    impl ::sconce::__private::WithoutArguments for Sequential {
        fn build_without_arguments(
            vb: &::sconce::nn::VarBuilder<'_>,
            name: &::core::primitive::str,
        ) -> ::sconce::Result<Self> {
            ::sconce::__private::layer(vb, name, Self::config())
        }
    }
};
