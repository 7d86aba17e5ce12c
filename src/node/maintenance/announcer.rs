//! Publications: announces and items that the node republishes by itself, each time through an ordinary
//! lookup.

use core::time::Duration;

use crate::base::addr::Family;
use crate::base::id::InfoHash;
use crate::base::pool::{Ix, Slot};
use crate::base::time::Instant;
use crate::lookup::republisher::{Pace, Phase, Publication, Subject};
use crate::lookup::{self, Announce, Goal, LookupOptions};
use crate::node::api::config::Config;
use crate::node::api::error::{Limit, PublishError, Shortage};
use crate::node::api::event::{AnnouncementInfo, LookupId, PublicationId, RepublishInfo};
use crate::node::core::Core;
use crate::node::maintenance::timers::Timer;
use crate::node::storage::sealed::{Memory, View};

/// Endpoints that a republish contacts anew in one family: about 24 on the way and 8 that store.
const REPUBLISH_ENDPOINTS: u32 = 32;

/// The most republishes at once, if there are enough lookup slots.
const MAX_REPUBLISHES: usize = 4;

/// Republishes leave this share of the lookup slots to others.
const RESERVE: usize = 4;

/// First republishes that need not wait for each other leave this share of the lookup slots to others.
const FIRST_RESERVE: usize = 2;

/// The pause after a republish that found no slot: every lookup that ends may leave one.
const SLOT_PAUSE: Duration = Duration::from_secs(1);

/// The longest time that a republish waits for others to use fewer new endpoints.
const PATIENCE: Duration = Duration::from_secs(10);

/// The pause between the end of a republish and the start of another.
const END_PAUSE: Duration = Duration::from_millis(1);

const INTERVALS: [Duration; 2] = [Duration::from_secs(60), Duration::from_secs(24 * 3600)];

/// Returns how fast republishes follow each other, so that they alone stay within the limit of new endpoints.
pub(in crate::node) fn pace(config: &Config, lookups: usize) -> Pace {
    let families = Family::ALL.into_iter().filter(|&family| config.has(family)).count() as u32;
    let lookups = lookups / families.max(1) as usize;
    let rounds = (lookups / RESERVE).clamp(1, MAX_REPUBLISHES);
    let interval = config.announce_interval.clamp(INTERVALS[0], INTERVALS[1]);
    #[cfg(feature = "items")]
    let item_interval = config.items.publish_interval.clamp(INTERVALS[0], INTERVALS[1]);
    // Nothing but announces is republished.
    #[cfg(not(feature = "items"))]
    let item_interval = interval;
    let endpoints = Duration::from_secs(u64::from(REPUBLISH_ENDPOINTS * families));
    let spacing = endpoints / config.new_endpoints.per_sec.max(1);
    Pace::new(interval, item_interval, spacing, rounds, (lookups / FIRST_RESERVE).max(rounds))
}

impl Core {
    /// Starts announcing. `last`: how long ago the last republish of a saved announcement ended, and how many
    /// nodes confirmed it.
    pub(in crate::node) fn start_announcing(
        &mut self,
        m: &mut Memory<'_>,
        now: Instant,
        infohash: InfoHash,
        announce: Announce,
        last: Option<(Duration, u16)>,
    ) -> Result<PublicationId, PublishError> {
        let now = self.advance(now);
        if announce.port == 0 {
            return Err(PublishError::PortZero);
        }
        self.check_lookup_slots(
            m,
            Family::ALL.into_iter().filter(|&family| self.config.has(family)).count(),
        )?;
        let (target, subject) = (infohash.into(), Subject::Announce(announce));
        let ix = match self.republisher.find(m.publications, &target, false) {
            Some(ix) => {
                if m.publications[ix].subject != subject {
                    self.end_republish(m, ix);
                    self.republisher.change(m.publications, ix, subject, now);
                }
                ix
            }
            None => {
                let ix = self.republisher.restore(m.publications, target, subject, last, now);
                ix.ok_or_else(|| Limit::Publications.shortage(m.publications.len(), 1))?
            }
        };
        self.hold_own(m, infohash, announce);
        self.schedule_republishes(m);
        Ok(PublicationId { ix, generation: m.publications[ix].generation })
    }

    /// Checks that a republish can get the slots it needs at all.
    pub(in crate::node) fn check_lookup_slots(&self, m: &Memory<'_>, needed: usize) -> Result<(), Shortage> {
        let size = m.traversals.len();
        if size < needed { Err(Limit::Traversals.shortage(size, needed)) } else { Ok(()) }
    }

    /// Stops a publication: an item if `is_item`, else an announcement. Returns whether it existed.
    pub(in crate::node) fn stop_publication(
        &mut self,
        m: &mut Memory<'_>,
        publication: PublicationId,
        is_item: bool,
    ) -> bool {
        let exists = m.publications.get(publication.ix.position()).is_some_and(|Slot { value, .. }| {
            let is_current = value.phase != Phase::Free && value.generation == publication.generation;
            is_current && value.subject.is_item() == is_item
        });
        if exists {
            self.end_republish(m, publication.ix);
            if !is_item {
                self.release_own(m, m.publications[publication.ix].target.into());
            }
            #[cfg(feature = "items")]
            self.release_published(m, publication.ix);
            self.republisher.remove(m.publications, publication.ix);
            self.schedule_republishes(m);
        }
        exists
    }

    pub(in crate::node) fn announcements<'a>(
        &self,
        view: View<'a>,
    ) -> impl Iterator<Item = AnnouncementInfo> + use<'a> {
        let slept = Duration::from_micros(self.slept);
        let publication = (0..view.publications.len())
            .map(Ix::new)
            .filter(move |&ix| view.publications[ix].phase != Phase::Free);
        publication.filter_map(move |ix| {
            let publication = &view.publications[ix];
            let round = publication.round.some();
            let last = RepublishInfo {
                ended: outside(publication.ended, slept),
                acknowledged: publication.acknowledged.into(),
            };
            Some(AnnouncementInfo {
                id: PublicationId { ix, generation: publication.generation },
                infohash: publication.target.into(),
                announce: publication.subject.announce()?,
                round: round.map(|ix| LookupId { ix, generation: view.traversals[ix].generation }),
                last: publication.is_tried.then_some(last),
                due: round.is_none().then_some(outside(publication.due, slept)),
            })
        })
    }

    /// Starts the republishes that are due.
    pub(in crate::node) fn start_republishes(&mut self, m: &mut Memory<'_>) {
        while self.next_republish(m.publications).is_some_and(|at| at <= self.now) {
            let Some(ix) = self.republisher.next(m.publications, self.now) else { break };
            let Publication { target, subject, .. } = m.publications[ix];
            let goal = match subject {
                Subject::Announce(announce) => Goal::Announce(announce),
                #[cfg(feature = "items")]
                Subject::Item(item) => self.begin_item_republish(m, &target, item),
            };
            let families = Family::ALL.map(|family| self.family(family).on);
            let options = LookupOptions { only: None, ..self.config.lookup };
            match self.start(m, goal, [target; 2], families, &options, ix) {
                Ok(lookup) => {
                    self.republisher.begin(m.publications, ix, &mut self.rng, self.now);
                    m.publications[ix].round = lookup.ix;
                }
                // The user's lookups take all slots.
                Err(_) => self.republisher.starve(self.now + SLOT_PAUSE),
            }
        }
        self.schedule_republishes(m);
    }

    pub(in crate::node) fn schedule_republishes(&mut self, m: &Memory<'_>) {
        if self.republisher.len() > 0 {
            self.timers.set(Timer::Republish, self.next_republish(m.publications).unwrap_or(Instant::NEVER));
        } else {
            self.timers.set(Timer::Republish, Instant::NEVER);
        }
    }

    /// Repeats publications that failed before, after the network has come up.
    pub(in crate::node) fn resume_republishes(&mut self, m: &mut Memory<'_>) {
        self.republisher.retry_failed(m.publications, self.now);
        self.schedule_republishes(m);
    }

    /// Records the end of a republish, after it was reported.
    pub(in crate::node) fn on_republish_done(
        &mut self,
        m: &mut Memory<'_>,
        ix: Ix,
        acknowledged: u32,
        is_spared: bool,
    ) {
        m.publications[ix].round = Ix::NONE;
        if is_spared && acknowledged == 0 {
            self.republisher.spare(m.publications, ix, self.now);
        } else {
            self.republisher.end(m.publications, ix, acknowledged as u16, self.now);
        }
        // Until the next input the user may read the nodes of the lookup that has ended.
        self.republisher.hold(self.now + END_PAUSE);
        self.schedule_republishes(m);
    }

    /// Records that the user cancelled a republish.
    pub(in crate::node) fn on_republish_cancelled(&mut self, m: &mut Memory<'_>, ix: Ix) {
        m.publications[ix].round = Ix::NONE;
        self.republisher.skip(m.publications, ix, self.now);
        self.schedule_republishes(m);
    }

    /// Preempts the republish that started last to free a lookup slot. Returns whether there was one.
    pub(in crate::node) fn preempt_republish(&mut self, m: &mut Memory<'_>) -> bool {
        let lead = self.preemptible(m).max_by_key(|&lead| m.traversals[lead].started);
        let Some(lead) = lead else { return false };
        self.postpone_republish(m, lead);
        self.republisher.starve(self.now + SLOT_PAUSE);
        self.schedule_republishes(m);
        true
    }

    /// Returns how many traversals preempted republishes would free.
    pub(in crate::node) fn preemptible_traversals(&self, m: &Memory<'_>) -> usize {
        self.preemptible(m).map(|lead| 1 + usize::from(!m.traversals[lead].sibling.is_none())).sum()
    }

    /// Returns how many traversals must stay free for a republish because other lookups took all of them
    /// before: a user who always has another lookup to start must not prevent republishes for ever.
    pub(in crate::node) fn reserved_traversals(&self, m: &Memory<'_>) -> usize {
        let is_wanted = self.republisher.is_starved()
            && self.guarantees_republish(m)
            && self.next_republish(m.publications).is_some();
        if is_wanted { self.families.iter().filter(|family| family.on).count() } else { 0 }
    }

    /// Returns the republishes in progress that may be preempted, by their leading traversals: all but the
    /// first.
    fn preemptible<'a>(&self, m: &'a Memory<'_>) -> impl Iterator<Item = Ix> + use<'a> {
        let traversals = &*m.traversals;
        let is_under_way = move |ix: Ix| traversals[ix].phase.is_under_way();
        let leads = (0..traversals.len()).map(Ix::new).filter(move |&ix| {
            let traversal = &traversals[ix];
            let is_round =
                !traversal.publication.is_none() && traversal.lead == ix && traversal.phase.has_events();
            is_round && (is_under_way(ix) || traversal.sibling.some().is_some_and(is_under_way))
        });
        leads.skip(self.guarantees_republish(m).into())
    }

    /// Whether there are enough lookup slots for one republish to go on whatever the user starts.
    fn guarantees_republish(&self, m: &Memory<'_>) -> bool {
        m.traversals.len() >= RESERVE * self.families.iter().filter(|family| family.on).count()
    }

    /// Ends the republish that this traversal leads; it comes first when there is room again.
    pub(in crate::node) fn postpone_republish(&mut self, m: &mut Memory<'_>, lead: Ix) {
        let publication = m.traversals[lead].publication;
        self.end_traversals(m, lead);
        m.publications[publication].round = Ix::NONE;
        self.republisher.put_back(m.publications, publication, self.now);
    }

    /// Returns when the next republish starts; `None` while there is no network, or nothing to start.
    fn next_republish(&self, slots: &[Slot<Publication>]) -> Option<Instant> {
        let is_ready = self.families.iter().any(|family| family.on && family.ready);
        if !is_ready || self.seems_down() {
            return None;
        }
        let wanted = self.republisher.next_start(slots)?;
        if self.republisher.is_at_once() {
            return Some(wanted.max(self.now));
        }
        // Half of the burst of new endpoints is left to the user's own lookups.
        let limit = self.endpoint_rate();
        let half = limit.burst.div_ceil(2).max(1);
        let stocked = self.new_endpoints.stocked_at(limit, half, self.now)?;
        Some(wanted.max(stocked.min(wanted + PATIENCE)).max(self.now))
    }

    /// Ends the republish of a publication that is in progress, and what an earlier one would still send.
    pub(in crate::node) fn end_republish(&mut self, m: &mut Memory<'_>, publication: Ix) {
        if let Some(lead) = core::mem::take(&mut m.publications[publication].round).some() {
            self.end_traversals(m, lead);
        }
        for ix in (0..m.traversals.len()).map(Ix::new) {
            let traversal = &m.traversals[ix];
            if traversal.lingers()
                && traversal.publication == publication
                && traversal.target == m.publications[publication].target
            {
                self.traversals.set_phase(m, ix, lookup::Phase::Free);
            }
        }
    }
}

/// Converts an instant to the caller's clock, which does not count `slept`.
pub(in crate::node) fn outside(at: Instant, slept: Duration) -> Instant {
    Instant::ZERO + (at - (Instant::ZERO + slept))
}
