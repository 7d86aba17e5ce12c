//! Scheduling of publications: the announces and items that are republished periodically.
//!
//! A new publication is published soon, the newest first, and at once as long as few are waiting. From then on all
//! publications share one queue, and republishes start as evenly as possible: with N announces one every N-th part
//! of the interval. Each is thus republished once per interval and never in a burst, however many were added at
//! once. A publication that no node acknowledged is queued separately, with a delay that doubles. Items share the
//! queue but have an interval of their own.

use core::time::Duration;

use crate::base::id::NodeId;
use crate::base::pool::{Ix, List, Pool, Slot};
use crate::base::rng::Rng;
use crate::base::time::Instant;
use crate::lookup::Announce;

/// The delay after a failed republish; it doubles each time, up to the interval.
const FIRST_RETRY: Duration = Duration::from_secs(60);

/// The variation of the time between two republishes of one announce, in percent of the interval.
const JITTER: u32 = 10;

/// Number of waiting first publications from which on these are spaced as well.
///
/// A client that starts with a few torrents announces them at once, as with single announces.
const MANY_FIRST: usize = 64;

/// Number of new endpoints that a republish contacts in one family: about 24 on the way and 8 that store.
const REPUBLISH_ENDPOINTS: u32 = 32;

/// Maximum number of concurrent republishes, if there are enough lookup slots.
const MAX_REPUBLISHES: usize = 4;

/// Number of lookup slots for each concurrent republish, so that most are left to other lookups.
pub(crate) const SLOTS_PER_REPUBLISH: usize = 4;

/// Number of lookup slots for each first publication that starts at once, so that half are left to other lookups.
const SLOTS_PER_FIRST: usize = 2;

/// The shortest and the longest interval.
const INTERVALS: [Duration; 2] = [Duration::from_secs(60), Duration::from_secs(24 * 3600)];

/// The rate of republishes, in whole seconds and microseconds, which is precise enough and small.
#[derive(Clone, Copy, Debug)]
#[cfg_attr(feature = "checkpoint", derive(serde::Serialize, serde::Deserialize))]
pub(crate) struct Pace {
    interval_secs: u32,
    item_interval_secs: u32,
    /// Minimum microseconds between the starts of any two republishes, even if the intervals cannot be kept.
    ///
    /// First publications that start at once are exempt.
    spacing: u32,
    /// Maximum number of concurrent republishes.
    max_running: u16,
    /// Maximum number of concurrent republishes while first publications start at once.
    max_first: u16,
}

impl Pace {
    /// Returns a rate that contacts at most `new_endpoints` per second, and leaves lookup slots to others.
    ///
    /// `intervals` are those of announces and of items.
    pub(crate) fn within(
        intervals: [Duration; 2],
        new_endpoints: u32,
        families: usize,
        lookups: usize,
    ) -> Self {
        let [interval_secs, item_interval_secs] =
            intervals.map(|interval| interval.clamp(INTERVALS[0], INTERVALS[1]).as_secs() as u32);
        let lookups = lookups / families.max(1);
        let max_running = (lookups / SLOTS_PER_REPUBLISH).clamp(1, MAX_REPUBLISHES);
        let max_first = (lookups / SLOTS_PER_FIRST).max(max_running);
        Self {
            interval_secs,
            item_interval_secs,
            spacing: REPUBLISH_ENDPOINTS * families as u32 * 1_000_000 / new_endpoints.max(1),
            max_running: max_running as u16,
            max_first: u16::try_from(max_first).unwrap_or(u16::MAX),
        }
    }

    const fn interval(&self) -> Duration {
        Duration::from_secs(self.interval_secs as u64)
    }

    const fn item_interval(&self) -> Duration {
        Duration::from_secs(self.item_interval_secs as u64)
    }

    const fn interval_of(&self, subject: Subject) -> Duration {
        if subject.is_item() { self.item_interval() } else { self.interval() }
    }

    const fn spacing(&self) -> Duration {
        Duration::from_micros(self.spacing as u64)
    }

    const fn max_running(&self) -> usize {
        self.max_running as usize
    }

    const fn max_first(&self) -> usize {
        self.max_first as usize
    }
}

/// The subject of a publication.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "checkpoint", derive(serde::Serialize, serde::Deserialize))]
pub(crate) enum Subject {
    Announce(Announce),
    /// The item in this slot of our own items.
    #[cfg(feature = "items")]
    Item(Ix),
}

impl Subject {
    /// Whether the subject is an item.
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

/// A publication: an announce or item that is republished periodically.
#[derive(Clone, Copy, Debug)]
#[cfg_attr(feature = "checkpoint", derive(serde::Serialize, serde::Deserialize))]
pub(crate) struct Publication {
    pub(crate) target: NodeId,
    pub(crate) subject: Subject,
    pub(crate) generation: u32,
    pub(crate) phase: Phase,
    /// Number of successive republishes that failed.
    failures: u8,
    /// At least one republish has ended.
    pub(crate) is_tried: bool,
    /// The last republish found enough copies, so that nothing was stored.
    pub(crate) is_spared: bool,
    /// Nodes that acknowledged the last republish.
    pub(crate) acknowledged: u16,
    /// End of the last republish.
    pub(crate) ended: Instant,
    /// When the next republish is due at the latest; before the first one, when the publication was added.
    pub(crate) due: Instant,
    /// The lookup of the running republish.
    pub(crate) lookup: Ix,
}

/// The last republish of a publication in an earlier run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LastRepublish {
    /// How long ago it ended.
    pub(crate) age: Duration,
    /// Number of nodes that acknowledged it.
    pub(crate) acknowledged: u16,
}

/// The list that a publication is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "checkpoint", derive(serde::Serialize, serde::Deserialize))]
pub(crate) enum Phase {
    Free,
    /// Waits for its first publication.
    Fresh,
    /// Waits for its next republish.
    Queued,
    /// The last republish failed.
    Failed,
    /// A republish is running, or its end has not been reported yet.
    Running,
}

impl Publication {
    /// All zero bytes, so that slots in a static end up in `.bss`.
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
        lookup: Ix::NONE,
    };
}

/// The scheduler of all publications, which are stored in the storage's slots.
#[derive(Clone, Copy, Debug)]
#[cfg_attr(feature = "checkpoint", derive(serde::Serialize, serde::Deserialize))]
pub(crate) struct Republisher {
    pace: Pace,
    pool: Pool,
    /// Newest first.
    fresh: List,
    /// In the order of their due times.
    queued: List,
    /// In the order of their due times.
    failed: List,
    running: List,
    /// Number of publications that are items.
    items: u32,
    generation: u32,
    /// Start of the last republish.
    started: Instant,
    /// Time before which no republish starts.
    soonest: Instant,
    /// Length of the next part of the interval in percent, drawn when the last republish started.
    share: u8,
    /// The last start was a first publication, although a republish was overdue.
    passed_over: bool,
    /// Too many first publications wait to start at once; cleared when all of them have started.
    crowded: bool,
    /// A republish was preempted or found no free lookup slot, and none has started since.
    starved: bool,
}

impl Republisher {
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

    /// Returns the announce or item that is published at a target.
    pub(crate) fn find(&self, slots: &[Slot<Publication>], target: &NodeId, is_item: bool) -> Option<Ix> {
        let found = |Slot { value: publication, .. }: &Slot<Publication>| {
            publication.phase != Phase::Free
                && publication.target == *target
                && publication.subject.is_item() == is_item
        };
        slots.iter().position(found).map(Ix::new)
    }

    /// Adds a publication that starts next; returns `None` if all slots are in use.
    pub(crate) fn add(
        &mut self,
        slots: &mut [Slot<Publication>],
        target: NodeId,
        subject: Subject,
        now: Instant,
    ) -> Option<Ix> {
        let ix = self.pool.alloc(slots)?;
        self.generation = self.generation.wrapping_add(1);
        slots[ix] =
            Publication { target, subject, generation: self.generation, due: now, ..Publication::EMPTY };
        self.items += u32::from(subject.is_item());
        self.enter(slots, ix, Phase::Fresh);
        Some(ix)
    }

    /// Adds a publication of an earlier run, whose next republish is due as if the node had not been restarted.
    ///
    /// Without `last`, it is a new one.
    pub(crate) fn restore(
        &mut self,
        slots: &mut [Slot<Publication>],
        target: NodeId,
        subject: Subject,
        last: Option<LastRepublish>,
        now: Instant,
    ) -> Option<Ix> {
        let ix = self.add(slots, target, subject, now)?;
        if let Some(LastRepublish { age, acknowledged }) = last {
            self.leave(slots, ix);
            let publication = &mut slots[ix];
            (publication.is_tried, publication.acknowledged, publication.ended) =
                (true, acknowledged, now.before(age));
            publication.due = now + self.next_delay(subject).saturating_sub(age);
            self.started = self.started.max(publication.ended);
            self.enter(slots, ix, Phase::Queued);
        }
        Some(ix)
    }

    /// Replaces the subject of a publication, which then starts like a new one; it must not be running.
    pub(crate) fn change(&mut self, slots: &mut [Slot<Publication>], ix: Ix, subject: Subject, now: Instant) {
        self.leave(slots, ix);
        let publication = &mut slots[ix];
        (publication.subject, publication.failures, publication.due, publication.is_spared) =
            (subject, 0, now, false);
        self.enter(slots, ix, Phase::Fresh);
    }

    pub(crate) fn remove(&mut self, slots: &mut [Slot<Publication>], ix: Ix) {
        self.leave(slots, ix);
        self.items -= u32::from(slots[ix].subject.is_item());
        slots[ix].phase = Phase::Free;
        self.pool.free(slots, ix);
    }

    /// Returns when the next republish starts, unless an earlier one is added.
    ///
    /// `None` if there is none to start, or if the maximum number is running.
    pub(crate) fn next_start(&self, slots: &[Slot<Publication>]) -> Option<Instant> {
        // The oldest one has waited longest.
        let fresh = self.fresh.back().map(|ix| slots[ix].due);
        if self.starts_at_once() {
            return fresh.map(|at| at.max(self.soonest));
        }
        if self.running.len() >= self.pace.max_running() {
            return None;
        }
        let failed = self.failed.front().map(|ix| slots[ix].due);
        let queued = self.queued.front().map(|ix| slots[ix].due.min(self.even_start()));
        let next = [fresh, failed, queued].into_iter().flatten().min();
        next.map(|at| at.max(self.soonest).max(self.spaced_start()))
    }

    /// Whether the next to start is a first publication that is exempt from the spacing.
    pub(crate) const fn starts_at_once(&self) -> bool {
        !self.fresh.is_empty() && !self.crowded && self.running.len() < self.pace.max_first()
    }

    /// Returns the publication to start once [`next_start`](Self::next_start) has passed.
    pub(crate) fn next(&self, slots: &[Slot<Publication>], now: Instant) -> Option<Ix> {
        let others_wait = now < self.spaced_start() || self.running.len() >= self.pace.max_running();
        if self.starts_at_once() && others_wait {
            return self.fresh.front();
        }
        match (self.fresh.front(), self.overdue(slots, now)) {
            (Some(_), Some(overdue)) if self.passed_over => Some(overdue),
            (Some(fresh), _) => Some(fresh),
            (None, Some(overdue)) => Some(overdue),
            (None, None) => self.queued.front().filter(|_| self.even_start() <= now),
        }
    }

    /// Records the start of a republish.
    pub(crate) fn begin(&mut self, slots: &mut [Slot<Publication>], ix: Ix, rng: &mut Rng, now: Instant) {
        self.passed_over = slots[ix].phase == Phase::Fresh && self.overdue(slots, now).is_some();
        self.leave(slots, ix);
        self.enter(slots, ix, Phase::Running);
        (self.started, self.starved) = (now, false);
        self.share = 100 - JITTER as u8 + rng.below(2 * JITTER as usize + 1) as u8;
    }

    /// Records the end of a republish that was acknowledged by this many nodes.
    pub(crate) fn end(&mut self, slots: &mut [Slot<Publication>], ix: Ix, acknowledged: u16, now: Instant) {
        let publication = &mut slots[ix];
        (publication.is_tried, publication.acknowledged, publication.ended, publication.is_spared) =
            (true, acknowledged, now, false);
        if acknowledged > 0 {
            publication.failures = 0;
            return self.skip(slots, ix, now);
        }
        let pause = FIRST_RETRY * (1 << publication.failures.min(16));
        publication.failures = publication.failures.saturating_add(1);
        publication.due = now + pause.min(self.pace.interval_of(publication.subject));
        self.leave(slots, ix);
        self.enter(slots, ix, Phase::Failed);
    }

    /// Records that a republish was skipped; the next one is due as after a success.
    pub(crate) fn skip(&mut self, slots: &mut [Slot<Publication>], ix: Ix, now: Instant) {
        let delay = self.next_delay(slots[ix].subject);
        self.queue(slots, ix, now + delay);
    }

    /// Records that a republish stored nothing, because enough nodes hold the item already.
    ///
    /// The next one follows after half of the time: if all publishers of an item relied on each other, it would
    /// expire.
    pub(crate) fn spare(&mut self, slots: &mut [Slot<Publication>], ix: Ix, now: Instant) {
        let publication = &mut slots[ix];
        (publication.is_tried, publication.is_spared, publication.failures, publication.ended) =
            (true, true, 0, now);
        publication.acknowledged = 0;
        let delay = self.next_delay(publication.subject) / 2;
        self.queue(slots, ix, now + delay);
    }

    /// Requeues a preempted republish, which is the first to start when a slot is free.
    pub(crate) fn requeue(&mut self, slots: &mut [Slot<Publication>], ix: Ix, now: Instant) {
        slots[ix].due = now;
        self.leave(slots, ix);
        let phase = if slots[ix].is_tried { Phase::Failed } else { Phase::Fresh };
        self.enter(slots, ix, phase);
    }

    /// Delays all republishes until `until`.
    pub(crate) fn delay(&mut self, until: Instant) {
        self.soonest = self.soonest.max(until);
    }

    /// Records that a republish was preempted or found no slot, and delays all republishes until `until`.
    pub(crate) fn starve(&mut self, until: Instant) {
        self.starved = true;
        self.delay(until);
    }

    /// Whether a republish lacks a lookup slot and none is running.
    pub(crate) const fn is_starved(&self) -> bool {
        self.starved && self.running.is_empty()
    }

    /// Makes failed publications due now, because the network was down when they failed.
    pub(crate) fn retry_failed(&self, slots: &mut [Slot<Publication>], now: Instant) {
        let mut next = self.failed.front();
        while let Some(ix) = next {
            (slots[ix].failures, slots[ix].due) = (0, now.min(slots[ix].due));
            next = self.failed.next(slots, ix);
        }
    }

    /// Returns how long ago the last republish ended, computed from the due time of the next one.
    ///
    /// The recorded end is not used: that of a restored publication may lie before the origin of the clock.
    pub(crate) fn age(&self, publication: &Publication, now: Instant) -> Duration {
        (self.next_delay(publication.subject) + (now - publication.due)).saturating_sub(publication.due - now)
    }

    /// Iterates over all publications in the order in which they are to be restored.
    ///
    /// They come in the order of their lists, except that among those never published the oldest come first, so
    /// that the newest ends up in front again.
    pub(crate) fn iter<'a>(
        &self,
        slots: &'a [Slot<Publication>],
    ) -> impl Iterator<Item = &'a Publication> + use<'a> {
        let [queued, failed, running] = [self.queued, self.failed, self.running]
            .map(|list| core::iter::successors(list.front(), move |&ix| list.next(slots, ix)));
        let fresh = self.fresh;
        let fresh = core::iter::successors(fresh.back(), move |&ix| fresh.prev(slots, ix));
        queued.chain(failed).chain(running).chain(fresh).map(|ix| &slots[ix])
    }

    /// Makes all queued publications due now, because they may be stored under an address that is no longer ours.
    pub(crate) fn renew(&self, slots: &mut [Slot<Publication>], now: Instant) {
        let mut next = self.queued.front();
        while let Some(ix) = next {
            slots[ix].due = now.min(slots[ix].due);
            next = self.queued.next(slots, ix);
        }
    }

    /// Whether every slot is free or in the list of its phase.
    #[cfg(any(test, feature = "checkpoint", feature = "sim"))]
    pub(crate) fn is_consistent(&self, slots: &[Slot<Publication>]) -> bool {
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
            && self.running.len() <= self.pace.max_running().max(self.pace.max_first())
            && (self.crowded || self.fresh.len() < MANY_FIRST)
    }

    /// Returns the earliest start that respects the spacing.
    fn spaced_start(&self) -> Instant {
        if self.started == Instant::ZERO { Instant::ZERO } else { self.started + self.pace.spacing() }
    }

    /// Returns the publication that is overdue for the longest time.
    fn overdue(&self, slots: &[Slot<Publication>], now: Instant) -> Option<Ix> {
        let fronts = [self.failed.front(), self.queued.front()].into_iter().flatten();
        fronts.filter(|&ix| slots[ix].due <= now).min_by_key(|&ix| slots[ix].due)
    }

    /// Returns the time from the end of a republish to when the next one is due.
    ///
    /// The time is slightly longer than the interval, because an early republish does not delay the next one.
    fn next_delay(&self, subject: Subject) -> Duration {
        self.pace.interval_of(subject) + self.pace.interval().min(self.pace.item_interval()) * JITTER / 100
    }

    /// Returns the start of the next republish if all of them are spread evenly over their intervals.
    fn even_start(&self) -> Instant {
        // At most a day each, so that the products do not overflow.
        let [interval, item_interval] =
            [self.pace.interval(), self.pace.item_interval()].map(|interval| interval.as_millis() as u64);
        let (len, items) = (self.len() as u64, u64::from(self.items));
        let rounds = (len - items) * item_interval + items * interval;
        // Milliseconds times hundredths are units of ten microseconds.
        let pause = interval * item_interval * u64::from(self.share) * 10 / rounds.max(1);
        self.started + Duration::from_micros(pause)
    }

    fn queue(&mut self, slots: &mut [Slot<Publication>], ix: Ix, due: Instant) {
        slots[ix].due = due;
        self.leave(slots, ix);
        self.enter(slots, ix, Phase::Queued);
    }

    /// Inserts a publication into the list of a phase, ordered by due time; first publications go to the front.
    fn enter(&mut self, slots: &mut [Slot<Publication>], ix: Ix, phase: Phase) {
        slots[ix].phase = phase;
        let due = slots[ix].due;
        let Some(list) = self.list(phase) else { return };
        let mut after = if phase == Phase::Fresh { None } else { list.back() };
        while let Some(before) = after.filter(|&before| phase != Phase::Running && slots[before].due > due) {
            after = list.prev(slots, before);
        }
        list.insert_after(slots, after.unwrap_or(Ix::NONE), ix);
        self.crowded |= self.fresh.len() >= MANY_FIRST;
    }

    fn leave(&mut self, slots: &mut [Slot<Publication>], ix: Ix) {
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
mod tests;
