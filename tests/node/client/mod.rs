//! Lookups and queries of a node's own: whom it asks, what it takes from the answers, and how they end.
//!
//! - `announce`: to whom announces go, with which token, and what becomes of those that fail
//! - `crawl`: surveys of the torrents in the network (BEP 51)
//! - `lookup`: whom a lookup asks, and that nobody can hold it up
//! - `publish`: items that a node seeks and publishes (BEP 44)
//! - `replies`: which answers match a query, and what is taken from them
//! - `samples`: samples of infohashes that a node asks for (BEP 51)
//! - `scrape`: scrapes (BEP 33), made and answered
//! - `silence`: what the silence of a node says of it
//! - `slots`: slots that serve a second time
//! - `stale_ids`: ids of lookups and queries that are over
//! - `trust`: forged answers, false listings and invented hosts
//! - `unsent`: datagrams that the node's own system does not send

mod announce;
mod crawl;
mod lookup;
#[cfg(feature = "items")]
mod publish;
mod replies;
mod samples;
mod scrape;
mod silence;
mod slots;
mod stale_ids;
mod trust;
mod unsent;
