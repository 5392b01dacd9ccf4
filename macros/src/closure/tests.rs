//! Rewritten closures, as text.
