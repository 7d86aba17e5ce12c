//! The parts of a state, as encoded.

use crate::base::id::NodeId;
use crate::lookup::density::NetworkSize;

/// What a format holds, checked as a whole but not entry by entry.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Contents<'a> {
    pub(super) ids: [Option<NodeId>; 2],
    pub(super) sizes: [Option<NetworkSize>; 2],
    pub(super) saved_at: Option<u64>,
    /// The nodes of each family.
    pub(super) lists: [List<'a>; 2],
    /// Announcements, as records of this crate's format.
    pub(super) announces: &'a [u8],
    #[cfg(feature = "items")]
    pub(super) items: &'a [u8],
}

/// Nodes of one family, as encoded.
#[derive(Clone, Copy, Debug)]
pub(super) enum List<'a> {
    /// Records of this crate's format.
    Records(&'a [u8]),
    /// Compact endpoints end to end.
    Packed(&'a [u8]),
    /// The bencoded members of a list of compact endpoints.
    Members(&'a [u8]),
}

impl Default for List<'_> {
    fn default() -> Self {
        Self::Packed(&[])
    }
}
