//! What lookups are for, and the one table of what distinguishes them.

use super::options::{Announce, LookupKind};
#[cfg(feature = "items")]
use crate::base::pool::Ix;

/// The purpose of a traversal.
///
/// The tag of the first variant is zero.
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "checkpoint", derive(serde::Serialize, serde::Deserialize))]
pub(crate) enum Goal {
    FindNode,
    GetPeers,
    Announce(Announce),
    /// Counts the peers of a torrent by their Bloom filters (BEP 33).
    Scrape,
    /// Finds the nodes closest to our own id.
    Bootstrap,
    /// Refreshes a bucket without recent traffic; the result is not reported.
    Refresh,
    /// Finds the item at the target, and stores it in this slot of our own items.
    #[cfg(feature = "items")]
    Get(Ix),
    /// Publishes the item in this slot of our own items.
    #[cfg(feature = "items")]
    Put(Ix),
}

/// What the queries of a traversal request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SearchKind {
    /// Nodes, by `find_node` (BEP 5).
    Nodes,
    /// Peers, by `get_peers` (BEP 5).
    Peers,
    /// Filters of peers, by `get_peers` with `scrape` (BEP 33).
    Filters,
    /// An item, by `get` (BEP 44).
    #[cfg(feature = "items")]
    Item,
}

/// The cause of a traversal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cause {
    /// The user, or one of the user's publications.
    User,
    /// The user or maintenance, to join the DHT.
    Join,
    /// Maintenance; the traversal may be preempted, and its end is not reported.
    Refresh,
}

/// What distinguishes the traversals of one goal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Traits {
    pub(crate) search: SearchKind,
    /// Whether something is stored at the closest nodes, with the tokens of the search.
    pub(crate) stores: bool,
    /// Whether lost queries are no longer repeated once there is a first result.
    pub(crate) stops_retries: bool,
    pub(crate) cause: Cause,
    /// The kind in reports.
    pub(crate) kind: LookupKind,
}

impl Goal {
    /// Returns what distinguishes the traversals of this goal.
    #[rustfmt::skip]
    #[inline]
    pub(crate) const fn traits(self) -> Traits {
        use {Cause as C, LookupKind as Kind, SearchKind as Search};
        match self {
            //                            search      stops_retries cause     kind
            Self::FindNode    => Traits::of(Search::Nodes,   false, C::User,    Kind::FindNode),
            Self::GetPeers    => Traits::of(Search::Peers,   true,  C::User,    Kind::GetPeers),
            Self::Announce(_) => Traits::of(Search::Peers,   false, C::User,    Kind::Announce),
            Self::Scrape      => Traits::of(Search::Filters, false, C::User,    Kind::Scrape),
            Self::Bootstrap   => Traits::of(Search::Nodes,   false, C::Join,    Kind::Bootstrap),
            Self::Refresh     => Traits::of(Search::Nodes,   false, C::Refresh, Kind::FindNode),
            #[cfg(feature = "items")]
            Self::Get(_)      => Traits::of(Search::Item,    false, C::User,    Kind::Get),
            #[cfg(feature = "items")]
            Self::Put(_)      => Traits::of(Search::Item,    false, C::User,    Kind::Put),
        }
    }

    /// Whether the node starts such traversals by itself, to maintain its table.
    pub(crate) const fn is_maintenance(self) -> bool {
        match self.traits().cause {
            Cause::User => false,
            Cause::Join | Cause::Refresh => true,
        }
    }

    /// Whether such traversals may be preempted, and are not reported.
    pub(crate) const fn is_refresh(self) -> bool {
        matches!(self.traits().cause, Cause::Refresh)
    }

    /// Whether such traversals search for this node's neighbours, to join the DHT.
    pub(crate) const fn is_join(self) -> bool {
        matches!(self.traits().cause, Cause::Join)
    }

    /// Whether the nodes and tokens of a finished traversal can be used to store what `goal` stores.
    pub(crate) const fn is_reusable_for(self, goal: Self) -> bool {
        goal.traits().stores && self.traits().search.shares_tokens(goal.traits().search)
    }

    /// Returns the peer that is announced, if any.
    pub(crate) const fn announce(self) -> Option<Announce> {
        match self {
            Self::Announce(announce) => Some(announce),
            Self::FindNode | Self::GetPeers | Self::Scrape | Self::Bootstrap | Self::Refresh => None,
            #[cfg(feature = "items")]
            Self::Get(_) | Self::Put(_) => None,
        }
    }
}

#[cfg(feature = "items")]
impl Goal {
    /// Returns the slot of the item that is looked up or published; `None` once that was reused for another.
    pub(crate) const fn item(self) -> Option<Ix> {
        match self {
            Self::Get(item) | Self::Put(item) => item.some(),
            Self::FindNode
            | Self::GetPeers
            | Self::Announce(_)
            | Self::Scrape
            | Self::Bootstrap
            | Self::Refresh => None,
        }
    }

    /// Detaches the item, whose slot is being reused.
    pub(crate) const fn forget_item(&mut self) {
        if let Self::Get(item) | Self::Put(item) = self {
            *item = Ix::NONE;
        }
    }
}

impl Traits {
    const fn of(search: SearchKind, stops_retries: bool, cause: Cause, kind: LookupKind) -> Self {
        Self { search, stores: kind.stores(), stops_retries, cause, kind }
    }
}

impl SearchKind {
    /// Whether responses may list peers of the target, or filters of them.
    pub(crate) const fn finds_peers(self) -> bool {
        match self {
            Self::Peers | Self::Filters => true,
            Self::Nodes => false,
            #[cfg(feature = "items")]
            Self::Item => false,
        }
    }

    /// Whether this is a search for an item, which not every node supports.
    pub(crate) const fn finds_items(self) -> bool {
        match self {
            #[cfg(feature = "items")]
            Self::Item => true,
            Self::Nodes | Self::Peers | Self::Filters => false,
        }
    }

    /// Whether the tokens of two searches are the same.
    const fn shares_tokens(self, other: Self) -> bool {
        (self.finds_peers() && other.finds_peers()) || (self.finds_items() && other.finds_items())
    }
}
