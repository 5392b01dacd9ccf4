#[automatically_derived]
impl ::sconce::Module for Tensors {
    fn kind(&self) -> ::sconce::__private::Cow<'static, ::core::primitive::str> {
        ::sconce::__private::Cow::Borrowed("Tensors")
    }
    fn visit<'module>(&'module self, visitor: &mut dyn ::sconce::Visitor<'module>) {
        visitor.parameter("scale", &self.scale);
        visitor.parameter("offset", &self.bias);
        visitor.buffer("mean", &self.mean);
        visitor
            .child(
                &::sconce::__private::concat_name(&[&"stage", &self.stage, &".encoder"]),
                ::sconce::__private::module_field::<Linear>().as_module(&self.encoder),
            );
        ::sconce::Module::visit(
            ::sconce::__private::module_field::<LayerNorm>().as_module(&self.norm),
            visitor,
        );
        visitor
            .child(
                "decoder",
                ::sconce::__private::module_field::<Linear>().as_module(&self.decoder),
            );
    }
    fn visit_mut(&mut self, visitor: &mut dyn ::sconce::VisitorMut) {
        visitor.parameter("scale", &mut self.scale);
        visitor.parameter("offset", &mut self.bias);
        visitor.buffer("mean", &mut self.mean);
        visitor
            .child(
                &::sconce::__private::concat_name(&[&"stage", &self.stage, &".encoder"]),
                ::sconce::__private::module_field::<Linear>()
                    .as_module_mut(&mut self.encoder),
            );
        ::sconce::Module::visit_mut(
            ::sconce::__private::module_field::<LayerNorm>()
                .as_module_mut(&mut self.norm),
            visitor,
        );
        visitor
            .child(
                "decoder",
                ::sconce::__private::module_field::<Linear>()
                    .as_module_mut(&mut self.decoder),
            );
    }
    fn visit_fields<'module>(
        &'module self,
        visitor: &mut dyn ::sconce::Visitor<'module>,
    ) {
        visitor
            .child(
                "encoder",
                ::sconce::__private::module_field::<Linear>().as_module(&self.encoder),
            );
        visitor
            .child(
                "norm",
                ::sconce::__private::module_field::<LayerNorm>().as_module(&self.norm),
            );
        visitor
            .child(
                "decoder",
                ::sconce::__private::module_field::<Linear>().as_module(&self.decoder),
            );
    }
    fn share(&self) -> Self {
        Self {
            scale: ::core::clone::Clone::clone(&self.scale),
            bias: ::core::clone::Clone::clone(&self.bias),
            mean: ::core::clone::Clone::clone(&self.mean),
            encoder: ::sconce::__private::module_field::<Linear>().share(&self.encoder),
            norm: ::sconce::__private::module_field::<LayerNorm>().share(&self.norm),
            decoder: ::sconce::__private::module_field::<Linear>().share(&self.decoder),
            stage: ::core::clone::Clone::clone(&self.stage),
        }
    }
}
#[automatically_derived]
impl ::core::fmt::Display for Tensors {
    fn fmt(&self, f: &mut ::core::fmt::Formatter<'_>) -> ::core::fmt::Result {
        ::sconce::__private::display(self, f)
    }
}
#[automatically_derived]
impl ::sconce::Forward<::sconce::Signal> for Tensors {
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
                        #[allow(unused_variables, non_snake_case)]
                        let norm: &<LayerNorm as ::sconce::__private::Pointee<
                            {
                                let _ = ::sconce::__private::module_field::<LayerNorm>;
                                0
                            },
                        >>::Layer = &self.norm;
                        #[allow(unused_variables, non_snake_case)]
                        let encoder: &<Linear as ::sconce::__private::Pointee<
                            {
                                let _ = ::sconce::__private::module_field::<Linear>;
                                0
                            },
                        >>::Layer = &self.encoder;
                        #[allow(unused_variables, non_snake_case)]
                        let mean = &self.mean;
                        #[allow(unused_variables, non_snake_case)]
                        let scale = &self.scale;
                        #[allow(unused_variables, non_snake_case)]
                        let decoder: &<Linear as ::sconce::__private::Pointee<
                            {
                                let _ = ::sconce::__private::module_field::<Linear>;
                                0
                            },
                        >>::Layer = &self.decoder;
                        #[allow(unused_variables, non_snake_case)]
                        let bias = &self.bias;
                        let x = input;
                        ::core::result::Result::Ok({
                            let x = (::sconce::__private::call(
                                norm,
                                "norm",
                                ::core::convert::Into::into(
                                    ::sconce::__private::call(
                                        encoder,
                                        "encoder",
                                        ::core::convert::Into::into(x),
                                        mode,
                                    ),
                                ),
                                ::sconce::Mode::Eval,
                            ) - mean) * scale;
                            ::sconce::__private::output::<
                                ::sconce::Signal,
                                _,
                            >(
                                ::sconce::__private::call(
                                    decoder,
                                    "decoder",
                                    ::core::convert::Into::into(x),
                                    mode,
                                ) + bias,
                            )
                        })
                    })
                    .output()
            },
        )
    }
}
#[allow(dead_code, clippy::all, clippy::pedantic)]
impl Tensors {
    /// Runs the network in evaluation mode.
    pub fn forward(
        &self,
        x: impl ::core::convert::Into<::sconce::Signal>,
    ) -> ::sconce::Result<::sconce::candle::Tensor> {
        ::sconce::__private::forward(
                self,
                "Tensors",
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
                "Tensors",
                ::core::convert::Into::into(x),
                ::core::convert::From::from(train),
            )
            .tensors()
    }
}
#[automatically_derived]
impl ::sconce::nn::ModuleT for Tensors {
    fn forward_t(
        &self,
        xs: &::sconce::candle::Tensor,
        train: ::core::primitive::bool,
    ) -> ::sconce::candle::Result<::sconce::candle::Tensor> {
        ::sconce::__private::module_forward_t(self, "Tensors", xs, train)
    }
}
#[doc(hidden)]
#[allow(
    dead_code,
    non_camel_case_types,
    non_snake_case,
    private_bounds,
    unreachable_pub
)]
mod __Tensors {
    pub(super) trait __Arguments {
        type width;
        type stage;
    }
    /// The config of [`Tensors`](super::Tensors): the arguments from which it is built.
    #[must_use]
    pub struct TensorsConfig {
        pub(super) width: <Self as __Arguments>::width,
        pub(super) stage: ::core::option::Option<<Self as __Arguments>::stage>,
    }
}
#[allow(non_camel_case_types)]
impl __Tensors::__Arguments for __Tensors::TensorsConfig {
    type width = usize;
    type stage = usize;
}
#[automatically_derived]
impl ::core::clone::Clone for __Tensors::TensorsConfig
where
    for<'arg> usize: ::core::clone::Clone,
    for<'arg> usize: ::core::clone::Clone,
{
    fn clone(&self) -> Self {
        Self {
            width: ::core::clone::Clone::clone(&self.width),
            stage: ::core::clone::Clone::clone(&self.stage),
        }
    }
}
#[automatically_derived]
impl ::core::fmt::Debug for __Tensors::TensorsConfig
where
    for<'arg> usize: ::core::fmt::Debug,
    for<'arg> usize: ::core::fmt::Debug,
{
    fn fmt(&self, f: &mut ::core::fmt::Formatter<'_>) -> ::core::fmt::Result {
        f.debug_struct("TensorsConfig")
            .field("width", &self.width)
            .field("stage", &self.stage)
            .finish()
    }
}
#[allow(dead_code, clippy::all, clippy::pedantic)]
impl __Tensors::TensorsConfig {
    /// Sets `stage`.
    /// Default: `1`.
    pub fn stage(mut self, stage: usize) -> Self {
        self.stage = ::core::option::Option::Some(stage);
        self
    }
    /// Builds the network with the tensors of a candle `VarBuilder`.
    pub fn build(self, vb: ::sconce::nn::VarBuilder<'_>) -> ::sconce::Result<Tensors> {
        ::sconce::Config::build(self, vb)
    }
    /// Builds the network with newly initialized parameters.
    pub fn init(self, device: &::sconce::candle::Device) -> ::sconce::Result<Tensors> {
        ::sconce::Config::init(self, device)
    }
    /// Builds the network with the parameters of a checkpoint.
    pub fn load(
        self,
        path: impl ::core::convert::AsRef<::std::path::Path>,
        device: &::sconce::candle::Device,
    ) -> ::sconce::Result<Tensors> {
        ::sconce::Config::load(self, path, device)
    }
    /// Builds the network with the parameters of a checkpoint, which is read with the options of `Load`.
    pub fn load_with(
        self,
        path: impl ::core::borrow::Borrow<::sconce::Load>,
        device: &::sconce::candle::Device,
    ) -> ::sconce::Result<(Tensors, ::sconce::LoadReport)> {
        ::sconce::Config::load_with(self, path, device)
    }
}
#[allow(dead_code, clippy::all, clippy::pedantic)]
impl Tensors {
    /// Returns the config of the network.
    ///
    /// Arguments:
    ///
    /// - `width`
    /// - `stage` (setter, default `1`)
    pub fn config(width: usize) -> __Tensors::TensorsConfig {
        __Tensors::TensorsConfig {
            width,
            stage: ::core::option::Option::None,
        }
    }
    /// Builds the network with newly initialized parameters.
    pub fn new(
        width: usize,
        device: &::sconce::candle::Device,
    ) -> ::sconce::Result<Self> {
        ::sconce::Config::init(Self::config(width), device)
    }
}
#[automatically_derived]
#[allow(clippy::redundant_locals)]
impl ::sconce::Config for __Tensors::TensorsConfig {
    type Output = Tensors;
    fn build(self, vb: ::sconce::nn::VarBuilder<'_>) -> ::sconce::Result<Tensors> {
        let _ = &vb;
        let width: usize = self.width;
        let stage: usize = match self.stage {
            ::core::option::Option::Some(given) => given,
            ::core::option::Option::None => 1,
        };
        #[allow(unused_imports)]
        use ::sconce::__private::NotContainer as _;
        let path = ::sconce::__private::BuildScope::enter("Tensors");
        let field_stage: usize = {
            let stage = stage;
            stage
        };
        path.field("scale");
        let field_scale = {
            let width = ::sconce::__private::copy_arg(&width);
            ::sconce::__private::param(
                &vb,
                "scale",
                width,
                ::core::option::Option::Some(
                    ::core::convert::Into::into({
                        #[allow(unused_imports, clippy::wildcard_imports)]
                        use ::sconce::init::*;
                        ones
                    }),
                ),
            )?
        };
        path.field("bias");
        let field_bias = {
            let width = ::sconce::__private::copy_arg(&width);
            ::sconce::__private::param(
                &vb,
                "offset",
                (1, width),
                ::core::option::Option::None,
            )?
        };
        path.field("mean");
        let field_mean = {
            let width = ::sconce::__private::copy_arg(&width);
            ::sconce::__private::buffer(
                &vb,
                "mean",
                (width,),
                ::core::option::Option::Some(
                    ::core::convert::Into::into({
                        #[allow(unused_imports, clippy::wildcard_imports)]
                        use ::sconce::init::*;
                        constant(0.5)
                    }),
                ),
            )?
        };
        path.field("encoder");
        let field_encoder = {
            let width = ::sconce::__private::copy_arg(&width);
            ::sconce::__private::Built(
                    ::sconce::__private::layer(
                        &vb,
                        &::sconce::__private::concat_name(
                            &[&"stage", &field_stage, &".encoder"],
                        ),
                        <<Linear as ::sconce::__private::Pointee<
                            {
                                let _ = ::sconce::__private::module_field::<Linear>;
                                <::sconce::__private::FieldKind<Linear>>::POINTER
                                    + <::sconce::__private::FieldKind<Linear>>::POINTER_2
                                    + <::sconce::__private::FieldKind<Linear>>::POINTER_3
                            },
                        >>::Layer>::config(width, width)
                            .bias(false),
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
                >()
        };
        path.field("norm");
        let mut field_norm = {
            let width = ::sconce::__private::copy_arg(&width);
            ::sconce::__private::Built(
                    ::sconce::__private::layer(
                        &vb,
                        "",
                        <<LayerNorm as ::sconce::__private::Pointee<
                            {
                                let _ = ::sconce::__private::module_field::<LayerNorm>;
                                <::sconce::__private::FieldKind<LayerNorm>>::POINTER
                                    + <::sconce::__private::FieldKind<LayerNorm>>::POINTER_2
                                    + <::sconce::__private::FieldKind<LayerNorm>>::POINTER_3
                            },
                        >>::Layer>::config(width),
                    )?,
                )
                .into_field::<
                    LayerNorm,
                    {
                        let _ = ::sconce::__private::module_field::<LayerNorm>;
                        <::sconce::__private::FieldKind<LayerNorm>>::POINTER
                            + <::sconce::__private::FieldKind<LayerNorm>>::POINTER_2
                            + <::sconce::__private::FieldKind<LayerNorm>>::POINTER_3
                    },
                >()
        };
        ::sconce::__private::pin(
            ::sconce::__private::module_field::<LayerNorm>()
                .as_module_mut(&mut field_norm),
            ::sconce::Mode::Eval,
        );
        path.field("decoder");
        let field_decoder = {
            let vb = ::sconce::__private::tie(
                vb.clone(),
                "decoder",
                "stage1.encoder.weight",
            );
            {
                let width = ::sconce::__private::copy_arg(&width);
                ::sconce::__private::Built(
                        ::sconce::__private::layer(
                            &vb,
                            "decoder",
                            <<Linear as ::sconce::__private::Pointee<
                                {
                                    let _ = ::sconce::__private::module_field::<Linear>;
                                    <::sconce::__private::FieldKind<Linear>>::POINTER
                                        + <::sconce::__private::FieldKind<Linear>>::POINTER_2
                                        + <::sconce::__private::FieldKind<Linear>>::POINTER_3
                                },
                            >>::Layer>::config(width, width)
                                .bias(false),
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
                    >()
            }
        };
        let key_decoder = "decoder";
        let mut network = Tensors {
            scale: field_scale,
            bias: field_bias,
            mean: field_mean,
            encoder: field_encoder,
            norm: field_norm,
            decoder: field_decoder,
            stage: field_stage,
        };
        path.field("decoder");
        ::sconce::__private::tie_after_build(
            &mut network,
            key_decoder,
            "stage1.encoder.weight",
        )?;
        ::core::result::Result::Ok(network)
    }
}
#[doc(inline)]
#[allow(unused_imports)]
pub use __Tensors::TensorsConfig as TensorsConfig;
const _: () = {
    #[allow(unused_imports)]
    use ::sconce::__private::ConfigNameConflict as _;
    #[allow(dead_code, clippy::all, clippy::pedantic)]
    impl __Tensors::TensorsConfig {
        fn __is_generated(&self) {}
    }
    #[allow(dead_code, clippy::all, clippy::pedantic)]
    impl Tensors {
        fn __config_name() {
            let _: fn(&__Tensors::TensorsConfig) = TensorsConfig::__is_generated;
        }
    }
};
