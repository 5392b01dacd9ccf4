//! The settings of requests, from the caller and from environment variables: address, cache, token.

use std::path::{Path, PathBuf};

use crate::{Error, Result};

use super::Hub;

const ENDPOINT: &str = "https://huggingface.co";

/// The settings of all requests.
#[derive(Debug)]
pub(super) struct Settings {
    pub endpoint: String,
    pub cache: PathBuf,
    pub token: Option<String>,
    pub token_path: PathBuf,
    pub offline: bool,
    pub progress: bool,
}

impl Settings {
    /// Combines the settings of `hub` with environment variables, which `variable` reads.
    pub fn new(hub: &Hub, variable: impl Fn(&str) -> Option<String>) -> Result<Self> {
        // Ignore empty variables.
        let variable = |key: &str| variable(key).filter(|value| !value.is_empty());
        let directory = |key: &str| variable(key).map(PathBuf::from);
        let is_set = |key: &str| variable(key).is_some_and(|value| is_true(&value));

        let endpoint = hub.endpoint.clone().or_else(|| variable("HF_ENDPOINT"));
        let endpoint = endpoint.as_deref().unwrap_or(ENDPOINT).trim_end_matches('/').to_owned();
        let home = match directory("HF_HOME") {
            Some(home) => home,
            None => directory("XDG_CACHE_HOME").map_or_else(user_cache, Ok)?.join("huggingface"),
        };
        let cache = hub.cache.clone().or_else(|| directory("HF_HUB_CACHE"));
        let token_path = directory("HF_TOKEN_PATH").unwrap_or_else(|| home.join("token"));
        let token = hub.token.as_ref().map(|token| token.0.clone());
        let token = token.or_else(|| variable("HF_TOKEN")).or_else(|| token_file(&token_path));
        Ok(Self {
            endpoint,
            cache: cache.unwrap_or_else(|| home.join("hub")),
            token: token.map(|token| token.trim().to_owned()).filter(|token| !token.is_empty()),
            token_path,
            offline: is_set("HF_HUB_OFFLINE"),
            progress: !is_set("HF_HUB_DISABLE_PROGRESS_BARS"),
        })
    }
}

fn is_true(value: &str) -> bool {
    ["1", "true", "yes", "on"].iter().any(|word| value.eq_ignore_ascii_case(word))
}

fn user_cache() -> Result<PathBuf> {
    let home = std::env::home_dir()
        .ok_or_else(|| Error::msg("there is no home directory for downloads; set HF_HOME"))?;
    Ok(home.join(".cache"))
}

fn token_file(path: &Path) -> Option<String> {
    std::fs::read_to_string(path).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(hub: &Hub, variables: &[(&str, &str)]) -> Settings {
        let find = |key: &str| variables.iter().find(|(name, _)| *name == key);
        Settings::new(hub, |key| find(key).map(|(_, value)| value.to_string())).unwrap()
    }

    #[test]
    fn reads_settings_from_the_environment() {
        let hub = Hub::new("a/b");
        let actual =
            settings(&hub, &[("HF_HOME", "/h"), ("HF_ENDPOINT", "http://mirror/"), ("HF_TOKEN", " t\n")]);
        assert_eq!((actual.endpoint.as_str(), actual.token.as_deref()), ("http://mirror", Some("t")));
        assert_eq!((actual.cache, actual.token_path), ("/h/hub".into(), "/h/token".into()));
        assert!(!actual.offline && actual.progress);

        let actual =
            settings(&hub, &[("XDG_CACHE_HOME", "/x"), ("HF_ENDPOINT", ""), ("HF_HUB_OFFLINE", "1")]);
        assert_eq!((actual.endpoint.as_str(), actual.token), (ENDPOINT, None));
        assert_eq!((actual.cache, actual.offline), ("/x/huggingface/hub".into(), true));

        let moved = [("HF_HUB_CACHE", "/c"), ("HF_TOKEN_PATH", "/t"), ("HF_HUB_DISABLE_PROGRESS_BARS", "ON")];
        let actual = settings(&hub, &moved);
        assert_eq!((actual.cache, actual.token_path), ("/c".into(), "/t".into()));
        assert!(!actual.progress);
    }

    #[test]
    fn the_caller_overrides_the_environment() {
        let hub = Hub::new("a/b").endpoint("http://mine").cache("/mine").token("mine");
        let others = [("HF_ENDPOINT", "http://other"), ("HF_HUB_CACHE", "/other"), ("HF_TOKEN", "other")];
        let actual = settings(&hub, &others);
        assert_eq!((actual.endpoint.as_str(), actual.token.as_deref()), ("http://mine", Some("mine")));
        assert_eq!(actual.cache, PathBuf::from("/mine"));
    }
}
