//! What went wrong between us and the hub, in words that say what to do about it.

use std::fmt;
use std::io::{self, ErrorKind};

use hf_hub::api::sync::ApiError;
use ureq::Error as Request;

use super::settings::Settings;
use crate::Error;

/// What was asked for, for messages.
pub(super) struct Place<'a> {
    pub repository: &'a str,
    pub revision: &'a str,
    pub file: Option<&'a str>,
    pub settings: &'a Settings,
}

impl fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (", self.repository)?;
        if let Some(file) = self.file {
            write!(f, "file {file}, ")?;
        }
        write!(f, "revision {}) at {}", self.revision, self.settings.endpoint)
    }
}

impl Place<'_> {
    /// The error with this place before it.
    pub fn error(&self, message: impl fmt::Display) -> Error {
        Error::msg(format!("{self}: {message}"))
    }

    pub fn explain(&self, error: &ApiError) -> Error {
        self.error(self.reason(error))
    }

    fn reason(&self, error: &ApiError) -> String {
        match error {
            ApiError::RequestError(error) => self.request(error),
            ApiError::IoError(error) if is_cut(error) => interrupted(error),
            ApiError::IoError(error) => {
                format!("cannot download into the cache {}: {error}", self.settings.cache.display())
            }
            ApiError::LockAcquisition(lock) => {
                format!("another process is downloading the same file (it holds {})", lock.display())
            }
            error => format!("an answer that a hub does not give: {error}"),
        }
    }

    fn request(&self, error: &Request) -> String {
        match error {
            Request::StatusCode(404) => "not found: there is no such repository, revision or file".into(),
            Request::StatusCode(status @ (401 | 403)) => self.unauthorised(*status),
            Request::StatusCode(status) => format!("the hub answers with status {status}"),
            Request::Io(error) if is_cut(error) => interrupted(error),
            Request::Io(_) | Request::HostNotFound | Request::ConnectionFailed | Request::Timeout(_) => {
                format!("no connection to the hub: {error}")
            }
            error => format!("the request failed: {error}"),
        }
    }

    /// The hub gives the same answer for what is private and for what does not exist.
    fn unauthorised(&self, status: u16) -> String {
        let advice = match &self.settings.token {
            Some(_) => "the token that was sent does not open it; a gated repository's page says how to ask \
                        for access"
                .into(),
            None => format!(
                "no token was sent; set HF_TOKEN, write one into {} (`hf auth login` does) or call \
                 `Hub::token`",
                self.settings.token_path.display()
            ),
        };
        format!(
            "not authorised (status {status}): the repository is private or gated, or there is none: {advice}"
        )
    }
}

/// Whether the other side went away in the middle.
fn is_cut(error: &io::Error) -> bool {
    use ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, TimedOut, UnexpectedEof};
    matches!(error.kind(), BrokenPipe | ConnectionAborted | ConnectionReset | TimedOut | UnexpectedEof)
}

fn interrupted(error: &io::Error) -> String {
    format!("the connection was interrupted: {error}; the next call goes on from there")
}
