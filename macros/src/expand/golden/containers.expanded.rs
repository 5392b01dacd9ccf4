#[automatically_derived]
impl ::sconce::Module for Containers {
    fn kind(&self) -> ::sconce::__private::Cow<'static, ::core::primitive::str> {
        ::sconce::__private::Cow::Borrowed("Containers")
    }
    fn visit<'module>(&'module self, visitor: &mut dyn ::sconce::Visitor<'module>) {
        visitor
            .child(
                "grid",
                ::sconce::__private::module_field::<Grid>().as_module(&self.grid),
            );
        visitor
            .child(
                "pair",
                ::sconce::__private::module_field::<Pair>().as_module(&self.pair),
            );
        visitor
            .child(
                "tail",
                ::sconce::__private::module_field::<Option<Vec<Option<Linear>>>>()
                    .as_module(&self.tail),
            );
        visitor
            .child(
                "heads",
                ::sconce::__private::module_field::<IndexMap<String, Linear>>()
                    .as_module(&self.heads),
            );
        visitor
            .child(
                "shared",
                ::sconce::__private::module_field::<Arc<Linear>>()
                    .as_module(&self.shared),
            );
        visitor
            .child(
                "any",
                ::sconce::__private::module_field::<Box<dyn Layer>>()
                    .as_module(&self.any),
            );
    }
    fn visit_mut(&mut self, visitor: &mut dyn ::sconce::VisitorMut) {
        visitor
            .child(
                "grid",
                ::sconce::__private::module_field::<Grid>().as_module_mut(&mut self.grid),
            );
        visitor
            .child(
                "pair",
                ::sconce::__private::module_field::<Pair>().as_module_mut(&mut self.pair),
            );
        visitor
            .child(
                "tail",
                ::sconce::__private::module_field::<Option<Vec<Option<Linear>>>>()
                    .as_module_mut(&mut self.tail),
            );
        visitor
            .child(
                "heads",
                ::sconce::__private::module_field::<IndexMap<String, Linear>>()
                    .as_module_mut(&mut self.heads),
            );
        visitor
            .child(
                "shared",
                ::sconce::__private::module_field::<Arc<Linear>>()
                    .as_module_mut(&mut self.shared),
            );
        visitor
            .child(
                "any",
                ::sconce::__private::module_field::<Box<dyn Layer>>()
                    .as_module_mut(&mut self.any),
            );
    }
    fn share(&self) -> Self {
        Self {
            grid: ::sconce::__private::module_field::<Grid>().share(&self.grid),
            pair: ::sconce::__private::module_field::<Pair>().share(&self.pair),
            tail: ::sconce::__private::module_field::<Option<Vec<Option<Linear>>>>()
                .share(&self.tail),
            heads: ::sconce::__private::module_field::<IndexMap<String, Linear>>()
                .share(&self.heads),
            shared: ::sconce::__private::module_field::<Arc<Linear>>()
                .share(&self.shared),
            any: ::sconce::__private::module_field::<Box<dyn Layer>>().share(&self.any),
        }
    }
}
#[automatically_derived]
impl ::core::fmt::Display for Containers {
    fn fmt(&self, f: &mut ::core::fmt::Formatter<'_>) -> ::core::fmt::Result {
        ::sconce::__private::display(self, f)
    }
}
#[automatically_derived]
impl ::sconce::Forward<::sconce::Signal> for Containers {
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
                        let pair: &<Pair as ::sconce::__private::Pointee<
                            {
                                let _ = ::sconce::__private::module_field::<Pair>;
                                0
                            },
                        >>::Layer = &self.pair;
                        #[allow(unused_variables, non_snake_case)]
                        let grid: &<Grid as ::sconce::__private::Pointee<
                            {
                                let _ = ::sconce::__private::module_field::<Grid>;
                                0
                            },
                        >>::Layer = &self.grid;
                        #[allow(unused_variables, non_snake_case)]
                        let tail: &<Option<
                            Vec<Option<Linear>>,
                        > as ::sconce::__private::Pointee<
                            {
                                let _ = ::sconce::__private::module_field::<
                                    Option<Vec<Option<Linear>>>,
                                >;
                                0
                            },
                        >>::Layer = &self.tail;
                        #[allow(unused_variables, non_snake_case)]
                        let heads: &<IndexMap<
                            String,
                            Linear,
                        > as ::sconce::__private::Pointee<
                            {
                                let _ = ::sconce::__private::module_field::<
                                    IndexMap<String, Linear>,
                                >;
                                0
                            },
                        >>::Layer = &self.heads;
                        #[allow(unused_variables, non_snake_case)]
                        let any: &<Box<
                            dyn Layer,
                        > as ::sconce::__private::Pointee<
                            {
                                let _ = ::sconce::__private::module_field::<Box<dyn Layer>>;
                                0
                            },
                        >>::Layer = &self.any;
                        #[allow(unused_variables, non_snake_case)]
                        let shared: &<Arc<
                            Linear,
                        > as ::sconce::__private::Pointee<
                            {
                                let _ = ::sconce::__private::module_field::<Arc<Linear>>;
                                0
                            },
                        >>::Layer = &self.shared;
                        let x = input;
                        ::core::result::Result::Ok({
                            let x = ::sconce::__private::call(
                                pair,
                                "pair",
                                ::core::convert::Into::into(
                                    ::sconce::__private::call_element(
                                        grid,
                                        "grid",
                                        (0, 1),
                                        ::core::convert::Into::into(x),
                                        mode,
                                    ),
                                ),
                                mode,
                            );
                            let x = if let Some(tail) = tail {
                                (tail[0])
                                    .call_layer_or_function(
                                        (::sconce::__private::Convertible(x),),
                                        mode,
                                    )
                            } else {
                                x
                            };
                            let head = heads
                                .get("boxes")
                                .ok_or_else(|| Error::msg("no head for boxes"))?;
                            ::sconce::__private::output::<
                                ::sconce::Signal,
                                _,
                            >(
                                head
                                    .call_layer_or_function(
                                        (
                                            ::sconce::__private::Convertible(
                                                ::sconce::__private::call(
                                                    any,
                                                    "any",
                                                    ::core::convert::Into::into(
                                                        ::sconce::__private::call(
                                                            shared,
                                                            "shared",
                                                            ::core::convert::Into::into(::sconce::__private::clone(&x)),
                                                            mode,
                                                        ),
                                                    ),
                                                    mode,
                                                ),
                                            ),
                                        ),
                                        mode,
                                    )
                                    + ::sconce::__private::call_element(
                                        heads,
                                        "heads",
                                        "classes",
                                        ::core::convert::Into::into(x),
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
impl Containers {
    /// Runs the network in evaluation mode.
    pub fn forward(
        &self,
        x: impl ::core::convert::Into<::sconce::Signal>,
    ) -> ::sconce::Result<::sconce::candle::Tensor> {
        ::sconce::__private::forward(
                self,
                "Containers",
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
                "Containers",
                ::core::convert::Into::into(x),
                ::core::convert::From::from(train),
            )
            .tensors()
    }
}
#[automatically_derived]
impl ::sconce::nn::ModuleT for Containers {
    fn forward_t(
        &self,
        xs: &::sconce::candle::Tensor,
        train: ::core::primitive::bool,
    ) -> ::sconce::candle::Result<::sconce::candle::Tensor> {
        ::sconce::__private::module_forward_t(self, "Containers", xs, train)
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
mod __Containers {
    pub(super) trait __Arguments {
        type names;
        type shared;
        type deep;
    }
    /// The config of [`Containers`](super::Containers): the arguments from which it is built.
    #[must_use]
    pub struct ContainersConfig {
        pub(super) names: <Self as __Arguments>::names,
        pub(super) shared: <Self as __Arguments>::shared,
        pub(super) deep: ::core::option::Option<<Self as __Arguments>::deep>,
    }
}
#[allow(non_camel_case_types)]
impl __Containers::__Arguments for __Containers::ContainersConfig {
    type names = Vec<String>;
    type shared = Arc<Linear>;
    type deep = bool;
}
#[automatically_derived]
impl ::core::clone::Clone for __Containers::ContainersConfig
where
    for<'arg> Vec<String>: ::core::clone::Clone,
    for<'arg> Arc<Linear>: ::core::clone::Clone,
    for<'arg> bool: ::core::clone::Clone,
{
    fn clone(&self) -> Self {
        Self {
            names: ::core::clone::Clone::clone(&self.names),
            shared: ::core::clone::Clone::clone(&self.shared),
            deep: ::core::clone::Clone::clone(&self.deep),
        }
    }
}
#[automatically_derived]
impl ::core::fmt::Debug for __Containers::ContainersConfig
where
    for<'arg> Vec<String>: ::core::fmt::Debug,
    for<'arg> Arc<Linear>: ::core::fmt::Debug,
    for<'arg> bool: ::core::fmt::Debug,
{
    fn fmt(&self, f: &mut ::core::fmt::Formatter<'_>) -> ::core::fmt::Result {
        f.debug_struct("ContainersConfig")
            .field("names", &self.names)
            .field("shared", &self.shared)
            .field("deep", &self.deep)
            .finish()
    }
}
#[allow(dead_code, clippy::all, clippy::pedantic)]
impl __Containers::ContainersConfig {
    /// Sets `deep`.
    /// Default: `true`.
    pub fn deep(mut self, deep: bool) -> Self {
        self.deep = ::core::option::Option::Some(deep);
        self
    }
    /// Builds the network with the tensors of a candle `VarBuilder`.
    pub fn build(
        self,
        vb: ::sconce::nn::VarBuilder<'_>,
    ) -> ::sconce::Result<Containers> {
        ::sconce::Config::build(self, vb)
    }
    /// Builds the network with newly initialized parameters.
    pub fn init(
        self,
        device: &::sconce::candle::Device,
    ) -> ::sconce::Result<Containers> {
        ::sconce::Config::init(self, device)
    }
    /// Builds the network with the parameters of a checkpoint.
    pub fn load(
        self,
        path: impl ::core::convert::AsRef<::std::path::Path>,
        device: &::sconce::candle::Device,
    ) -> ::sconce::Result<Containers> {
        ::sconce::Config::load(self, path, device)
    }
    /// Builds the network with the parameters of a checkpoint, which is read with the options of `Load`.
    pub fn load_with(
        self,
        path: impl ::core::borrow::Borrow<::sconce::Load>,
        device: &::sconce::candle::Device,
    ) -> ::sconce::Result<(Containers, ::sconce::LoadReport)> {
        ::sconce::Config::load_with(self, path, device)
    }
}
#[allow(dead_code, clippy::all, clippy::pedantic)]
impl Containers {
    /// Returns the config of the network.
    ///
    /// Arguments:
    ///
    /// - `names`
    /// - `shared`
    /// - `deep` (setter, default `true`)
    pub fn config(
        names: Vec<String>,
        shared: Arc<Linear>,
    ) -> __Containers::ContainersConfig {
        __Containers::ContainersConfig {
            names,
            shared,
            deep: ::core::option::Option::None,
        }
    }
    /// Builds the network with newly initialized parameters.
    pub fn new(
        names: Vec<String>,
        shared: Arc<Linear>,
        device: &::sconce::candle::Device,
    ) -> ::sconce::Result<Self> {
        ::sconce::Config::init(Self::config(names, shared), device)
    }
}
#[automatically_derived]
#[allow(clippy::redundant_locals)]
impl ::sconce::Config for __Containers::ContainersConfig {
    type Output = Containers;
    fn build(self, vb: ::sconce::nn::VarBuilder<'_>) -> ::sconce::Result<Containers> {
        let _ = &vb;
        let names: Vec<String> = self.names;
        let shared: Arc<Linear> = self.shared;
        let deep: bool = match self.deep {
            ::core::option::Option::Some(given) => given,
            ::core::option::Option::None => true,
        };
        #[allow(unused_imports)]
        use ::sconce::__private::NotContainer as _;
        let path = ::sconce::__private::BuildScope::enter("Containers");
        path.field("grid");
        let field_grid = {
            let vb_1 = &::sconce::__private::child(&vb, "grid");
            let mut layers_1 = ::std::vec::Vec::<
                <Grid as ::sconce::__private::Contents<
                    { <::sconce::__private::FieldKind<Grid>>::IS_CONTAINER },
                >>::Layer,
            >::new();
            for _ in 0..2 {
                path.element(1usize, layers_1.len());
                layers_1
                    .push({
                        let vb_0 = &::sconce::__private::child(
                            vb_1,
                            &::sconce::__private::element_name(layers_1.len()),
                        );
                        let mut layers_0 = ::std::vec::Vec::<
                            <<Grid as ::sconce::__private::Contents<
                                { <::sconce::__private::FieldKind<Grid>>::IS_CONTAINER },
                            >>::Layer as ::sconce::__private::Contents<
                                {
                                    <::sconce::__private::FieldKind<
                                        <Grid as ::sconce::__private::Contents<
                                            { <::sconce::__private::FieldKind<Grid>>::IS_CONTAINER },
                                        >>::Layer,
                                    >>::IS_CONTAINER
                                },
                            >>::Layer,
                        >::new();
                        for _ in 0..2 {
                            path.element(2usize, layers_0.len());
                            layers_0
                                .push(
                                    ::sconce::__private::Built(
                                            ::sconce::__private::layer(
                                                vb_0,
                                                &::sconce::__private::element_name(layers_0.len()),
                                                <<<<Grid as ::sconce::__private::Contents<
                                                    { <::sconce::__private::FieldKind<Grid>>::IS_CONTAINER },
                                                >>::Layer as ::sconce::__private::Contents<
                                                    {
                                                        <::sconce::__private::FieldKind<
                                                            <Grid as ::sconce::__private::Contents<
                                                                { <::sconce::__private::FieldKind<Grid>>::IS_CONTAINER },
                                                            >>::Layer,
                                                        >>::IS_CONTAINER
                                                    },
                                                >>::Layer as ::sconce::__private::Pointee<
                                                    {
                                                        let _ = ::sconce::__private::module_field::<Grid>;
                                                        <::sconce::__private::FieldKind<
                                                            <<Grid as ::sconce::__private::Contents<
                                                                { <::sconce::__private::FieldKind<Grid>>::IS_CONTAINER },
                                                            >>::Layer as ::sconce::__private::Contents<
                                                                {
                                                                    <::sconce::__private::FieldKind<
                                                                        <Grid as ::sconce::__private::Contents<
                                                                            { <::sconce::__private::FieldKind<Grid>>::IS_CONTAINER },
                                                                        >>::Layer,
                                                                    >>::IS_CONTAINER
                                                                },
                                                            >>::Layer,
                                                        >>::POINTER
                                                            + <::sconce::__private::FieldKind<
                                                                <<Grid as ::sconce::__private::Contents<
                                                                    { <::sconce::__private::FieldKind<Grid>>::IS_CONTAINER },
                                                                >>::Layer as ::sconce::__private::Contents<
                                                                    {
                                                                        <::sconce::__private::FieldKind<
                                                                            <Grid as ::sconce::__private::Contents<
                                                                                { <::sconce::__private::FieldKind<Grid>>::IS_CONTAINER },
                                                                            >>::Layer,
                                                                        >>::IS_CONTAINER
                                                                    },
                                                                >>::Layer,
                                                            >>::POINTER_2
                                                            + <::sconce::__private::FieldKind<
                                                                <<Grid as ::sconce::__private::Contents<
                                                                    { <::sconce::__private::FieldKind<Grid>>::IS_CONTAINER },
                                                                >>::Layer as ::sconce::__private::Contents<
                                                                    {
                                                                        <::sconce::__private::FieldKind<
                                                                            <Grid as ::sconce::__private::Contents<
                                                                                { <::sconce::__private::FieldKind<Grid>>::IS_CONTAINER },
                                                                            >>::Layer,
                                                                        >>::IS_CONTAINER
                                                                    },
                                                                >>::Layer,
                                                            >>::POINTER_3
                                                    },
                                                >>::Layer>::config(4, 4),
                                            )?,
                                        )
                                        .into_field::<
                                            <<Grid as ::sconce::__private::Contents<
                                                { <::sconce::__private::FieldKind<Grid>>::IS_CONTAINER },
                                            >>::Layer as ::sconce::__private::Contents<
                                                {
                                                    <::sconce::__private::FieldKind<
                                                        <Grid as ::sconce::__private::Contents<
                                                            { <::sconce::__private::FieldKind<Grid>>::IS_CONTAINER },
                                                        >>::Layer,
                                                    >>::IS_CONTAINER
                                                },
                                            >>::Layer,
                                            {
                                                let _ = ::sconce::__private::module_field::<Grid>;
                                                <::sconce::__private::FieldKind<
                                                    <<Grid as ::sconce::__private::Contents<
                                                        { <::sconce::__private::FieldKind<Grid>>::IS_CONTAINER },
                                                    >>::Layer as ::sconce::__private::Contents<
                                                        {
                                                            <::sconce::__private::FieldKind<
                                                                <Grid as ::sconce::__private::Contents<
                                                                    { <::sconce::__private::FieldKind<Grid>>::IS_CONTAINER },
                                                                >>::Layer,
                                                            >>::IS_CONTAINER
                                                        },
                                                    >>::Layer,
                                                >>::POINTER
                                                    + <::sconce::__private::FieldKind<
                                                        <<Grid as ::sconce::__private::Contents<
                                                            { <::sconce::__private::FieldKind<Grid>>::IS_CONTAINER },
                                                        >>::Layer as ::sconce::__private::Contents<
                                                            {
                                                                <::sconce::__private::FieldKind<
                                                                    <Grid as ::sconce::__private::Contents<
                                                                        { <::sconce::__private::FieldKind<Grid>>::IS_CONTAINER },
                                                                    >>::Layer,
                                                                >>::IS_CONTAINER
                                                            },
                                                        >>::Layer,
                                                    >>::POINTER_2
                                                    + <::sconce::__private::FieldKind<
                                                        <<Grid as ::sconce::__private::Contents<
                                                            { <::sconce::__private::FieldKind<Grid>>::IS_CONTAINER },
                                                        >>::Layer as ::sconce::__private::Contents<
                                                            {
                                                                <::sconce::__private::FieldKind<
                                                                    <Grid as ::sconce::__private::Contents<
                                                                        { <::sconce::__private::FieldKind<Grid>>::IS_CONTAINER },
                                                                    >>::Layer,
                                                                >>::IS_CONTAINER
                                                            },
                                                        >>::Layer,
                                                    >>::POINTER_3
                                            },
                                        >(),
                                );
                        }
                        path.leave(2usize);
                        ::sconce::__private::layer_list::<
                            <Grid as ::sconce::__private::Contents<
                                { <::sconce::__private::FieldKind<Grid>>::IS_CONTAINER },
                            >>::Layer,
                            _,
                        >(layers_0)?
                    });
            }
            path.leave(1usize);
            ::sconce::__private::layer_list::<Grid, _>(layers_1)?
        };
        path.field("pair");
        let field_pair = {
            match (4, 2, 2, 4) {
                (value_0, value_1, value_2, value_3) => {
                    type __Target1 = <Pair as ::sconce::__private::Pointee<
                        {
                            let _ = ::sconce::__private::module_field::<Pair>;
                            <::sconce::__private::FieldKind<Pair>>::POINTER
                                + <::sconce::__private::FieldKind<Pair>>::POINTER_2
                                + <::sconce::__private::FieldKind<Pair>>::POINTER_3
                        },
                    >>::Layer;
                    type __One1 = <__Target1 as ::sconce::__private::LayerOrUnused<
                        {
                            ::sconce::__private::has_layer(
                                <::sconce::__private::FieldKind<__Target1>>::LENGTH,
                                0usize,
                            )
                        },
                        2usize,
                    >>::Layer;
                    type __Layer1_0 = <__Target1 as ::sconce::__private::TupleLayerOrUnused<
                        0usize,
                        {
                            ::sconce::__private::has_layer(
                                <::sconce::__private::FieldKind<__Target1>>::LENGTH,
                                0usize,
                            )
                        },
                        2usize,
                    >>::Layer;
                    type __Layer1_1 = <__Target1 as ::sconce::__private::TupleLayerOrUnused<
                        1usize,
                        {
                            ::sconce::__private::has_layer(
                                <::sconce::__private::FieldKind<__Target1>>::LENGTH,
                                1usize,
                            )
                        },
                        2usize,
                    >>::Layer;
                    ::sconce::__private::Built(
                            if ::sconce::__private::has_layer(
                                <::sconce::__private::FieldKind<__Target1>>::LENGTH,
                                0,
                            ) {
                                ::sconce::__private::Built({
                                        let vb = ::sconce::__private::child(&vb, "pair");
                                        (
                                            {
                                                path.element(1usize, 0usize);
                                                ::sconce::__private::Built(
                                                        ::sconce::__private::layer(
                                                            &vb,
                                                            "0",
                                                            <<__Layer1_0 as ::sconce::__private::Pointee<
                                                                {
                                                                    let _ = ::sconce::__private::module_field::<Pair>;
                                                                    <::sconce::__private::FieldKind<__Layer1_0>>::POINTER
                                                                        + <::sconce::__private::FieldKind<__Layer1_0>>::POINTER_2
                                                                        + <::sconce::__private::FieldKind<__Layer1_0>>::POINTER_3
                                                                },
                                                            >>::Layer>::config(value_0, value_1),
                                                        )?,
                                                    )
                                                    .into_field::<
                                                        __Layer1_0,
                                                        {
                                                            let _ = ::sconce::__private::module_field::<Pair>;
                                                            <::sconce::__private::FieldKind<__Layer1_0>>::POINTER
                                                                + <::sconce::__private::FieldKind<__Layer1_0>>::POINTER_2
                                                                + <::sconce::__private::FieldKind<__Layer1_0>>::POINTER_3
                                                        },
                                                    >()
                                            },
                                            {
                                                path.element(1usize, 1usize);
                                                ::sconce::__private::Built(
                                                        ::sconce::__private::layer(
                                                            &vb,
                                                            "1",
                                                            <<__Layer1_1 as ::sconce::__private::Pointee<
                                                                {
                                                                    let _ = ::sconce::__private::module_field::<Pair>;
                                                                    <::sconce::__private::FieldKind<__Layer1_1>>::POINTER
                                                                        + <::sconce::__private::FieldKind<__Layer1_1>>::POINTER_2
                                                                        + <::sconce::__private::FieldKind<__Layer1_1>>::POINTER_3
                                                                },
                                                            >>::Layer>::config(value_2, value_3),
                                                        )?,
                                                    )
                                                    .into_field::<
                                                        __Layer1_1,
                                                        {
                                                            let _ = ::sconce::__private::module_field::<Pair>;
                                                            <::sconce::__private::FieldKind<__Layer1_1>>::POINTER
                                                                + <::sconce::__private::FieldKind<__Layer1_1>>::POINTER_2
                                                                + <::sconce::__private::FieldKind<__Layer1_1>>::POINTER_3
                                                        },
                                                    >()
                                            },
                                        )
                                    })
                                    .into_tuple::<
                                        __Target1,
                                        {
                                            ::sconce::__private::has_layer(
                                                <::sconce::__private::FieldKind<__Target1>>::LENGTH,
                                                0usize,
                                            )
                                        },
                                    >()
                            } else {
                                ::sconce::__private::Built(
                                        ::sconce::__private::Built(
                                                ::sconce::__private::layer(
                                                    &vb,
                                                    "pair",
                                                    <<__One1 as ::sconce::__private::Pointee<
                                                        {
                                                            let _ = ::sconce::__private::module_field::<Pair>;
                                                            <::sconce::__private::FieldKind<__One1>>::POINTER
                                                                + <::sconce::__private::FieldKind<__One1>>::POINTER_2
                                                                + <::sconce::__private::FieldKind<__One1>>::POINTER_3
                                                        },
                                                    >>::Layer>::config((value_0, value_1), (value_2, value_3)),
                                                )?,
                                            )
                                            .into_field::<
                                                __One1,
                                                {
                                                    let _ = ::sconce::__private::module_field::<Pair>;
                                                    <::sconce::__private::FieldKind<__One1>>::POINTER
                                                        + <::sconce::__private::FieldKind<__One1>>::POINTER_2
                                                        + <::sconce::__private::FieldKind<__One1>>::POINTER_3
                                                },
                                            >(),
                                    )
                                    .into_layer::<
                                        __Target1,
                                        {
                                            ::sconce::__private::has_layer(
                                                <::sconce::__private::FieldKind<__Target1>>::LENGTH,
                                                0usize,
                                            )
                                        },
                                    >()
                            },
                        )
                        .into_field::<
                            Pair,
                            {
                                let _ = ::sconce::__private::module_field::<Pair>;
                                <::sconce::__private::FieldKind<Pair>>::POINTER
                                    + <::sconce::__private::FieldKind<Pair>>::POINTER_2
                                    + <::sconce::__private::FieldKind<Pair>>::POINTER_3
                            },
                        >()
                }
            }
        };
        path.field("tail");
        let field_tail = ::sconce::__private::optional::<
            Option<Vec<Option<Linear>>>,
            _,
        >(
            if {
                let deep = deep;
                deep
            } {
                ::core::option::Option::Some({
                    let vb_1 = &::sconce::__private::child(&vb, "tail");
                    let mut layers_1 = ::std::vec::Vec::<Option<Linear>>::new();
                    for i in 0..2 {
                        path.element(1usize, layers_1.len());
                        layers_1
                            .push(
                                ::sconce::__private::optional::<
                                    Option<Linear>,
                                    _,
                                >(
                                    if i > 0 {
                                        ::core::option::Option::Some(
                                            ::sconce::__private::Built(
                                                    ::sconce::__private::layer(
                                                        vb_1,
                                                        &::sconce::__private::element_name(layers_1.len()),
                                                        <<Linear as ::sconce::__private::Pointee<
                                                            {
                                                                let _ = ::sconce::__private::module_field::<
                                                                    Option<Vec<Option<Linear>>>,
                                                                >;
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
                                                        let _ = ::sconce::__private::module_field::<
                                                            Option<Vec<Option<Linear>>>,
                                                        >;
                                                        <::sconce::__private::FieldKind<Linear>>::POINTER
                                                            + <::sconce::__private::FieldKind<Linear>>::POINTER_2
                                                            + <::sconce::__private::FieldKind<Linear>>::POINTER_3
                                                    },
                                                >(),
                                        )
                                    } else {
                                        ::core::option::Option::None
                                    },
                                ),
                            );
                    }
                    path.leave(1usize);
                    ::sconce::__private::layer_list::<Vec<Option<Linear>>, _>(layers_1)?
                })
            } else {
                ::core::option::Option::None
            },
        );
        path.field("heads");
        let field_heads: IndexMap<String, Linear> = {
            let names = names;
            let layer = ::sconce::__private::layer_by_closure(
                &vb,
                "heads",
                |vb| {
                    let head = |name: String| Ok((
                        name.clone(),
                        Linear::config(4, 4).build(vb.pp(name))?,
                    ));
                    names.into_iter().map(head).collect()
                },
            )?;
            layer
        };
        path.field("shared");
        let field_shared: Arc<Linear> = ::core::convert::Into::<
            ::std::sync::Arc<Linear>,
        >::into({
            let shared = shared;
            let layer = ::sconce::__private::layer_by_closure(
                &vb,
                "shared",
                |_| Ok(shared),
            )?;
            layer
        });
        path.field("any");
        let field_any: Box<dyn Layer> = ::std::boxed::Box::new({
            let layer = ::sconce::__private::layer_by_closure(
                &vb,
                "any",
                |vb| Ok(Linear::config(4, 4).build(vb)?),
            )?;
            layer
        });
        ::core::result::Result::Ok(Containers {
            grid: field_grid,
            pair: field_pair,
            tail: field_tail,
            heads: field_heads,
            shared: field_shared,
            any: field_any,
        })
    }
}
#[doc(inline)]
#[allow(unused_imports)]
pub use __Containers::ContainersConfig as ContainersConfig;
const _: () = {
    #[allow(unused_imports)]
    use ::sconce::__private::ConfigNameConflict as _;
    #[allow(dead_code, clippy::all, clippy::pedantic)]
    impl __Containers::ContainersConfig {
        fn __is_generated(&self) {}
    }
    #[allow(dead_code, clippy::all, clippy::pedantic)]
    impl Containers {
        fn __config_name() {
            let _: fn(&__Containers::ContainersConfig) = ContainersConfig::__is_generated;
        }
    }
};
