//! What the derive says to mistakes: one mistake is one error, on the token that is wrong.

#[test]
fn mistakes_are_explained() {
    trybuild::TestCases::new().compile_fail("tests/ui/*.rs");
}
