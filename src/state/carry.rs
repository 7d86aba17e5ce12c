//! What the owner of a node adds to its snapshot, and how a damaged one is told from something else.

use alloc::vec::Vec;

use super::{Family, Head, NodeId, SavedAnnounce, State, write};

/// Keys that stand near the beginning of every state: ours, our ids and those of Transmission, and those of
/// libtorrent.
const MARKS: [&[u8]; 4] = [b"9:dht-proto", b"2:id20:", b"7:node-id", b"9:dht state"];

/// Where a mark is looked for, in bytes: further on it may be part of any text about states.
const BEGINNING: usize = 64;

/// Our own states, to the first byte that differs.
const OPENING: &[u8] = b"d9:dht-proto";

/// Whether bytes that are no state look like one that was cut short or damaged.
pub(crate) fn resembles_state(bytes: &[u8]) -> bool {
    let beginning = &bytes[..bytes.len().min(BEGINNING)];
    let has_mark = |mark: &&[u8]| beginning.windows(mark.len()).any(|window| window == *mark);
    !bytes.is_empty() && OPENING.starts_with(bytes) || MARKS.iter().any(has_mark)
}

/// Adds announces to a snapshot. `more` is told how many it has already.
pub(crate) fn add_announces(snapshot: Vec<u8>, more: impl FnOnce(usize) -> Vec<SavedAnnounce>) -> Vec<u8> {
    // A snapshot is a state.
    let Ok(state) = State::parse(&snapshot) else { return snapshot };
    let more = more(state.announces().count());
    if more.is_empty() {
        return snapshot;
    }
    let ids = state.ids.map(|id| id.unwrap_or(NodeId::ZERO));
    let head = Head { ids, saved_at: state.saved_at.unwrap_or_default() };
    let announces = || state.announces().chain(more.iter().copied());
    let mut bytes = Vec::new();
    while let Err(short) = write(&mut bytes, &head, announces, |family| {
        state.nodes().filter(move |node| Family::of(&node.addr) == family)
    }) {
        bytes.resize(short.needed, 0);
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_damaged_state_is_told_from_what_others_have_written() {
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
