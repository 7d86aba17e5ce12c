//! Errors of commands, and the limits that a call can exceed.

use thiserror::Error;

/// Why a query to a single node failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum QueryError {
    /// No answer came in time.
    #[error("no answer in time")]
    TimedOut,
    /// The system reported that the destination cannot be reached.
    #[error("destination unreachable")]
    Unreachable,
    /// The node answered with an error of this code (BEP 5).
    #[error("the node answered with error {0}")]
    Refused(i64),
    /// The answer had no valid id.
    #[error("the answer was malformed")]
    Malformed,
    /// The node was [disabled](crate::Node::set_enabled) before an answer came.
    #[error("the node was disabled")]
    Disabled,
}

/// Why a lookup or a query cannot start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum StartError {
    /// All slots of this kind are in use. [`Limit::is_passing`] tells whether a retry is likely to succeed
    /// soon.
    #[error("all {size} {} are in use ({})", .limit.slots(), .limit.setting())]
    Full {
        /// The limit that was reached.
        limit: Limit,
        /// The number of slots.
        size: usize,
    },
    /// There are fewer slots of this kind than the call takes, or than publications leave for it.
    #[error("{size} {} are too few for this call ({})", .limit.slots(), .limit.setting())]
    TooSmall {
        /// The limit that is too small.
        limit: Limit,
        /// The number of slots.
        size: usize,
    },
    /// The item published at this target has a sequence number that is as high or higher.
    #[cfg(feature = "items")]
    #[error("a newer item is already published")]
    StaleItem,
    /// The port to announce is 0.
    #[error("port 0 cannot be announced")]
    PortZero,
    /// The address belongs to a family that is off, or is refused by the address policy.
    #[error("the address may not be contacted")]
    AddressRefused,
    /// The node, or the family of the address, is [disabled](crate::Node::set_enabled).
    #[error("the node is disabled")]
    Disabled,
}

/// Why a peer or an item handed over from another node is not stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The address belongs to a family that is off in the [`Config`](crate::Config), or is refused by the
    /// address policy, or its port is 0.
    #[error("the address may not be passed on")]
    AddressRefused,
    /// There is no room and none could be made, or the source has used up its share.
    #[error("no room for it")]
    NoRoom,
    /// A newer version is stored, or another one of the same number.
    #[cfg(feature = "items")]
    #[error("a newer item is stored")]
    Stale,
}

/// A limit that a call has exceeded, in [`StartError::Full`] and [`StartError::TooSmall`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Limit {
    /// [`Limits::traversals`](crate::Limits::traversals). A lookup in both families takes two slots.
    Lookups,
    /// [`Limits::inflight`](crate::Limits::inflight).
    Queries,
    /// [`Limits::scrapes`](crate::Limits::scrapes).
    Scrapes,
    /// [`Limits::samplings`](crate::Limits::samplings).
    Samplings,
    /// [`ItemLimits::own`](crate::ItemLimits::own).
    #[cfg(feature = "items")]
    OwnItems,
    /// [`ItemLimits::own_chunks`](crate::ItemLimits::own_chunks). A lookup takes eight until it has ended.
    #[cfg(feature = "items")]
    OwnChunks,
    /// The three quarters of [`ItemLimits::own`](crate::ItemLimits::own) that published items may take.
    #[cfg(feature = "items")]
    PublishedItems,
    /// The three quarters of [`ItemLimits::own_chunks`](crate::ItemLimits::own_chunks) that published items may take.
    #[cfg(feature = "items")]
    PublishedChunks,
    /// [`Limits::publications`](crate::Limits::publications).
    Publications,
    /// [`Limits::bootstraps`](crate::Limits::bootstraps).
    Bootstraps,
}

impl Limit {
    /// Whether slots of this kind become free by themselves, as a rule within seconds, so that waiting helps.
    /// Publications and bootstrap hosts stay until they are removed.
    pub const fn is_passing(self) -> bool {
        match self {
            Self::Lookups | Self::Queries | Self::Scrapes | Self::Samplings => true,
            #[cfg(feature = "items")]
            Self::OwnItems | Self::OwnChunks => true,
            Self::Publications | Self::Bootstraps => false,
            #[cfg(feature = "items")]
            Self::PublishedItems | Self::PublishedChunks => false,
        }
    }

    /// Returns the error for a call that needs `needed` of `size` slots when too few are free.
    pub(crate) const fn refusal(self, size: usize, needed: usize) -> StartError {
        if size < needed {
            StartError::TooSmall { limit: self, size }
        } else {
            StartError::Full { limit: self, size }
        }
    }

    /// Returns what the limit counts.
    pub(crate) const fn slots(self) -> &'static str {
        match self {
            Self::Lookups => "lookup slots",
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

    /// Returns the name of the setting.
    pub(crate) const fn setting(self) -> &'static str {
        match self {
            Self::Lookups => "Limits::traversals",
            Self::Queries => "Limits::inflight",
            Self::Scrapes => "Limits::scrapes",
            Self::Samplings => "Limits::samplings",
            #[cfg(feature = "items")]
            Self::OwnItems => "ItemLimits::own",
            #[cfg(feature = "items")]
            Self::OwnChunks => "ItemLimits::own_chunks",
            #[cfg(feature = "items")]
            Self::PublishedItems => "three quarters of ItemLimits::own",
            #[cfg(feature = "items")]
            Self::PublishedChunks => "three quarters of ItemLimits::own_chunks",
            Self::Publications => "Limits::publications",
            Self::Bootstraps => "Limits::bootstraps",
        }
    }
}

#[cfg(test)]
mod tests {
    use std::string::ToString as _;

    use super::*;

    #[test]
    fn an_error_names_the_limit_and_its_size() {
        assert_eq!(
            Limit::Traversals.refusal(64, 2).to_string(),
            "all 64 lookup slots are in use (Limits::traversals)"
        );
        assert_eq!(
            Limit::Traversals.refusal(1, 2).to_string(),
            "1 lookup slots are too few for this call (Limits::traversals)"
        );
        #[cfg(feature = "items")]
        assert_eq!(
            Limit::PublishedItems.refusal(192, 1).to_string(),
            "all 192 slots for published items are in use (three quarters of ItemLimits::own)"
        );
    }
}
