//! The store of items put by others, compared with a simple model.

use std::boxed::Box;
use std::collections::BTreeMap;
use std::vec;
use std::vec::Vec;

use proptest::prelude::*;

use super::chunks::Chunk;
use super::*;
use crate::base::addr::Endpoint;
use crate::base::hash::Key;
use crate::base::id::NodeId;
use crate::base::pool::Slot;
use crate::base::rng::Rng;
use crate::base::time::Instant;
use crate::wire::PutItem;

const OWN: NodeId = NodeId::from_bytes([0; 20]);
const LIFE: u64 = 7200;

struct Room {
    store: ItemStore,
    records: Box<[Slot<Stored>]>,
    chunks: Box<[Chunk]>,
    key: Key,
    rng: Rng,
}

impl Room {
    fn new(records: usize, chunks: usize) -> Self {
        let mut rng = Rng::new([3; 32]);
        Self {
            store: ItemStore::new(false),
            records: vec![Slot::new(Stored::EMPTY); records].into(),
            chunks: vec![Chunk::EMPTY; chunks].into(),
            key: Key::new(&mut rng),
            rng,
        }
    }

    fn view(&self) -> ItemView<'_> {
        ItemView { records: &self.records, chunks: &self.chunks, key: self.key }
    }

    /// Puts a value at a target from one node of a subnet, and returns whether it was stored.
    fn put(&mut self, target: NodeId, item: &PutItem<'_>, subnet: u8, now: u64) -> bool {
        self.put_from(Endpoint::v4([60, subnet, 1, 1], 6881), target, item, now)
    }

    fn put_from(&mut self, from: Endpoint, target: NodeId, item: &PutItem<'_>, now: u64) -> bool {
        let now = at(now);
        let slots = &mut ItemSlots { records: &mut self.records, chunks: &mut self.chunks, key: self.key };
        let ends = now + core::time::Duration::from_secs(LIFE);
        let old = match ItemStore::existing(slots.view(), &target, item, now) {
            Existing::OtherKind => return false,
            Existing::Nothing => None,
            Existing::Same(ix) | Existing::SignedAgain(ix) => {
                self.store.refresh(slots, ix, from, ends);
                return true;
            }
            Existing::Other(ix, _) => Some(ix),
        };
        let new = NewItem { target: &target, item, from, old };
        let victims = self.store.find_room(slots, &new, &[OWN], now, &mut self.rng);
        let stored = victims.is_some_and(|victims| self.store.store(slots, &new, &victims, ends));
        assert!(self.store.is_consistent(self.view()));
        stored
    }

    fn get(&self, target: NodeId, now: u64) -> Option<Item> {
        let ix = ItemStore::find(self.view(), &target, at(now))?;
        Some(read_stored(&self.chunks, &self.records[ix]))
    }

    fn expire(&mut self, now: u64) {
        let slots = &mut ItemSlots { records: &mut self.records, chunks: &mut self.chunks, key: self.key };
        self.store.expire(slots, at(now));
        assert!(self.store.is_consistent(self.view()));
    }
}

fn at(secs: u64) -> Instant {
    Instant::from_micros(secs * 1_000_000)
}

/// Returns a target that shares this many bits with our id.
fn near(bits: u32, salt: u8) -> NodeId {
    OWN.sibling(bits, &NodeId::from_bytes([salt; 20]))
}

const fn plain(value: &[u8]) -> PutItem<'_> {
    PutItem::Immutable { value, seq: None }
}

const fn signed(value: &[u8], seq: i64) -> PutItem<'_> {
    PutItem::Mutable { value, key: &[1; 32], seq, signature: &[2; 64], salt: b"salt", cas: None }
}

#[test]
fn b44_22_an_item_of_the_other_kind_is_refused_at_one_target() {
    let mut room = Room::new(4, 16);
    assert!(room.put(near(3, 1), &plain(b"i1e"), 1, 0));
    assert!(!room.put(near(3, 1), &signed(b"i2e", 1), 1, 0));
    assert!(room.put(near(4, 1), &signed(b"i2e", 1), 1, 0));
    assert!(!room.put(near(4, 1), &plain(b"i1e"), 1, 0));
    assert_eq!(room.get(near(3, 1), 0).unwrap().value(), b"i1e");
    assert_eq!(room.get(near(4, 1), 0).unwrap().seq(), Some(1));
}

#[test]
fn b44_36_the_farthest_is_evicted_for_a_closer_one_and_none_for_one_farther_still() {
    let mut room = Room::new(4, 64);
    for bits in [9, 5, 7, 6] {
        assert!(room.put(near(bits, 1), &plain(b"i1e"), bits as u8, 0));
    }
    assert!(!room.put(near(4, 1), &plain(b"i1e"), 99, 1), "it is worth least itself");
    assert!(room.put(near(8, 1), &plain(b"i1e"), 98, 1));
    assert!(room.get(near(5, 1), 1).is_none());
    assert!([6, 7, 8, 9].iter().all(|bits| room.get(near(*bits, 1), 1).is_some()));
}

#[test]
fn b44_36_what_many_subnets_put_stays_before_what_lies_closer() {
    let mut room = Room::new(4, 64);
    for bits in [5, 6, 7, 8] {
        assert!(room.put(near(bits, 1), &plain(b"i1e"), bits as u8, 0));
    }
    for subnet in 100..140 {
        assert!(room.put(near(5, 1), &plain(b"i1e"), subnet, 0));
    }
    assert!(room.put(near(9, 1), &plain(b"i1e"), 97, 1));
    assert!(room.get(near(5, 1), 1).is_some() && room.get(near(6, 1), 1).is_none());
}

/// Floods a store of 400 honest items with items next to our id, put from `subnets` different subnets.
///
/// Returns how many honest items are left.
fn besieged(subnets: u32, attacker: impl Fn(u32) -> Endpoint) -> usize {
    let mut room = Room::new(512, 4096);
    let target = |number: u32| {
        NodeId::from_bytes(core::array::from_fn(|at| {
            (number + 1).wrapping_mul(0x9e37_79b1).rotate_left(7 * at as u32) as u8
        }))
    };
    for number in 0..400 {
        let from = Endpoint::v4([60, (number >> 8) as u8, number as u8, 1], 6881);
        assert!(room.put_from(from, target(number), &plain(b"5:value"), 0));
    }
    for number in 0..3000 {
        let near = OWN.sibling(6 + number % 20, &target(1000 + number));
        room.put_from(attacker(number % subnets), near, &plain(b"5:false"), 1);
    }
    (0..400).filter(|&number| room.get(target(number), 1).is_some()).count()
}

#[test]
fn h_28_h_30_items_next_to_our_id_from_a_few_subnets_evict_few_others() {
    for (subnets, least) in [(1, 390), (4, 350), (5, 300)] {
        let kept = besieged(subnets, |subnet| Endpoint::v4([99, 7, subnet as u8, 1], 6881));
        assert!(kept >= least, "{subnets} /24s: {kept}");
    }
    let kept = besieged(256, |subnet| {
        Endpoint::v6([0x2a, 1, 1, 0, 0, 1, subnet as u8, 0, 0, 0, 0, 0, 0, 0, 0, 1], 6881)
    });
    assert!(kept >= 390, "all /56s of one /48: {kept}");
}

#[test]
fn h_32_hosts_of_a_private_network_may_fill_the_store_together() {
    let mut room = Room::new(64, 512);
    let host = |number: u8| Endpoint::v4([192, 168, 1, number], 6881);
    for number in 0..64 {
        assert!(room.put_from(host(number), near(3, number), &plain(b"5:value"), 0));
    }
    for number in 64..128 {
        assert!(room.put_from(host(number), near(5, number), &plain(b"5:value"), 1));
    }
}

#[test]
fn a_long_item_evicts_as_many_as_it_needs_the_chunks_of() {
    let mut room = Room::new(32, 12);
    for bits in 1..=12 {
        assert!(room.put(near(bits, 1), &plain(b"i1e"), bits as u8, 0));
    }
    let long = [&b"700:"[..], &[b'x'; 700]].concat();
    assert!(room.put(near(20, 1), &plain(&long), 99, 0));
    assert_eq!(room.store.len(), 7, "six chunks of six items");
    assert_eq!(room.get(near(20, 1), 0).unwrap().value(), &long);
    // An item that cannot fit evicts nothing.
    let longer = [&b"990:"[..], &[b'y'; 990]].concat();
    assert!(!room.put(near(3, 2), &signed(&longer, 1), 98, 0));
    assert_eq!(room.store.len(), 7);
}

#[test]
fn a_store_without_memory_stores_nothing() {
    for (records, chunks) in [(0, 0), (0, 9), (9, 0)] {
        let mut room = Room::new(records, chunks);
        assert!(!room.put(near(3, 1), &plain(b"i1e"), 1, 0));
        assert!(room.get(near(3, 1), 0).is_none());
    }
}

#[test]
fn records_and_heads_are_small() {
    assert!(size_of::<Slot<Stored>>() <= 96, "{}", size_of::<Slot<Stored>>());
    assert!(size_of::<Chunk>() <= 132 && size_of::<ItemStore>() <= 64);
}

proptest! {
    /// The store holds the last put with the highest number, expires items in time, and loses none while there is
    /// room.
    #[test]
    fn b44_06_b44_36_the_store_matches_its_model(
        steps in proptest::collection::vec((0_u8..6, 0_u8..12, 0_i64..5, 0_usize..400, 0_u64..2000), 1..120),
        records in 1_usize..14,
        chunks in 1_usize..60,
    ) {
        let mut room = Room::new(records, chunks);
        let mut model = BTreeMap::<NodeId, (Vec<u8>, Option<i64>, u64)>::new();
        let mut now = 1;
        for (step, name, seq, len, pause) in steps {
            let target = near(name.into(), 1);
            let value = [std::format!("{len}:").into_bytes(), vec![name + seq as u8; len]].concat();
            let is_signed = name % 2 == 0;
            match step {
                0 => now += pause,
                1 => room.expire(now),
                _ => {
                    let item = if is_signed { signed(&value, seq) } else { plain(&value) };
                    // An immutable item has only one value, and the node itself never lets a sequence number
                    // decrease.
                    let known = model.get(&target).filter(|(.., ends)| *ends > now);
                    let known = known.filter(|_| room.get(target, now).is_some());
                    let fits = known.is_none_or(|(old, old_seq, _)| {
                        if is_signed { Some(seq) > *old_seq } else { *old == value }
                    });
                    let had_room = room.store.len() < records && chunks >= 60;
                    if fits && room.put(target, &item, name, now) {
                        model.insert(target, (value, is_signed.then_some(seq), now + LIFE));
                    } else {
                        prop_assert!(!fits || !had_room);
                    }
                }
            }
            for name in 0..12 {
                let target = near(name, 1);
                if let Some(item) = room.get(target, now) {
                    let (value, seq, ends) = &model[&target];
                    prop_assert_eq!((item.value(), item.seq()), (&value[..], *seq));
                    prop_assert!(now < *ends);
                }
            }
            prop_assert!(room.store.len() <= records);
            prop_assert!(room.store.is_consistent(room.view()));
        }
    }
}
