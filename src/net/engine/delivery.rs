//! Events of the node, delivered to the callers that wait for them.

use alloc::vec::Vec;

use super::Engine;
use super::events::NetEvent;
#[cfg(feature = "items")]
use super::lookups::torrent;
use super::lookups::{Consumer, Outcome, Sampled};
use super::publications::ActivePublication;
use crate::net::error::CallError;
use crate::net::trace;
use crate::report::Sample;
use crate::{Event, LookupId, QueryError, QueryId};

impl Engine {
    /// Delivers all events of the node: to the callers that wait for them, or else to the subscribers.
    pub(super) fn deliver_events(&mut self) {
        while let Some(event) = self.node.poll_event() {
            self.busy = true;
            // The handles must report the node as ready before the event does.
            if matches!(event, Event::Ready { .. }) {
                self.note_ready();
            }
            if !self.deliver(event) {
                self.publish(NetEvent::Node(event));
            }
        }
    }

    /// Delivers an event to the caller that waits for it, and returns whether there is one.
    fn deliver(&mut self, event: Event) -> bool {
        match event {
            Event::Peer { lookup, peer } => {
                if let Some(lookup) = self.lookups.get_mut(&lookup) {
                    lookup.push_peer(peer);
                    return true;
                }
                self.publication(lookup).map(|publication| publication.push_peer(lookup, peer)).is_some()
            }
            Event::Acknowledged { lookup, node } => {
                if let Some(lookup) = self.lookups.get_mut(&lookup) {
                    lookup.push_acknowledged(node);
                    return true;
                }
                let publication = self.publication(lookup);
                publication.map(|publication| publication.push_acknowledged(lookup, node)).is_some()
            }
            #[cfg(feature = "items")]
            Event::ItemFound { lookup, .. } => {
                self.take_version(lookup);
                self.lookups.contains_key(&lookup) || self.publication(lookup).is_some()
            }
            Event::LookupDone { lookup, report } => {
                trace::lookup_done(&report);
                // The event of its last version may have been lost.
                #[cfg(feature = "items")]
                self.take_version(lookup);
                let Some(ended) = self.lookups.remove(&lookup) else {
                    let publication = report.publication.and_then(|kept| self.publications.get_mut(&kept));
                    return publication.map(|publication| publication.end(lookup, report)).is_some();
                };
                let (users, outcome) = ended.finish(report, self.node.lookup_nodes(lookup).collect());
                self.finish(users, &outcome);
                true
            }
            Event::QueryDone { query, result, .. } => {
                let ping = self.pings.remove(&query);
                ping.map(|(_, reply)| reply.end(result.map_err(CallError::Query))).is_some()
            }
            Event::SampleDone { query, result, .. } => {
                if let Some((_, reply)) = self.samples.remove(&query) {
                    reply.end(self.sampled(query, result));
                    return true;
                }
                let now = self.clock.now();
                self.crawls.values_mut().any(|crawl| crawl.handle_event(now, &self.node, &event))
            }
            _ => false,
        }
    }

    /// Ends a lookup for each of its callers, or continues with the put of a caller that looked up an item to replace
    /// it.
    fn finish(&mut self, users: Vec<(u64, Consumer)>, outcome: &Outcome) {
        #[cfg_attr(
            not(feature = "items"),
            expect(unused_variables, reason = "a lookup is continued for items only")
        )]
        for (number, consumer) in users {
            match consumer {
                Consumer::Peers(feed) => feed.end(Ok(outcome.clone())),
                #[cfg(feature = "items")]
                Consumer::Versions(feed) => feed.end(Ok(outcome.clone())),
                #[cfg(feature = "items")]
                Consumer::Newest(reply) => reply.end(Ok(outcome.item.clone())),
                #[cfg(feature = "items")]
                Consumer::Torrent(reply) => reply.end(torrent(outcome)),
                #[cfg(feature = "items")]
                Consumer::Successor(successor) => match successor.key(outcome) {
                    Ok(key) => self.lookup(number, key, Consumer::Peers(successor.put)),
                    Err(error) => successor.put.end(Err(error)),
                },
            }
        }
    }

    /// Delivers the newest version of the item of a lookup, if it has one.
    #[cfg(feature = "items")]
    fn take_version(&mut self, lookup: LookupId) {
        if let Some(active) = self.lookups.get_mut(&lookup) {
            active.push_version(self.node.item(lookup));
        }
    }

    fn sampled(&self, query: QueryId, result: Result<Sample, QueryError>) -> Result<Sampled, CallError> {
        let sample = result.map_err(CallError::Query)?;
        let (infohashes, nodes) = (self.node.samples(query), self.node.sample_nodes(query));
        Ok(Sampled { sample, infohashes: infohashes.collect(), nodes: nodes.collect() })
    }

    /// Returns the publication that a lookup republishes.
    fn publication(&mut self, lookup: LookupId) -> Option<&mut ActivePublication> {
        self.publications.get_mut(&self.node.lookup_report(lookup)?.publication?)
    }
}
