//! Lookups and queries of a node: which nodes are queried, how answers are used, and how lookups end.
//!
//! - `announce`: the destinations and tokens of announces, and failures
//! - `crawl`: surveys of the torrents in the network (BEP 51)
//! - `lookup`: the nodes that a lookup queries, and that no node can delay it
//! - `publish`: items that a node looks up and publishes (BEP 44)
//! - `replies`: which answers match a query, and how they are used
//! - `samples`: samples of infohashes that a node requests (BEP 51)
//! - `scrape`: scrapes (BEP 33), made and answered
//! - `silence`: nodes that do not answer some or all queries
//! - `slots`: slots that are reused
//! - `stale_ids`: ids of lookups and queries that have ended
//! - `trust`: forged answers, false listings and invented hosts
//! - `unsent`: datagrams that the node's own system refuses to send

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
