//! A node without sockets, in virtual time: what it answers, asks, keeps and forgets.
#![allow(clippy::std_instead_of_core, clippy::unwrap_used, reason = "tests")]

#[path = "../common/mod.rs"]
mod common;
#[path = "../common/lives.rs"]
mod lives;
#[cfg(all(feature = "checkpoint", feature = "sim"))]
#[path = "../common/reborn.rs"]
mod reborn;
#[path = "../common/scenario/mod.rs"]
mod scenario;
#[path = "../stage/mod.rs"]
mod stage;
#[cfg(feature = "sim")]
#[path = "../common/world/mod.rs"]
mod world;

mod addresses;
mod announce;
mod answers;
mod bootstrap;
mod captured;
#[cfg(all(feature = "checkpoint", feature = "sim"))]
mod checkpoint;
mod determinism;
mod external;
mod families;
mod floods;
mod fuzz_corpus;
mod hostile;
#[cfg(feature = "items")]
mod items;
mod kept;
mod lookup;
mod own_peers;
#[cfg(feature = "items")]
mod publish;
#[cfg(feature = "sim")]
mod random_lives;
mod read_only;
mod replies;
mod restore;
mod runtime;
mod samples;
mod scrape;
mod silence;
mod slots;
mod stale_ids;
mod state;
mod tokens;
mod trust;
mod unsent;
mod upkeep;
