//! Publications: announces and items that the node republishes by itself, each time by an ordinary lookup.

use core::time::Duration;

use crate::base::addr::Family;
use crate::base::id::InfoHash;
use crate::base::pool::{Ix, Slot};
use crate::base::time::Instant;
use crate::lookup::republisher::{LastRepublish, Phase, Publication, SLOTS_PER_REPUBLISH, Subject};
use crate::lookup::{self, Announce, Goal, LookupOptions};
use crate::node::api::error::{Limit, PublishError, Shortage};
use crate::node::api::event::{AnnouncementInfo, RepublishInfo};
use crate::node::api::ids::{LookupId, PublicationId};
use crate::node::core::{Core, Occasion, Publisher};
use crate::node::maintenance::timers::Timer;
use crate::node::storage::sealed::{Memory, View};

/// The pause after a republish that found no lookup slot; lookups take seconds.
const SLOT_PAUSE: Duration = Duration::from_secs(1);

/// The longest time that a republish waits for others to use fewer new endpoints.
const MAX_WAIT: Duration = Duration::from_secs(10);

/// The pause between the end of a republish and the start of another, in which its nodes can be read.
const END_PAUSE: Duration = Duration::from_millis(1);

pub(in crate::node) static PUBLISHER: Publisher = Publisher {
    handle: Core::handle_publications,
    preempt: Core::preempt_republish,
    reserved: Core::reserved_traversals,
};

/// What the other parts of a node need of the publisher, if there has been a publication.
impl Core {
    pub(in crate::node) fn on_publications(&mut self, m: &mut Memory<'_>, occasion: Occasion) {
        if let Some(publisher) = self.code.publisher {
            (publisher.handle)(self, m, occasion);
        }
    }

    fn handle_publications(&mut self, m: &mut Memory<'_>, occasion: Occasion) {
        match occasion {
            Occasion::Due => self.start_republishes(m),
            Occasion::Up => {
                self.republisher.retry_failed(m.publications, self.now);
                self.schedule_republishes(m);
            }
            Occasion::Moved => {
                self.republisher.renew(m.publications, self.now);
                self.schedule_republishes(m);
            }
            Occasion::Ended { publication, acknowledged, is_spared } => {
                self.on_republish_done(m, publication, acknowledged, is_spared);
            }
        }
    }
}

impl Core {
    /// Starts an announcement; `last` is the last republish of a saved one.
    pub(in crate::node) fn start_announcing(
        &mut self,
        m: &mut Memory<'_>,
        now: Instant,
        infohash: InfoHash,
        announce: Announce,
        last: Option<LastRepublish>,
    ) -> Result<PublicationId, PublishError> {
        let now = self.advance(now);
        if announce.port == 0 {
            return Err(PublishError::PortZero);
        }
        self.code.publisher = Some(&PUBLISHER);
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
        self.store_own(m, infohash, announce);
        self.schedule_republishes(m);
        Ok(PublicationId { ix, generation: m.publications[ix].generation })
    }

    /// Checks that there are as many lookup slots as a republish needs.
    pub(in crate::node) fn check_lookup_slots(&self, m: &Memory<'_>, needed: usize) -> Result<(), Shortage> {
        let size = m.traversals.len();
        if size < needed { Err(Limit::Traversals.shortage(size, needed)) } else { Ok(()) }
    }

    /// Stops a publication, an item if `is_item` or else an announcement, and returns whether it existed.
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
                self.remove_own(m, m.publications[publication.ix].target.into());
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
            let round = publication.lookup.some();
            let last = RepublishInfo {
                ended: to_caller_clock(publication.ended, slept),
                acknowledged: publication.acknowledged.into(),
            };
            Some(AnnouncementInfo {
                id: PublicationId { ix, generation: publication.generation },
                infohash: publication.target.into(),
                announce: publication.subject.announce()?,
                round: round.map(|ix| LookupId { ix, generation: view.traversals[ix].generation }),
                last: publication.is_tried.then_some(last),
                due: round.is_none().then_some(to_caller_clock(publication.due, slept)),
            })
        })
    }

    /// Starts the republishes that are due.
    fn start_republishes(&mut self, m: &mut Memory<'_>) {
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
                    m.publications[ix].lookup = lookup.ix;
                }
                // Lookups of the user use all slots.
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

    /// Records the end of a republish, after it was reported.
    fn on_republish_done(&mut self, m: &mut Memory<'_>, ix: Ix, acknowledged: u32, is_spared: bool) {
        m.publications[ix].lookup = Ix::NONE;
        if is_spared && acknowledged == 0 {
            self.republisher.spare(m.publications, ix, self.now);
        } else {
            self.republisher.end(m.publications, ix, acknowledged as u16, self.now);
        }
        // The caller may read the nodes of the lookup that has ended until the next input.
        self.republisher.delay(self.now + END_PAUSE);
        self.schedule_republishes(m);
    }

    /// Records that the user cancelled a republish.
    pub(in crate::node) fn on_republish_cancelled(&mut self, m: &mut Memory<'_>, ix: Ix) {
        m.publications[ix].lookup = Ix::NONE;
        self.republisher.skip(m.publications, ix, self.now);
        self.schedule_republishes(m);
    }

    /// Preempts the republish that started last to free a lookup slot, and returns whether there was one.
    fn preempt_republish(&mut self, m: &mut Memory<'_>) -> bool {
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

    /// Returns how many traversals must stay free for a republish that lacked one before.
    ///
    /// A user who always has another lookup to start must not prevent republishes forever.
    fn reserved_traversals(&self, m: &Memory<'_>) -> usize {
        let is_wanted = self.republisher.is_starved()
            && self.guarantees_republish(m)
            && self.next_republish(m.publications).is_some();
        if is_wanted { self.families.iter().filter(|family| family.on).count() } else { 0 }
    }

    /// Returns the leading traversals of the running republishes that may be preempted: all but the first.
    fn preemptible<'a>(&self, m: &'a Memory<'_>) -> impl Iterator<Item = Ix> + use<'a> {
        let traversals = &*m.traversals;
        let is_under_way = move |ix: Ix| traversals[ix].phase.is_under_way();
        let leads = (0..traversals.len()).map(Ix::new).filter(move |&ix| {
            let traversal = &traversals[ix];
            let is_republish =
                !traversal.publication.is_none() && traversal.lead == ix && traversal.phase.has_events();
            is_republish && (is_under_way(ix) || traversal.sibling.some().is_some_and(is_under_way))
        });
        leads.skip(self.guarantees_republish(m).into())
    }

    /// Whether there are enough lookup slots for one republish to continue whatever the user starts.
    fn guarantees_republish(&self, m: &Memory<'_>) -> bool {
        m.traversals.len() >= SLOTS_PER_REPUBLISH * self.families.iter().filter(|family| family.on).count()
    }

    /// Ends the republish that this traversal leads; it is the first to start when a slot is free again.
    pub(in crate::node) fn postpone_republish(&mut self, m: &mut Memory<'_>, lead: Ix) {
        let publication = m.traversals[lead].publication;
        self.end_traversals(m, lead);
        m.publications[publication].lookup = Ix::NONE;
        self.republisher.requeue(m.publications, publication, self.now);
    }

    /// Returns when the next republish starts; `None` while there is no network, or nothing to start.
    fn next_republish(&self, slots: &[Slot<Publication>]) -> Option<Instant> {
        let is_ready = self.families.iter().any(|family| family.on && family.ready);
        if !is_ready || self.seems_down() {
            return None;
        }
        let wanted = self.republisher.next_start(slots)?;
        if self.republisher.starts_at_once() {
            return Some(wanted.max(self.now));
        }
        // Half of the burst of new endpoints is left to the user's own lookups.
        let limit = self.endpoint_rate();
        let half = limit.burst.div_ceil(2).max(1);
        let stocked = self.new_endpoints.stocked_at(limit, half, self.now)?;
        Some(wanted.max(stocked.min(wanted + MAX_WAIT)).max(self.now))
    }

    /// Ends the running republish of a publication, and what an earlier one would still send.
    pub(in crate::node) fn end_republish(&mut self, m: &mut Memory<'_>, publication: Ix) {
        if let Some(lead) = core::mem::take(&mut m.publications[publication].lookup).some() {
            self.end_traversals(m, lead);
        }
        for ix in (0..m.traversals.len()).map(Ix::new) {
            let traversal = &m.traversals[ix];
            if traversal.announces_late()
                && traversal.publication == publication
                && traversal.target == m.publications[publication].target
            {
                self.traversals.set_phase(m, ix, lookup::Phase::Free);
            }
        }
    }
}

/// Converts an instant to the caller's clock, which does not count `slept`.
pub(in crate::node) fn to_caller_clock(at: Instant, slept: Duration) -> Instant {
    Instant::ZERO + (at - (Instant::ZERO + slept))
}
