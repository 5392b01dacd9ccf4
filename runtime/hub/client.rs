//! Access to one revision of a repository, in the cache and on the hub.

use std::cell::Cell;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use hf_hub::api::Progress;
use hf_hub::api::sync::{Api, ApiBuilder, ApiError, ApiRepo};
use hf_hub::{Cache, CacheRepo, Repo, RepoType};
use indicatif::ProgressBar;

use crate::{Error, Result};

use super::error::Request;
use super::names;
use super::settings::Settings;

/// A client for one revision of a repository.
pub(super) struct Client<'a> {
    settings: &'a Settings,
    repository: &'a str,
    revision: &'a str,
    cache: CacheRepo,
}

impl<'a> Client<'a> {
    pub fn new(settings: &'a Settings, repository: &'a str, revision: &'a str) -> Self {
        let cache = Cache::new(settings.cache.clone()).repo(repo(repository, revision));
        Self { settings, repository, revision, cache }
    }

    /// Returns the description of a request, for error messages.
    pub fn request<'r>(&'r self, file: Option<&'r str>) -> Request<'r> {
        Request { repository: self.repository, revision: self.revision, file, settings: self.settings }
    }

    /// Returns the path of a cached file, or `None` if the file is not in the cache.
    pub fn cached(&self, file: &str) -> Option<PathBuf> {
        self.cache.get(file).or_else(|| {
            // `get` reads the commit of the revision from a file in the cache's directory `refs`. Other tools write no
            // such file for a revision that is a commit, so also look for the snapshot of that commit.
            let path = self.cache.pointer_path(self.revision).join(file);
            path.exists().then_some(path)
        })
    }

    /// Returns the paths of all files in the repository.
    pub fn files(&self) -> Result<Vec<String>> {
        let request = self.request(None);
        let info = self.call(&request, ApiRepo::info)?.map_err(|error| request.explain(&error))?;
        Ok(info.siblings.into_iter().map(|file| file.rfilename).collect())
    }

    /// Returns the path of a file in the cache. Downloads the file if it is not cached.
    pub fn get(&self, file: &str) -> Result<PathBuf> {
        names::check_path("file", file)?;
        match self.cached(file) {
            Some(path) => Ok(path),
            None => self.download(file),
        }
    }

    fn download(&self, file: &str) -> Result<PathBuf> {
        let request = self.request(Some(file));
        let size = Cell::new(0);
        let fetch = |remote: &ApiRepo| remote.download_with_progress(file, self.progress(&size));
        let path = match self.call(&request, fetch)? {
            Err(error) if is_past_the_end(&error) => {
                self.discard_partial(&request, file)?;
                self.call(&request, fetch)?
            }
            outcome => outcome,
        };
        let path = path.map_err(|error| request.explain(&error))?;
        self.check_size(&request, path, size.get())
    }

    fn progress<'s>(&self, size: &'s Cell<usize>) -> DownloadProgress<'s> {
        let bar = if self.settings.progress { ProgressBar::new(0) } else { ProgressBar::hidden() };
        DownloadProgress { size, bar }
    }

    /// Calls the hub with the crate hf-hub. The inner result is the result of `call`. The outer result is an error if
    /// `HF_HUB_OFFLINE` is set, if the client cannot be created, or if hf-hub panics.
    fn call<T>(
        &self,
        request: &Request<'_>,
        call: impl FnOnce(&ApiRepo) -> Result<T, ApiError>,
    ) -> Result<Result<T, ApiError>> {
        if self.settings.offline {
            let cache = self.settings.cache.display();
            return Err(request.error(format_args!("not in the cache {cache}, and HF_HUB_OFFLINE is set")));
        }
        let api = self.api().map_err(|error| request.explain(&error))?;
        let remote = api.repo(repo(self.repository, self.revision));
        // hf-hub panics on some invalid responses, such as a redirect without a location.
        catch_unwind(AssertUnwindSafe(|| call(&remote)))
            .map_err(|_| request.error("the hub sent an invalid response"))
    }

    fn api(&self) -> Result<Api, ApiError> {
        ApiBuilder::from_cache(Cache::new(self.settings.cache.clone()))
            .with_endpoint(self.settings.endpoint.clone())
            .with_token(self.settings.token.clone())
            .with_user_agent("sconce", env!("CARGO_PKG_VERSION"))
            .build()
    }

    /// Removes the temporary file of an earlier download that cannot be resumed: the file has at least the full length,
    /// but was never renamed.
    fn discard_partial(&self, request: &Request<'_>, file: &str) -> Result<()> {
        let metadata = self.call(request, |remote| self.api()?.metadata(&remote.url(file)))?;
        let metadata = metadata.map_err(|error| request.explain(&error))?;
        let partial = self.cache.blob_path(metadata.etag()).with_extension("part");
        fs::remove_file(&partial)
            .map_err(|error| request.error(format_args!("{}: {error}", partial.display())))
    }

    /// Returns `path` if the download is complete. Otherwise removes the file and returns an error.
    ///
    /// hf-hub does not detect that a response without a length was cut off. A file larger than `expected` is valid: the
    /// hub may announce the compressed size of a response.
    fn check_size(&self, request: &Request<'_>, path: PathBuf, expected: usize) -> Result<PathBuf> {
        let found = fs::metadata(&path)?.len();
        if found >= expected as u64 {
            return Ok(path);
        }
        let blob = fs::canonicalize(&path)?;
        fs::remove_file(&path)?;
        if blob != path {
            fs::remove_file(blob)?;
        }
        Err(request.error(format_args!(
            "the download was interrupted: expected {expected} bytes, found {found}; the next call starts over"
        )))
    }
}

fn repo(repository: &str, revision: &str) -> Repo {
    Repo::with_revision(repository.into(), RepoType::Model, revision.into())
}

/// Returns `true` if a resumed download requested bytes after the end of the file.
fn is_past_the_end(error: &ApiError) -> bool {
    match error {
        ApiError::InvalidResume => true,
        ApiError::RequestError(error) => matches!(**error, ureq::Error::StatusCode(416)),
        _ => false,
    }
}

/// Returns the commit of a cached file, which is the name of the snapshot's root directory.
pub(super) fn commit(path: &Path, file: &str) -> Result<String> {
    let root = path.ancestors().nth(file.split('/').count());
    let name = root.and_then(Path::file_name).and_then(|name| name.to_str());
    name.map(str::to_owned).ok_or_else(|| {
        Error::msg(format!("expected a file in a snapshot of the cache, found {}", path.display()))
    })
}

/// Draws the progress bar and records the size announced by the hub.
struct DownloadProgress<'s> {
    size: &'s Cell<usize>,
    bar: ProgressBar,
}

impl Progress for DownloadProgress<'_> {
    fn init(&mut self, size: usize, filename: &str) {
        self.size.set(size);
        Progress::init(&mut self.bar, size, filename);
    }

    fn update(&mut self, size: usize) {
        Progress::update(&mut self.bar, size);
    }

    fn finish(&mut self) {
        Progress::finish(&mut self.bar);
    }
}
