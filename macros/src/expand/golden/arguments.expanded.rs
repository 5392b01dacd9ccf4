#[automatically_derived]
impl ::sconce::Module for Arguments {
    fn kind(&self) -> ::sconce::__private::Cow<'static, ::core::primitive::str> {
        ::sconce::__private::Cow::Borrowed("Arguments")
    }
    fn visit<'module>(&'module self, visitor: &mut dyn ::sconce::Visitor<'module>) {
        visitor
            .child(
                "up",
                ::sconce::__private::sequential_field::<Linear>().as_module(&self.up),
            );
        visitor
            .child(
                "act",
                ::sconce::__private::sequential_field::<Gelu>().as_module(&self.act),
            );
        visitor
            .child(
                "dropout",
                ::sconce::__private::sequential_field::<Option<Dropout>>()
                    .as_module(&self.dropout),
            );
        visitor
            .child(
                "down",
                ::sconce::__private::sequential_field::<Linear>().as_module(&self.down),
            );
    }
    fn visit_mut(&mut self, visitor: &mut dyn ::sconce::VisitorMut) {
        visitor
            .child(
                "up",
                ::sconce::__private::sequential_field::<Linear>()
                    .as_module_mut(&mut self.up),
            );
        visitor
            .child(
                "act",
                ::sconce::__private::sequential_field::<Gelu>()
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
                "down",
                ::sconce::__private::sequential_field::<Linear>()
                    .as_module_mut(&mut self.down),
            );
    }
    fn share(&self) -> Self {
        Self {
            up: ::sconce::__private::sequential_field::<Linear>().share(&self.up),
            act: ::sconce::__private::sequential_field::<Gelu>().share(&self.act),
            dropout: ::sconce::__private::sequential_field::<Option<Dropout>>()
                .share(&self.dropout),
            down: ::sconce::__private::sequential_field::<Linear>().share(&self.down),
            labels: ::core::clone::Clone::clone(&self.labels),
        }
    }
}
#[automatically_derived]
impl ::core::fmt::Display for Arguments {
    fn fmt(&self, f: &mut ::core::fmt::Formatter<'_>) -> ::core::fmt::Result {
        ::sconce::__private::display(self, f)
    }
}
#[automatically_derived]
impl ::sconce::Forward<::sconce::Signal> for Arguments {
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
                let x = ::sconce::__private::sequential_field::<Linear>()
                    .call(&self.up, "up", x, mode);
                let x = ::sconce::__private::sequential_field::<Gelu>()
                    .call(&self.act, "act", x, mode);
                let x = ::sconce::__private::sequential_field::<Option<Dropout>>()
                    .call(&self.dropout, "dropout", x, mode);
                let x = ::sconce::__private::sequential_field::<Linear>()
                    .call(&self.down, "down", x, mode);
                x
            },
        )
    }
}
#[allow(dead_code, clippy::all, clippy::pedantic)]
impl Arguments {
    /// Runs the network in evaluation mode.
    pub fn forward(
        &self,
        x: impl ::core::convert::Into<::sconce::Signal>,
    ) -> ::sconce::Result<::sconce::candle::Tensor> {
        ::sconce::__private::forward(
                self,
                "Arguments",
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
                "Arguments",
                ::core::convert::Into::into(x),
                ::core::convert::From::from(train),
            )
            .tensors()
    }
}
#[automatically_derived]
impl ::sconce::nn::ModuleT for Arguments {
    fn forward_t(
        &self,
        xs: &::sconce::candle::Tensor,
        train: ::core::primitive::bool,
    ) -> ::sconce::candle::Result<::sconce::candle::Tensor> {
        ::sconce::__private::module_forward_t(self, "Arguments", xs, train)
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
mod __Arguments {
    pub(super) trait __Arguments {
        type width;
        type labels;
        type hidden;
        type bias;
        type dropout;
    }
    /// The config of [`Arguments`](super::Arguments): the arguments from which it is built.
    #[must_use]
    pub struct ArgumentsBuilder {
        pub(super) width: <Self as __Arguments>::width,
        pub(super) labels: <Self as __Arguments>::labels,
        pub(super) hidden: ::core::option::Option<<Self as __Arguments>::hidden>,
        pub(super) bias: ::core::option::Option<<Self as __Arguments>::bias>,
        pub(super) dropout: ::core::option::Option<<Self as __Arguments>::dropout>,
    }
}
#[allow(non_camel_case_types)]
impl __Arguments::__Arguments for __Arguments::ArgumentsBuilder {
    type width = usize;
    type labels = Vec<String>;
    type hidden = usize;
    type bias = bool;
    type dropout = Option<f64>;
}
#[automatically_derived]
impl ::core::clone::Clone for __Arguments::ArgumentsBuilder
where
    for<'arg> usize: ::core::clone::Clone,
    for<'arg> Vec<String>: ::core::clone::Clone,
    for<'arg> usize: ::core::clone::Clone,
    for<'arg> bool: ::core::clone::Clone,
    for<'arg> Option<f64>: ::core::clone::Clone,
{
    fn clone(&self) -> Self {
        Self {
            width: ::core::clone::Clone::clone(&self.width),
            labels: ::core::clone::Clone::clone(&self.labels),
            hidden: ::core::clone::Clone::clone(&self.hidden),
            bias: ::core::clone::Clone::clone(&self.bias),
            dropout: ::core::clone::Clone::clone(&self.dropout),
        }
    }
}
#[automatically_derived]
impl ::core::fmt::Debug for __Arguments::ArgumentsBuilder
where
    for<'arg> usize: ::core::fmt::Debug,
    for<'arg> Vec<String>: ::core::fmt::Debug,
    for<'arg> usize: ::core::fmt::Debug,
    for<'arg> bool: ::core::fmt::Debug,
    for<'arg> Option<f64>: ::core::fmt::Debug,
{
    fn fmt(&self, f: &mut ::core::fmt::Formatter<'_>) -> ::core::fmt::Result {
        f.debug_struct("ArgumentsBuilder")
            .field("width", &self.width)
            .field("labels", &self.labels)
            .field("hidden", &self.hidden)
            .field("bias", &self.bias)
            .field("dropout", &self.dropout)
            .finish()
    }
}
#[allow(dead_code, clippy::all, clippy::pedantic)]
impl __Arguments::ArgumentsBuilder {
    /// The number of features between the layers.
    ///
    /// Default: `4 * width`.
    pub fn hidden(mut self, hidden: usize) -> Self {
        self.hidden = ::core::option::Option::Some(hidden);
        self
    }
    /// Sets `bias`.
    /// Default: `true`.
    pub fn bias(mut self, bias: bool) -> Self {
        self.bias = ::core::option::Option::Some(bias);
        self
    }
    /// Sets `dropout`.
    /// Default: `None`.
    pub fn dropout(mut self, dropout: impl ::core::convert::Into<Option<f64>>) -> Self {
        self.dropout = ::core::option::Option::Some(
            ::core::convert::Into::into(dropout),
        );
        self
    }
    /// Builds the network with the tensors of a candle `VarBuilder`.
    pub fn build(self, vb: ::sconce::nn::VarBuilder<'_>) -> ::sconce::Result<Arguments> {
        ::sconce::Config::build(self, vb)
    }
    /// Builds the network with newly initialized parameters.
    pub fn init(self, device: &::sconce::candle::Device) -> ::sconce::Result<Arguments> {
        ::sconce::Config::init(self, device)
    }
    /// Builds the network with the parameters of a checkpoint.
    pub fn load(
        self,
        path: impl ::core::convert::AsRef<::std::path::Path>,
        device: &::sconce::candle::Device,
    ) -> ::sconce::Result<Arguments> {
        ::sconce::Config::load(self, path, device)
    }
    /// Builds the network with the parameters of a checkpoint, which is read with the options of `Load`.
    pub fn load_with(
        self,
        path: impl ::core::borrow::Borrow<::sconce::Load>,
        device: &::sconce::candle::Device,
    ) -> ::sconce::Result<(Arguments, ::sconce::LoadReport)> {
        ::sconce::Config::load_with(self, path, device)
    }
}
#[allow(dead_code, clippy::all, clippy::pedantic)]
impl Arguments {
    /// Returns the config of the network.
    ///
    /// Arguments:
    ///
    /// - `width`: The number of features.
    /// - `labels`: The names of the layers.
    /// - `hidden` (setter, default `4 * width`): The number of features between the layers.
    /// - `bias` (setter, default `true`)
    /// - `dropout` (setter, default `None`)
    pub fn config(width: usize, labels: Vec<String>) -> __Arguments::ArgumentsBuilder {
        __Arguments::ArgumentsBuilder {
            width,
            labels,
            hidden: ::core::option::Option::None,
            bias: ::core::option::Option::None,
            dropout: ::core::option::Option::None,
        }
    }
    /// Builds the network with newly initialized parameters.
    pub fn new(
        width: usize,
        labels: Vec<String>,
        device: &::sconce::candle::Device,
    ) -> ::sconce::Result<Self> {
        ::sconce::Config::init(Self::config(width, labels), device)
    }
}
#[automatically_derived]
#[allow(clippy::redundant_locals)]
impl ::sconce::Config for __Arguments::ArgumentsBuilder {
    type Output = Arguments;
    fn build(self, vb: ::sconce::nn::VarBuilder<'_>) -> ::sconce::Result<Arguments> {
        let _ = &vb;
        let width: usize = self.width;
        let labels: Vec<String> = self.labels;
        let hidden: usize = match self.hidden {
            ::core::option::Option::Some(given) => given,
            ::core::option::Option::None => {
                let width = ::sconce::__private::copy_arg(&width);
                4 * width
            }
        };
        let bias: bool = match self.bias {
            ::core::option::Option::Some(given) => given,
            ::core::option::Option::None => true,
        };
        let dropout: Option<f64> = match self.dropout {
            ::core::option::Option::Some(given) => given,
            ::core::option::Option::None => None,
        };
        #[allow(unused_imports)]
        use ::sconce::__private::NotContainer as _;
        let path = ::sconce::__private::BuildScope::enter("Arguments");
        path.field("up");
        let field_up = {
            let width = ::sconce::__private::copy_arg(&width);
            let hidden = ::sconce::__private::copy_arg(&hidden);
            let bias = ::sconce::__private::copy_arg(&bias);
            ::sconce::__private::Built(
                    ::sconce::__private::layer(
                        &vb,
                        "up",
                        <<Linear as ::sconce::__private::Pointee<
                            {
                                let _ = ::sconce::__private::sequential_field::<Linear>;
                                <::sconce::__private::FieldKind<Linear>>::POINTER
                                    + <::sconce::__private::FieldKind<Linear>>::POINTER_2
                                    + <::sconce::__private::FieldKind<Linear>>::POINTER_3
                            },
                        >>::Layer>::config(width, hidden)
                            .bias(bias),
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
        path.field("act");
        let field_act = {
            #[allow(unused_imports)]
            use ::sconce::__private::{BuildDefault as _, BuildNothing as _};
            ::sconce::__private::bare_field::<Gelu>().build(&vb, "act")?
        };
        path.field("dropout");
        let field_dropout = ::sconce::__private::optional::<
            Option<Dropout>,
            _,
        >(
            if {
                let dropout = ::sconce::__private::copy_arg(&dropout);
                dropout.is_some()
            } {
                ::core::option::Option::Some({
                    let dropout = ::sconce::__private::copy_arg(&dropout);
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
                                >>::Layer>::config(dropout.unwrap_or(0.0)),
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
                        >()
                })
            } else {
                ::core::option::Option::None
            },
        );
        path.field("down");
        let field_down = {
            let width = ::sconce::__private::copy_arg(&width);
            let hidden = ::sconce::__private::copy_arg(&hidden);
            let bias = ::sconce::__private::copy_arg(&bias);
            ::sconce::__private::Built(
                    ::sconce::__private::layer(
                        &vb,
                        "down",
                        <<Linear as ::sconce::__private::Pointee<
                            {
                                let _ = ::sconce::__private::sequential_field::<Linear>;
                                <::sconce::__private::FieldKind<Linear>>::POINTER
                                    + <::sconce::__private::FieldKind<Linear>>::POINTER_2
                                    + <::sconce::__private::FieldKind<Linear>>::POINTER_3
                            },
                        >>::Layer>::config(hidden, width)
                            .bias(bias),
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
        let field_labels: Vec<String> = {
            let labels = labels;
            labels
        };
        ::core::result::Result::Ok(Arguments {
            up: field_up,
            act: field_act,
            dropout: field_dropout,
            down: field_down,
            labels: field_labels,
        })
    }
}
#[doc(inline)]
#[allow(unused_imports)]
pub use __Arguments::ArgumentsBuilder as ArgumentsBuilder;
const _: () = {
    #[allow(unused_imports)]
    use ::sconce::__private::ConfigNameConflict as _;
    #[allow(dead_code, clippy::all, clippy::pedantic)]
    impl __Arguments::ArgumentsBuilder {
        fn __is_generated(&self) {}
    }
    #[allow(dead_code, clippy::all, clippy::pedantic)]
    impl Arguments {
        fn __config_name() {
            let _: fn(&__Arguments::ArgumentsBuilder) = ArgumentsBuilder::__is_generated;
        }
    }
};
