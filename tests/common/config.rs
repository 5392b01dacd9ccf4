//! The number of random inputs of each property test.

use proptest::test_runner::Config;

/// Returns a config that runs each property on `cases` random inputs, or on `SCONCE_TEST_PERCENT` percent of
/// that number if this environment variable is set.
pub fn config(cases: u32) -> Config {
    let percent = std::env::var("SCONCE_TEST_PERCENT")
        .map_or(100, |percent| percent.parse().expect("SCONCE_TEST_PERCENT should be a number"));
    Config { cases: (cases * percent).div_ceil(100), failure_persistence: None, ..Config::default() }
}
