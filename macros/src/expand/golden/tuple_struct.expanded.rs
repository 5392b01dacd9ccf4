#[automatically_derived]
impl ::sconce::Module for TupleStruct {
    fn kind(&self) -> ::sconce::__private::Cow<'static, ::core::primitive::str> {
        ::sconce::__private::Cow::Borrowed("TupleStruct")
    }
    fn visit<'module>(&'module self, visitor: &mut dyn ::sconce::Visitor<'module>) {
        visitor
            .child(
                "0",
                ::sconce::__private::module_field::<Linear>().as_module(&self.0),
            );
        visitor
            .child("1", ::sconce::__private::module_field::<Relu>().as_module(&self.1));
    }
    fn visit_mut(&mut self, visitor: &mut dyn ::sconce::VisitorMut) {
        visitor
            .child(
                "0",
                ::sconce::__private::module_field::<Linear>().as_module_mut(&mut self.0),
            );
        visitor
            .child(
                "1",
                ::sconce::__private::module_field::<Relu>().as_module_mut(&mut self.1),
            );
    }
    fn share(&self) -> Self {
        Self {
            0: ::sconce::__private::module_field::<Linear>().share(&self.0),
            1: ::sconce::__private::module_field::<Relu>().share(&self.1),
        }
    }
}
#[automatically_derived]
impl ::core::fmt::Display for TupleStruct {
    fn fmt(&self, f: &mut ::core::fmt::Formatter<'_>) -> ::core::fmt::Result {
        ::sconce::__private::display(self, f)
    }
}
#[automatically_derived]
impl ::sconce::Forward<::sconce::Signal> for TupleStruct {
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
                #[allow(unused_imports)]
                use ::sconce::__private::{
                    CallFunction as _, CallFunctionMut as _, CallFunctionOnce as _,
                    CallLayer as _, CallLayerAtLastUse as _, DataByReference as _,
                    DataByValue as _, Lend as _, Receiver as _, UnsupportedOutput as _,
                };
                let _ = &mode;
                ::sconce::__private::ForwardBody(move || -> ::sconce::Result<
                        ::sconce::Signal,
                    > {
                        let x = input;
                        ::core::result::Result::Ok(
                            ::sconce::__private::output::<
                                ::sconce::Signal,
                                _,
                            >(
                                ::sconce::__private::call(
                                    &self.1,
                                    "1",
                                    ::core::convert::Into::into(
                                        ::sconce::__private::call(
                                            &self.0,
                                            "0",
                                            ::core::convert::Into::into(::sconce::__private::clone(&x)),
                                            mode,
                                        ),
                                    ),
                                    mode,
                                )
                                    + ::sconce::__private::call(
                                        &self.0,
                                        "0",
                                        ::core::convert::Into::into(x),
                                        mode,
                                    ),
                            ),
                        )
                    })
                    .output()
            },
        )
    }
}
#[allow(dead_code, clippy::all, clippy::pedantic)]
impl TupleStruct {
    /// Runs the network in evaluation mode.
    fn forward(
        &self,
        x: impl ::core::convert::Into<::sconce::Signal>,
    ) -> ::sconce::Result<::sconce::candle::Tensor> {
        ::sconce::__private::forward(
                self,
                "TupleStruct",
                ::core::convert::Into::into(x),
                ::sconce::Mode::Eval,
            )
            .tensors()
    }
    /// Runs the network in training mode if `train` is true, and in evaluation mode otherwise.
    fn forward_t(
        &self,
        x: impl ::core::convert::Into<::sconce::Signal>,
        train: ::core::primitive::bool,
    ) -> ::sconce::Result<::sconce::candle::Tensor> {
        ::sconce::__private::forward(
                self,
                "TupleStruct",
                ::core::convert::Into::into(x),
                ::core::convert::From::from(train),
            )
            .tensors()
    }
}
#[automatically_derived]
impl ::sconce::nn::ModuleT for TupleStruct {
    fn forward_t(
        &self,
        xs: &::sconce::candle::Tensor,
        train: ::core::primitive::bool,
    ) -> ::sconce::candle::Result<::sconce::candle::Tensor> {
        ::sconce::__private::module_forward_t(self, "TupleStruct", xs, train)
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
    mod __TupleStruct {
        /// The config of [`TupleStruct`](super::TupleStruct): the arguments from which it is built.
        #[must_use]
        pub(super) struct TupleStructConfig {}
    }
    #[automatically_derived]
    impl ::core::clone::Clone for __TupleStruct::TupleStructConfig {
        fn clone(&self) -> Self {
            Self {}
        }
    }
    #[automatically_derived]
    impl ::core::fmt::Debug for __TupleStruct::TupleStructConfig {
        fn fmt(&self, f: &mut ::core::fmt::Formatter<'_>) -> ::core::fmt::Result {
            f.debug_struct("TupleStructConfig").finish()
        }
    }
    #[allow(dead_code, clippy::all, clippy::pedantic)]
    impl __TupleStruct::TupleStructConfig {
        /// Builds the network with the tensors of a candle `VarBuilder`.
        fn build(
            self,
            vb: ::sconce::nn::VarBuilder<'_>,
        ) -> ::sconce::Result<TupleStruct> {
            ::sconce::Config::build(self, vb)
        }
        /// Builds the network with newly initialized parameters.
        fn init(
            self,
            device: &::sconce::candle::Device,
        ) -> ::sconce::Result<TupleStruct> {
            ::sconce::Config::init(self, device)
        }
        /// Builds the network with the parameters of a checkpoint.
        fn load(
            self,
            path: impl ::core::convert::AsRef<::std::path::Path>,
            device: &::sconce::candle::Device,
        ) -> ::sconce::Result<TupleStruct> {
            ::sconce::Config::load(self, path, device)
        }
        /// Builds the network with the parameters of a checkpoint, which is read with the options of `Load`.
        fn load_with(
            self,
            path: impl ::core::borrow::Borrow<::sconce::Load>,
            device: &::sconce::candle::Device,
        ) -> ::sconce::Result<(TupleStruct, ::sconce::LoadReport)> {
            ::sconce::Config::load_with(self, path, device)
        }
    }
    #[allow(dead_code, clippy::all, clippy::pedantic)]
    impl TupleStruct {
        /// Returns the config of the network.
        fn config() -> __TupleStruct::TupleStructConfig {
            __TupleStruct::TupleStructConfig {
            }
        }
        /// Builds the network with newly initialized parameters.
        fn new(device: &::sconce::candle::Device) -> ::sconce::Result<Self> {
            ::sconce::Config::init(Self::config(), device)
        }
    }
    #[automatically_derived]
    #[allow(clippy::redundant_locals)]
    impl ::sconce::Config for __TupleStruct::TupleStructConfig {
        type Output = TupleStruct;
        fn build(
            self,
            vb: ::sconce::nn::VarBuilder<'_>,
        ) -> ::sconce::Result<TupleStruct> {
            let _ = &vb;
            #[allow(unused_imports)]
            use ::sconce::__private::NotContainer as _;
            let path = ::sconce::__private::BuildScope::enter("TupleStruct");
            path.field("0");
            let field_0 = ::sconce::__private::Built(
                    ::sconce::__private::layer(
                        &vb,
                        "0",
                        <<Linear as ::sconce::__private::Pointee<
                            {
                                let _ = ::sconce::__private::module_field::<Linear>;
                                <::sconce::__private::FieldKind<Linear>>::POINTER
                                    + <::sconce::__private::FieldKind<Linear>>::POINTER_2
                                    + <::sconce::__private::FieldKind<Linear>>::POINTER_3
                            },
                        >>::Layer>::config(4, 4),
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
            path.field("1");
            let field_1 = {
                #[allow(unused_imports)]
                use ::sconce::__private::{BuildDefault as _, BuildNothing as _};
                ::sconce::__private::bare_field::<Relu>().build(&vb, "1")?
            };
            ::core::result::Result::Ok(TupleStruct {
                0: field_0,
                1: field_1,
            })
        }
    }
    #[automatically_derived]
    impl ::sconce::__private::WithoutArguments for TupleStruct {
        fn build_without_arguments(
            vb: &::sconce::nn::VarBuilder<'_>,
            name: &::core::primitive::str,
        ) -> ::sconce::Result<Self> {
            ::sconce::__private::layer(vb, name, Self::config())
        }
    }
};
