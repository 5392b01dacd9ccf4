//! One repository at one revision: what the cache has of it, and how the rest comes there.

use std::cell::Cell;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use hf_hub::api::Progress;
use hf_hub::api::sync::{Api, ApiBuilder, ApiError, ApiRepo};
use hf_hub::{Cache, CacheRepo, Repo, RepoType};
use indicatif::ProgressBar;

use super::failure::Place;
use super::names;
use super::settings::Settings;
use crate::{Error, Result};

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

    /// What was asked for, for messages.
    pub fn place<'p>(&'p self, file: Option<&'p str>) -> Place<'p> {
        Place { repository: self.repository, revision: self.revision, file, settings: self.settings }
    }

    /// The path of a file that was downloaded before.
    pub fn cached(&self, file: &str) -> Option<PathBuf> {
        self.cache.get(file).or_else(|| {
            // Other tools do not note down a revision that is a commit.
            let path = self.cache.pointer_path(self.revision).join(file);
            path.exists().then_some(path)
        })
    }

    /// The paths of all files in the repository.
    pub fn files(&self) -> Result<Vec<String>> {
        let place = self.place(None);
        let info = self.ask(&place, ApiRepo::info)?.map_err(|error| place.explain(&error))?;
        Ok(info.siblings.into_iter().map(|file| file.rfilename).collect())
    }

    /// The path of a file, which is downloaded if need be.
    pub fn get(&self, file: &str) -> Result<PathBuf> {
        names::check_path("file", file)?;
        match self.cached(file) {
            Some(path) => Ok(path),
            None => self.download(file),
        }
    }

    fn download(&self, file: &str) -> Result<PathBuf> {
        let place = self.place(Some(file));
        let size = Cell::new(0);
        let fetch = |remote: &ApiRepo| remote.download_with_progress(file, self.progress(&size));
        let path = match self.ask(&place, fetch)? {
            Err(error) if is_beyond_the_end(&error) => {
                self.discard_part(&place, file)?;
                self.ask(&place, fetch)?
            }
            outcome => outcome,
        };
        let path = path.map_err(|error| place.explain(&error))?;
        self.check_size(&place, path, size.get())
    }

    fn progress<'s>(&self, size: &'s Cell<usize>) -> Watch<'s> {
        Watch { size, bar: if self.settings.progress { ProgressBar::new(0) } else { ProgressBar::hidden() } }
    }

    /// Lets hf-hub ask the hub.
    fn ask<T>(
        &self,
        place: &Place<'_>,
        question: impl FnOnce(&ApiRepo) -> Result<T, ApiError>,
    ) -> Result<Result<T, ApiError>> {
        if self.settings.offline {
            let cache = self.settings.cache.display();
            return Err(place.error(format_args!("not in the cache {cache}, and HF_HUB_OFFLINE is set")));
        }
        let api = self.api().map_err(|error| place.explain(&error))?;
        let remote = api.repo(repo(self.repository, self.revision));
        // hf-hub takes some things for granted, that a redirection says where to among them.
        catch_unwind(AssertUnwindSafe(|| question(&remote)))
            .map_err(|_| place.error("an answer that a hub does not give: hf-hub could not go on"))
    }

    fn api(&self) -> Result<Api, ApiError> {
        ApiBuilder::from_cache(Cache::new(self.settings.cache.clone()))
            .with_endpoint(self.settings.endpoint.clone())
            .with_token(self.settings.token.clone())
            .with_user_agent("sconce", env!("CARGO_PKG_VERSION"))
            .build()
    }

    /// Removes what is left of a download that has all bytes or more, and never got its name.
    fn discard_part(&self, place: &Place<'_>, file: &str) -> Result<()> {
        let metadata = self.ask(place, |remote| self.api()?.metadata(&remote.url(file)))?;
        let metadata = metadata.map_err(|error| place.explain(&error))?;
        let part = self.cache.blob_path(metadata.etag()).with_extension("part");
        fs::remove_file(&part).map_err(|error| place.error(format_args!("{}: {error}", part.display())))
    }

    /// hf-hub takes the end of an answer without a length for the file's end. More bytes than expected are
    /// no sign of harm: what was compressed for the way may be announced by its compressed size.
    fn check_size(&self, place: &Place<'_>, path: PathBuf, expected: usize) -> Result<PathBuf> {
        let found = fs::metadata(&path)?.len();
        if found >= expected as u64 {
            return Ok(path);
        }
        let blob = fs::canonicalize(&path)?;
        fs::remove_file(&path)?;
        if blob != path {
            fs::remove_file(blob)?;
        }
        Err(place.error(format_args!(
            "the download was interrupted: expected {expected} bytes, got {found}; the next call begins anew"
        )))
    }
}

fn repo(repository: &str, revision: &str) -> Repo {
    Repo::with_revision(repository.into(), RepoType::Model, revision.into())
}

/// Whether the rest of a file was asked for where there is none.
fn is_beyond_the_end(error: &ApiError) -> bool {
    match error {
        ApiError::InvalidResume => true,
        ApiError::RequestError(error) => matches!(**error, ureq::Error::StatusCode(416)),
        _ => false,
    }
}

/// The commit of a file in the cache: the directory that stands for the top of the repository.
pub(super) fn commit(path: &Path, file: &str) -> Result<String> {
    let top = path.ancestors().nth(file.split('/').count());
    let name = top.and_then(Path::file_name).and_then(|name| name.to_str());
    name.map(str::to_owned).ok_or_else(|| {
        Error::msg(format!("expected a file within a snapshot of the cache, got {}", path.display()))
    })
}

/// Learns the size that the hub says, and draws the bar.
struct Watch<'s> {
    size: &'s Cell<usize>,
    bar: ProgressBar,
}

impl Progress for Watch<'_> {
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
