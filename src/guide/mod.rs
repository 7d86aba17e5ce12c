//! The manual: topics that go beyond a single item.
//!
//! - [`architecture`]: floors, the life of a query and of a lookup, where a change belongs
//! - [`embedding`]: a loop, a torrent engine, several addresses
//! - [`glossary`]: terms that BEP 5 does not define, and what other implementations call them
//! - [`security`]: attacks, defences, and what is left of each attack

#[doc = include_str!("architecture.md")]
pub mod architecture {}

#[doc = include_str!("embedding.md")]
pub mod embedding {}

#[doc = include_str!("glossary.md")]
pub mod glossary {}

#[doc = include_str!("security.md")]
pub mod security {}
