//! Error messages of the derive: each mistake gives one error, at the token that causes it.

#[test]
fn each_mistake_gives_its_error_message() {
    trybuild::TestCases::new().compile_fail("tests/ui/*.rs");
}
