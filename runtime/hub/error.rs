//! Error messages for requests to the hub.

use std::fmt;
use std::io::{self, ErrorKind};

use hf_hub::api::sync::ApiError;
use ureq::Error as RequestError;

use crate::Error;

use super::settings::Settings;

/// A request to the hub, for error messages.
pub(super) struct Request<'a> {
    pub repository: &'a str,
    pub revision: &'a str,
    pub file: Option<&'a str>,
    pub settings: &'a Settings,
}

impl fmt::Display for Request<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (", self.repository)?;
        if let Some(file) = self.file {
            write!(f, "file {file}, ")?;
        }
        write!(f, "revision {}) at {}", self.revision, self.settings.endpoint)
    }
}

impl Request<'_> {
    /// Returns an error with this request and `message`.
    pub fn error(&self, message: impl fmt::Display) -> Error {
        Error::msg(format!("{self}: {message}"))
    }

    /// Returns an error that explains `error` and how to fix it.
    pub fn explain(&self, error: &ApiError) -> Error {
        self.error(self.reason(error))
    }

    fn reason(&self, error: &ApiError) -> String {
        match error {
            ApiError::RequestError(error) => self.http_reason(error),
            ApiError::IoError(error) if is_interruption(error) => interrupted(error),
            ApiError::IoError(error) => {
                format!("cannot download into the cache {}: {error}", self.settings.cache.display())
            }
            ApiError::LockAcquisition(lock) => {
                format!("another process is downloading the same file (it holds the lock {})", lock.display())
            }
            error => format!("the hub sent an invalid response: {error}"),
        }
    }

    fn http_reason(&self, error: &RequestError) -> String {
        match error {
            RequestError::StatusCode(404) => "repository, revision or file not found".into(),
            RequestError::StatusCode(status @ (401 | 403)) => self.unauthorized(*status),
            RequestError::StatusCode(status) => format!("the hub responded with status {status}"),
            RequestError::Io(error) if is_interruption(error) => interrupted(error),
            RequestError::Io(_)
            | RequestError::HostNotFound
            | RequestError::ConnectionFailed
            | RequestError::Timeout(_) => format!("no connection to the hub: {error}"),
            error => format!("the request failed: {error}"),
        }
    }

    /// Explains status 401 or 403. The hub gives the same response for a private repository and for one that does not
    /// exist.
    fn unauthorized(&self, status: u16) -> String {
        let advice = match &self.settings.token {
            Some(_) => {
                "the token does not grant access; request access to a gated repository on its page".into()
            }
            None => format!(
                "no token was sent; set HF_TOKEN, write a token to {} (with `hf auth login`) or call \
                 `Hub::token`",
                self.settings.token_path.display()
            ),
        };
        format!(
            "not authorized (status {status}): the repository is private or gated, or does not exist: {advice}"
        )
    }
}

/// Returns `true` if the connection was lost during the transfer.
fn is_interruption(error: &io::Error) -> bool {
    use ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, TimedOut, UnexpectedEof};
    matches!(error.kind(), BrokenPipe | ConnectionAborted | ConnectionReset | TimedOut | UnexpectedEof)
}

fn interrupted(error: &io::Error) -> String {
    format!("the connection was interrupted: {error}; the next call resumes the download")
}
