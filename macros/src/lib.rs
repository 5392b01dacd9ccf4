//! The derive macro of sconce.
