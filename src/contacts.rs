//! What is remembered of endpoints between lookups: when they were last contacted, and how often
//! in a row they failed. So a dead node that others still list costs one query, not one in
//! every lookup, and an endpoint with a live mapping in the home router counts as known.

use crate::addr::Endpoint;
use crate::keyed::{Key, reduce};
use crate::rng::Rng;
use crate::time::Secs;

/// Entries that one endpoint may lie in.
const WAYS: usize = 4;

/// Home routers keep the mapping of a UDP flow at least this long after it was used (RFC 4787
/// demands two minutes, many keep one).
const MAPPING_SECS: u32 = 60;

/// Each failure in a row keeps lookups away for this much longer.
const PENALTY_SECS: u32 = 5 * 60;

/// Failures in a row up to here are taken for loss of datagrams.
const TOLERATED: u8 = 1;

/// More failures in a row do not count.
const MAX_FAILURES: u8 = 12;

/// What is remembered of one endpoint, in 12 bytes. All zero: nothing.
#[derive(Clone, Copy, Debug, Default)]
#[cfg_attr(feature = "checkpoint", derive(serde::Serialize, serde::Deserialize))]
pub(crate) struct Record {
    /// 0: unused.
    key: u32,
    contacted: Secs,
    failures: u8,
}

impl Record {
    pub(crate) const EMPTY: Self = Self { key: 0, contacted: Secs::ZERO, failures: 0 };
}

/// The head of the memory: a set-associative table over the storage's entries. An endpoint that
/// finds its set full replaces the one contacted longest ago; a collision of keys (one in 2^30)
/// costs a lookup one candidate for some minutes.
#[derive(Clone, Copy, Debug)]
#[cfg_attr(feature = "checkpoint", derive(serde::Serialize, serde::Deserialize))]
pub(crate) struct Contacts {
    key: Key,
}

impl Contacts {
    pub(crate) fn new(rng: &mut Rng) -> Self {
        Self { key: Key::new(rng) }
    }

    /// Whether a datagram went to this endpoint within the last minute.
    pub(crate) fn is_open(&self, entries: &[Record], endpoint: Endpoint, now: Secs) -> bool {
        self.find(entries, endpoint).is_some_and(|contact| now.since(contact.contacted) < MAPPING_SECS)
    }

    /// Whether lookups should leave this endpoint alone for now.
    pub(crate) fn is_suspect(&self, entries: &[Record], endpoint: Endpoint, now: Secs) -> bool {
        self.find(entries, endpoint).is_some_and(|contact| {
            contact.failures > TOLERATED
                && now.since(contact.contacted) < u32::from(contact.failures - TOLERATED) * PENALTY_SECS
        })
    }

    /// Endpoints of which anything is remembered.
    pub(crate) fn count(entries: &[Record]) -> usize {
        entries.iter().filter(|entry| entry.key != 0).count()
    }

    /// A datagram went out.
    pub(crate) fn contacted(&self, entries: &mut [Record], endpoint: Endpoint, now: Secs) {
        let (set, key) = self.place(entries, endpoint);
        let set = &mut entries[set];
        let at = set.iter().position(|contact| contact.key == key).or_else(|| {
            (0..set.len())
                .max_by_key(|&way| if set[way].key == 0 { u32::MAX } else { now.since(set[way].contacted) })
        });
        if let Some(contact) = at.map(|way| &mut set[way]) {
            let failures = if contact.key == key { contact.failures } else { 0 };
            *contact = Record { key, contacted: now, failures };
        }
    }

    /// It was silent or unreachable.
    pub(crate) fn failed(&self, entries: &mut [Record], endpoint: Endpoint) {
        if let Some(contact) = self.find_mut(entries, endpoint) {
            contact.failures = (contact.failures + 1).min(MAX_FAILURES);
        }
    }

    /// It answered.
    pub(crate) fn answered(&self, entries: &mut [Record], endpoint: Endpoint) {
        if let Some(contact) = self.find_mut(entries, endpoint) {
            contact.failures = 0;
        }
    }

    fn find<'a>(&self, entries: &'a [Record], endpoint: Endpoint) -> Option<&'a Record> {
        let (set, key) = self.place(entries, endpoint);
        entries[set].iter().find(|contact| contact.key == key)
    }

    fn find_mut<'a>(&self, entries: &'a mut [Record], endpoint: Endpoint) -> Option<&'a mut Record> {
        let (set, key) = self.place(entries, endpoint);
        entries[set].iter_mut().find(|contact| contact.key == key)
    }

    /// The set that an endpoint belongs to, and its key in it. Empty memory has one empty set.
    fn place(&self, entries: &[Record], endpoint: Endpoint) -> (core::ops::Range<usize>, u32) {
        let hash = self.key.hash_endpoint(endpoint);
        let start = reduce(hash as u32, entries.len().div_ceil(WAYS)) * WAYS;
        (start..entries.len().min(start + WAYS), (hash >> 32) as u32 | 1)
    }
}

#[cfg(test)]
mod tests {
    use core::time::Duration;

    use super::*;
    use crate::time::Instant;

    fn at(secs: u64) -> Secs {
        (Instant::ZERO + Duration::from_secs(secs)).secs()
    }

    #[test]
    fn a_contact_is_open_for_a_minute() {
        let (contacts, mut entries) = (Contacts::new(&mut Rng::new([7; 32])), [Record::default(); 16]);
        let endpoint = Endpoint::v4([1, 2, 3, 4], 5);
        assert!(!contacts.is_open(&entries, endpoint, at(1)));
        contacts.contacted(&mut entries, endpoint, at(1));
        assert!(contacts.is_open(&entries, endpoint, at(60)));
        assert!(!contacts.is_open(&entries, endpoint, at(61)));
        assert!(!contacts.is_open(&entries, Endpoint::v4([1, 2, 3, 4], 6), at(1)));
    }

    #[test]
    fn repeated_failures_are_remembered_for_longer_each_time_and_forgiven_on_an_answer() {
        let (contacts, mut entries) = (Contacts::new(&mut Rng::new([7; 32])), [Record::default(); 16]);
        let endpoint = Endpoint::v6([0x2a; 16], 5);
        contacts.contacted(&mut entries, endpoint, at(0));
        contacts.failed(&mut entries, endpoint);
        assert!(!contacts.is_suspect(&entries, endpoint, at(1)));
        contacts.failed(&mut entries, endpoint);
        assert!(contacts.is_suspect(&entries, endpoint, at(299)));
        assert!(!contacts.is_suspect(&entries, endpoint, at(300)));
        contacts.failed(&mut entries, endpoint);
        assert!(contacts.is_suspect(&entries, endpoint, at(599)));
        contacts.answered(&mut entries, endpoint);
        assert!(!contacts.is_suspect(&entries, endpoint, at(1)));
    }

    #[test]
    fn the_memory_is_bounded_and_forgets_the_oldest() {
        let contacts = Contacts::new(&mut Rng::new([7; 32]));
        let mut entries = [Record::default(); 4];
        let endpoint = |i: u8| Endpoint::v4([1, 1, 1, i], 1);
        (0..5).for_each(|i| contacts.contacted(&mut entries, endpoint(i), at(u64::from(i))));
        assert!(!contacts.is_open(&entries, endpoint(0), at(5)));
        assert!((1..5).all(|i| contacts.is_open(&entries, endpoint(i), at(5))));
        contacts.contacted(&mut [], endpoint(0), at(0));
        assert!(!contacts.is_suspect(&[], endpoint(0), at(0)));
    }
}
