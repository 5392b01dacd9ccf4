#[automatically_derived]
impl ::sconce::Module for Enumeration {
    fn kind(&self) -> ::sconce::__private::Cow<'static, ::core::primitive::str> {
        ::sconce::__private::Cow::Borrowed("Enumeration")
    }
    fn visit<'module>(&'module self, visitor: &mut dyn ::sconce::Visitor<'module>) {
        match self {
            Self::Deep { layers: field_layers } => {
                visitor
                    .child(
                        "layers",
                        ::sconce::__private::module_field::<Vec<Linear>>()
                            .as_module(&(*field_layers)),
                    );
            }
            Self::Shallow { 0: field_0 } => {
                visitor
                    .child(
                        "0",
                        ::sconce::__private::sequential_field::<Linear>()
                            .as_module(&(*field_0)),
                    );
            }
            Self::Identity {} => {}
        }
    }
    fn visit_mut(&mut self, visitor: &mut dyn ::sconce::VisitorMut) {
        match self {
            Self::Deep { layers: field_layers } => {
                visitor
                    .child(
                        "layers",
                        ::sconce::__private::module_field::<Vec<Linear>>()
                            .as_module_mut(&mut (*field_layers)),
                    );
            }
            Self::Shallow { 0: field_0 } => {
                visitor
                    .child(
                        "0",
                        ::sconce::__private::sequential_field::<Linear>()
                            .as_module_mut(&mut (*field_0)),
                    );
            }
            Self::Identity {} => {}
        }
    }
    fn share(&self) -> Self {
        match self {
            Self::Deep { layers: field_layers } => {
                Self::Deep {
                    layers: ::sconce::__private::module_field::<Vec<Linear>>()
                        .share(&(*field_layers)),
                }
            }
            Self::Shallow { 0: field_0 } => {
                Self::Shallow {
                    0: ::sconce::__private::sequential_field::<Linear>()
                        .share(&(*field_0)),
                }
            }
            Self::Identity {} => Self::Identity {},
        }
    }
}
#[automatically_derived]
impl ::core::fmt::Display for Enumeration {
    fn fmt(&self, f: &mut ::core::fmt::Formatter<'_>) -> ::core::fmt::Result {
        ::sconce::__private::display(self, f)
    }
}
#[automatically_derived]
impl ::sconce::Forward<::sconce::Signal> for Enumeration {
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
                match self {
                    Self::Deep { layers: field_layers } => {
                        #[allow(unused_imports)]
                        use ::sconce::__private::{
                            CallFunction as _, CallFunctionMut as _,
                            CallFunctionOnce as _, CallLayer as _,
                            CallLayerAtLastUse as _, DataByReference as _,
                            DataByValue as _, Lend as _, Receiver as _,
                            UnsupportedOutput as _,
                        };
                        let _ = &mode;
                        ::sconce::__private::ForwardBody(move || -> ::sconce::Result<
                                ::sconce::Signal,
                            > {
                                #[allow(unused_variables, non_snake_case)]
                                let layers: &<Vec<
                                    Linear,
                                > as ::sconce::__private::Pointee<
                                    {
                                        let _ = ::sconce::__private::module_field::<Vec<Linear>>;
                                        0
                                    },
                                >>::Layer = &(*field_layers);
                                let x = input;
                                ::core::result::Result::Ok({
                                    let mut x = x;
                                    for layer in layers {
                                        x = relu(
                                            layer
                                                .call_layer_or_function(
                                                    (::sconce::__private::Convertible(x),),
                                                    mode,
                                                ),
                                        );
                                    }
                                    ::sconce::__private::output::<::sconce::Signal, _>(x)
                                })
                            })
                            .output()
                    }
                    Self::Shallow { 0: field_0 } => {
                        let _ = &mode;
                        let x = input;
                        let x = ::sconce::__private::sequential_field::<Linear>()
                            .call(&(*field_0), "0", x, mode);
                        x
                    }
                    Self::Identity {} => {
                        let _ = &mode;
                        let x = input;
                        x
                    }
                }
            },
        )
    }
}
#[allow(dead_code, clippy::all, clippy::pedantic)]
impl Enumeration {
    /// Runs the network in evaluation mode.
    pub fn forward(
        &self,
        x: impl ::core::convert::Into<::sconce::Signal>,
    ) -> ::sconce::Result<::sconce::candle::Tensor> {
        ::sconce::__private::forward(
                self,
                "Enumeration",
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
                "Enumeration",
                ::core::convert::Into::into(x),
                ::core::convert::From::from(train),
            )
            .tensors()
    }
}
#[automatically_derived]
impl ::sconce::nn::ModuleT for Enumeration {
    fn forward_t(
        &self,
        xs: &::sconce::candle::Tensor,
        train: ::core::primitive::bool,
    ) -> ::sconce::candle::Result<::sconce::candle::Tensor> {
        ::sconce::__private::module_forward_t(self, "Enumeration", xs, train)
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
mod __Enumeration {
    pub(super) trait __Arguments {
        type width;
        type depth;
    }
    /// The config of [`Enumeration`](super::Enumeration): the arguments from which it is built.
    #[must_use]
    pub struct EnumerationConfig {
        pub(super) width: <Self as __Arguments>::width,
        pub(super) depth: ::core::option::Option<<Self as __Arguments>::depth>,
    }
}
#[allow(non_camel_case_types)]
impl __Enumeration::__Arguments for __Enumeration::EnumerationConfig {
    type width = usize;
    type depth = usize;
}
#[automatically_derived]
impl ::core::clone::Clone for __Enumeration::EnumerationConfig
where
    for<'arg> usize: ::core::clone::Clone,
    for<'arg> usize: ::core::clone::Clone,
{
    fn clone(&self) -> Self {
        Self {
            width: ::core::clone::Clone::clone(&self.width),
            depth: ::core::clone::Clone::clone(&self.depth),
        }
    }
}
#[automatically_derived]
impl ::core::fmt::Debug for __Enumeration::EnumerationConfig
where
    for<'arg> usize: ::core::fmt::Debug,
    for<'arg> usize: ::core::fmt::Debug,
{
    fn fmt(&self, f: &mut ::core::fmt::Formatter<'_>) -> ::core::fmt::Result {
        f.debug_struct("EnumerationConfig")
            .field("width", &self.width)
            .field("depth", &self.depth)
            .finish()
    }
}
#[allow(dead_code, clippy::all, clippy::pedantic)]
impl __Enumeration::EnumerationConfig {
    /// Sets `depth`.
    /// Default: `0`.
    pub fn depth(mut self, depth: usize) -> Self {
        self.depth = ::core::option::Option::Some(depth);
        self
    }
    /// Builds the network with the tensors of a candle `VarBuilder`.
    pub fn build(
        self,
        vb: ::sconce::nn::VarBuilder<'_>,
    ) -> ::sconce::Result<Enumeration> {
        ::sconce::Config::build(self, vb)
    }
    /// Builds the network with newly initialized parameters.
    pub fn init(
        self,
        device: &::sconce::candle::Device,
    ) -> ::sconce::Result<Enumeration> {
        ::sconce::Config::init(self, device)
    }
    /// Builds the network with the parameters of a checkpoint.
    pub fn load(
        self,
        path: impl ::core::convert::AsRef<::std::path::Path>,
        device: &::sconce::candle::Device,
    ) -> ::sconce::Result<Enumeration> {
        ::sconce::Config::load(self, path, device)
    }
    /// Builds the network with the parameters of a checkpoint, which is read with the options of `Load`.
    pub fn load_with(
        self,
        path: impl ::core::borrow::Borrow<::sconce::Load>,
        device: &::sconce::candle::Device,
    ) -> ::sconce::Result<(Enumeration, ::sconce::LoadReport)> {
        ::sconce::Config::load_with(self, path, device)
    }
}
#[allow(dead_code, clippy::all, clippy::pedantic)]
impl Enumeration {
    /// Returns the config of the network.
    ///
    /// Arguments:
    ///
    /// - `width`
    /// - `depth` (setter, default `0`)
    pub fn config(width: usize) -> __Enumeration::EnumerationConfig {
        __Enumeration::EnumerationConfig {
            width,
            depth: ::core::option::Option::None,
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
impl ::sconce::Config for __Enumeration::EnumerationConfig {
    type Output = Enumeration;
    fn build(self, vb: ::sconce::nn::VarBuilder<'_>) -> ::sconce::Result<Enumeration> {
        let _ = &vb;
        let width: usize = self.width;
        let depth: usize = match self.depth {
            ::core::option::Option::Some(given) => given,
            ::core::option::Option::None => 0,
        };
        #[allow(unused_imports)]
        use ::sconce::__private::NotContainer as _;
        let path = ::sconce::__private::BuildScope::enter("Enumeration");
        if {
            let depth = ::sconce::__private::copy_arg(&depth);
            depth > 1
        } {
            return {
                path.field("layers");
                let field_layers = {
                    let vb_0 = &::sconce::__private::child(&vb, "layers");
                    let mut layers_0 = ::std::vec::Vec::<Linear>::new();
                    for _ in {
                        let depth = ::sconce::__private::copy_arg(&depth);
                        0..depth
                    } {
                        path.element(1usize, layers_0.len());
                        layers_0
                            .push({
                                let width = ::sconce::__private::copy_arg(&width);
                                ::sconce::__private::Built(
                                        ::sconce::__private::layer(
                                            vb_0,
                                            &::sconce::__private::element_name(layers_0.len()),
                                            <<Linear as ::sconce::__private::Pointee<
                                                {
                                                    let _ = ::sconce::__private::module_field::<Vec<Linear>>;
                                                    <::sconce::__private::FieldKind<Linear>>::POINTER
                                                        + <::sconce::__private::FieldKind<Linear>>::POINTER_2
                                                        + <::sconce::__private::FieldKind<Linear>>::POINTER_3
                                                },
                                            >>::Layer>::config(width, width),
                                        )?,
                                    )
                                    .into_field::<
                                        Linear,
                                        {
                                            let _ = ::sconce::__private::module_field::<Vec<Linear>>;
                                            <::sconce::__private::FieldKind<Linear>>::POINTER
                                                + <::sconce::__private::FieldKind<Linear>>::POINTER_2
                                                + <::sconce::__private::FieldKind<Linear>>::POINTER_3
                                        },
                                    >()
                            });
                    }
                    path.leave(1usize);
                    ::sconce::__private::layer_list::<Vec<Linear>, _>(layers_0)?
                };
                ::core::result::Result::Ok(Enumeration::Deep {
                    layers: field_layers,
                })
            };
        }
        if {
            let depth = ::sconce::__private::copy_arg(&depth);
            depth == 1
        } {
            return {
                path.field("0");
                let field_0 = {
                    let width = ::sconce::__private::copy_arg(&width);
                    ::sconce::__private::Built(
                            ::sconce::__private::layer(
                                &vb,
                                "0",
                                <<Linear as ::sconce::__private::Pointee<
                                    {
                                        let _ = ::sconce::__private::sequential_field::<Linear>;
                                        <::sconce::__private::FieldKind<Linear>>::POINTER
                                            + <::sconce::__private::FieldKind<Linear>>::POINTER_2
                                            + <::sconce::__private::FieldKind<Linear>>::POINTER_3
                                    },
                                >>::Layer>::config(width, width),
                            )?,
                        )
                        .into_field::<
                            Linear,
                            {
                                let _ = ::sconce::__private::sequential_field::<Linear>;
                                <::sconce::__private::FieldKind<Linear>>::POINTER
                                    + <::sconce::__private::FieldKind<Linear>>::POINTER_2
                                    + <::sconce::__private::FieldKind<Linear>>::POINTER_3
                            },
                        >()
                };
                ::core::result::Result::Ok(Enumeration::Shallow { 0: field_0 })
            };
        }
        ::core::result::Result::Ok(Enumeration::Identity {})
    }
}
#[doc(inline)]
#[allow(unused_imports)]
pub use __Enumeration::EnumerationConfig as EnumerationConfig;
const _: () = {
    #[allow(unused_imports)]
    use ::sconce::__private::ConfigNameConflict as _;
    #[allow(dead_code, clippy::all, clippy::pedantic)]
    impl __Enumeration::EnumerationConfig {
        fn __is_generated(&self) {}
    }
    #[allow(dead_code, clippy::all, clippy::pedantic)]
    impl Enumeration {
        fn __config_name() {
            let _: fn(&__Enumeration::EnumerationConfig) = EnumerationConfig::__is_generated;
        }
    }
};
