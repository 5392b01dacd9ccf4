#[automatically_derived]
impl ::sconce::Module for Training {
    fn kind(&self) -> ::sconce::__private::Cow<'static, ::core::primitive::str> {
        ::sconce::__private::Cow::Borrowed("Training")
    }
    fn visit<'module>(&'module self, visitor: &mut dyn ::sconce::Visitor<'module>) {
        visitor
            .child(
                "fc",
                ::sconce::__private::module_field::<Linear>().as_module(&self.fc),
            );
    }
    fn visit_mut(&mut self, visitor: &mut dyn ::sconce::VisitorMut) {
        visitor
            .child(
                "fc",
                ::sconce::__private::module_field::<Linear>().as_module_mut(&mut self.fc),
            );
    }
    fn share(&self) -> Self {
        Self {
            fc: ::sconce::__private::module_field::<Linear>().share(&self.fc),
            rate: ::core::clone::Clone::clone(&self.rate),
            weights: ::core::clone::Clone::clone(&self.weights),
            gain: ::core::clone::Clone::clone(&self.gain),
            steps: ::core::clone::Clone::clone(&self.steps),
        }
    }
}
#[automatically_derived]
impl ::core::fmt::Display for Training {
    fn fmt(&self, f: &mut ::core::fmt::Formatter<'_>) -> ::core::fmt::Result {
        ::sconce::__private::display(self, f)
    }
}
#[automatically_derived]
impl ::sconce::Forward<::sconce::Signal> for Training {
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
                        let weights = ::sconce::__private::Data(&self.weights).data();
                        #[allow(unused_variables, non_snake_case)]
                        let fc: &<Linear as ::sconce::__private::Pointee<
                            {
                                let _ = ::sconce::__private::module_field::<Linear>;
                                0
                            },
                        >>::Layer = &self.fc;
                        #[allow(unused_variables, non_snake_case)]
                        let gain = ::sconce::__private::Data(&self.gain).data();
                        let x = input;
                        ::core::result::Result::Ok({
                            let shift: f64 = weights.iter().sum();
                            ::sconce::__private::output::<
                                ::sconce::Signal,
                                _,
                            >(
                                ::sconce::__private::call(
                                    fc,
                                    "fc",
                                    ::core::convert::Into::into(x),
                                    mode,
                                ) * gain + shift,
                            )
                        })
                    })
                    .output()
            },
        )
    }
}
#[allow(dead_code, clippy::all, clippy::pedantic)]
impl Training {
    /// Runs the network in evaluation mode.
    pub fn forward(
        &self,
        x: impl ::core::convert::Into<::sconce::Signal>,
    ) -> ::sconce::Result<::sconce::candle::Tensor> {
        ::sconce::__private::forward(
                self,
                "Training",
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
                "Training",
                ::core::convert::Into::into(x),
                ::core::convert::From::from(train),
            )
            .tensors()
    }
}
#[automatically_derived]
impl ::sconce::nn::ModuleT for Training {
    fn forward_t(
        &self,
        xs: &::sconce::candle::Tensor,
        train: ::core::primitive::bool,
    ) -> ::sconce::candle::Result<::sconce::candle::Tensor> {
        ::sconce::__private::module_forward_t(self, "Training", xs, train)
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
mod __Training {
    pub(super) trait __Arguments {
        type rate;
        type weights;
    }
    /// The config of [`Training`](super::Training): the arguments from which it is built.
    #[must_use]
    pub struct TrainingConfig {
        pub(super) rate: <Self as __Arguments>::rate,
        pub(super) weights: ::core::option::Option<<Self as __Arguments>::weights>,
    }
}
#[allow(non_camel_case_types)]
impl __Training::__Arguments for __Training::TrainingConfig {
    type rate = f64;
    type weights = Vec<f64>;
}
#[automatically_derived]
impl ::core::clone::Clone for __Training::TrainingConfig
where
    for<'arg> f64: ::core::clone::Clone,
    for<'arg> Vec<f64>: ::core::clone::Clone,
{
    fn clone(&self) -> Self {
        Self {
            rate: ::core::clone::Clone::clone(&self.rate),
            weights: ::core::clone::Clone::clone(&self.weights),
        }
    }
}
#[automatically_derived]
impl ::core::fmt::Debug for __Training::TrainingConfig
where
    for<'arg> f64: ::core::fmt::Debug,
    for<'arg> Vec<f64>: ::core::fmt::Debug,
{
    fn fmt(&self, f: &mut ::core::fmt::Formatter<'_>) -> ::core::fmt::Result {
        f.debug_struct("TrainingConfig")
            .field("rate", &self.rate)
            .field("weights", &self.weights)
            .finish()
    }
}
#[allow(dead_code, clippy::all, clippy::pedantic)]
impl __Training::TrainingConfig {
    /// Sets `weights`.
    /// Default: `vec![1.0]`.
    pub fn weights(mut self, weights: Vec<f64>) -> Self {
        self.weights = ::core::option::Option::Some(weights);
        self
    }
    /// Builds the network with the tensors of a candle `VarBuilder`.
    pub fn build(self, vb: ::sconce::nn::VarBuilder<'_>) -> ::sconce::Result<Training> {
        ::sconce::Config::build(self, vb)
    }
    /// Builds the network with newly initialized parameters.
    pub fn init(self, device: &::sconce::candle::Device) -> ::sconce::Result<Training> {
        ::sconce::Config::init(self, device)
    }
    /// Builds the network with the parameters of a checkpoint.
    pub fn load(
        self,
        path: impl ::core::convert::AsRef<::std::path::Path>,
        device: &::sconce::candle::Device,
    ) -> ::sconce::Result<Training> {
        ::sconce::Config::load(self, path, device)
    }
    /// Builds the network with the parameters of a checkpoint, which is read with the options of `Load`.
    pub fn load_with(
        self,
        path: impl ::core::borrow::Borrow<::sconce::Load>,
        device: &::sconce::candle::Device,
    ) -> ::sconce::Result<(Training, ::sconce::LoadReport)> {
        ::sconce::Config::load_with(self, path, device)
    }
}
#[allow(dead_code, clippy::all, clippy::pedantic)]
impl Training {
    /// Returns the config of the network.
    ///
    /// Arguments:
    ///
    /// - `rate`
    /// - `weights` (setter, default `vec![1.0]`)
    pub fn config(rate: f64) -> __Training::TrainingConfig {
        __Training::TrainingConfig {
            rate,
            weights: ::core::option::Option::None,
        }
    }
    /// Builds the network with newly initialized parameters.
    pub fn new(rate: f64, device: &::sconce::candle::Device) -> ::sconce::Result<Self> {
        ::sconce::Config::init(Self::config(rate), device)
    }
}
#[automatically_derived]
#[allow(clippy::redundant_locals)]
impl ::sconce::Config for __Training::TrainingConfig {
    type Output = Training;
    fn build(self, vb: ::sconce::nn::VarBuilder<'_>) -> ::sconce::Result<Training> {
        let _ = &vb;
        let rate: f64 = self.rate;
        let weights: Vec<f64> = match self.weights {
            ::core::option::Option::Some(given) => given,
            ::core::option::Option::None => vec![1.0],
        };
        #[allow(unused_imports)]
        use ::sconce::__private::NotContainer as _;
        let path = ::sconce::__private::BuildScope::enter("Training");
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
                    >>::Layer>::config(1, 1),
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
        let field_rate: f64 = {
            let rate = rate;
            rate
        };
        let field_weights: Vec<f64> = {
            let weights = weights;
            weights
        };
        let field_gain: f64 = 2.0;
        let field_steps = <usize as ::core::default::Default>::default();
        ::core::result::Result::Ok(Training {
            fc: field_fc,
            rate: field_rate,
            weights: field_weights,
            gain: field_gain,
            steps: field_steps,
        })
    }
}
#[doc(inline)]
#[allow(unused_imports)]
pub use __Training::TrainingConfig as TrainingConfig;
const _: () = {
    #[allow(unused_imports)]
    use ::sconce::__private::ConfigNameConflict as _;
    #[allow(dead_code, clippy::all, clippy::pedantic)]
    impl __Training::TrainingConfig {
        fn __is_generated(&self) {}
    }
    #[allow(dead_code, clippy::all, clippy::pedantic)]
    impl Training {
        fn __config_name() {
            let _: fn(&__Training::TrainingConfig) = TrainingConfig::__is_generated;
        }
    }
};
#[automatically_derived]
impl ::sconce::train::Trainable for Training {
    fn loss(
        &self,
        output: &::sconce::candle::Tensor,
        target: &::sconce::candle::Tensor,
    ) -> ::sconce::Result<::sconce::candle::Tensor> {
        let gain = ::core::clone::Clone::clone(&self.gain);
        ::sconce::__private::loss(
            |output, target| Ok((mse_loss(output, target)? * gain)?),
            output,
            target,
        )
    }
    fn optimizer(&self) -> ::std::boxed::Box<dyn ::sconce::train::Optimizer> {
        let rate = ::core::clone::Clone::clone(&self.rate);
        ::sconce::__private::optimizer(Sgd::new(rate).momentum(0.9))
    }
    fn schedule(
        &self,
    ) -> ::core::option::Option<::sconce::train::LearningRate<'static>> {
        ::sconce::__private::schedule((StepLr::new(10), Every::Epoch))
    }
}
