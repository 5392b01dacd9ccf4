//! The error type, which names the layer that failed.

use std::fmt;
use std::sync::Arc;

use crate::kernels::internal::without_backtrace;

/// A `Result` whose error type is [`Error`] by default.
///
/// ```
/// use sconce::prelude::*;
///
/// fn sizes(x: &Tensor) -> Result<(usize, usize)> {
///     Ok(x.dims2()?) // an error of candle converts into `Error`
/// }
///
/// let vector = Tensor::zeros(3, DType::F32, &Device::Cpu)?;
/// assert!(sizes(&vector).is_err());
/// # Ok::<(), Error>(())
/// ```
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An error, with the layer and the path at which it occurred.
///
/// An error is displayed as `at ResNet.layer1[0].conv1 (Conv2d 3→64, 7×7): expected 3 input channels, found 1`.
/// Cloning is cheap, so that a failed [`Signal`](crate::Signal) can be cloned like any other signal.
///
/// ```
/// use sconce::prelude::*;
/// # fn main() -> Result<()> {
/// let conv = Conv2d::config(3, 64, 7).init(&Device::Cpu)?;
/// let x = Tensor::zeros((1, 1, 32, 32), DType::F32, &Device::Cpu)?;
/// let error = conv.forward(&x).unwrap_err();
/// assert!(error.to_string().contains("expected 3 input channels, found 1"), "{error}");
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Error(Arc<Inner>);

#[derive(Clone, Default)]
struct Inner {
    path: String,
    layer: String,
    message: String,
    source: Option<Arc<candle_core::Error>>,
}

impl Error {
    /// Creates an error with a message, without layer and path.
    pub fn msg(message: impl fmt::Display) -> Self {
        Self(Arc::new(Inner { message: message.to_string(), ..Inner::default() }))
    }

    /// Returns the path of the layer that failed, such as `ResNet.layer1[0].conv1`, or an empty string if the error has
    /// no path.
    pub fn path(&self) -> &str {
        &self.0.path
    }

    /// Returns the message, without layer and path.
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// Sets the layer, such as `Conv2d 3→64, 7×7`, unless it is already set.
    pub fn in_layer(mut self, layer: impl fmt::Display) -> Self {
        if self.0.layer.is_empty() {
            Arc::make_mut(&mut self.0).layer = layer.to_string();
        }
        self
    }

    /// Sets the path unless it is already set. An error that several layers return to their callers thus keeps the path
    /// of the innermost layer.
    pub fn at(mut self, path: impl fmt::Display) -> Self {
        if self.0.path.is_empty() {
            Arc::make_mut(&mut self.0).path = path.to_string();
        }
        self
    }

    /// Adds a note in parentheses to the message.
    pub(crate) fn with_note(mut self, note: impl fmt::Display) -> Self {
        let message = &mut Arc::make_mut(&mut self.0).message;
        *message = format!("{message} ({note})");
        self
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Inner { path, layer, message, .. } = &*self.0;
        match (path.is_empty(), layer.is_empty()) {
            (true, true) => f.write_str(message),
            (true, false) => write!(f, "{layer}: {message}"),
            (false, true) => write!(f, "at {path}: {message}"),
            (false, false) => write!(f, "at {path} ({layer}): {message}"),
        }
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.source.as_deref().map(|e| e as _)
    }
}

impl From<candle_core::Error> for Error {
    fn from(error: candle_core::Error) -> Self {
        let message = without_backtrace(&error).to_string();
        Self(Arc::new(Inner { message, source: Some(Arc::new(error)), ..Inner::default() }))
    }
}

impl From<Error> for candle_core::Error {
    fn from(error: Error) -> Self {
        // `Error::wrap` would add a backtrace of this line.
        candle_core::Error::Wrapped(Box::new(error))
    }
}

impl From<std::io::Error> for Error {
    fn from(error: std::io::Error) -> Self {
        Self::msg(error)
    }
}
