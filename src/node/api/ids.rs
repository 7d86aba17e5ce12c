//! Ids of lookups, queries and publications.

use core::fmt;

use crate::base::pool::Ix;

/// Identifier of a lookup, announce or bootstrap in progress. Ids are never reused: the id of an ended lookup
/// is refused, not confused with a later one.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "checkpoint", derive(serde::Serialize, serde::Deserialize))]
pub struct LookupId {
    pub(crate) ix: Ix,
    pub(crate) generation: u32,
}

/// Identifier of a publication. Ids are never reused.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "checkpoint", derive(serde::Serialize, serde::Deserialize))]
pub struct PublicationId {
    pub(crate) ix: Ix,
    pub(crate) generation: u32,
}

/// Identifier of a query to a single node.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "checkpoint", derive(serde::Serialize, serde::Deserialize))]
pub struct QueryId {
    pub(crate) ix: Ix,
    pub(crate) generation: u32,
}

impl fmt::Debug for LookupId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LookupId({}.{})", self.ix.position(), self.generation)
    }
}

impl fmt::Debug for PublicationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicationId({}.{})", self.ix.position(), self.generation)
    }
}

impl fmt::Debug for QueryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "QueryId({}.{})", self.ix.position(), self.generation)
    }
}
