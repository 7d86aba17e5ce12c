//! The manual: what goes beyond a single item.

#[doc = include_str!("security.md")]
pub mod security {}
