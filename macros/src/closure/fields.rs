//! The variables through which a forward closure reaches the fields of its network: `let conv1 = &self.conv1;`.

use syn::Ident;

use super::names::Name;

/// The variables that the body needs. There is one for each field and hygiene context in which the body names the
/// field, so that the name also resolves inside of macros and format strings.
#[derive(Default)]
pub struct FieldVariables {
    variables: Vec<(Ident, usize)>,
}

impl FieldVariables {
    /// Adds the variable `ident` for `field`, unless it exists.
    pub fn add(&mut self, ident: &Ident, field: usize) {
        let name = Name::of(ident);
        if !self.variables.iter().any(|(seen, _)| Name::of(seen) == name) {
            self.variables.push((ident.clone(), field));
        }
    }

    /// Returns each variable with the index of its field.
    pub fn into_vec(self) -> Vec<(Ident, usize)> {
        self.variables
    }
}
