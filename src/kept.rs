//! What is kept up, announces and items: which is next, and when.
//!
//! The first round of each comes soon, newest first, and at once while few wait for theirs. From then
//! on all of them stand in one queue, and rounds start as evenly as there is room: with N announces one
//! every N-th part of the interval. So each comes round once in an interval, never in a crowd, and
//! however many were added at once. An announce whose round nobody acknowledged waits apart, for a pause
//! that doubles. Items stand in the same queue and have an interval of their own.

use core::time::Duration;

use crate::id::NodeId;
use crate::lookup::Announce;
use crate::pool::{Ix, List, Pool, Slot};
use crate::rng::Rng;
use crate::time::Instant;

/// The pause after a round that failed; it doubles each time, up to the interval.
const FIRST_RETRY: Duration = Duration::from_secs(60);

/// The time between two rounds of one announce varies by this share of the interval.
const JITTER: u32 = 10;

/// Between two rounds of one item (BEP 44); nodes keep it twice as long.
const ITEM_INTERVAL: Duration = Duration::from_secs(60 * 60);

/// Fewer first rounds than this need not keep their distance: a client that starts with some torrents
/// announces them at once, as it would by so many single announces.
const CROWD: usize = 64;

/// How fast rounds follow each other.
#[derive(Clone, Copy, Debug)]
#[cfg_attr(feature = "checkpoint", derive(serde::Serialize, serde::Deserialize))]
pub(crate) struct Pace {
    /// Between two rounds of one announce.
    pub(crate) interval: Duration,
    /// Between the starts of any two rounds at least, even if the interval cannot be held; not before
    /// first ones that start at once.
    pub(crate) spacing: Duration,
    /// Rounds under way at most.
    pub(crate) rounds: usize,
    /// Rounds under way at most while first ones start at once.
    pub(crate) at_once: usize,
}

impl Pace {
    const fn interval_of(&self, subject: Subject) -> Duration {
        if subject.is_item() { ITEM_INTERVAL } else { self.interval }
    }
}

/// What is kept up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "checkpoint", derive(serde::Serialize, serde::Deserialize))]
pub(crate) enum Subject {
    Announce(Announce),
    /// An item of our own, in this slot.
    #[cfg(feature = "items")]
    Item(Ix),
}

impl Subject {
    /// Whether it is of the other kind than an announce.
    pub(crate) const fn is_item(self) -> bool {
        !matches!(self, Self::Announce(_))
    }

    pub(crate) const fn announce(self) -> Option<Announce> {
        match self {
            Self::Announce(announce) => Some(announce),
            #[cfg(feature = "items")]
            Self::Item(_) => None,
        }
    }

    #[cfg(feature = "items")]
    pub(crate) const fn item(self) -> Option<Ix> {
        match self {
            Self::Announce(_) => None,
            Self::Item(item) => Some(item),
        }
    }
}

/// An announce or item that is kept up.
#[derive(Clone, Copy, Debug)]
#[cfg_attr(feature = "checkpoint", derive(serde::Serialize, serde::Deserialize))]
pub(crate) struct Kept {
    pub(crate) target: NodeId,
    pub(crate) subject: Subject,
    pub(crate) generation: u32,
    pub(crate) phase: Phase,
    /// Rounds in a row that failed.
    failures: u8,
    /// A round has ended.
    pub(crate) is_tried: bool,
    /// The last round found that nothing had to be stored.
    pub(crate) is_spared: bool,
    /// Nodes that confirmed the last round.
    pub(crate) acknowledged: u16,
    /// When the last round ended.
    pub(crate) ended: Instant,
    /// When the next round is due at the latest; before the first, when it was added.
    pub(crate) due: Instant,
    /// The lookup of the round under way.
    pub(crate) round: Ix,
}

/// The list that an announce is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "checkpoint", derive(serde::Serialize, serde::Deserialize))]
pub(crate) enum Phase {
    Free,
    /// It waits for its first round.
    Fresh,
    /// It waits for its next round.
    Queued,
    /// Its last round failed.
    Failed,
    /// A round is under way, or its end was not told yet.
    Running,
}

impl Kept {
    /// All zero bytes, so that slots in a static lie in `.bss`.
    pub(crate) const EMPTY: Self = Self {
        target: NodeId::ZERO,
        subject: Subject::Announce(Announce { port: 0, implied_port: false, seed: false }),
        generation: 0,
        phase: Phase::Free,
        failures: 0,
        is_tried: false,
        is_spared: false,
        acknowledged: 0,
        ended: Instant::ZERO,
        due: Instant::ZERO,
        round: Ix::NONE,
    };
}

/// The head of all kept announces, over the storage's slots.
#[derive(Clone, Copy, Debug)]
#[cfg_attr(feature = "checkpoint", derive(serde::Serialize, serde::Deserialize))]
pub(crate) struct Keeper {
    pace: Pace,
    pool: Pool,
    /// The newest first.
    fresh: List,
    /// By when they are due.
    queued: List,
    /// By when they are due.
    failed: List,
    running: List,
    /// How many are items.
    items: u32,
    generation: u32,
    /// When the last round started.
    started: Instant,
    /// No round starts before.
    soonest: Instant,
    /// The next part of the interval, in percent, as drawn when the last round started.
    share: u8,
    /// The last round was a first one, while another announce was overdue.
    passed_over: bool,
    /// So many have waited for their first rounds that those keep their distance, until all have had it.
    crowded: bool,
    /// A round had to make room, or found none, and none has started since.
    starved: bool,
}

impl Keeper {
    pub(crate) fn new(pace: Pace) -> Self {
        Self {
            pace,
            pool: Pool::default(),
            fresh: List::EMPTY,
            queued: List::EMPTY,
            failed: List::EMPTY,
            running: List::EMPTY,
            items: 0,
            generation: 0,
            started: Instant::ZERO,
            soonest: Instant::ZERO,
            share: 100,
            passed_over: false,
            crowded: false,
            starved: false,
        }
    }

    pub(crate) const fn len(&self) -> usize {
        self.fresh.len() + self.queued.len() + self.failed.len() + self.running.len()
    }

    /// The announce, or the item, that is kept up at a target.
    pub(crate) fn find(&self, slots: &[Slot<Kept>], target: &NodeId, is_item: bool) -> Option<Ix> {
        let found = |Slot { value: kept, .. }: &Slot<Kept>| {
            kept.phase != Phase::Free && kept.target == *target && kept.subject.is_item() == is_item
        };
        slots.iter().position(found).map(Ix::new)
    }

    /// Takes in an announce or item, whose first round is next; `None` where there is no room.
    pub(crate) fn add(
        &mut self,
        slots: &mut [Slot<Kept>],
        target: NodeId,
        subject: Subject,
        now: Instant,
    ) -> Option<Ix> {
        let ix = self.pool.take(slots)?;
        self.generation = self.generation.wrapping_add(1);
        slots[ix] = Kept { target, subject, generation: self.generation, due: now, ..Kept::EMPTY };
        self.items += u32::from(subject.is_item());
        self.enter(slots, ix, Phase::Fresh);
        Some(ix)
    }

    /// Takes in an announce whose last round ended `age` ago and was confirmed by so many nodes: its
    /// next round comes when it would have come. Without one its first round is next.
    pub(crate) fn restore(
        &mut self,
        slots: &mut [Slot<Kept>],
        target: NodeId,
        subject: Subject,
        last: Option<(Duration, u16)>,
        now: Instant,
    ) -> Option<Ix> {
        let ix = self.add(slots, target, subject, now)?;
        if let Some((age, acknowledged)) = last {
            self.leave(slots, ix);
            let kept = &mut slots[ix];
            (kept.is_tried, kept.acknowledged, kept.ended) = (true, acknowledged, now.before(age));
            kept.due = now + self.patience(subject).saturating_sub(age);
            self.started = self.started.max(kept.ended);
            self.enter(slots, ix, Phase::Queued);
        }
        Some(ix)
    }

    /// Changes what is announced, or the item; the next round is a first one again. None may be
    /// under way.
    pub(crate) fn change(&mut self, slots: &mut [Slot<Kept>], ix: Ix, subject: Subject, now: Instant) {
        self.leave(slots, ix);
        let kept = &mut slots[ix];
        (kept.subject, kept.failures, kept.due, kept.is_spared) = (subject, 0, now, false);
        self.enter(slots, ix, Phase::Fresh);
    }

    pub(crate) fn remove(&mut self, slots: &mut [Slot<Kept>], ix: Ix) {
        self.leave(slots, ix);
        self.items -= u32::from(slots[ix].subject.is_item());
        slots[ix].phase = Phase::Free;
        self.pool.give(slots, ix);
    }

    /// When the next round is to start, if nobody else comes before; `None` where there is none to
    /// start, or as many as may be are under way.
    pub(crate) fn next_start(&self, slots: &[Slot<Kept>]) -> Option<Instant> {
        // The oldest of them: how long the newcomers wait counts from there.
        let fresh = self.fresh.back().map(|ix| slots[ix].due);
        if self.is_at_once() {
            return fresh.map(|at| at.max(self.soonest));
        }
        if self.running.len() >= self.pace.rounds {
            return None;
        }
        let failed = self.failed.front().map(|ix| slots[ix].due);
        let queued = self.queued.front().map(|ix| slots[ix].due.min(self.evenly()));
        let next = [fresh, failed, queued].into_iter().flatten().min();
        next.map(|at| at.max(self.soonest).max(self.spaced()))
    }

    /// Whether the next round is a first one that need not keep its distance.
    pub(crate) const fn is_at_once(&self) -> bool {
        !self.fresh.is_empty() && !self.crowded && self.running.len() < self.pace.at_once
    }

    /// The announce whose round is to start, where [`next_start`](Self::next_start) has come.
    pub(crate) fn next(&self, slots: &[Slot<Kept>], now: Instant) -> Option<Ix> {
        let others_wait = now < self.spaced() || self.running.len() >= self.pace.rounds;
        if self.is_at_once() && others_wait {
            return self.fresh.front();
        }
        match (self.fresh.front(), self.overdue(slots, now)) {
            (Some(_), Some(overdue)) if self.passed_over => Some(overdue),
            (Some(fresh), _) => Some(fresh),
            (None, Some(overdue)) => Some(overdue),
            (None, None) => self.queued.front().filter(|_| self.evenly() <= now),
        }
    }

    /// A round starts.
    pub(crate) fn begin(&mut self, slots: &mut [Slot<Kept>], ix: Ix, rng: &mut Rng, now: Instant) {
        self.passed_over = slots[ix].phase == Phase::Fresh && self.overdue(slots, now).is_some();
        self.leave(slots, ix);
        self.enter(slots, ix, Phase::Running);
        (self.started, self.starved) = (now, false);
        self.share = 100 - JITTER as u8 + rng.below(2 * JITTER as usize + 1) as u8;
    }

    /// A round has ended, with so many nodes that confirmed it.
    pub(crate) fn end(&mut self, slots: &mut [Slot<Kept>], ix: Ix, acknowledged: u16, now: Instant) {
        let kept = &mut slots[ix];
        (kept.is_tried, kept.acknowledged, kept.ended, kept.is_spared) = (true, acknowledged, now, false);
        if acknowledged > 0 {
            kept.failures = 0;
            return self.skip(slots, ix, now);
        }
        let pause = FIRST_RETRY * (1 << kept.failures.min(16));
        kept.failures = kept.failures.saturating_add(1);
        kept.due = now + pause.min(self.pace.interval_of(kept.subject));
        self.leave(slots, ix);
        self.enter(slots, ix, Phase::Failed);
    }

    /// A round was given up; the next one comes as if it had gone well.
    pub(crate) fn skip(&mut self, slots: &mut [Slot<Kept>], ix: Ix, now: Instant) {
        let patience = self.patience(slots[ix].subject);
        self.queue(slots, ix, now + patience);
    }

    /// A round stored nothing, because so many nodes hold the item already. The next one comes after
    /// half of the time: if all of its publishers relied on each other, it would expire.
    pub(crate) fn spare(&mut self, slots: &mut [Slot<Kept>], ix: Ix, now: Instant) {
        let kept = &mut slots[ix];
        (kept.is_tried, kept.is_spared, kept.failures, kept.ended) = (true, true, 0, now);
        kept.acknowledged = 0;
        let patience = self.patience(kept.subject) / 2;
        self.queue(slots, ix, now + patience);
    }

    /// A round had to make room; it comes first when there is room again, and is a first one as before.
    pub(crate) fn put_back(&mut self, slots: &mut [Slot<Kept>], ix: Ix, now: Instant) {
        slots[ix].due = now;
        self.leave(slots, ix);
        let phase = if slots[ix].is_tried { Phase::Failed } else { Phase::Fresh };
        self.enter(slots, ix, phase);
    }

    /// No round starts before `until`.
    pub(crate) fn hold(&mut self, until: Instant) {
        self.soonest = self.soonest.max(until);
    }

    /// A round had to make room for others, or found none: none starts before `until`.
    pub(crate) fn starve(&mut self, until: Instant) {
        self.starved = true;
        self.hold(until);
    }

    /// Whether rounds went without a slot, and no other is under way.
    pub(crate) const fn is_starved(&self) -> bool {
        self.starved && self.running.is_empty()
    }

    /// Whoever failed is due now: it was not their fault.
    pub(crate) fn forgive(&self, slots: &mut [Slot<Kept>], now: Instant) {
        let mut next = self.failed.front();
        while let Some(ix) = next {
            (slots[ix].failures, slots[ix].due) = (0, now.min(slots[ix].due));
            next = self.failed.next(slots, ix);
        }
    }

    /// How long ago the round ended after which the next is due when it is. Not counted from its end,
    /// which for one that was restored may lie before the origin of the clock.
    pub(crate) fn age(&self, kept: &Kept, now: Instant) -> Duration {
        (self.patience(kept.subject) + (now - kept.due)).saturating_sub(kept.due - now)
    }

    /// All announces, those first that are restored first: in the order of their lists, but of those
    /// that were never announced the oldest, so that the newest ends up in front again.
    pub(crate) fn iter<'a>(&self, slots: &'a [Slot<Kept>]) -> impl Iterator<Item = &'a Kept> + use<'a> {
        let [queued, failed, running] = [self.queued, self.failed, self.running]
            .map(|list| core::iter::successors(list.front(), move |&ix| list.next(slots, ix)));
        let fresh = self.fresh;
        let fresh = core::iter::successors(fresh.back(), move |&ix| fresh.prev(slots, ix));
        queued.chain(failed).chain(running).chain(fresh).map(|ix| &slots[ix])
    }

    /// Everybody is due now: what stands may stand under an address that is no longer ours.
    pub(crate) fn renew(&self, slots: &mut [Slot<Kept>], now: Instant) {
        let mut next = self.queued.front();
        while let Some(ix) = next {
            slots[ix].due = now.min(slots[ix].due);
            next = self.queued.next(slots, ix);
        }
    }

    /// Whether every slot is free or in the list of its phase.
    #[cfg(any(test, feature = "checkpoint", feature = "sim"))]
    pub(crate) fn is_consistent(&self, slots: &[Slot<Kept>]) -> bool {
        let lists = [
            (self.fresh, Phase::Fresh),
            (self.queued, Phase::Queued),
            (self.failed, Phase::Failed),
            (self.running, Phase::Running),
        ];
        let is_whole = |(list, phase): (List, Phase)| {
            list.is_consistent(slots) && list.iter(slots).all(|ix| slots[ix].phase == phase)
        };
        self.pool.is_consistent(slots)
            && lists.into_iter().all(is_whole)
            && self.len() == self.pool.used()
            && self.running.len() <= self.pace.rounds.max(self.pace.at_once)
            && (self.crowded || self.fresh.len() < CROWD)
    }

    /// When a round may start that keeps its distance from the one before.
    fn spaced(&self) -> Instant {
        if self.started == Instant::ZERO { Instant::ZERO } else { self.started + self.pace.spacing }
    }

    /// Who should have been announced again by now, the longest ago first.
    fn overdue(&self, slots: &[Slot<Kept>], now: Instant) -> Option<Ix> {
        let fronts = [self.failed.front(), self.queued.front()].into_iter().flatten();
        fronts.filter(|&ix| slots[ix].due <= now).min_by_key(|&ix| slots[ix].due)
    }

    /// The time from the end of a round to when the next one is due: a little more than the interval,
    /// because who is early is no later for it.
    fn patience(&self, subject: Subject) -> Duration {
        self.pace.interval_of(subject) + self.pace.interval.min(ITEM_INTERVAL) * JITTER / 100
    }

    /// When the next round starts if all of them are to be spread over their intervals.
    fn evenly(&self) -> Instant {
        // No more than a day each, so that the products fit.
        let [interval, item_interval] =
            [self.pace.interval, ITEM_INTERVAL].map(|interval| interval.as_millis() as u64);
        let (len, items) = (self.len() as u64, u64::from(self.items));
        let rounds = (len - items) * item_interval + items * interval;
        // Milliseconds and hundredths make ten microseconds.
        let pause = interval * item_interval * u64::from(self.share) * 10 / rounds.max(1);
        self.started + Duration::from_micros(pause)
    }

    fn queue(&mut self, slots: &mut [Slot<Kept>], ix: Ix, due: Instant) {
        slots[ix].due = due;
        self.leave(slots, ix);
        self.enter(slots, ix, Phase::Queued);
    }

    /// Puts an announce into the list of a phase, behind all that are due no later; a first round
    /// goes before all others.
    fn enter(&mut self, slots: &mut [Slot<Kept>], ix: Ix, phase: Phase) {
        slots[ix].phase = phase;
        let due = slots[ix].due;
        let Some(list) = self.list(phase) else { return };
        let mut after = if phase == Phase::Fresh { None } else { list.back() };
        while let Some(before) = after.filter(|&before| phase != Phase::Running && slots[before].due > due) {
            after = list.prev(slots, before);
        }
        list.insert_after(slots, after.unwrap_or(Ix::NONE), ix);
        self.crowded |= self.fresh.len() >= CROWD;
    }

    fn leave(&mut self, slots: &mut [Slot<Kept>], ix: Ix) {
        if let Some(list) = self.list(slots[ix].phase) {
            list.remove(slots, ix);
        }
        self.crowded &= !self.fresh.is_empty();
    }

    const fn list(&mut self, phase: Phase) -> Option<&mut List> {
        match phase {
            Phase::Free => None,
            Phase::Fresh => Some(&mut self.fresh),
            Phase::Queued => Some(&mut self.queued),
            Phase::Failed => Some(&mut self.failed),
            Phase::Running => Some(&mut self.running),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::boxed::Box;
    use std::collections::BTreeMap;
    use std::vec::Vec;

    use proptest::prelude::*;

    use super::*;
    use crate::rng::Rng;

    const INTERVAL: Duration = Duration::from_secs(900);
    const SPACING: Duration = Duration::from_millis(1200);
    const ROUND: Duration = Duration::from_secs(3);

    /// A keeper and its slots, in a world where every round takes three seconds.
    struct Room {
        keeper: Keeper,
        slots: Box<[Slot<Kept>]>,
        rng: Rng,
        now: Instant,
        running: Vec<(Instant, Ix)>,
        /// Every start, with its target.
        starts: Vec<(Instant, NodeId)>,
        fails: bool,
    }

    impl Room {
        fn new(slots: usize, rounds: usize) -> Self {
            let pace = Pace { interval: INTERVAL, spacing: SPACING, rounds, at_once: 4 * rounds };
            Self {
                keeper: Keeper::new(pace),
                slots: std::vec![Slot::new(Kept::EMPTY); slots].into_boxed_slice(),
                rng: Rng::new([3; 32]),
                now: Instant::from_micros(1),
                running: Vec::new(),
                starts: Vec::new(),
                fails: false,
            }
        }

        fn add(&mut self, index: u16) -> Option<Ix> {
            self.keeper.add(&mut self.slots, hash(index), Subject::Announce(Announce::port(1)), self.now)
        }

        /// A round that is cut short makes room for another, and is taken for none.
        fn remove(&mut self, ix: Ix) {
            if let Some(at) = self.running.iter().position(|&(_, other)| other == ix) {
                self.running.remove(at);
                let target = self.slots[ix].target;
                let last = self.starts.iter().rposition(|&(_, of)| of == target);
                self.starts.remove(last.expect("it has started"));
            }
            self.keeper.remove(&mut self.slots, ix);
        }

        fn run(&mut self, time: Duration) {
            let end = self.now + time;
            loop {
                let ended = self.running.first().map(|(at, _)| *at);
                let next = self.keeper.next_start(&self.slots);
                let Some(at) = ended.into_iter().chain(next).min().filter(|&at| at <= end) else { break };
                self.now = self.now.max(at);
                if ended == Some(at) {
                    let (_, ix) = self.running.remove(0);
                    let acknowledged = if self.fails { 0 } else { 8 };
                    self.keeper.end(&mut self.slots, ix, acknowledged, self.now);
                } else {
                    let ix = self.keeper.next(&self.slots, self.now).expect("its time has come");
                    let is_at_once = self.keeper.is_at_once() && self.slots[ix].phase == Phase::Fresh;
                    let spaced = self.starts.last().is_none_or(|&(last, _)| last + SPACING <= at);
                    assert!(is_at_once || spaced, "all others keep their distance");
                    self.keeper.begin(&mut self.slots, ix, &mut self.rng, self.now);
                    self.running.push((self.now + ROUND, ix));
                    self.starts.push((self.now, self.slots[ix].target));
                }
                assert!(self.keeper.is_consistent(&self.slots));
            }
            self.now = end;
        }

        /// The times between successive rounds, over all announces.
        fn pauses(&self) -> Vec<Duration> {
            let mut last = BTreeMap::new();
            let pauses = self.starts.iter().map(|&(at, target)| Some(at - last.insert(target, at)?));
            pauses.collect::<Vec<_>>().into_iter().flatten().collect()
        }

        /// The most rounds that start within any stretch of so much time, from `since` on.
        fn most_within(&self, since: Instant, time: Duration) -> usize {
            let starts: Vec<Instant> =
                self.starts.iter().map(|&(at, _)| at).filter(|&at| at >= since).collect();
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
    fn l_10_one_alone_comes_round_every_interval_give_or_take_a_tenth() {
        let mut room = Room::new(1, 4);
        room.add(0).unwrap();
        room.run(secs(24 * 3600));
        let pauses = room.pauses();
        assert!((90..=104).contains(&pauses.len()), "{}", pauses.len());
        assert!(pauses.iter().all(|pause| (secs(810)..=secs(990)).contains(pause)), "{pauses:?}");
        assert!(
            pauses.iter().any(|pause| *pause < secs(860)) && pauses.iter().any(|pause| *pause > secs(940))
        );
        assert_eq!(room.add(1), None, "there is no room for a second one");
    }

    #[test]
    fn c_11_a_few_first_rounds_come_at_once_and_then_all_are_spread_evenly() {
        let mut room = Room::new(100, 4);
        (0..63).for_each(|index| assert!(room.add(index).is_some()));
        let begun = room.now;
        room.run(Duration::ZERO);
        assert_eq!(room.starts.len(), 16, "as many as may be under way");
        room.run(ROUND * 3);
        assert_eq!(room.starts.len(), 63);
        assert!(room.starts.iter().all(|&(at, _)| at <= begun + ROUND * 3));
        room.run(secs(12 * 3600));
        // One in 14 seconds on average, from then on.
        assert!(room.most_within(begun + secs(10), secs(60)) <= 6);
        (63..100).for_each(|index| assert!(room.add(index).is_some()));
        let (before, begun) = (room.starts.len(), room.now);
        room.run(ROUND * 3);
        let newcomers = room.starts[before..]
            .iter()
            .filter(|(at, target)| *target >= hash(63) && *at <= begun + ROUND * 2);
        assert_eq!(newcomers.count(), 37, "later ones as well");
    }

    #[test]
    fn c_11_the_first_rounds_of_a_crowd_keep_their_distance_newest_first() {
        let mut room = Room::new(100, 4);
        (0..100).for_each(|index| assert!(room.add(index).is_some()));
        let begun = room.now;
        room.run(secs(125));
        let order: Vec<NodeId> = room.starts.iter().map(|(_, target)| *target).collect();
        assert_eq!(order[..100], (0..100).rev().map(hash).collect::<Vec<_>>());
        assert_eq!(room.starts[99].0 - begun, SPACING * 99);
        room.run(secs(12 * 3600));
        // One in nine seconds on average, from then on.
        assert!(room.most_within(begun + secs(125), secs(900)) <= 112);
        assert!(room.most_within(begun + secs(125), secs(60)) <= 9);
        let pauses = room.pauses();
        assert!(pauses.iter().all(|pause| *pause <= secs(995)), "{:?}", pauses.iter().max());
    }

    #[test]
    fn c_11_more_than_fit_into_an_interval_stretch_it_for_all_alike() {
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
    fn c_11_newcomers_and_the_overdue_take_turns() {
        let mut room = Room::new(100, 4);
        (0..5).for_each(|index| assert!(room.add(index).is_some()));
        room.run(secs(20));
        room.now = room.now + secs(3600);
        (5..5 + CROWD as u16).for_each(|index| assert!(room.add(index).is_some()));
        let from = room.starts.len();
        room.run(secs(20));
        let is_new: Vec<bool> = room.starts[from..].iter().map(|(_, target)| *target >= hash(5)).collect();
        assert_eq!(is_new[..10], [true, false, true, false, true, false, true, false, true, false]);
    }

    #[test]
    fn a_failed_round_is_repeated_ever_more_seldom_until_it_is_forgiven() {
        let mut room = Room::new(3, 4);
        room.fails = true;
        room.add(0).unwrap();
        room.run(secs(3 * 3600));
        let pauses: Vec<u64> = room.pauses().iter().map(|pause| (*pause - ROUND).as_secs()).collect();
        assert_eq!(pauses[..6], [60, 120, 240, 480, 900, 900]);
        (room.fails, room.now) = (false, room.now + secs(1));
        room.keeper.forgive(&mut room.slots, room.now);
        assert_eq!(room.keeper.next_start(&room.slots), Some(room.now.min(room.slots[Ix::new(0)].due)));
        room.run(secs(100));
        assert_eq!(room.slots[Ix::new(0)].acknowledged, 8);
    }

    #[test]
    fn what_had_to_make_room_waits_and_is_first_again() {
        let mut room = Room::new(3, 1);
        let ix = room.add(0).unwrap();
        room.keeper.begin(&mut room.slots, ix, &mut room.rng, room.now);
        assert_eq!(room.keeper.next_start(&room.slots), None, "no second round beside it");
        room.keeper.put_back(&mut room.slots, ix, room.now);
        room.keeper.hold(room.now + secs(10));
        assert_eq!(room.keeper.next_start(&room.slots), Some(room.now + secs(10)));
        assert_eq!(room.keeper.next(&room.slots, room.now + secs(10)), Some(ix));
    }

    proptest! {
        /// Whatever comes and goes: rounds keep their distance, and none waits for long.
        #[test]
        fn c_11_no_burst_and_nobody_forgotten(
            steps in proptest::collection::vec((0_u8..4, 0_u16..200, 1_u64..400), 1..80),
            rounds in 2_usize..5,
        ) {
            let mut room = Room::new(100, rounds);
            let (mut most, mut kept) = (0, BTreeMap::new());
            for (step, index, time) in steps {
                let found = room.keeper.find(&room.slots, &hash(index), false);
                match (step, found) {
                    (0, Some(ix)) => {
                        room.remove(ix);
                        kept.remove(&hash(index));
                    }
                    (0, None) => {}
                    (_, Some(_)) => room.run(secs(time)),
                    (_, None) => if room.add(index).is_some() { kept.insert(hash(index), room.now); },
                }
                most = most.max(room.keeper.len());
                for &(at, target) in &room.starts {
                    if let Some(last) = kept.get_mut(&target) { *last = at.max(*last); }
                }
                // Twice, where newcomers take every other turn.
                let patience = INTERVAL * 11 / 10 + (SPACING + ROUND) * 2 * most as u32;
                prop_assert!(kept.values().all(|&last| room.now - last <= patience));
            }
            prop_assert!(room.most_within(Instant::ZERO, ROUND) <= 4 * rounds);
        }
    }
}
