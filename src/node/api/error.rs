//! Errors of commands, and the limits that a call can exceed.

use thiserror::Error;

use crate::lookup::LookupKind;
#[cfg(feature = "items")]
use crate::store::items::PutObstacle;
use crate::wire::ErrorCode;

/// Why a query to a single node failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum QueryError {
    /// No answer came in time.
    #[error("the node did not answer in time: it is slow, gone, or behind a firewall")]
    TimedOut,
    /// The system reported that the destination cannot be reached.
    #[error("the system reports that the destination cannot be reached")]
    Unreachable,
    /// The node answered with an error of this code (BEP 5).
    #[error("the node answered with error {0}")]
    Refused(ErrorCode),
    /// The answer had no valid id.
    #[error("the node answered without a valid id")]
    Malformed,
    /// The node was [disabled](crate::Node::set_enabled) before an answer came.
    #[error("the node was disabled before an answer came: enable it, and ask again")]
    Disabled,
}

/// Why a lookup, an announce or a put cannot start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum StartError {
    /// All slots of this kind are in use. [`Limit::is_passing`] returns whether a retry is likely to succeed
    /// soon.
    #[error("all {size} {} are in use: {}, or raise {}", .limit.slots(), .limit.advice(), .limit.setting())]
    Full {
        /// The limit that was reached.
        limit: Limit,
        /// The number of slots.
        size: usize,
    },
    /// There are fewer slots of this kind than the call takes, or than publications leave for it.
    #[error("{size} {} are too few for this call: raise {}", .limit.slots(), .limit.setting())]
    TooSmall {
        /// The limit that is too small.
        limit: Limit,
        /// The number of slots.
        size: usize,
    },
    /// The port to announce is 0.
    #[error("port 0 cannot be announced: announce the port that peers connect to")]
    PortZero,
    /// The address of [`LookupOptions::only`](field@crate::LookupOptions::only) belongs to a family that is off, or is
    /// refused by the [address policy](field@crate::Config::address_policy).
    #[error("the address may not be contacted: its family is off, or the address policy refuses it")]
    AddressRefused,
    /// The node, or the family of the address, is [disabled](crate::Node::set_enabled).
    #[error("the node is disabled: enable it, and start again")]
    Disabled,
}

/// Why a single node cannot be queried or added.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ContactError {
    /// All slots of this kind are in use, as in [`StartError::Full`].
    #[error("all {size} {} are in use: {}, or raise {}", .limit.slots(), .limit.advice(), .limit.setting())]
    Full {
        /// The limit that was reached.
        limit: Limit,
        /// The number of slots.
        size: usize,
    },
    /// There are no slots of this kind at all.
    #[error("{size} {} are too few for this call: raise {}", .limit.slots(), .limit.setting())]
    TooSmall {
        /// The limit that is too small.
        limit: Limit,
        /// The number of slots.
        size: usize,
    },
    /// The address belongs to a family that is off in the [`Config`](crate::Config), or is refused by its
    /// [address policy](field@crate::Config::address_policy).
    #[error("the address may not be contacted: its family is off, or the address policy refuses it")]
    AddressRefused,
    /// The node, or the family of the address, is [disabled](crate::Node::set_enabled).
    #[error("the node is disabled: enable it, and ask again")]
    Disabled,
}

/// Why an announce or an item cannot be republished.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum PublishError {
    /// All slots of this kind are in use, as in [`StartError::Full`].
    #[error("all {size} {} are in use: {}, or raise {}", .limit.slots(), .limit.advice(), .limit.setting())]
    Full {
        /// The limit that was reached.
        limit: Limit,
        /// The number of slots.
        size: usize,
    },
    /// There are fewer slots of this kind than a publication takes.
    #[error("{size} {} are too few for this call: raise {}", .limit.slots(), .limit.setting())]
    TooSmall {
        /// The limit that is too small.
        limit: Limit,
        /// The number of slots.
        size: usize,
    },
    /// The item published at this target has a sequence number that is as high or higher.
    #[cfg(feature = "items")]
    #[error("a version as new is already published at this target: sign the item with a higher number")]
    StaleItem,
    /// The port to announce is 0.
    #[error("port 0 cannot be announced: announce the port that peers connect to")]
    PortZero,
}

/// Why an announce or a put is stored nowhere, or is not what others find, from
/// [`LookupReport::stored`](crate::LookupReport::stored).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum PutError {
    /// No node answered: there is no network, or no node is known yet.
    #[error("no node answered: check the network, or wait until the node is ready")]
    NoNodes,
    /// Nodes answered, but none returned the token that storing requires (BEP 5), or none supports items.
    #[error("none of {answered} nodes that answered gave a token: try again later")]
    NoTokens {
        /// Nodes that answered.
        answered: u32,
    },
    /// No node confirmed it; some may still have stored it.
    #[error("none of {sent} nodes that it was sent to confirmed it: try again")]
    Unconfirmed {
        /// Nodes that it was sent to.
        sent: u32,
    },
    /// Nodes refused it, and none stored it. With 301 and 302 they hold another version without saying which (BEP
    /// 44); of other codes this is the last.
    #[error("the nodes refused it with error {0}")]
    Refused(ErrorCode),
    /// Nodes hold a version with a higher sequence number (BEP 44).
    #[cfg(feature = "items")]
    #[error("nodes hold a newer version, {newest}: put one with a higher number")]
    Superseded {
        /// The highest sequence number found.
        newest: i64,
    },
    /// Nodes hold another value under the same sequence number, of which each keeps the first (BEP 44).
    #[cfg(feature = "items")]
    #[error("nodes hold another value as version {seq}: put one with a higher number")]
    Conflict {
        /// The sequence number.
        seq: i64,
    },
    /// The newest version is not the one to be replaced, by `cas` (BEP 44).
    #[cfg(feature = "items")]
    #[error("nodes hold version {found}, not the one to be replaced: get it, and decide again")]
    CasMismatch {
        /// The sequence number of the newest version.
        found: i64,
    },
    /// A lookup of this kind stores nothing.
    #[error("a lookup of the kind {0:?} stores nothing")]
    WrongKind(LookupKind),
}

/// An address that may not be used: no host can have it, or its family is off in the [`Config`](crate::Config).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("no host can have this address, or its family is off")]
pub struct AddressRefused;

/// Why a peer or an item handed over from another node is not stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The address belongs to a family that is off in the [`Config`](crate::Config), or is refused by the
    /// address policy, or its port is 0.
    #[error(
        "the address may not be passed on: its family is off, its port is 0, or the address policy refuses it"
    )]
    AddressRefused,
    /// There is no room and none could be made, or the source has used up its share.
    #[error("there is no room for it, or its source has used up its share")]
    NoRoom,
    /// A newer version is stored, or another one of the same number.
    #[cfg(feature = "items")]
    #[error("a version as new is stored already")]
    Stale,
}

impl PutError {
    /// Whether nodes hold another version of the item: look up the newest one and decide again, instead of putting
    /// this one once more.
    pub const fn is_other_version(self) -> bool {
        match self {
            #[cfg(feature = "items")]
            Self::Superseded { .. } | Self::Conflict { .. } | Self::CasMismatch { .. } => true,
            Self::Refused(ErrorCode::CAS_MISMATCH | ErrorCode::SEQ_TOO_LOW) => true,
            Self::Refused(_)
            | Self::NoNodes
            | Self::NoTokens { .. }
            | Self::Unconfirmed { .. }
            | Self::WrongKind(_) => false,
        }
    }

    #[cfg(feature = "items")]
    pub(crate) const fn from_obstacle(obstacle: PutObstacle) -> Self {
        match obstacle {
            PutObstacle::Superseded { newest } => Self::Superseded { newest },
            PutObstacle::Conflict { seq } => Self::Conflict { seq },
            PutObstacle::CasMismatch { found } => Self::CasMismatch { found },
        }
    }
}

/// A limit that a call has exceeded, in [`StartError`], [`ContactError`] and [`PublishError`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Limit {
    /// [`Limits::traversals`](field@crate::Limits::traversals). A lookup in both families takes two slots.
    Traversals,
    /// [`Limits::inflight`](field@crate::Limits::inflight).
    Queries,
    /// [`Limits::scrapes`](field@crate::Limits::scrapes).
    Scrapes,
    /// [`Limits::samplings`](field@crate::Limits::samplings).
    Samplings,
    /// [`ItemLimits::own`](field@crate::items::ItemLimits::own).
    #[cfg(feature = "items")]
    OwnItems,
    /// [`ItemLimits::own_chunks`](field@crate::items::ItemLimits::own_chunks). A lookup takes eight until it has ended.
    #[cfg(feature = "items")]
    OwnChunks,
    /// The three quarters of [`ItemLimits::own`](field@crate::items::ItemLimits::own) that published items may take.
    #[cfg(feature = "items")]
    PublishedItems,
    /// The three quarters of [`ItemLimits::own_chunks`](field@crate::items::ItemLimits::own_chunks) that published
    /// items may take.
    #[cfg(feature = "items")]
    PublishedChunks,
    /// [`Limits::publications`](field@crate::Limits::publications).
    Publications,
    /// [`Limits::bootstraps`](field@crate::Limits::bootstraps).
    Bootstraps,
}

impl Limit {
    /// Whether slots of this kind become free by themselves, as a rule within seconds, so that waiting helps.
    /// Publications and bootstrap hosts stay until they are removed.
    pub const fn is_passing(self) -> bool {
        match self {
            Self::Traversals | Self::Queries | Self::Scrapes | Self::Samplings => true,
            #[cfg(feature = "items")]
            Self::OwnItems | Self::OwnChunks => true,
            Self::Publications | Self::Bootstraps => false,
            #[cfg(feature = "items")]
            Self::PublishedItems | Self::PublishedChunks => false,
        }
    }

    /// Returns the shortage of a call that needs `needed` of `size` slots when too few are free.
    pub(crate) const fn shortage(self, size: usize, needed: usize) -> Shortage {
        Shortage { limit: self, size, is_too_small: size < needed }
    }

    /// Returns what the limit counts.
    pub(crate) const fn slots(self) -> &'static str {
        match self {
            Self::Traversals => "lookup slots",
            Self::Queries => "query slots",
            Self::Scrapes => "scrape slots",
            Self::Samplings => "slots for samples of infohashes",
            #[cfg(feature = "items")]
            Self::OwnItems => "slots for items of our own",
            #[cfg(feature = "items")]
            Self::OwnChunks => "chunks for items of our own",
            #[cfg(feature = "items")]
            Self::PublishedItems => "slots for published items",
            #[cfg(feature = "items")]
            Self::PublishedChunks => "chunks for published items",
            Self::Publications => "slots for publications",
            Self::Bootstraps => "slots for bootstrap addresses",
        }
    }

    /// Returns what the caller can do without another setting.
    pub(crate) const fn advice(self) -> &'static str {
        if self.is_passing() { "wait for some of them to end" } else { "remove some of them" }
    }

    /// Returns the name of the setting.
    pub(crate) const fn setting(self) -> &'static str {
        match self {
            Self::Traversals => "Limits::traversals",
            Self::Queries => "Limits::inflight",
            Self::Scrapes => "Limits::scrapes",
            Self::Samplings => "Limits::samplings",
            #[cfg(feature = "items")]
            Self::OwnItems => "ItemLimits::own",
            #[cfg(feature = "items")]
            Self::OwnChunks => "ItemLimits::own_chunks",
            #[cfg(feature = "items")]
            Self::PublishedItems => "ItemLimits::own, of which three quarters may be published",
            #[cfg(feature = "items")]
            Self::PublishedChunks => "ItemLimits::own_chunks, of which three quarters may be published",
            Self::Publications => "Limits::publications",
            Self::Bootstraps => "Limits::bootstraps",
        }
    }
}

/// Slots that a call lacks, for the error of its kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shortage {
    limit: Limit,
    size: usize,
    /// There would be too few even if all of them were free.
    is_too_small: bool,
}

impl From<Shortage> for StartError {
    fn from(Shortage { limit, size, is_too_small }: Shortage) -> Self {
        if is_too_small { Self::TooSmall { limit, size } } else { Self::Full { limit, size } }
    }
}

impl From<Shortage> for ContactError {
    fn from(Shortage { limit, size, is_too_small }: Shortage) -> Self {
        if is_too_small { Self::TooSmall { limit, size } } else { Self::Full { limit, size } }
    }
}

impl From<Shortage> for PublishError {
    fn from(Shortage { limit, size, is_too_small }: Shortage) -> Self {
        if is_too_small { Self::TooSmall { limit, size } } else { Self::Full { limit, size } }
    }
}

/// Converts the error of a lookup that queries a single node.
impl From<ContactError> for StartError {
    fn from(error: ContactError) -> Self {
        match error {
            ContactError::Full { limit, size } => Self::Full { limit, size },
            ContactError::TooSmall { limit, size } => Self::TooSmall { limit, size },
            ContactError::AddressRefused => Self::AddressRefused,
            ContactError::Disabled => Self::Disabled,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::string::ToString as _;

    use super::*;

    #[test]
    fn an_error_names_the_limit_its_size_and_what_to_do() {
        assert_eq!(
            StartError::from(Limit::Traversals.shortage(64, 2)).to_string(),
            "all 64 lookup slots are in use: wait for some of them to end, or raise Limits::traversals"
        );
        assert_eq!(
            StartError::from(Limit::Traversals.shortage(1, 2)).to_string(),
            "1 lookup slots are too few for this call: raise Limits::traversals"
        );
        assert_eq!(
            ContactError::from(Limit::Bootstraps.shortage(32, 1)).to_string(),
            "all 32 slots for bootstrap addresses are in use: remove some of them, or raise Limits::bootstraps"
        );
        #[cfg(feature = "items")]
        assert_eq!(
            PublishError::from(Limit::PublishedItems.shortage(192, 1)).to_string(),
            "all 192 slots for published items are in use: remove some of them, or raise ItemLimits::own, of which \
             three quarters may be published"
        );
    }
}
