//! Matches the arguments of a layer to the parameters of PyTorch's constructor, and reads them as the types that
//! sconce's configs expect.

use sconce::prelude::*;

use super::syntax::{Call, Kind, Value};

/// The arguments of a call, by the names of their parameters.
pub struct Arguments<'a> {
    layer: &'a str,
    values: Vec<(&'static str, &'a Value<'a>)>,
}

/// A function that reads a value. The error describes the expected value.
type Read<T> = fn(&Value) -> Result<T, &'static str>;

impl<'a> Arguments<'a> {
    /// Matches the arguments of `call` to the parameters, which are in PyTorch's order.
    pub fn new(call: &'a Call<'a>, parameters: &[&'static str]) -> Result<Self, String> {
        let layer = call.name;
        if let Some(value) = call.positional.get(parameters.len()) {
            let count = parameters.len();
            return Err(format!("expected at most {count} arguments of `{layer}`, found `{}`", value.text));
        }
        let mut values: Vec<_> = parameters.iter().copied().zip(&call.positional).collect();
        for (keyword, value) in &call.keyword {
            let parameter = parameters.iter().find(|parameter| *parameter == keyword);
            let parameter = parameter.ok_or_else(|| format!("`{layer}` has no argument `{keyword}`"))?;
            if values.iter().any(|(given, _)| given == parameter) {
                return Err(format!("the argument `{keyword}` of `{layer}` is given twice"));
            }
            values.push((parameter, value));
        }
        Ok(Self { layer, values })
    }

    /// Returns the value of a parameter. Fails if the call does not give it.
    pub fn required<T>(&self, parameter: &str, read: Read<T>) -> Result<T, String> {
        let missing = || format!("expected the argument `{parameter}` of `{}`", self.layer);
        self.optional(parameter, read)?.ok_or_else(missing)
    }

    /// Returns the value of a parameter, or `None` if the call does not give it.
    pub fn optional<T>(&self, parameter: &str, read: Read<T>) -> Result<Option<T>, String> {
        let Some(value) = self.value(parameter) else {
            return Ok(None);
        };
        read(value).map(Some).map_err(|expected| {
            format!("expected {expected} as `{parameter}` of `{}`, found `{}`", self.layer, value.text)
        })
    }

    /// Returns the value of a parameter, or `None` if the call does not give it or gives Python's `None`.
    pub fn unless_none<T>(&self, parameter: &str, read: Read<T>) -> Result<Option<T>, String> {
        match self.value(parameter) {
            Some(Value { kind: Kind::None, .. }) => Ok(None),
            _ => self.optional(parameter, read),
        }
    }

    fn value(&self, parameter: &str) -> Option<&'a Value<'a>> {
        self.values.iter().find(|(name, _)| *name == parameter).map(|(_, value)| *value)
    }
}

pub fn boolean(value: &Value) -> Result<bool, &'static str> {
    match value.kind {
        Kind::Bool(value) => Ok(value),
        _ => Err("True or False"),
    }
}

/// Reads `False`, the only supported value.
pub fn false_only(value: &Value) -> Result<(), &'static str> {
    match value.kind {
        Kind::Bool(false) => Ok(()),
        _ => Err("False"),
    }
}

pub fn integer(value: &Value) -> Result<isize, &'static str> {
    const EXPECTED: &str = "an integer";
    match value.kind {
        Kind::Int(value) => value.try_into().map_err(|_| EXPECTED),
        _ => Err(EXPECTED),
    }
}

/// Reads an integer that is not negative.
pub fn count(value: &Value) -> Result<usize, &'static str> {
    let expected = "an integer of at least 0";
    integer(value).map_err(|_| expected)?.try_into().map_err(|_| expected)
}

pub fn float(value: &Value) -> Result<f64, &'static str> {
    match value.kind {
        Kind::Int(value) => Ok(value as f64),
        Kind::Float(value) => Ok(value),
        _ => Err("a number"),
    }
}

pub fn float_or_none(value: &Value) -> Result<Option<f64>, &'static str> {
    match value.kind {
        Kind::None => Ok(None),
        _ => float(value).map(Some).map_err(|_| "a number or None"),
    }
}

/// Reads the elements of a tuple or list with `read`.
fn sequence<T>(value: &Value, read: Read<T>) -> Result<Vec<T>, &'static str> {
    match &value.kind {
        Kind::Sequence(values) => values.iter().map(read).collect(),
        _ => Err("a tuple"),
    }
}

/// Reads a tuple of `N` elements.
fn tuple<T, const N: usize>(value: &Value, read: Read<T>) -> Option<[T; N]> {
    sequence(value, read).ok()?.try_into().ok()
}

/// Reads an integer or a tuple of integers.
pub fn integers(value: &Value) -> Result<Vec<isize>, &'static str> {
    let single = integer(value).map(|size| vec![size]);
    single.or_else(|_| sequence(value, integer)).map_err(|_| "an integer or a tuple of integers")
}

/// Reads a size for both axes, or a height and a width.
pub fn axes(value: &Value) -> Result<Pair, &'static str> {
    let both = count(value).ok().map(Pair::from);
    both.or_else(|| tuple(value, count).map(Pair)).ok_or("an integer or two integers of at least 0")
}

/// Reads a size for all axes, or a depth, a height and a width.
pub fn video_axes(value: &Value) -> Result<Triple, &'static str> {
    let all = count(value).ok().map(Triple::from);
    all.or_else(|| tuple(value, count).map(Triple)).ok_or("an integer or three integers of at least 0")
}

/// Reads the shape over which a norm normalizes.
pub fn shape(value: &Value) -> Result<NormalizedShape, &'static str> {
    let single = count(value).map(|size| vec![size]);
    single
        .or_else(|_| sequence(value, count))
        .map(NormalizedShape)
        .map_err(|_| "an integer or a tuple of integers")
}

/// Reads the padding of a two-dimensional convolution.
pub fn padding(value: &Value) -> Result<Padding, &'static str> {
    match value.kind {
        Kind::Text("same") => Ok("same".into()),
        Kind::Text("valid") => Ok("valid".into()),
        _ => axes(value).map(Padding::Each).map_err(|_| "an integer, two integers, \"same\" or \"valid\""),
    }
}

/// Reads the padding of a three-dimensional convolution.
pub fn video_padding(value: &Value) -> Result<Padding<Triple>, &'static str> {
    match value.kind {
        Kind::Text("same") => Ok("same".into()),
        Kind::Text("valid") => Ok("valid".into()),
        _ => video_axes(value)
            .map(Padding::Each)
            .map_err(|_| "an integer, three integers, \"same\" or \"valid\""),
    }
}

/// Reads the padding of a one-dimensional convolution.
pub fn length_padding(value: &Value) -> Result<Padding<usize>, &'static str> {
    match value.kind {
        Kind::Text("same") => Ok("same".into()),
        Kind::Text("valid") => Ok("valid".into()),
        _ => count(value).map(Padding::Each).map_err(|_| "an integer, \"same\" or \"valid\""),
    }
}

/// Reads one padding for all sides, or left, right, top and bottom.
pub fn sides(value: &Value) -> Result<Sides, &'static str> {
    let all = integer(value).ok().map(Sides::from);
    all.or_else(|| tuple(value, integer).map(Sides)).ok_or("an integer or four integers")
}

/// Reads the output size of adaptive pooling.
pub fn output_size<const AXES: usize>(value: &Value) -> Result<OutputSize<AXES>, &'static str> {
    fn size(value: &Value) -> Result<Option<usize>, &'static str> {
        match value.kind {
            Kind::None => Ok(None),
            _ => count(value).map(Some),
        }
    }
    let all = size(value).ok().map(|size| [size; AXES]);
    let size = all.or_else(|| tuple(value, size)).map(OutputSize);
    size.ok_or("an integer, None, or one of these for each axis")
}

/// Reads a factor for both axes, or one for each.
pub fn scale_factor(value: &Value) -> Result<ScaleFactor, &'static str> {
    let both = float(value).ok().map(ScaleFactor::from);
    both.or_else(|| tuple(value, float).map(ScaleFactor)).ok_or("a number or two numbers")
}

/// Defines functions that read one of several strings.
macro_rules! words {
    ($($(#[$doc:meta])* $read:ident -> $type:ty, $expected:literal { $($word:literal => $value:expr),+ })*) => {$(
        $(#[$doc])*
        pub fn $read(value: &Value) -> Result<$type, &'static str> {
            match value.kind {
                $(Kind::Text($word) => Ok($value),)+
                _ => Err($expected),
            }
        }
    )*};
}

words! {
    /// Reads the padding mode of a convolution.
    padding_mode -> PadMode, "\"zeros\", \"reflect\", \"replicate\" or \"circular\"" {
        "zeros" => PadMode::ZEROS,
        "reflect" => PadMode::Reflect,
        "replicate" => PadMode::Replicate,
        "circular" => PadMode::Circular
    }
    /// Reads `"zeros"`, the only supported value.
    zeros_only -> (), "\"zeros\"" { "zeros" => () }
    interpolation -> Interpolation,
    "\"nearest\", \"nearest-exact\", \"linear\", \"bilinear\", \"bicubic\" or \"area\"" {
        "nearest" => Interpolation::Nearest,
        "nearest-exact" => Interpolation::NearestExact,
        "linear" => Interpolation::Linear,
        "bilinear" => Interpolation::Bilinear,
        "bicubic" => Interpolation::Bicubic,
        "area" => Interpolation::Area
    }
    nonlinearity -> Nonlinearity, "\"tanh\" or \"relu\"" {
        "tanh" => Nonlinearity::Tanh,
        "relu" => Nonlinearity::Relu
    }
    /// Reads how the embeddings of a bag are combined.
    bag_mode -> BagMode, "\"sum\", \"mean\" or \"max\"" {
        "sum" => BagMode::Sum,
        "mean" => BagMode::Mean,
        "max" => BagMode::Max
    }
    /// Reads the activation of a transformer layer.
    activation -> &'static str, "\"relu\" or \"gelu\"" { "relu" => "relu", "gelu" => "gelu" }
    /// Reads what stochastic depth drops: the whole input or examples.
    depth_mode -> &'static str, "\"batch\" or \"row\"" { "batch" => "batch", "row" => "row" }
    /// Reads the approximation of GELU.
    approximation -> &'static str, "\"none\" or \"tanh\"" { "none" => "none", "tanh" => "tanh" }
}
