//! Publications that the adapters add to a snapshot, and the distinction of damaged states from other bytes.

use alloc::vec::Vec;

use super::State;
use super::own::{Head, Source, write};
#[cfg(feature = "items")]
use super::saved::SavedItem;
use super::saved::{SavedAnnounce, SavedNode};
use crate::base::addr::Family;
use crate::base::id::NodeId;

/// Keys near the beginning of every state: those of this crate, the ids of this crate and of Transmission,
/// and those of libtorrent.
const MARKS: [&[u8]; 4] = [b"9:dht-proto", b"2:id20:", b"7:node-id", b"9:dht state"];

/// Number of leading bytes in which a mark is searched; after them, it may be part of a text about states.
const BEGINNING: usize = 64;

/// The beginning of a state of this crate, to the first byte that differs.
const OPENING: &[u8] = b"d9:dht-proto";

/// Whether bytes that are no state look like one that was truncated or damaged.
pub(crate) fn resembles_state(bytes: &[u8]) -> bool {
    let beginning = &bytes[..bytes.len().min(BEGINNING)];
    let has_mark = |mark: &&[u8]| beginning.windows(mark.len()).any(|window| window == *mark);
    !bytes.is_empty() && OPENING.starts_with(bytes) || MARKS.iter().any(has_mark)
}

/// Publications of an earlier node that have not been resumed.
pub(crate) struct Unclaimed {
    pub(crate) announces: Vec<SavedAnnounce>,
    #[cfg(feature = "items")]
    pub(crate) items: Vec<SavedItem>,
}

impl Unclaimed {
    fn is_empty(&self) -> bool {
        #[cfg(feature = "items")]
        if !self.items.is_empty() {
            return false;
        }
        self.announces.is_empty()
    }
}

/// Adds publications to a snapshot. `more` receives the number that the snapshot has already.
pub(crate) fn add_unclaimed(snapshot: Vec<u8>, more: impl FnOnce(usize) -> Unclaimed) -> Vec<u8> {
    // Cannot fail, because every snapshot is a state.
    let Ok(state) = State::parse(&snapshot) else { return snapshot };
    // Collected once, because the signature of each is checked when it is read.
    #[cfg(feature = "items")]
    let mut items: Vec<SavedItem> = state.items().collect();
    let own = state.announces().count();
    #[cfg(feature = "items")]
    let own = own + items.len();
    let more = more(own);
    if more.is_empty() {
        return snapshot;
    }
    #[cfg(feature = "items")]
    items.extend(more.items);
    let carried = Carried {
        state,
        announces: more.announces,
        #[cfg(feature = "items")]
        items,
    };
    let mut bytes = Vec::new();
    while let Err(short) = write(&mut bytes, &carried) {
        bytes.resize(short.needed, 0);
    }
    bytes
}

/// A snapshot with further publications.
struct Carried<'a> {
    state: State<'a>,
    /// Announcements to add to those of the snapshot.
    announces: Vec<SavedAnnounce>,
    /// Items, those of the snapshot included.
    #[cfg(feature = "items")]
    items: Vec<SavedItem>,
}

impl Source for Carried<'_> {
    fn head(&self) -> Head {
        let ids = self.state.contents.ids.map(|id| id.unwrap_or(NodeId::ZERO));
        Head {
            ids,
            sizes: self.state.contents.sizes,
            saved_at: self.state.contents.saved_at.unwrap_or_default(),
        }
    }

    fn announces(&self) -> impl Iterator<Item = SavedAnnounce> {
        self.state.announces().chain(self.announces.iter().copied())
    }

    #[cfg(feature = "items")]
    fn items(&self) -> impl Iterator<Item = SavedItem> {
        self.items.iter().cloned()
    }

    fn nodes(&self, family: Family) -> impl Iterator<Item = SavedNode> {
        self.state.nodes().filter(move |node| Family::of(&node.addr) == family)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_damaged_state_is_distinguished_from_other_files() {
        let states = [
            &b"d"[..],
            b"d9:dht-pro",
            b"d9:dht-protod2:id20:aaaaaaaaaaaaaaaaaaaa",
            b"d9:dht-psotod2:id20:aaaaaaaaaaaaaaaaaaaa",
            b"d2:id20:aaaaaaaaaaaaaaaaaaaa5:nodes12:",
            b"d7:node-idl24:",
            b"d9:dht stated7:node-id",
        ];
        assert!(states.iter().all(|bytes| resembles_state(bytes)));
        let others = [
            &b""[..],
            b"dear diary,\n",
            b"127.0.0.1 localhost\n",
            b"d8:announce35:udp://tracker.example.org:6969/announce13:creation datei1e4:infod",
            b"\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0",
            b"d3:fooi1ee",
        ];
        assert!(!others.iter().any(|bytes| resembles_state(bytes)));
        let text = [&[b' '; 100][..], b"9:dht-proto"].concat();
        assert!(!resembles_state(&text), "a text about states");
    }
}
