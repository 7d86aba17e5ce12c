//! How calls begin, wait for a slot, and are given up.

use alloc::boxed::Box;

use super::Engine;
#[cfg(feature = "items")]
use super::feed::Reply;
#[cfg(feature = "items")]
use super::lookups::Outcome;
use super::lookups::{ActiveLookup, Key, Wants};
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
    /// Joins the lookup of another caller, or begins one, or has it wait.
    pub(super) fn lookup(&mut self, number: u64, key: Key, wants: Wants) {
        let mut lookups = self.lookups.values_mut().chain(self.queue.lookups());
        if let Some(lookup) = lookups.find(|lookup| lookup.key == key) {
            lookup.join(number, wants);
            return;
        }
        drop(lookups);
        let lookup = ActiveLookup::new(number, key, wants);
        self.ask(number, Call::Lookup(Box::new(lookup)));
    }

    /// How the lookup of a caller goes, unless it has ended.
    pub(super) fn report(&mut self, number: u64) -> Option<LookupReport> {
        let started = self.lookups.iter().find(|(_, lookup)| lookup.has_user(number));
        if let Some((&id, _)) = started {
            return self.node.lookup_report(id);
        }
        let own = self.node.id(Family::V4);
        let waiting = self.queue.lookups().find(|lookup| lookup.has_user(number))?;
        Some(waiting.key.unstarted(own))
    }

    /// Has the caller of a lookup wait until `at` at most.
    #[cfg(feature = "items")]
    pub(super) fn limit_wait(
        &mut self,
        number: u64,
        at: Instant,
        end: &dyn Fn() -> Option<Result<Outcome, CallError>>,
        reply: Reply<Option<Item>>,
    ) {
        match self.lookup_of(number) {
            Some(lookup) => {
                lookup.limit_wait(number, reply);
                self.waits.insert((at, number));
            }
            None => {
                reply.end(end().unwrap_or(Err(CallError::Closed)).map(|outcome| outcome.item));
            }
        }
    }

    /// Ends the waits of callers whose time has come.
    #[cfg(feature = "items")]
    pub(super) fn end_waits(&mut self, now: Instant) {
        while let Some((_, number)) = self.waits.first().copied().filter(|&(at, _)| at <= now) {
            self.waits.pop_first();
            if let Some(lookup) = self.lookup_of(number) {
                lookup.end_wait(number);
                let is_left = lookup.users.is_empty().then_some(lookup.number);
                self.busy = true;
                is_left.into_iter().for_each(|lookup| self.give_up_lookup(lookup));
            }
        }
    }

    /// The lookup of a caller, started or waiting for a slot.
    fn lookup_of(&mut self, number: u64) -> Option<&mut ActiveLookup> {
        let mut lookups = self.lookups.values_mut().chain(self.queue.lookups());
        lookups.find(|lookup| lookup.has_user(number))
    }

    /// Begins a call, or has it wait; or its caller is told why neither.
    pub(super) fn ask(&mut self, number: u64, call: Call) {
        if let Err((call, error)) = self.call(number, call) {
            call.fail(error);
        }
    }

    /// Begins a call, or has it wait. What can do neither comes back.
    pub(super) fn call(&mut self, number: u64, call: Call) -> Result<(), Refused> {
        let (call, refusal) = match self.queue.before(&call) {
            Some(refusal) => (call, refusal),
            None => match self.start_call(number, call) {
                Ok(()) => return Ok(()),
                Err(refused) => refused,
            },
        };
        self.queue.push(number, call, refusal)
    }

    /// Begins what has waited for slots that are free by now.
    pub(super) fn serve_queue(&mut self) {
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
                    // Those behind would be told the same.
                    break;
                }
            }
        }
    }

    /// Adds a holder of what is republished.
    pub(super) fn hold(&mut self, number: u64, publication: PublicationId, holder: Holder) {
        self.holders.insert(number, publication);
        self.publications.entry(publication).or_default().join(number, holder);
    }

    /// Ends the share of a caller. What has ended by itself is not known any more.
    pub(super) fn release(&mut self, resource: Resource) {
        match resource {
            Resource::Lookup(number) => self.leave_lookup(number),
            Resource::Query(number) => self.give_up(number),
            Resource::Publication(number) => self.leave_publication(number),
            Resource::Crawl(number) => {
                if let Some(crawl) = self.crawls.remove(&number) {
                    crawl.stop(&mut self.node);
                }
            }
        }
    }

    /// One of those who share a lookup has gone.
    fn leave_lookup(&mut self, number: u64) {
        let Some(lookup) = self.lookup_of(number) else { return };
        lookup.users.retain(|(user, _)| *user != number);
        if lookup.users.is_empty() {
            let lookup = lookup.number;
            self.give_up_lookup(lookup);
        }
    }

    /// Nobody waits for a lookup any more.
    fn give_up_lookup(&mut self, number: u64) {
        let started = self.lookups.iter().find(|(_, lookup)| lookup.number == number).map(|(&id, _)| id);
        match started {
            Some(id) => {
                self.lookups.remove(&id);
                self.node.cancel(id);
            }
            None => drop(self.queue.remove(number)),
        }
    }

    /// Nobody waits for the answer to a query any more.
    fn give_up(&mut self, number: u64) {
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
            // Nothing changes unless whoever is gone had come last. An error there is none: it is
            // kept, and this was accepted before.
            Some(Some((infohash, announce))) => {
                let _ = self.node.start_announcing(self.clock.now(), infohash, announce);
            }
            // Nodes would refuse an older version of an item: the newest stays.
            Some(None) => {}
            None => {
                self.publications.remove(&id);
                // One of both: an id is of an announce or of an item.
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
            Call::Publish { item, rounds } => match self.saved.start_publishing(&mut self.node, now, &item) {
                Ok(id) => self.hold(number, id, Holder { announce: None, rounds }),
                Err(error) => return Err((Call::Publish { item, rounds }, error.into())),
            },
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
