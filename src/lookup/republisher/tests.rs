//! Tests of the pace of republishing, in a simulation.

use std::boxed::Box;
use std::collections::BTreeMap;
use std::vec::Vec;

use proptest::prelude::*;

use super::*;
use crate::base::rng::Rng;

const INTERVAL: Duration = Duration::from_secs(900);
const SPACING: Duration = Duration::from_millis(1200);
const ROUND: Duration = Duration::from_secs(3);

/// A republisher and its slots, in a simulation where every republish takes three seconds.
struct Room {
    republisher: Republisher,
    slots: Box<[Slot<Publication>]>,
    rng: Rng,
    now: Instant,
    running: Vec<(Instant, Ix)>,
    /// All starts with their targets.
    starts: Vec<(Instant, NodeId)>,
    fails: bool,
}

impl Room {
    fn new(slots: usize, rounds: usize) -> Self {
        let pace = Pace {
            interval_secs: INTERVAL.as_secs() as u32,
            item_interval_secs: 3600,
            spacing: SPACING.as_micros() as u32,
            max_running: rounds as u16,
            max_first: 4 * rounds as u16,
        };
        Self {
            republisher: Republisher::new(pace),
            slots: std::vec![Slot::new(Publication::EMPTY); slots].into_boxed_slice(),
            rng: Rng::new([3; 32]),
            now: Instant::from_micros(1),
            running: Vec::new(),
            starts: Vec::new(),
            fails: false,
        }
    }

    fn add(&mut self, index: u16) -> Option<Ix> {
        self.republisher.add(&mut self.slots, hash(index), Subject::Announce(Announce::port(1)), self.now)
    }

    /// Removes a publication; a running republish is cut short and not counted as a start.
    fn remove(&mut self, ix: Ix) {
        if let Some(at) = self.running.iter().position(|&(_, other)| other == ix) {
            self.running.remove(at);
            let target = self.slots[ix].target;
            let last = self.starts.iter().rposition(|&(_, of)| of == target);
            self.starts.remove(last.expect("it has started"));
        }
        self.republisher.remove(&mut self.slots, ix);
    }

    fn run(&mut self, time: Duration) {
        let end = self.now + time;
        loop {
            let ended = self.running.first().map(|(at, _)| *at);
            let next = self.republisher.next_start(&self.slots);
            let Some(at) = ended.into_iter().chain(next).min().filter(|&at| at <= end) else { break };
            self.now = self.now.max(at);
            if ended == Some(at) {
                let (_, ix) = self.running.remove(0);
                let acknowledged = if self.fails { 0 } else { 8 };
                self.republisher.end(&mut self.slots, ix, acknowledged, self.now);
            } else {
                let ix = self.republisher.next(&self.slots, self.now).expect("its time has come");
                let starts_at_once =
                    self.republisher.starts_at_once() && self.slots[ix].phase == Phase::Fresh;
                let spaced = self.starts.last().is_none_or(|&(last, _)| last + SPACING <= at);
                assert!(starts_at_once || spaced, "all others keep their distance");
                self.republisher.begin(&mut self.slots, ix, &mut self.rng, self.now);
                self.running.push((self.now + ROUND, ix));
                self.starts.push((self.now, self.slots[ix].target));
            }
            assert!(self.republisher.is_consistent(&self.slots));
        }
        self.now = end;
    }

    /// Returns the times between successive republishes of each publication.
    fn pauses(&self) -> Vec<Duration> {
        let mut last = BTreeMap::new();
        let pauses = self.starts.iter().map(|&(at, target)| Some(at - last.insert(target, at)?));
        pauses.collect::<Vec<_>>().into_iter().flatten().collect()
    }

    /// Returns the maximum number of starts within any period of this length, from `since` on.
    fn most_within(&self, since: Instant, time: Duration) -> usize {
        let starts: Vec<Instant> = self.starts.iter().map(|&(at, _)| at).filter(|&at| at >= since).collect();
        let within = |from: usize| starts[from..].iter().filter(|&&at| at < starts[from] + time).count();
        (0..starts.len()).map(within).max().unwrap_or(0)
    }
}

fn hash(index: u16) -> NodeId {
    let mut bytes = [0; 20];
    bytes[..2].copy_from_slice(&index.to_be_bytes());
    NodeId::from_bytes(bytes)
}

const fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

#[test]
fn l_10_a_single_publication_is_republished_every_interval_within_a_tenth() {
    let mut room = Room::new(1, 4);
    room.add(0).unwrap();
    room.run(secs(24 * 3600));
    let pauses = room.pauses();
    assert!((90..=104).contains(&pauses.len()), "{}", pauses.len());
    assert!(pauses.iter().all(|pause| (secs(810)..=secs(990)).contains(pause)), "{pauses:?}");
    assert!(pauses.iter().any(|pause| *pause < secs(860)) && pauses.iter().any(|pause| *pause > secs(940)));
    assert_eq!(room.add(1), None, "there is no room for a second one");
}

#[test]
fn c_11_a_few_first_publications_start_at_once_and_then_all_are_spread_evenly() {
    let mut room = Room::new(100, 4);
    (0..63).for_each(|index| assert!(room.add(index).is_some()));
    let begun = room.now;
    room.run(Duration::ZERO);
    assert_eq!(room.starts.len(), 16, "as many as may be under way");
    room.run(ROUND * 3);
    assert_eq!(room.starts.len(), 63);
    assert!(room.starts.iter().all(|&(at, _)| at <= begun + ROUND * 3));
    room.run(secs(12 * 3600));
    // From then on one in 14 seconds on average.
    assert!(room.most_within(begun + secs(10), secs(60)) <= 6);
    (63..100).for_each(|index| assert!(room.add(index).is_some()));
    let (before, begun) = (room.starts.len(), room.now);
    room.run(ROUND * 3);
    let newcomers =
        room.starts[before..].iter().filter(|(at, target)| *target >= hash(63) && *at <= begun + ROUND * 2);
    assert_eq!(newcomers.count(), 37, "later ones as well");
}

#[test]
fn c_11_many_first_publications_are_spaced_newest_first() {
    let mut room = Room::new(100, 4);
    (0..100).for_each(|index| assert!(room.add(index).is_some()));
    let begun = room.now;
    room.run(secs(125));
    let order: Vec<NodeId> = room.starts.iter().map(|(_, target)| *target).collect();
    assert_eq!(order[..100], (0..100).rev().map(hash).collect::<Vec<_>>());
    assert_eq!(room.starts[99].0 - begun, SPACING * 99);
    room.run(secs(12 * 3600));
    // From then on one in nine seconds on average.
    assert!(room.most_within(begun + secs(125), secs(900)) <= 112);
    assert!(room.most_within(begun + secs(125), secs(60)) <= 9);
    let pauses = room.pauses();
    assert!(pauses.iter().all(|pause| *pause <= secs(995)), "{:?}", pauses.iter().max());
}

#[test]
fn c_11_more_publications_than_fit_into_an_interval_extend_it_for_all() {
    let mut room = Room::new(2000, 4);
    (0..2000).for_each(|index| assert!(room.add(index).is_some()));
    room.run(secs(6 * 3600));
    let late = room.starts.iter().rposition(|(_, target)| *target == hash(0)).unwrap();
    let last: BTreeMap<NodeId, Instant> =
        room.starts[..late].iter().map(|&(at, target)| (target, at)).collect();
    let oldest = last.values().map(|&at| room.starts[late].0 - at).max().unwrap();
    assert_eq!(last.len(), 2000);
    assert!(oldest <= SPACING * 2010, "{oldest:?}: all in turn");
    assert_eq!(room.most_within(Instant::ZERO, secs(12)), 10, "and no faster than one in 1.2 s");
}

#[test]
fn c_11_new_and_overdue_publications_take_turns() {
    let mut room = Room::new(100, 4);
    (0..5).for_each(|index| assert!(room.add(index).is_some()));
    room.run(secs(20));
    room.now = room.now + secs(3600);
    (5..5 + MANY_FIRST as u16).for_each(|index| assert!(room.add(index).is_some()));
    let from = room.starts.len();
    room.run(secs(20));
    let is_new: Vec<bool> = room.starts[from..].iter().map(|(_, target)| *target >= hash(5)).collect();
    assert_eq!(is_new[..10], [true, false, true, false, true, false, true, false, true, false]);
}

#[test]
fn a_failed_republish_is_repeated_at_doubling_intervals_until_it_is_reset() {
    let mut room = Room::new(3, 4);
    room.fails = true;
    room.add(0).unwrap();
    room.run(secs(3 * 3600));
    let pauses: Vec<u64> = room.pauses().iter().map(|pause| (*pause - ROUND).as_secs()).collect();
    assert_eq!(pauses[..6], [60, 120, 240, 480, 900, 900]);
    (room.fails, room.now) = (false, room.now + secs(1));
    room.republisher.retry_failed(&mut room.slots, room.now);
    assert_eq!(room.republisher.next_start(&room.slots), Some(room.now.min(room.slots[Ix::new(0)].due)));
    room.run(secs(100));
    assert_eq!(room.slots[Ix::new(0)].acknowledged, 8);
}

#[test]
fn a_preempted_republish_waits_and_is_the_first_to_start() {
    let mut room = Room::new(3, 1);
    let ix = room.add(0).unwrap();
    room.republisher.begin(&mut room.slots, ix, &mut room.rng, room.now);
    assert_eq!(room.republisher.next_start(&room.slots), None, "no second round beside it");
    room.republisher.requeue(&mut room.slots, ix, room.now);
    room.republisher.delay(room.now + secs(10));
    assert_eq!(room.republisher.next_start(&room.slots), Some(room.now + secs(10)));
    assert_eq!(room.republisher.next(&room.slots, room.now + secs(10)), Some(ix));
}

proptest! {
    /// Republishes respect the spacing and none waits for long, whatever is added and removed.
    #[test]
    fn c_11_republishes_come_in_no_burst_and_none_is_forgotten(
        steps in proptest::collection::vec((0_u8..4, 0_u16..200, 1_u64..400), 1..80),
        rounds in 2_usize..5,
    ) {
        let mut room = Room::new(100, rounds);
        let (mut most, mut last_starts) = (0, BTreeMap::new());
        for (step, index, time) in steps {
            let found = room.republisher.find(&room.slots, &hash(index), false);
            match (step, found) {
                (0, Some(ix)) => {
                    room.remove(ix);
                    last_starts.remove(&hash(index));
                }
                (0, None) => {}
                (_, Some(_)) => room.run(secs(time)),
                (_, None) => if room.add(index).is_some() { last_starts.insert(hash(index), room.now); },
            }
            most = most.max(room.republisher.len());
            for &(at, target) in &room.starts {
                if let Some(last) = last_starts.get_mut(&target) { *last = at.max(*last); }
            }
            // Twice the time, because new publications take every other turn.
            let patience = INTERVAL * 11 / 10 + (SPACING + ROUND) * 2 * most as u32;
            prop_assert!(last_starts.values().all(|&last| room.now - last <= patience));
        }
        prop_assert!(room.most_within(Instant::ZERO, ROUND) <= 4 * rounds);
    }
}
