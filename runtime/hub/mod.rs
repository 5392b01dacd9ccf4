//! Checkpoints from the Hugging Face hub. This module requires the feature `hub`.
//!
//! [`Config::from_pretrained`](crate::Config::from_pretrained) downloads and loads a checkpoint. A [`Hub`] selects a
//! revision and a file. Files are downloaded into the cache that Hugging Face's own tools also use. A cached file is
//! used without contacting the hub.
//!
//! These environment variables have the same meaning as for Hugging Face's tools:
//!
//! | variable | meaning | default |
//! |---|---|---|
//! | `HF_HOME` | the directory of the cache and the token | `$XDG_CACHE_HOME/huggingface` or `~/.cache/huggingface` |
//! | `HF_HUB_CACHE` | the cache | `$HF_HOME/hub` |
//! | `HF_TOKEN` | the token | the content of the token file |
//! | `HF_TOKEN_PATH` | the token file, written by `hf auth login` | `$HF_HOME/token` |
//! | `HF_ENDPOINT` | the address of the hub | `https://huggingface.co` |
//! | `HF_HUB_OFFLINE` | `1`: use only the cache | `0` |
//! | `HF_HUB_DISABLE_PROGRESS_BARS` | `1`: show no progress bar | `0`: show one on a terminal |
//! | `HTTPS_PROXY`, `NO_PROXY`, … | the proxy | none |

mod client;
mod error;
mod names;
mod settings;
mod shards;

use std::path::PathBuf;

use crate::checkpoint::HUB_FILES;
use crate::{Error, Result};

use client::Client;
use settings::Settings;

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

/// A secret, hidden in [`Debug`](std::fmt::Debug) output.
#[derive(Clone)]
struct Token(String);

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("…")
    }
}

impl Hub {
    /// Selects the revision `main` of the model repository `owner/name`.
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

    /// Sets the branch, tag or commit, by default `main`.
    pub fn revision(mut self, revision: impl Into<String>) -> Self {
        self.revision = revision.into();
        self
    }

    /// Sets the path of the file in the repository.
    ///
    /// By default, selects the first file that exists: `model.safetensors`, `model.safetensors.index.json`,
    /// `pytorch_model.bin` or `pytorch_model.bin.index.json`, each index with the files that it lists.
    pub fn file(mut self, file: impl Into<String>) -> Self {
        self.file = Some(file.into());
        self
    }

    /// Sets the address of the hub. Overrides `HF_ENDPOINT`.
    pub fn endpoint(mut self, endpoint: impl Into<String>) -> Self {
        self.endpoint = Some(endpoint.into());
        self
    }

    /// Sets the cache directory. Overrides `HF_HUB_CACHE`.
    pub fn cache(mut self, directory: impl Into<PathBuf>) -> Self {
        self.cache = Some(directory.into());
        self
    }

    /// Sets the token for private and gated repositories. Overrides `HF_TOKEN`.
    pub fn token(mut self, token: impl Into<String>) -> Self {
        self.token = Some(Token(token.into()));
        self
    }

    /// Downloads the file unless it is cached, and returns its path in the cache.
    ///
    /// For a file `….index.json`, also downloads the files that it lists into the same directory.
    ///
    /// # Errors
    ///
    /// Fails if the hub cannot be reached, if the file does not exist, if access is denied, if the connection is
    /// lost, or if the cache cannot be written. The message contains the repository, the file, the revision and the
    /// endpoint. The next call resumes an interrupted download.
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
            // Download the shards from the commit of the index, because a branch may change between two downloads.
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

/// Returns the first default file in the cache or, if there is none, on the hub.
fn default_file(client: &Client) -> Result<&'static str> {
    if let Some(file) = HUB_FILES.into_iter().find(|file| client.cached(file).is_some()) {
        return Ok(file);
    }
    let files = client.files()?;
    HUB_FILES.into_iter().find(|default| files.iter().any(|file| file == default)).ok_or_else(|| {
        Error::msg(format!(
            "expected one of the files {HUB_FILES:?}, found {files:?} in {}; select a file with `Hub::file`",
            client.request(None)
        ))
    })
}
