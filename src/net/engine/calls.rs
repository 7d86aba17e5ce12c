//! How calls start, wait for a slot, and are cancelled.

use alloc::boxed::Box;

use super::Engine;
#[cfg(feature = "items")]
use super::feed::Reply;
#[cfg(feature = "items")]
use super::lookups::Outcome;
use super::lookups::{ActiveLookup, Consumer, Key};
use super::mailbox::Resource;
use super::publications::Holder;
use super::queue::{Call, Refused, passing};
#[cfg(feature = "items")]
use crate::items::Item;
#[cfg(feature = "items")]
use crate::net::error::CallError;
use crate::net::trace::event;
use crate::{Family, Instant, LookupId, LookupReport, PublicationId, StartError};

impl Engine {
    /// Joins the lookup of another caller, starts one, or queues the call.
    pub(super) fn lookup(&mut self, number: u64, key: Key, consumer: Consumer) {
        let mut lookups = self.lookups.values_mut().chain(self.queue.lookups());
        if let Some(lookup) = lookups.find(|lookup| lookup.key == key) {
            lookup.join(number, consumer);
            return;
        }
        drop(lookups);
        let lookup = ActiveLookup::new(number, key, consumer);
        self.submit(number, Call::Lookup(Box::new(lookup)));
    }

    /// Returns the report of a caller's lookup, unless it has ended.
    pub(super) fn report(&mut self, number: u64) -> Option<LookupReport> {
        let started = self.lookups.iter().find(|(_, lookup)| lookup.has_user(number));
        if let Some((&id, _)) = started {
            return self.node.lookup_report(id);
        }
        let own = self.node.id(Family::V4);
        let waiting = self.queue.lookups().find(|lookup| lookup.has_user(number))?;
        Some(waiting.key.unstarted(own))
    }

    /// Bounds the wait of a lookup's caller by the time `at`.
    #[cfg(feature = "items")]
    pub(super) fn limit_wait(
        &mut self,
        number: u64,
        at: Instant,
        end: &dyn Fn() -> Option<Result<Outcome, CallError>>,
        reply: Reply<Option<Item>>,
    ) {
        match self.lookup_with(number) {
            Some(lookup) => {
                lookup.limit_wait(number, reply);
                self.waits.insert((at, number));
            }
            None => {
                reply.end(end().unwrap_or(Err(CallError::Closed)).map(|outcome| outcome.item));
            }
        }
    }

    /// Ends the waits that are over at `now`.
    #[cfg(feature = "items")]
    pub(super) fn end_waits(&mut self, now: Instant) {
        while let Some((_, number)) = self.waits.first().copied().filter(|&(at, _)| at <= now) {
            self.waits.pop_first();
            if let Some(lookup) = self.lookup_with(number) {
                lookup.end_wait(number);
                let is_left = lookup.users.is_empty().then_some(lookup.number);
                self.busy = true;
                is_left.into_iter().for_each(|lookup| self.cancel_lookup(lookup));
            }
        }
    }

    /// Returns the lookup of a caller, started or waiting for a slot.
    fn lookup_with(&mut self, number: u64) -> Option<&mut ActiveLookup> {
        let mut lookups = self.lookups.values_mut().chain(self.queue.lookups());
        lookups.find(|lookup| lookup.has_user(number))
    }

    /// Starts or queues a call; if neither is possible, fails it.
    pub(super) fn submit(&mut self, number: u64, call: Call) {
        if let Err((call, error)) = self.try_submit(number, call) {
            call.fail(error);
        }
    }

    /// Starts or queues a call; if neither is possible, returns it.
    pub(super) fn try_submit(&mut self, number: u64, call: Call) -> Result<(), Refused> {
        let (call, refusal) = match self.queue.refusal_before(&call) {
            Some(refusal) => (call, refusal),
            None => match self.start_call(number, call) {
                Ok(()) => return Ok(()),
                Err(refused) => refused,
            },
        };
        self.queue.push(number, call, refusal)
    }

    /// Starts calls that have waited for slots that are free now.
    pub(super) fn retry_queued(&mut self) {
        for limit in self.queue.limits() {
            while let Some((number, call)) = self.queue.pop(limit) {
                let Err((call, refusal)) = self.start_call(number, call) else {
                    self.busy = true;
                    continue;
                };
                let Some((at, _)) = passing(&refusal) else {
                    self.busy = true;
                    call.fail(refusal);
                    continue;
                };
                self.queue.put(at, number, call, refusal);
                if at <= limit {
                    // All calls behind it would be refused for the same reason.
                    break;
                }
            }
        }
    }

    /// Adds a holder of a publication.
    pub(super) fn add_holder(&mut self, number: u64, publication: PublicationId, holder: Holder) {
        self.holders.insert(number, publication);
        self.publications.entry(publication).or_default().join(number, holder);
    }

    /// Releases the share of a caller. A resource that has ended by itself is unknown by then.
    pub(super) fn release(&mut self, resource: Resource) {
        match resource {
            Resource::Lookup(number) => self.leave_lookup(number),
            Resource::Query(number) => self.cancel_query(number),
            Resource::Publication(number) => self.leave_publication(number),
            Resource::Crawl(number) => {
                if let Some(crawl) = self.crawls.remove(&number) {
                    crawl.stop(&mut self.node);
                }
            }
        }
    }

    /// Removes a caller from its lookup.
    fn leave_lookup(&mut self, number: u64) {
        let Some(lookup) = self.lookup_with(number) else { return };
        lookup.users.retain(|(user, _)| *user != number);
        if lookup.users.is_empty() {
            let lookup = lookup.number;
            self.cancel_lookup(lookup);
        }
    }

    /// Cancels a lookup without callers.
    fn cancel_lookup(&mut self, number: u64) {
        let started = self.lookups.iter().find(|(_, lookup)| lookup.number == number).map(|(&id, _)| id);
        match started {
            Some(id) => {
                self.lookups.remove(&id);
                self.node.cancel(id);
            }
            None => drop(self.queue.remove(number)),
        }
    }

    /// Cancels a query to a single node.
    fn cancel_query(&mut self, number: u64) {
        if self.queue.remove(number).is_some() {
            return;
        }
        let pings = self.pings.iter().map(|(&query, (of, _))| (query, *of));
        let samples = self.samples.iter().map(|(&query, (of, _))| (query, *of));
        let query = pings.chain(samples).find_map(|(query, of)| (of == number).then_some(query));
        if let Some(query) = query {
            self.pings.remove(&query);
            self.samples.remove(&query);
            self.node.cancel_query(query);
        }
    }

    fn leave_publication(&mut self, number: u64) {
        let Some(id) = self.holders.remove(&number) else {
            drop(self.queue.remove(number));
            return;
        };
        let Some(publication) = self.publications.get_mut(&id) else { return };
        publication.holders.remove(&number);
        match publication.holders.last_key_value().map(|(_, holder)| holder.announce) {
            // Changes nothing unless the caller that left was the latest. There can be no error: the announce is
            // published, and this one was accepted before.
            Some(Some((infohash, announce))) => {
                let _ = self.node.start_announcing(self.clock.now(), infohash, announce);
            }
            // Nodes would refuse an older version of an item: the newest stays.
            Some(None) => {}
            None => {
                self.publications.remove(&id);
                // An id belongs to either an announce or an item.
                self.node.stop_announcing(id);
                #[cfg(feature = "items")]
                self.node.stop_publishing(id);
            }
        }
    }

    fn start_call(&mut self, number: u64, call: Call) -> Result<(), Refused> {
        let now = self.clock.now();
        match call {
            Call::Lookup(lookup) => match self.start_lookup(now, &lookup.key) {
                Ok(id) => {
                    event!(DEBUG, "lookup started", what = format_args!("{:?}", lookup.key));
                    self.lookups.insert(id, *lookup);
                }
                Err(error) => return Err((Call::Lookup(lookup), error.into())),
            },
            Call::Ping { addr, reply } => match self.node.ping(now, addr) {
                Ok(query) => drop(self.pings.insert(query, (number, reply))),
                Err(error) => return Err((Call::Ping { addr, reply }, error.into())),
            },
            Call::Sample { addr, target, reply } => match self.node.sample_infohashes(now, addr, target) {
                Ok(query) => drop(self.samples.insert(query, (number, reply))),
                Err(error) => return Err((Call::Sample { addr, target, reply }, error.into())),
            },
            Call::AddNode(addr) => self.node.add_node(now, addr).map_err(|error| (call, error.into()))?,
            #[cfg(feature = "items")]
            Call::Publish { item, republishes } => {
                match self.saved.start_publishing(&mut self.node, now, &item) {
                    Ok(id) => self.add_holder(number, id, Holder { announce: None, republishes }),
                    Err(error) => return Err((Call::Publish { item, republishes }, error.into())),
                }
            }
        }
        Ok(())
    }

    fn start_lookup(&mut self, now: Instant, key: &Key) -> Result<LookupId, StartError> {
        match key {
            Key::Lookup(lookup, options) => self.node.lookup(now, *lookup, options),
            #[cfg(feature = "items")]
            Key::Put(item, cas, options) => self.node.put_with(now, item, *cas, options),
            Key::Bootstrap => self.node.bootstrap(now),
        }
    }
}
