//! The public modules by subject, which re-export what lies in the private ones.

/// Errors, and the limits that a call can exceed; [`guide::errors`](crate::guide::errors) says what to do about each.
///
/// The errors of lookups are at the root: [`StartError`](crate::StartError), [`PutError`](crate::PutError) and
/// [`QueryError`](crate::QueryError).
pub mod errors {
    pub use crate::node::api::error::{AddressRefused, ContactError, Limit, PublishError, StoreError};
}

/// Ids and the distance between them, and the texts that infohashes are read from: hexadecimal, base32, magnet links.
pub mod ids {
    pub use crate::base::id::{Distance, ID_LEN, K, ParseIdError};
    pub use crate::base::magnet::{InfoHashes, MagnetLink, ParseInfoHashesError};
}

/// Values in the DHT (BEP 44), and torrents that change (BEP 46).
///
/// An [`Item`](items::Item) is a value under its own hash, or signed under a key and a [`Salt`](items::Salt).
/// [`Node::put`](crate::Node::put) stores one, [`Node::start_publishing`](crate::Node::start_publishing) keeps it
/// stored; [`Node::get_immutable`](crate::Node::get_immutable) and [`get_mutable`](crate::Node::get_mutable) look it
/// up.
#[cfg(feature = "items")]
pub mod items {
    pub use crate::node::api::config::ItemConfig;
    pub use crate::node::api::event::PublicationInfo;
    pub use crate::node::api::limits::ItemLimits;
    pub use crate::node::api::report::ItemReport;
    pub use crate::store::items::{
        Item, ItemError, ParseKeyError, ParseLinkError, PublicKey, Salt, SaltTooLong, SecretKey,
        TorrentPointer, UpdatableTorrent,
    };
}

/// What queries, lookups and publications report beside the [`LookupReport`](crate::LookupReport).
pub mod report {
    pub use crate::node::api::event::{AnnouncementInfo, NodeInfo, RepublishInfo};
    pub use crate::node::api::report::{Pong, Refusals, Sample, SwarmSize};
}

/// What a node keeps between two runs, as bytes: [`Node::snapshot_into`](crate::Node::snapshot_into) writes it,
/// [`State::parse`](state::State::parse) and [`Node::restore`](crate::Node::restore) read it.
pub mod state {
    #[cfg(feature = "checkpoint")]
    pub use crate::node::CheckpointError;
    #[cfg(feature = "items")]
    pub use crate::node::persist::format::SavedItem;
    pub use crate::node::persist::format::{
        BufferTooShort, Restored, SavedAnnounce, SavedNode, State, StateError,
    };
}

/// Counters and measurements: of a node, of its table, of the network; and the filters that count peers (BEP 33).
pub mod stats {
    pub use crate::base::bloom::BloomFilter;
    pub use crate::base::metrics::Metric;
    pub use crate::lookup::density::NetworkSize;
    #[cfg(feature = "items")]
    pub use crate::node::api::stats::ItemCounts;
    pub use crate::node::api::stats::{Drops, MethodCounts, Stats};
    pub use crate::table::BucketInfo;
}
