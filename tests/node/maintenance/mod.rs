//! What a node does by itself: joining, keeping its table and its announces, and following its address.
//!
//! - `addresses`: several addresses in one process, a node for each (BEP 45)
//! - `bootstrap`: joining the DHT, from nothing and after an outage
//! - `external`: the node's own address and the id that follows from it (BEP 42)
//! - `kept`: announces that are repeated
//! - `read_only`: read-only nodes (BEP 43), being one and meeting one
//! - `runtime`: off and on, read-only, another socket, sleep
//! - `upkeep`: pings, refreshes and removals, and their bounds

mod addresses;
mod bootstrap;
mod external;
mod kept;
mod read_only;
mod runtime;
mod upkeep;
