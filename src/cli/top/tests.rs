//! Tests of `top`.
