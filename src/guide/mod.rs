//! The manual: topics that go beyond a single item.
//!
//! - [`architecture`]: floors, the life of a query and of a lookup, where a change belongs
//! - [`defaults`]: constants, and where they come from
//! - [`embedding`]: a loop, a torrent engine, several addresses
//! - [`errors`]: which errors there are, and what to do
//! - [`glossary`]: terms that BEP 5 does not define, and what other implementations call them
//! - [`memory`]: how much a node takes, and what happens when it is used up
//! - [`operation`]: restarts, changes at run time, observability, crawls
//! - [`security`]: attacks, defences, and what is left of each attack
//! - [`testing`]: your own program on a private network, or in virtual time

#[doc = include_str!("architecture.md")]
pub mod architecture {}

#[doc = include_str!("defaults.md")]
pub mod defaults {}

#[doc = include_str!("embedding.md")]
pub mod embedding {}

#[doc = include_str!("errors.md")]
pub mod errors {}

#[doc = include_str!("glossary.md")]
pub mod glossary {}

#[doc = include_str!("memory.md")]
pub mod memory {}

#[doc = include_str!("operation.md")]
pub mod operation {}

#[doc = include_str!("security.md")]
pub mod security {}

#[doc = include_str!("testing.md")]
pub mod testing {}
