#[automatically_derived]
impl<L: Layer + Default, const N: usize> ::sconce::Module for Generic<L, N>
where
    L: Send,
{
    fn kind(&self) -> ::sconce::__private::Cow<'static, ::core::primitive::str> {
        ::sconce::__private::Cow::Borrowed("Generic")
    }
    fn visit<'module>(&'module self, visitor: &mut dyn ::sconce::Visitor<'module>) {
        ::sconce::__private::visit_renamed(
            ::sconce::__private::module_field::<[LayerNorm; N]>()
                .as_module(&self.blocks),
            visitor,
            &|index| ::sconce::__private::concat_name(
                &[
                    &"block",
                    &N,
                    &"_",
                    &::sconce::__private::element_number(1usize, 1usize, index),
                ],
            ),
        );
        visitor
            .child("act", ::sconce::__private::module_field::<L>().as_module(&self.act));
    }
    fn visit_mut(&mut self, visitor: &mut dyn ::sconce::VisitorMut) {
        ::sconce::__private::visit_renamed_mut(
            ::sconce::__private::module_field::<[LayerNorm; N]>()
                .as_module_mut(&mut self.blocks),
            visitor,
            &|index| ::sconce::__private::concat_name(
                &[
                    &"block",
                    &N,
                    &"_",
                    &::sconce::__private::element_number(1usize, 1usize, index),
                ],
            ),
        );
        visitor
            .child(
                "act",
                ::sconce::__private::module_field::<L>().as_module_mut(&mut self.act),
            );
    }
    fn visit_fields<'module>(
        &'module self,
        visitor: &mut dyn ::sconce::Visitor<'module>,
    ) {
        visitor
            .child(
                "blocks",
                ::sconce::__private::module_field::<[LayerNorm; N]>()
                    .as_module(&self.blocks),
            );
        visitor
            .child("act", ::sconce::__private::module_field::<L>().as_module(&self.act));
    }
    fn share(&self) -> Self {
        Self {
            blocks: ::sconce::__private::module_field::<[LayerNorm; N]>()
                .share(&self.blocks),
            act: ::sconce::__private::module_field::<L>().share(&self.act),
        }
    }
}
#[automatically_derived]
impl<L: Layer + Default, const N: usize> ::core::fmt::Display for Generic<L, N>
where
    L: Send,
{
    fn fmt(&self, f: &mut ::core::fmt::Formatter<'_>) -> ::core::fmt::Result {
        ::sconce::__private::display(self, f)
    }
}
#[automatically_derived]
impl<L: Layer + Default, const N: usize> ::sconce::Forward<::sconce::Signal>
for Generic<L, N>
where
    L: Send,
{
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
                        let blocks: &[LayerNorm; N] = &self.blocks;
                        #[allow(unused_variables, non_snake_case)]
                        let act: &L = &self.act;
                        let x = input;
                        ::core::result::Result::Ok({
                            let [first, rest @ ..] = &blocks[..] else {
                                return Err(
                                    ::core::convert::Into::into(
                                        Error::msg("expected at least one block"),
                                    ),
                                )
                            };
                            ::sconce::__private::output::<
                                ::sconce::Signal,
                                _,
                            >(
                                rest
                                    .iter()
                                    .fold(
                                        ::sconce::__private::call(
                                            act,
                                            "act",
                                            ::core::convert::Into::into(
                                                first
                                                    .call_layer_or_function(
                                                        (::sconce::__private::Convertible(x),),
                                                        mode,
                                                    ),
                                            ),
                                            mode,
                                        ),
                                        |x, block| ::sconce::__private::call(
                                            act,
                                            "act",
                                            ::core::convert::Into::into(
                                                block
                                                    .call_layer_or_function(
                                                        (::sconce::__private::Convertible(x),),
                                                        mode,
                                                    ),
                                            ),
                                            mode,
                                        ),
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
impl<L: Layer + Default, const N: usize> Generic<L, N>
where
    L: Send,
{
    /// Runs the network in evaluation mode.
    pub fn forward(
        &self,
        x: impl ::core::convert::Into<::sconce::Signal>,
    ) -> ::sconce::Result<::sconce::candle::Tensor> {
        ::sconce::__private::forward(
                self,
                "Generic",
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
                "Generic",
                ::core::convert::Into::into(x),
                ::core::convert::From::from(train),
            )
            .tensors()
    }
}
#[automatically_derived]
impl<L: Layer + Default, const N: usize> ::sconce::nn::ModuleT for Generic<L, N>
where
    L: Send,
{
    fn forward_t(
        &self,
        xs: &::sconce::candle::Tensor,
        train: ::core::primitive::bool,
    ) -> ::sconce::candle::Result<::sconce::candle::Tensor> {
        ::sconce::__private::module_forward_t(self, "Generic", xs, train)
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
mod __Generic {
    pub(super) trait __Arguments {
        type width;
        type eps;
    }
    /// The config of [`Generic`](super::Generic): the arguments from which it is built.
    #[must_use]
    pub struct GenericConfig<L: ?::core::marker::Sized, const N: usize>
    where
        Self: __Arguments,
    {
        pub(super) width: <Self as __Arguments>::width,
        pub(super) eps: ::core::option::Option<<Self as __Arguments>::eps>,
        pub(super) __network: ::core::marker::PhantomData<fn() -> (*const L,)>,
    }
}
#[allow(non_camel_case_types)]
impl<L: Layer + Default, const N: usize> __Generic::__Arguments
for __Generic::GenericConfig<L, N>
where
    L: Send,
{
    type width = usize;
    type eps = f64;
}
#[automatically_derived]
impl<L: Layer + Default, const N: usize> ::core::clone::Clone
for __Generic::GenericConfig<L, N>
where
    L: Send,
    for<'arg> usize: ::core::clone::Clone,
    for<'arg> f64: ::core::clone::Clone,
{
    fn clone(&self) -> Self {
        Self {
            width: ::core::clone::Clone::clone(&self.width),
            eps: ::core::clone::Clone::clone(&self.eps),
            __network: ::core::marker::PhantomData,
        }
    }
}
#[automatically_derived]
impl<L: Layer + Default, const N: usize> ::core::fmt::Debug
for __Generic::GenericConfig<L, N>
where
    L: Send,
    for<'arg> usize: ::core::fmt::Debug,
    for<'arg> f64: ::core::fmt::Debug,
{
    fn fmt(&self, f: &mut ::core::fmt::Formatter<'_>) -> ::core::fmt::Result {
        f.debug_struct("GenericConfig")
            .field("width", &self.width)
            .field("eps", &self.eps)
            .finish()
    }
}
#[allow(dead_code, clippy::all, clippy::pedantic)]
impl<L: Layer + Default, const N: usize> __Generic::GenericConfig<L, N>
where
    L: Send,
{
    /// Sets `eps`.
    /// Default: `1e-5`.
    pub fn eps(mut self, eps: f64) -> Self {
        self.eps = ::core::option::Option::Some(eps);
        self
    }
    /// Builds the network with the tensors of a candle `VarBuilder`.
    pub fn build(
        self,
        vb: ::sconce::nn::VarBuilder<'_>,
    ) -> ::sconce::Result<Generic<L, N>> {
        ::sconce::Config::build(self, vb)
    }
    /// Builds the network with newly initialized parameters.
    pub fn init(
        self,
        device: &::sconce::candle::Device,
    ) -> ::sconce::Result<Generic<L, N>> {
        ::sconce::Config::init(self, device)
    }
    /// Builds the network with the parameters of a checkpoint.
    pub fn load(
        self,
        path: impl ::core::convert::AsRef<::std::path::Path>,
        device: &::sconce::candle::Device,
    ) -> ::sconce::Result<Generic<L, N>> {
        ::sconce::Config::load(self, path, device)
    }
    /// Builds the network with the parameters of a checkpoint, which is read with the options of `Load`.
    pub fn load_with(
        self,
        path: impl ::core::borrow::Borrow<::sconce::Load>,
        device: &::sconce::candle::Device,
    ) -> ::sconce::Result<(Generic<L, N>, ::sconce::LoadReport)> {
        ::sconce::Config::load_with(self, path, device)
    }
}
#[allow(dead_code, clippy::all, clippy::pedantic)]
impl<L: Layer + Default, const N: usize> Generic<L, N>
where
    L: Send,
{
    /// Returns the config of the network.
    ///
    /// Arguments:
    ///
    /// - `width`
    /// - `eps` (setter, default `1e-5`)
    pub fn config(width: usize) -> __Generic::GenericConfig<L, N> {
        __Generic::GenericConfig {
            width,
            eps: ::core::option::Option::None,
            __network: ::core::marker::PhantomData,
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
impl<L: Layer + Default, const N: usize> ::sconce::Config
for __Generic::GenericConfig<L, N>
where
    L: Send,
{
    type Output = Generic<L, N>;
    fn build(self, vb: ::sconce::nn::VarBuilder<'_>) -> ::sconce::Result<Generic<L, N>> {
        let _ = &vb;
        let width: usize = self.width;
        let eps: f64 = match self.eps {
            ::core::option::Option::Some(given) => given,
            ::core::option::Option::None => 1e-5,
        };
        #[allow(unused_imports)]
        use ::sconce::__private::NotContainer as _;
        let path = ::sconce::__private::BuildScope::enter("Generic");
        path.field("blocks");
        let field_blocks = {
            let vb_0 = &vb;
            let mut layers_0 = ::std::vec::Vec::<LayerNorm>::new();
            for _ in 0..N {
                path.element(1usize, layers_0.len());
                layers_0
                    .push({
                        let width = ::sconce::__private::copy_arg(&width);
                        let eps = ::sconce::__private::copy_arg(&eps);
                        ::sconce::__private::Built(
                                ::sconce::__private::layer(
                                    vb_0,
                                    &::sconce::__private::concat_name(
                                        &[
                                            &"block",
                                            &N,
                                            &"_",
                                            &::sconce::__private::element_number(
                                                1usize,
                                                1usize,
                                                layers_0.len(),
                                            ),
                                        ],
                                    ),
                                    <<LayerNorm as ::sconce::__private::Pointee<
                                        {
                                            <::sconce::__private::FieldKind<LayerNorm>>::POINTER
                                                + <::sconce::__private::FieldKind<LayerNorm>>::POINTER_2
                                                + <::sconce::__private::FieldKind<LayerNorm>>::POINTER_3
                                        },
                                    >>::Layer>::config(width)
                                        .eps(eps),
                                )?,
                            )
                            .into_field::<
                                LayerNorm,
                                {
                                    <::sconce::__private::FieldKind<LayerNorm>>::POINTER
                                        + <::sconce::__private::FieldKind<LayerNorm>>::POINTER_2
                                        + <::sconce::__private::FieldKind<LayerNorm>>::POINTER_3
                                },
                            >()
                    });
            }
            path.leave(1usize);
            ::sconce::__private::layer_list::<[LayerNorm; N], _>(layers_0)?
        };
        path.field("act");
        let field_act = {
            #[allow(unused_imports)]
            use ::sconce::__private::{BuildDefault as _, BuildNothing as _};
            ::sconce::__private::bare_field::<L>().build(&vb, "act")?
        };
        ::core::result::Result::Ok(Generic {
            blocks: field_blocks,
            act: field_act,
        })
    }
}
#[doc(inline)]
#[allow(unused_imports)]
pub use __Generic::GenericConfig as GenericConfig;
const _: () = {
    #[allow(unused_imports)]
    use ::sconce::__private::ConfigNameConflict as _;
    #[allow(dead_code, clippy::all, clippy::pedantic)]
    impl<L: Layer + Default, const N: usize> __Generic::GenericConfig<L, N>
    where
        L: Send,
    {
        fn __is_generated(&self) {}
    }
    #[allow(dead_code, clippy::all, clippy::pedantic)]
    impl<L: Layer + Default, const N: usize> Generic<L, N>
    where
        L: Send,
    {
        fn __config_name() {
            let _: fn(&__Generic::GenericConfig<L, N>) = GenericConfig::__is_generated;
        }
    }
};
