//! Models, vectors and helpers that the tests share.
