#[allow(unused_imports)]
use framework::sconce as __CratePath_sconce;
#[automatically_derived]
impl __CratePath_sconce::Module for CratePath {
    fn kind(
        &self,
    ) -> __CratePath_sconce::__private::Cow<'static, ::core::primitive::str> {
        __CratePath_sconce::__private::Cow::Borrowed("CratePath")
    }
    fn visit<'module>(
        &'module self,
        visitor: &mut dyn __CratePath_sconce::Visitor<'module>,
    ) {
        visitor
            .child(
                "block",
                __CratePath_sconce::__private::module_field::<Linear>()
                    .as_module(&self.block),
            );
        visitor
            .child(
                "shortcut",
                __CratePath_sconce::__private::module_field::<Shortcut>()
                    .as_module(&self.shortcut),
            );
        visitor
            .child(
                "relu",
                __CratePath_sconce::__private::module_field::<Relu>()
                    .as_module(&self.relu),
            );
    }
    fn visit_mut(&mut self, visitor: &mut dyn __CratePath_sconce::VisitorMut) {
        visitor
            .child(
                "block",
                __CratePath_sconce::__private::module_field::<Linear>()
                    .as_module_mut(&mut self.block),
            );
        visitor
            .child(
                "shortcut",
                __CratePath_sconce::__private::module_field::<Shortcut>()
                    .as_module_mut(&mut self.shortcut),
            );
        visitor
            .child(
                "relu",
                __CratePath_sconce::__private::module_field::<Relu>()
                    .as_module_mut(&mut self.relu),
            );
    }
    fn share(&self) -> Self {
        Self {
            block: __CratePath_sconce::__private::module_field::<Linear>()
                .share(&self.block),
            shortcut: __CratePath_sconce::__private::module_field::<Shortcut>()
                .share(&self.shortcut),
            relu: __CratePath_sconce::__private::module_field::<Relu>().share(&self.relu),
        }
    }
}
#[automatically_derived]
impl ::core::fmt::Display for CratePath {
    fn fmt(&self, f: &mut ::core::fmt::Formatter<'_>) -> ::core::fmt::Result {
        __CratePath_sconce::__private::display(self, f)
    }
}
#[automatically_derived]
impl __CratePath_sconce::Forward<__CratePath_sconce::Signal> for CratePath {
    type Output = __CratePath_sconce::Signal;
    #[allow(unused_braces)]
    fn forward_pass(
        &self,
        input: __CratePath_sconce::Signal,
        mode: __CratePath_sconce::Mode,
    ) -> __CratePath_sconce::Signal {
        __CratePath_sconce::__private::run_network(
            self,
            move || {
                #[allow(unused_imports)]
                use __CratePath_sconce::__private::{
                    CallFunction as _, CallFunctionMut as _, CallFunctionOnce as _,
                    CallLayer as _, CallLayerAtLastUse as _, DataByReference as _,
                    DataByValue as _, Lend as _, Receiver as _, UnsupportedOutput as _,
                };
                let _ = &mode;
                __CratePath_sconce::__private::ForwardBody(move || -> __CratePath_sconce::Result<
                        __CratePath_sconce::Signal,
                    > {
                        #[allow(unused_variables, non_snake_case)]
                        let block: &<Linear as __CratePath_sconce::__private::Pointee<
                            {
                                let _ = __CratePath_sconce::__private::module_field::<
                                    Linear,
                                >;
                                0
                            },
                        >>::Layer = &self.block;
                        #[allow(unused_variables, non_snake_case)]
                        let shortcut: &<Shortcut as __CratePath_sconce::__private::Pointee<
                            {
                                let _ = __CratePath_sconce::__private::module_field::<
                                    Shortcut,
                                >;
                                0
                            },
                        >>::Layer = &self.shortcut;
                        #[allow(unused_variables, non_snake_case)]
                        let relu: &<Relu as __CratePath_sconce::__private::Pointee<
                            {
                                let _ = __CratePath_sconce::__private::module_field::<Relu>;
                                0
                            },
                        >>::Layer = &self.relu;
                        let x = input;
                        ::core::result::Result::Ok({
                            let y = __CratePath_sconce::__private::recompute(
                                block,
                                "block",
                                ::core::convert::Into::into(
                                    __CratePath_sconce::__private::clone(&x),
                                ),
                                mode,
                            );
                            let y = if let Some(shortcut) = shortcut {
                                y
                                    + shortcut
                                        .call_layer_or_function(
                                            (__CratePath_sconce::__private::Convertible(x),),
                                            mode,
                                        )
                            } else {
                                y
                            };
                            __CratePath_sconce::__private::output::<
                                __CratePath_sconce::Signal,
                                _,
                            >(
                                __CratePath_sconce::__private::call(
                                    relu,
                                    "relu",
                                    ::core::convert::Into::into(y),
                                    mode,
                                ),
                            )
                        })
                    })
                    .output()
            },
        )
    }
}
#[allow(dead_code, clippy::all, clippy::pedantic)]
impl CratePath {
    /// Runs the network in evaluation mode.
    pub fn forward(
        &self,
        x: impl ::core::convert::Into<__CratePath_sconce::Signal>,
    ) -> __CratePath_sconce::Result<__CratePath_sconce::candle::Tensor> {
        __CratePath_sconce::__private::forward(
                self,
                "CratePath",
                ::core::convert::Into::into(x),
                __CratePath_sconce::Mode::Eval,
            )
            .tensors()
    }
    /// Runs the network in training mode if `train` is true, and in evaluation mode otherwise.
    pub fn forward_t(
        &self,
        x: impl ::core::convert::Into<__CratePath_sconce::Signal>,
        train: ::core::primitive::bool,
    ) -> __CratePath_sconce::Result<__CratePath_sconce::candle::Tensor> {
        __CratePath_sconce::__private::forward(
                self,
                "CratePath",
                ::core::convert::Into::into(x),
                ::core::convert::From::from(train),
            )
            .tensors()
    }
}
#[automatically_derived]
impl __CratePath_sconce::nn::ModuleT for CratePath {
    fn forward_t(
        &self,
        xs: &__CratePath_sconce::candle::Tensor,
        train: ::core::primitive::bool,
    ) -> __CratePath_sconce::candle::Result<__CratePath_sconce::candle::Tensor> {
        __CratePath_sconce::__private::module_forward_t(self, "CratePath", xs, train)
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
mod __CratePath {
    pub(super) trait __Arguments {
        type width;
        type residual;
    }
    /// The config of [`CratePath`](super::CratePath): the arguments from which it is built.
    #[must_use]
    pub struct CratePathConfig {
        pub(super) width: <Self as __Arguments>::width,
        pub(super) residual: ::core::option::Option<<Self as __Arguments>::residual>,
    }
}
#[allow(non_camel_case_types)]
impl __CratePath::__Arguments for __CratePath::CratePathConfig {
    type width = usize;
    type residual = bool;
}
#[automatically_derived]
impl ::core::clone::Clone for __CratePath::CratePathConfig
where
    for<'arg> usize: ::core::clone::Clone,
    for<'arg> bool: ::core::clone::Clone,
{
    fn clone(&self) -> Self {
        Self {
            width: ::core::clone::Clone::clone(&self.width),
            residual: ::core::clone::Clone::clone(&self.residual),
        }
    }
}
#[automatically_derived]
impl ::core::fmt::Debug for __CratePath::CratePathConfig
where
    for<'arg> usize: ::core::fmt::Debug,
    for<'arg> bool: ::core::fmt::Debug,
{
    fn fmt(&self, f: &mut ::core::fmt::Formatter<'_>) -> ::core::fmt::Result {
        f.debug_struct("CratePathConfig")
            .field("width", &self.width)
            .field("residual", &self.residual)
            .finish()
    }
}
#[allow(dead_code, clippy::all, clippy::pedantic)]
impl __CratePath::CratePathConfig {
    /// Sets `residual`.
    /// Default: `true`.
    pub fn residual(mut self, residual: bool) -> Self {
        self.residual = ::core::option::Option::Some(residual);
        self
    }
    /// Builds the network with the tensors of a candle `VarBuilder`.
    pub fn build(
        self,
        vb: __CratePath_sconce::nn::VarBuilder<'_>,
    ) -> __CratePath_sconce::Result<CratePath> {
        __CratePath_sconce::Config::build(self, vb)
    }
    /// Builds the network with newly initialized parameters.
    pub fn init(
        self,
        device: &__CratePath_sconce::candle::Device,
    ) -> __CratePath_sconce::Result<CratePath> {
        __CratePath_sconce::Config::init(self, device)
    }
    /// Builds the network with the parameters of a checkpoint.
    pub fn load(
        self,
        path: impl ::core::convert::AsRef<::std::path::Path>,
        device: &__CratePath_sconce::candle::Device,
    ) -> __CratePath_sconce::Result<CratePath> {
        __CratePath_sconce::Config::load(self, path, device)
    }
    /// Builds the network with the parameters of a checkpoint, which is read with the options of `Load`.
    pub fn load_with(
        self,
        path: impl ::core::borrow::Borrow<__CratePath_sconce::Load>,
        device: &__CratePath_sconce::candle::Device,
    ) -> __CratePath_sconce::Result<(CratePath, __CratePath_sconce::LoadReport)> {
        __CratePath_sconce::Config::load_with(self, path, device)
    }
}
#[allow(dead_code, clippy::all, clippy::pedantic)]
impl CratePath {
    /// Returns the config of the network.
    ///
    /// Arguments:
    ///
    /// - `width`
    /// - `residual` (setter, default `true`)
    pub fn config(width: usize) -> __CratePath::CratePathConfig {
        __CratePath::CratePathConfig {
            width,
            residual: ::core::option::Option::None,
        }
    }
    /// Builds the network with newly initialized parameters.
    pub fn new(
        width: usize,
        device: &__CratePath_sconce::candle::Device,
    ) -> __CratePath_sconce::Result<Self> {
        __CratePath_sconce::Config::init(Self::config(width), device)
    }
}
#[automatically_derived]
#[allow(clippy::redundant_locals)]
impl __CratePath_sconce::Config for __CratePath::CratePathConfig {
    type Output = CratePath;
    fn build(
        self,
        vb: __CratePath_sconce::nn::VarBuilder<'_>,
    ) -> __CratePath_sconce::Result<CratePath> {
        let _ = &vb;
        let width: usize = self.width;
        let residual: bool = match self.residual {
            ::core::option::Option::Some(given) => given,
            ::core::option::Option::None => true,
        };
        #[allow(unused_imports)]
        use __CratePath_sconce::__private::NotContainer as _;
        let path = __CratePath_sconce::__private::BuildScope::enter("CratePath");
        path.field("block");
        let field_block = {
            let width = __CratePath_sconce::__private::copy_arg(&width);
            __CratePath_sconce::__private::Built(
                    __CratePath_sconce::__private::layer(
                        &vb,
                        "block",
                        <<Linear as __CratePath_sconce::__private::Pointee<
                            {
                                let _ = __CratePath_sconce::__private::module_field::<
                                    Linear,
                                >;
                                <__CratePath_sconce::__private::FieldKind<Linear>>::POINTER
                                    + <__CratePath_sconce::__private::FieldKind<
                                        Linear,
                                    >>::POINTER_2
                                    + <__CratePath_sconce::__private::FieldKind<
                                        Linear,
                                    >>::POINTER_3
                            },
                        >>::Layer>::config(width, width),
                    )?,
                )
                .into_field::<
                    Linear,
                    {
                        let _ = __CratePath_sconce::__private::module_field::<Linear>;
                        <__CratePath_sconce::__private::FieldKind<Linear>>::POINTER
                            + <__CratePath_sconce::__private::FieldKind<
                                Linear,
                            >>::POINTER_2
                            + <__CratePath_sconce::__private::FieldKind<
                                Linear,
                            >>::POINTER_3
                    },
                >()
        };
        path.field("shortcut");
        let field_shortcut = __CratePath_sconce::__private::optional::<
            Shortcut,
            _,
        >(
            if {
                let residual = residual;
                residual
            } {
                ::core::option::Option::Some({
                    let width = __CratePath_sconce::__private::copy_arg(&width);
                    __CratePath_sconce::__private::Built(
                            __CratePath_sconce::__private::layer(
                                &vb,
                                "shortcut",
                                <<<Shortcut as __CratePath_sconce::__private::Contents<
                                    {
                                        <__CratePath_sconce::__private::FieldKind<
                                            Shortcut,
                                        >>::IS_CONTAINER
                                    },
                                >>::Layer as __CratePath_sconce::__private::Pointee<
                                    {
                                        let _ = __CratePath_sconce::__private::module_field::<
                                            Shortcut,
                                        >;
                                        <__CratePath_sconce::__private::FieldKind<
                                            <Shortcut as __CratePath_sconce::__private::Contents<
                                                {
                                                    <__CratePath_sconce::__private::FieldKind<
                                                        Shortcut,
                                                    >>::IS_CONTAINER
                                                },
                                            >>::Layer,
                                        >>::POINTER
                                            + <__CratePath_sconce::__private::FieldKind<
                                                <Shortcut as __CratePath_sconce::__private::Contents<
                                                    {
                                                        <__CratePath_sconce::__private::FieldKind<
                                                            Shortcut,
                                                        >>::IS_CONTAINER
                                                    },
                                                >>::Layer,
                                            >>::POINTER_2
                                            + <__CratePath_sconce::__private::FieldKind<
                                                <Shortcut as __CratePath_sconce::__private::Contents<
                                                    {
                                                        <__CratePath_sconce::__private::FieldKind<
                                                            Shortcut,
                                                        >>::IS_CONTAINER
                                                    },
                                                >>::Layer,
                                            >>::POINTER_3
                                    },
                                >>::Layer>::config(width, width),
                            )?,
                        )
                        .into_field::<
                            <Shortcut as __CratePath_sconce::__private::Contents<
                                {
                                    <__CratePath_sconce::__private::FieldKind<
                                        Shortcut,
                                    >>::IS_CONTAINER
                                },
                            >>::Layer,
                            {
                                let _ = __CratePath_sconce::__private::module_field::<
                                    Shortcut,
                                >;
                                <__CratePath_sconce::__private::FieldKind<
                                    <Shortcut as __CratePath_sconce::__private::Contents<
                                        {
                                            <__CratePath_sconce::__private::FieldKind<
                                                Shortcut,
                                            >>::IS_CONTAINER
                                        },
                                    >>::Layer,
                                >>::POINTER
                                    + <__CratePath_sconce::__private::FieldKind<
                                        <Shortcut as __CratePath_sconce::__private::Contents<
                                            {
                                                <__CratePath_sconce::__private::FieldKind<
                                                    Shortcut,
                                                >>::IS_CONTAINER
                                            },
                                        >>::Layer,
                                    >>::POINTER_2
                                    + <__CratePath_sconce::__private::FieldKind<
                                        <Shortcut as __CratePath_sconce::__private::Contents<
                                            {
                                                <__CratePath_sconce::__private::FieldKind<
                                                    Shortcut,
                                                >>::IS_CONTAINER
                                            },
                                        >>::Layer,
                                    >>::POINTER_3
                            },
                        >()
                })
            } else {
                ::core::option::Option::None
            },
        );
        path.field("relu");
        let field_relu = {
            #[allow(unused_imports)]
            use __CratePath_sconce::__private::{BuildDefault as _, BuildNothing as _};
            __CratePath_sconce::__private::bare_field::<Relu>().build(&vb, "relu")?
        };
        ::core::result::Result::Ok(CratePath {
            block: field_block,
            shortcut: field_shortcut,
            relu: field_relu,
        })
    }
}
#[doc(inline)]
#[allow(unused_imports)]
pub use __CratePath::CratePathConfig as CratePathConfig;
const _: () = {
    #[allow(unused_imports)]
    use __CratePath_sconce::__private::ConfigNameConflict as _;
    #[allow(dead_code, clippy::all, clippy::pedantic)]
    impl __CratePath::CratePathConfig {
        fn __is_generated(&self) {}
    }
    #[allow(dead_code, clippy::all, clippy::pedantic)]
    impl CratePath {
        fn __config_name() {
            let _: fn(&__CratePath::CratePathConfig) = CratePathConfig::__is_generated;
        }
    }
};
