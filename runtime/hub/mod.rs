//! Checkpoints from the Hugging Face hub, under the feature `hub`.
//!
//! [`Config::from_pretrained`](crate::Config::from_pretrained) is the short way; a [`Hub`] says which
//! revision and which file. Downloads go into the cache that Hugging Face's other tools use, and what
//! lies there is read without asking the hub again.
//!
//! The environment is honoured as those tools do:
//!
//! | variable | meaning | if unset |
//! |---|---|---|
//! | `HF_HOME` | the directory of the cache and the token | `$XDG_CACHE_HOME/huggingface` or `~/.cache/huggingface` |
//! | `HF_HUB_CACHE` | the cache | `$HF_HOME/hub` |
//! | `HF_TOKEN` | the token | the content of the token file |
//! | `HF_TOKEN_PATH` | the token file, which `hf auth login` writes | `$HF_HOME/token` |
//! | `HF_ENDPOINT` | the hub's address | `https://huggingface.co` |
//! | `HF_HUB_OFFLINE` | `1`: the cache alone | `0` |
//! | `HF_HUB_DISABLE_PROGRESS_BARS` | `1`: no progress bar | `0`: one on a terminal |
//! | `HTTPS_PROXY`, `NO_PROXY`, … | the proxy | none |

mod client;
mod failure;
mod names;
mod settings;
mod shards;

use std::path::PathBuf;

use crate::{Error, Result};
use client::Client;
use settings::Settings;

/// The files that are tried where none is named.
const DEFAULT_FILES: [&str; 3] = ["model.safetensors", shards::DEFAULT_INDEX, "pytorch_model.bin"];

/// A file of a repository on the hub.
///
/// ```no_run
/// use sconce::hub::Hub;
/// use sconce::prelude::*;
///
/// # fn main() -> Result<()> {
/// # #[derive(Module)] struct Net { #[layer(3, 4)] fc: Linear }
/// let net = Net::config().from_pretrained("owner/name", &Device::Cpu)?;
///
/// let old = Hub::new("owner/name").revision("v1.0").file("checkpoints/epoch_3.pt");
/// let net = Net::config().from_pretrained(old, &Device::Cpu)?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Hub {
    repository: String,
    revision: String,
    file: Option<String>,
    endpoint: Option<String>,
    cache: Option<PathBuf>,
    token: Option<Token>,
}

/// Not to be printed.
#[derive(Clone)]
struct Token(String);

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("…")
    }
}

impl Hub {
    /// The model repository `owner/name` at its revision `main`.
    pub fn new(repository: impl Into<String>) -> Self {
        Self {
            repository: repository.into(),
            revision: "main".into(),
            file: None,
            endpoint: None,
            cache: None,
            token: None,
        }
    }

    /// A branch, a tag or a commit; by default `main`.
    pub fn revision(mut self, revision: impl Into<String>) -> Self {
        self.revision = revision.into();
        self
    }

    /// The file's path in the repository.
    ///
    /// By default `model.safetensors` or, if there is none, `model.safetensors.index.json` with the files
    /// that it lists, or else `pytorch_model.bin`.
    pub fn file(mut self, file: impl Into<String>) -> Self {
        self.file = Some(file.into());
        self
    }

    /// The hub's address instead of `HF_ENDPOINT`'s.
    pub fn endpoint(mut self, endpoint: impl Into<String>) -> Self {
        self.endpoint = Some(endpoint.into());
        self
    }

    /// The directory of downloaded files instead of `HF_HUB_CACHE`'s.
    pub fn cache(mut self, directory: impl Into<PathBuf>) -> Self {
        self.cache = Some(directory.into());
        self
    }

    /// The token that opens private and gated repositories, instead of `HF_TOKEN`'s.
    pub fn token(mut self, token: impl Into<String>) -> Self {
        self.token = Some(Token(token.into()));
        self
    }

    /// Downloads the file unless it is in the cache, and returns its path there.
    ///
    /// The files that a `….index.json` lists are downloaded with it and lie beside it.
    ///
    /// # Errors
    ///
    /// When the hub cannot be reached, has no such file or does not grant access, when the connection
    /// drops, and when the cache cannot be written. The message has repository, file, revision and
    /// endpoint. A download that was cut short goes on in the next call where it ended.
    pub fn download(&self) -> Result<PathBuf> {
        names::check_repository(&self.repository)?;
        names::check_path("revision", &self.revision)?;
        let settings = Settings::new(self, |key| std::env::var(key).ok())?;
        let client = Client::new(&settings, &self.repository, &self.revision);
        let file = match &self.file {
            Some(file) => file,
            None => default_file(&client)?,
        };
        let path = client.get(file)?;
        if shards::is_index(file) {
            // The branch may move on between two downloads: all files are of the index's commit.
            let commit = client::commit(&path, file)?;
            shards::download(&Client::new(&settings, &self.repository, &commit), &path, file)?;
        }
        Ok(path)
    }
}

impl<Name: Into<String>> From<Name> for Hub {
    fn from(repository: Name) -> Self {
        Self::new(repository)
    }
}

/// The first of the usual files that the cache has, or else the hub.
fn default_file(client: &Client) -> Result<&'static str> {
    if let Some(file) = DEFAULT_FILES.into_iter().find(|file| client.cached(file).is_some()) {
        return Ok(file);
    }
    let files = client.files()?;
    DEFAULT_FILES.into_iter().find(|default| files.iter().any(|file| file == default)).ok_or_else(|| {
        Error::msg(format!(
            "expected one of the files {DEFAULT_FILES:?}, got {files:?} in {}; `Hub::file` names another",
            client.place(None)
        ))
    })
}
