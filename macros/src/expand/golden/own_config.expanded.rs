#[automatically_derived]
impl ::sconce::Module for OwnConfig {
    fn kind(&self) -> ::sconce::__private::Cow<'static, ::core::primitive::str> {
        ::sconce::__private::Cow::Borrowed("OwnConfig")
    }
    fn visit<'module>(&'module self, visitor: &mut dyn ::sconce::Visitor<'module>) {
        visitor
            .child(
                "fc",
                ::sconce::__private::module_field::<Linear>().as_module(&self.fc),
            );
        visitor
            .child(
                "candle",
                ::sconce::__private::module_field::<sconce::nn::Linear>()
                    .as_module(&self.candle),
            );
    }
    fn visit_mut(&mut self, visitor: &mut dyn ::sconce::VisitorMut) {
        visitor
            .child(
                "fc",
                ::sconce::__private::module_field::<Linear>().as_module_mut(&mut self.fc),
            );
        visitor
            .child(
                "candle",
                ::sconce::__private::module_field::<sconce::nn::Linear>()
                    .as_module_mut(&mut self.candle),
            );
    }
    fn share(&self) -> Self {
        Self {
            fc: ::sconce::__private::module_field::<Linear>().share(&self.fc),
            candle: ::sconce::__private::module_field::<sconce::nn::Linear>()
                .share(&self.candle),
        }
    }
}
#[automatically_derived]
impl ::core::fmt::Display for OwnConfig {
    fn fmt(&self, f: &mut ::core::fmt::Formatter<'_>) -> ::core::fmt::Result {
        ::sconce::__private::display(self, f)
    }
}
#[automatically_derived]
impl ::sconce::Forward<::sconce::Signal> for OwnConfig {
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
                ::core::convert::Into::into(Self::run(self, input, mode))
            },
        )
    }
}
#[allow(dead_code, clippy::all, clippy::pedantic)]
impl OwnConfig {
    /// Runs the network in evaluation mode.
    pub fn forward(
        &self,
        x: impl ::core::convert::Into<::sconce::Signal>,
    ) -> ::sconce::Result<::sconce::candle::Tensor> {
        ::sconce::__private::forward(
                self,
                "OwnConfig",
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
                "OwnConfig",
                ::core::convert::Into::into(x),
                ::core::convert::From::from(train),
            )
            .tensors()
    }
}
#[automatically_derived]
impl ::sconce::nn::ModuleT for OwnConfig {
    fn forward_t(
        &self,
        xs: &::sconce::candle::Tensor,
        train: ::core::primitive::bool,
    ) -> ::sconce::candle::Result<::sconce::candle::Tensor> {
        ::sconce::__private::module_forward_t(self, "OwnConfig", xs, train)
    }
}
#[allow(dead_code, clippy::all, clippy::pedantic)]
impl OwnConfig {
    /// Returns the config of the network.
    pub fn config(config: Sizes) -> Sizes {
        config
    }
    /// Builds the network with newly initialized parameters.
    pub fn new(
        config: Sizes,
        device: &::sconce::candle::Device,
    ) -> ::sconce::Result<Self> {
        ::sconce::Config::init(Self::config(config), device)
    }
}
#[automatically_derived]
#[allow(clippy::redundant_locals)]
impl ::sconce::Config for Sizes {
    type Output = OwnConfig;
    fn build(self, vb: ::sconce::nn::VarBuilder<'_>) -> ::sconce::Result<OwnConfig> {
        let _ = &vb;
        #[allow(unused_variables)]
        let config = &self;
        #[allow(unused_imports)]
        use ::sconce::__private::NotContainer as _;
        let path = ::sconce::__private::BuildScope::enter("OwnConfig");
        path.field("fc");
        let field_fc = ::sconce::__private::Built(
                ::sconce::__private::layer(
                    &vb,
                    "fc",
                    <<Linear as ::sconce::__private::Pointee<
                        {
                            let _ = ::sconce::__private::module_field::<Linear>;
                            <::sconce::__private::FieldKind<Linear>>::POINTER
                                + <::sconce::__private::FieldKind<Linear>>::POINTER_2
                                + <::sconce::__private::FieldKind<Linear>>::POINTER_3
                        },
                    >>::Layer>::config(config.inputs, config.classes),
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
        path.field("candle");
        let field_candle: sconce::nn::Linear = {
            let layer = ::sconce::__private::layer_by_closure(
                &vb,
                "candle",
                |vb| sconce::nn::linear(config.classes, config.classes, vb),
            )?;
            layer
        };
        ::core::result::Result::Ok(OwnConfig {
            fc: field_fc,
            candle: field_candle,
        })
    }
}
