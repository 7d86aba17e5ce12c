//! What a node does by itself: joining, maintaining its table and announcements, and following its address.
//!
//! - `addresses`: several addresses in one process, a node for each (BEP 45)
//! - `bootstrap`: joining the DHT, from nothing and after an outage
//! - `external`: the node's own address and the id that follows from it (BEP 42)
//! - `announcements`: announces that are repeated until they are stopped
//! - `read_only`: read-only nodes (BEP 43), being one and meeting one
//! - `runtime`: disabled and enabled, read-only, another socket, sleep
//! - `table`: pings, refreshes and removals, and their bounds

mod addresses;
mod announcements;
mod bootstrap;
mod external;
mod read_only;
mod runtime;
mod table;
