#[automatically_derived]
impl ::sconce::Module for Closure {
    fn kind(&self) -> ::sconce::__private::Cow<'static, ::core::primitive::str> {
        ::sconce::__private::Cow::Borrowed("Closure")
    }
    fn visit<'module>(&'module self, visitor: &mut dyn ::sconce::Visitor<'module>) {
        visitor
            .child(
                "stem",
                ::sconce::__private::module_field::<Conv2d>().as_module(&self.stem),
            );
        visitor
            .child(
                "convs",
                ::sconce::__private::module_field::<Vec<Conv2d>>().as_module(&self.convs),
            );
        visitor
            .child(
                "norms",
                ::sconce::__private::module_field::<Vec<BatchNorm>>()
                    .as_module(&self.norms),
            );
        visitor
            .child(
                "project",
                ::sconce::__private::module_field::<Option<Conv2d>>()
                    .as_module(&self.project),
            );
        visitor
            .child(
                "blocks",
                ::sconce::__private::module_field::<Vec<Conv2d>>()
                    .as_module(&self.blocks),
            );
        visitor
            .child(
                "head",
                ::sconce::__private::module_field::<Linear>().as_module(&self.head),
            );
        visitor
            .child(
                "unused",
                ::sconce::__private::module_field::<Relu>().as_module(&self.unused),
            );
    }
    fn visit_mut(&mut self, visitor: &mut dyn ::sconce::VisitorMut) {
        visitor
            .child(
                "stem",
                ::sconce::__private::module_field::<Conv2d>()
                    .as_module_mut(&mut self.stem),
            );
        visitor
            .child(
                "convs",
                ::sconce::__private::module_field::<Vec<Conv2d>>()
                    .as_module_mut(&mut self.convs),
            );
        visitor
            .child(
                "norms",
                ::sconce::__private::module_field::<Vec<BatchNorm>>()
                    .as_module_mut(&mut self.norms),
            );
        visitor
            .child(
                "project",
                ::sconce::__private::module_field::<Option<Conv2d>>()
                    .as_module_mut(&mut self.project),
            );
        visitor
            .child(
                "blocks",
                ::sconce::__private::module_field::<Vec<Conv2d>>()
                    .as_module_mut(&mut self.blocks),
            );
        visitor
            .child(
                "head",
                ::sconce::__private::module_field::<Linear>()
                    .as_module_mut(&mut self.head),
            );
        visitor
            .child(
                "unused",
                ::sconce::__private::module_field::<Relu>()
                    .as_module_mut(&mut self.unused),
            );
    }
    fn share(&self) -> Self {
        Self {
            stem: ::sconce::__private::module_field::<Conv2d>().share(&self.stem),
            convs: ::sconce::__private::module_field::<Vec<Conv2d>>().share(&self.convs),
            norms: ::sconce::__private::module_field::<Vec<BatchNorm>>()
                .share(&self.norms),
            project: ::sconce::__private::module_field::<Option<Conv2d>>()
                .share(&self.project),
            blocks: ::sconce::__private::module_field::<Vec<Conv2d>>()
                .share(&self.blocks),
            head: ::sconce::__private::module_field::<Linear>().share(&self.head),
            unused: ::sconce::__private::module_field::<Relu>().share(&self.unused),
        }
    }
}
#[automatically_derived]
impl ::core::fmt::Display for Closure {
    fn fmt(&self, f: &mut ::core::fmt::Formatter<'_>) -> ::core::fmt::Result {
        ::sconce::__private::display(self, f)
    }
}
#[automatically_derived]
impl ::sconce::Forward<(::sconce::Signal, Option<&Tensor>)> for Closure {
    type Output = (::sconce::Signal, ::sconce::Signal);
    #[allow(unused_braces)]
    fn forward_pass(
        &self,
        input: (::sconce::Signal, Option<&Tensor>),
        mode: ::sconce::Mode,
    ) -> (::sconce::Signal, ::sconce::Signal) {
        ::sconce::__private::run_network(
            self,
            move || {
                #[allow(unused_imports)]
                use ::sconce::__private::{
                    CallFunction as _, CallFunctionMut as _, CallFunctionOnce as _,
                    CallLayer as _, CallLayerAtLastUse as _, DataByReference as _,
                    DataByValue as _, Lend as _, Receiver as _, UnsupportedOutput as _,
                };
                let _ = &mode;
                ::sconce::__private::ForwardBody(move || -> ::sconce::Result<
                        (::sconce::Signal, ::sconce::Signal),
                    > {
                        #[allow(unused_variables, non_snake_case)]
                        let unused: &<Relu as ::sconce::__private::Pointee<
                            {
                                let _ = ::sconce::__private::module_field::<Relu>;
                                0
                            },
                        >>::Layer = &self.unused;
                        #[allow(unused_variables, non_snake_case)]
                        let stem: &<Conv2d as ::sconce::__private::Pointee<
                            {
                                let _ = ::sconce::__private::module_field::<Conv2d>;
                                0
                            },
                        >>::Layer = &self.stem;
                        #[allow(unused_variables, non_snake_case)]
                        let convs: &<Vec<
                            Conv2d,
                        > as ::sconce::__private::Pointee<
                            {
                                let _ = ::sconce::__private::module_field::<Vec<Conv2d>>;
                                0
                            },
                        >>::Layer = &self.convs;
                        #[allow(unused_variables, non_snake_case)]
                        let norms: &<Vec<
                            BatchNorm,
                        > as ::sconce::__private::Pointee<
                            {
                                let _ = ::sconce::__private::module_field::<Vec<BatchNorm>>;
                                0
                            },
                        >>::Layer = &self.norms;
                        #[allow(unused_variables, non_snake_case)]
                        let project: &<Option<
                            Conv2d,
                        > as ::sconce::__private::Pointee<
                            {
                                let _ = ::sconce::__private::module_field::<Option<Conv2d>>;
                                0
                            },
                        >>::Layer = &self.project;
                        #[allow(unused_variables, non_snake_case)]
                        let blocks: &<Vec<
                            Conv2d,
                        > as ::sconce::__private::Pointee<
                            {
                                let _ = ::sconce::__private::module_field::<Vec<Conv2d>>;
                                0
                            },
                        >>::Layer = &self.blocks;
                        #[allow(unused_variables, non_snake_case)]
                        let head: &<Linear as ::sconce::__private::Pointee<
                            {
                                let _ = ::sconce::__private::module_field::<Linear>;
                                0
                            },
                        >>::Layer = &self.head;
                        let (x, mask) = input;
                        ::core::result::Result::Ok({
                            let mut x = relu(
                                ::sconce::__private::call(
                                    stem,
                                    "stem",
                                    ::core::convert::Into::into(x),
                                    mode,
                                ),
                            );
                            if let Some(mask) = mask {
                                x *= mask;
                            }
                            for (conv, norm) in convs.iter().zip(norms) {
                                let shortcut = if let Some(project) = project {
                                    project
                                        .call_layer_or_function(
                                            (
                                                ::sconce::__private::Convertible(
                                                    ::sconce::__private::clone(&x),
                                                ),
                                            ),
                                            mode,
                                        )
                                } else {
                                    ::sconce::__private::clone(&x)
                                };
                                x = relu(
                                    norm
                                        .call_layer_or_function(
                                            (
                                                ::sconce::__private::Convertible(
                                                    conv
                                                        .call_layer_or_function(
                                                            (::sconce::__private::Convertible(x),),
                                                            mode,
                                                        ),
                                                ),
                                            ),
                                            mode,
                                        ) + shortcut,
                                );
                            }
                            let features = ::sconce::__private::call_element(
                                    blocks,
                                    "blocks",
                                    0,
                                    ::core::convert::Into::into(x),
                                    mode,
                                )
                                .__as_receiver()
                                .mean((2, 3));
                            (
                                ::sconce::__private::output::<
                                    ::sconce::Signal,
                                    _,
                                >(
                                    ::sconce::__private::call(
                                        head,
                                        "head",
                                        ::core::convert::Into::into(
                                            ::sconce::__private::clone(&features),
                                        ),
                                        mode,
                                    ),
                                ),
                                ::sconce::__private::output::<::sconce::Signal, _>(features),
                            )
                        })
                    })
                    .output()
            },
        )
    }
}
#[allow(dead_code, clippy::all, clippy::pedantic)]
impl Closure {
    /// Runs the network in evaluation mode.
    pub fn forward(
        &self,
        x: impl ::core::convert::Into<::sconce::Signal>,
        mask: Option<&Tensor>,
    ) -> ::sconce::Result<
        <(::sconce::Signal, ::sconce::Signal) as ::sconce::IntoTensors>::Tensors,
    > {
        #[allow(unused_imports)]
        use ::sconce::__private::UnsupportedOutput as _;
        ::sconce::__private::forward(
                self,
                "Closure",
                (::core::convert::Into::into(x), mask),
                ::sconce::Mode::Eval,
            )
            .tensors()
    }
    /// Runs the network in training mode if `train` is true, and in evaluation mode otherwise.
    pub fn forward_t(
        &self,
        x: impl ::core::convert::Into<::sconce::Signal>,
        mask: Option<&Tensor>,
        train: ::core::primitive::bool,
    ) -> ::sconce::Result<
        <(::sconce::Signal, ::sconce::Signal) as ::sconce::IntoTensors>::Tensors,
    > {
        #[allow(unused_imports)]
        use ::sconce::__private::UnsupportedOutput as _;
        ::sconce::__private::forward(
                self,
                "Closure",
                (::core::convert::Into::into(x), mask),
                ::core::convert::From::from(train),
            )
            .tensors()
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
    mod __Closure {
        /// The config of [`Closure`](super::Closure): the arguments from which it is built.
        #[must_use]
        pub struct ClosureConfig {}
    }
    #[automatically_derived]
    impl ::core::clone::Clone for __Closure::ClosureConfig {
        fn clone(&self) -> Self {
            Self {}
        }
    }
    #[automatically_derived]
    impl ::core::fmt::Debug for __Closure::ClosureConfig {
        fn fmt(&self, f: &mut ::core::fmt::Formatter<'_>) -> ::core::fmt::Result {
            f.debug_struct("ClosureConfig").finish()
        }
    }
    #[allow(dead_code, clippy::all, clippy::pedantic)]
    impl __Closure::ClosureConfig {
        /// Builds the network with the tensors of a candle `VarBuilder`.
        pub fn build(
            self,
            vb: ::sconce::nn::VarBuilder<'_>,
        ) -> ::sconce::Result<Closure> {
            ::sconce::Config::build(self, vb)
        }
        /// Builds the network with newly initialized parameters.
        pub fn init(
            self,
            device: &::sconce::candle::Device,
        ) -> ::sconce::Result<Closure> {
            ::sconce::Config::init(self, device)
        }
        /// Builds the network with the parameters of a checkpoint.
        pub fn load(
            self,
            path: impl ::core::convert::AsRef<::std::path::Path>,
            device: &::sconce::candle::Device,
        ) -> ::sconce::Result<Closure> {
            ::sconce::Config::load(self, path, device)
        }
        /// Builds the network with the parameters of a checkpoint, which is read with the options of `Load`.
        pub fn load_with(
            self,
            path: impl ::core::borrow::Borrow<::sconce::Load>,
            device: &::sconce::candle::Device,
        ) -> ::sconce::Result<(Closure, ::sconce::LoadReport)> {
            ::sconce::Config::load_with(self, path, device)
        }
    }
    #[allow(dead_code, clippy::all, clippy::pedantic)]
    impl Closure {
        /// Returns the config of the network.
        pub fn config() -> __Closure::ClosureConfig {
            __Closure::ClosureConfig {}
        }
        /// Builds the network with newly initialized parameters.
        pub fn new(device: &::sconce::candle::Device) -> ::sconce::Result<Self> {
            ::sconce::Config::init(Self::config(), device)
        }
    }
    #[automatically_derived]
    #[allow(clippy::redundant_locals)]
    impl ::sconce::Config for __Closure::ClosureConfig {
        type Output = Closure;
        fn build(self, vb: ::sconce::nn::VarBuilder<'_>) -> ::sconce::Result<Closure> {
            let _ = &vb;
            #[allow(unused_imports)]
            use ::sconce::__private::NotContainer as _;
            let path = ::sconce::__private::BuildScope::enter("Closure");
            path.field("stem");
            let field_stem = ::sconce::__private::Built(
                    ::sconce::__private::layer(
                        &vb,
                        "stem",
                        <<Conv2d as ::sconce::__private::Pointee<
                            {
                                let _ = ::sconce::__private::module_field::<Conv2d>;
                                <::sconce::__private::FieldKind<Conv2d>>::POINTER
                                    + <::sconce::__private::FieldKind<Conv2d>>::POINTER_2
                                    + <::sconce::__private::FieldKind<Conv2d>>::POINTER_3
                            },
                        >>::Layer>::config(3, 8, 3)
                            .padding(1),
                    )?,
                )
                .into_field::<
                    Conv2d,
                    {
                        let _ = ::sconce::__private::module_field::<Conv2d>;
                        <::sconce::__private::FieldKind<Conv2d>>::POINTER
                            + <::sconce::__private::FieldKind<Conv2d>>::POINTER_2
                            + <::sconce::__private::FieldKind<Conv2d>>::POINTER_3
                    },
                >();
            path.field("convs");
            let field_convs = {
                let vb_0 = &::sconce::__private::child(&vb, "convs");
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
                                                let _ = ::sconce::__private::module_field::<Vec<Conv2d>>;
                                                <::sconce::__private::FieldKind<Conv2d>>::POINTER
                                                    + <::sconce::__private::FieldKind<Conv2d>>::POINTER_2
                                                    + <::sconce::__private::FieldKind<Conv2d>>::POINTER_3
                                            },
                                        >>::Layer>::config(8, 8, 3)
                                            .padding(1),
                                    )?,
                                )
                                .into_field::<
                                    Conv2d,
                                    {
                                        let _ = ::sconce::__private::module_field::<Vec<Conv2d>>;
                                        <::sconce::__private::FieldKind<Conv2d>>::POINTER
                                            + <::sconce::__private::FieldKind<Conv2d>>::POINTER_2
                                            + <::sconce::__private::FieldKind<Conv2d>>::POINTER_3
                                    },
                                >(),
                        );
                }
                path.leave(1usize);
                ::sconce::__private::layer_list::<Vec<Conv2d>, _>(layers_0)?
            };
            path.field("norms");
            let field_norms = {
                let vb_0 = &::sconce::__private::child(&vb, "norms");
                let mut layers_0 = ::std::vec::Vec::<BatchNorm>::new();
                for _ in 0..2 {
                    path.element(1usize, layers_0.len());
                    layers_0
                        .push(
                            ::sconce::__private::Built(
                                    ::sconce::__private::layer(
                                        vb_0,
                                        &::sconce::__private::element_name(layers_0.len()),
                                        <<BatchNorm as ::sconce::__private::Pointee<
                                            {
                                                let _ = ::sconce::__private::module_field::<Vec<BatchNorm>>;
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
                                        let _ = ::sconce::__private::module_field::<Vec<BatchNorm>>;
                                        <::sconce::__private::FieldKind<BatchNorm>>::POINTER
                                            + <::sconce::__private::FieldKind<BatchNorm>>::POINTER_2
                                            + <::sconce::__private::FieldKind<BatchNorm>>::POINTER_3
                                    },
                                >(),
                        );
                }
                path.leave(1usize);
                ::sconce::__private::layer_list::<Vec<BatchNorm>, _>(layers_0)?
            };
            path.field("project");
            let field_project = ::sconce::__private::optional::<
                Option<Conv2d>,
                _,
            >(
                if true {
                    ::core::option::Option::Some(
                        ::sconce::__private::Built(
                                ::sconce::__private::layer(
                                    &vb,
                                    "project",
                                    <<Conv2d as ::sconce::__private::Pointee<
                                        {
                                            let _ = ::sconce::__private::module_field::<Option<Conv2d>>;
                                            <::sconce::__private::FieldKind<Conv2d>>::POINTER
                                                + <::sconce::__private::FieldKind<Conv2d>>::POINTER_2
                                                + <::sconce::__private::FieldKind<Conv2d>>::POINTER_3
                                        },
                                    >>::Layer>::config(8, 8, 1),
                                )?,
                            )
                            .into_field::<
                                Conv2d,
                                {
                                    let _ = ::sconce::__private::module_field::<Option<Conv2d>>;
                                    <::sconce::__private::FieldKind<Conv2d>>::POINTER
                                        + <::sconce::__private::FieldKind<Conv2d>>::POINTER_2
                                        + <::sconce::__private::FieldKind<Conv2d>>::POINTER_3
                                },
                            >(),
                    )
                } else {
                    ::core::option::Option::None
                },
            );
            path.field("blocks");
            let field_blocks = {
                let vb_0 = &::sconce::__private::child(&vb, "blocks");
                let mut layers_0 = ::std::vec::Vec::<Conv2d>::new();
                for _ in 0..1 {
                    path.element(1usize, layers_0.len());
                    layers_0
                        .push(
                            ::sconce::__private::Built(
                                    ::sconce::__private::layer(
                                        vb_0,
                                        &::sconce::__private::element_name(layers_0.len()),
                                        <<Conv2d as ::sconce::__private::Pointee<
                                            {
                                                let _ = ::sconce::__private::module_field::<Vec<Conv2d>>;
                                                <::sconce::__private::FieldKind<Conv2d>>::POINTER
                                                    + <::sconce::__private::FieldKind<Conv2d>>::POINTER_2
                                                    + <::sconce::__private::FieldKind<Conv2d>>::POINTER_3
                                            },
                                        >>::Layer>::config(8, 8, 1),
                                    )?,
                                )
                                .into_field::<
                                    Conv2d,
                                    {
                                        let _ = ::sconce::__private::module_field::<Vec<Conv2d>>;
                                        <::sconce::__private::FieldKind<Conv2d>>::POINTER
                                            + <::sconce::__private::FieldKind<Conv2d>>::POINTER_2
                                            + <::sconce::__private::FieldKind<Conv2d>>::POINTER_3
                                    },
                                >(),
                        );
                }
                path.leave(1usize);
                ::sconce::__private::layer_list::<Vec<Conv2d>, _>(layers_0)?
            };
            path.field("head");
            let field_head = ::sconce::__private::Built(
                    ::sconce::__private::layer(
                        &vb,
                        "head",
                        <<Linear as ::sconce::__private::Pointee<
                            {
                                let _ = ::sconce::__private::module_field::<Linear>;
                                <::sconce::__private::FieldKind<Linear>>::POINTER
                                    + <::sconce::__private::FieldKind<Linear>>::POINTER_2
                                    + <::sconce::__private::FieldKind<Linear>>::POINTER_3
                            },
                        >>::Layer>::config(8, 10),
                    )?,
                )
                .into_field::<
                    Linear,
                    {
                        let _ = ::sconce::__private::module_field::<Linear>;
                        <::sconce::__private::FieldKind<Linear>>::POINTER
                            + <::sconce::__private::FieldKind<Linear>>::POINTER_2
                            + <::sconce::__private::FieldKind<Linear>>::POINTER_3
                    },
                >();
            path.field("unused");
            let field_unused = {
                #[allow(unused_imports)]
                use ::sconce::__private::{BuildDefault as _, BuildNothing as _};
                ::sconce::__private::bare_field::<Relu>().build(&vb, "unused")?
            };
            ::core::result::Result::Ok(Closure {
                stem: field_stem,
                convs: field_convs,
                norms: field_norms,
                project: field_project,
                blocks: field_blocks,
                head: field_head,
                unused: field_unused,
            })
        }
    }
    #[automatically_derived]
    impl ::sconce::__private::WithoutArguments for Closure {
        fn build_without_arguments(
            vb: &::sconce::nn::VarBuilder<'_>,
            name: &::core::primitive::str,
        ) -> ::sconce::Result<Self> {
            ::sconce::__private::layer(vb, name, Self::config())
        }
    }
};
const _: () = {
    #[deprecated(note = "field `unused` is never used in `forward`")]
    #[allow(non_upper_case_globals)]
    const unused: () = ();
    const _: () = unused;
};
