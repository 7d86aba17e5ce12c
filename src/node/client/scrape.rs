//! Scrapes by this node: how many peers a torrent has (BEP 33).
//!
//! `server::reply` responds to those of other nodes.

use crate::base::addr::Endpoint;
use crate::base::id::{InfoHash, NodeId};
use crate::base::pool::{Ix, Slot};
use crate::base::time::Instant;
use crate::lookup::scrape::Scrape;
use crate::lookup::{Goal, Lookup, LookupOptions, Traversal};
use crate::node::Node;
use crate::node::api::error::{Limit, StartError};
use crate::node::api::ids::LookupId;
use crate::node::api::report::SwarmSize;
use crate::node::core::{Core, Scraper};
use crate::node::storage::Storage;
use crate::node::storage::sealed::Memory;
#[cfg(any(feature = "checkpoint", feature = "sim"))]
use crate::node::storage::sealed::View;
use crate::wire::Response;

pub(in crate::node) const SCRAPER: Scraper =
    Scraper { add_own: Core::add_own_filters, take: take_filters, take_peer: Scrape::add_listed, size };

/// Scrapes (BEP 33).
impl<S: Storage> Node<S> {
    /// Counts the peers of a torrent without announcing a peer.
    ///
    /// The result is [`LookupReport::swarm`](crate::LookupReport::swarm), in the final report and, through
    /// [`lookup_report`](Self::lookup_report), before. A scrape is a lookup of peers whose responses carry
    /// filters (BEP 33), from which the number is estimated; of nodes that send no filters, the listed peers
    /// are counted. The peers themselves are not reported, and many nodes list none in such a response.
    ///
    /// For scrapes of many torrents BEP 33 recommends no more than four at once, and random pauses between
    /// two of the same torrent.
    ///
    /// # Errors
    ///
    /// [`StartError::Disabled`], or [`StartError::Full`], also past [`Limits::scrapes`](field@crate::Limits::scrapes).
    pub fn scrape(&mut self, now: Instant, infohash: InfoHash) -> Result<LookupId, StartError> {
        let options = self.core.config.lookup;
        self.lookup(now, Lookup::Scrape(infohash), &options)
    }
}

impl Core {
    pub(in crate::node) fn start_scrape(
        &mut self,
        m: &mut Memory<'_>,
        target: NodeId,
        families: [bool; 2],
        options: &LookupOptions,
    ) -> Result<LookupId, StartError> {
        let at = m.scrapes.iter().position(|scrape| !scrape.is_taken);
        let at = at.ok_or_else(|| Limit::Scrapes.shortage(m.scrapes.len(), 1))?;
        let lookup = self.start(m, Goal::Scrape, [target; 2], families, options, Ix::NONE)?;
        let scrape = Ix::new(at);
        m.scrapes[at] = Scrape::new();
        for ix in traversals_of(m.traversals, lookup.ix) {
            m.traversals[ix].scrape = scrape;
        }
        if let Some(scraper) = &self.code.parts.scraper
            && options.only.is_none()
        {
            (scraper.add_own)(self, m, at, target);
        }
        Ok(lookup)
    }

    /// Adds the filters of a response to a scrape, and returns whether its peers count.
    pub(in crate::node) fn accept_filters(
        &self,
        m: &mut Memory<'_>,
        ix: Ix,
        response: &Response<'_>,
    ) -> bool {
        let Some((scraper, scrape)) = self.scrape_of(m.traversals, ix) else { return true };
        (scraper.take)(&mut m.scrapes[scrape.position()], response)
    }

    /// Counts a peer that a response to a scrape lists.
    pub(in crate::node) fn count_peer(&self, m: &mut Memory<'_>, ix: Ix, peer: Endpoint) {
        if let Some((scraper, scrape)) = self.scrape_of(m.traversals, ix) {
            (scraper.take_peer)(&mut m.scrapes[scrape.position()], peer.ip());
        }
    }

    /// Returns the size of the swarm as far as a scrape has counted it.
    pub(in crate::node) fn swarm_size(
        &self,
        scrapes: &[Scrape],
        traversals: &[Slot<Traversal>],
        lead: Ix,
    ) -> Option<SwarmSize> {
        let (scraper, scrape) = self.scrape_of(traversals, lead)?;
        Some((scraper.size)(&scrapes[scrape.position()]))
    }

    fn scrape_of(&self, traversals: &[Slot<Traversal>], ix: Ix) -> Option<(&'static Scraper, Ix)> {
        Some((self.code.parts.scraper.as_ref()?, traversals[ix].scrape.some()?))
    }

    /// Adds the peers that are stored at this node.
    fn add_own_filters(&self, m: &mut Memory<'_>, at: usize, target: NodeId) {
        if let Some(own) = self.peers.scrape(m.peers(), &target.into(), self.now) {
            m.scrapes[at].add_filters(&own);
        }
    }

    /// Frees the filters of a scrape that is reported or cancelled.
    pub(in crate::node) fn end_scrape(m: &mut Memory<'_>, lead: Ix) {
        if let Some(scrape) = m.traversals[lead].scrape.some() {
            m.scrapes[scrape.position()].is_taken = false;
            for ix in traversals_of(m.traversals, lead) {
                m.traversals[ix].scrape = Ix::NONE;
            }
        }
    }

    /// Whether every slot is free, or in use by a lookup that is not reported.
    #[cfg(any(feature = "checkpoint", feature = "sim"))]
    pub(in crate::node) fn scrapes_are_consistent(view: View<'_>) -> bool {
        let counts = |ix: Ix| view.traversals[ix].lead == ix && !view.traversals[ix].scrape.is_none();
        let scraping = (0..view.traversals.len()).map(Ix::new).filter(|&ix| counts(ix)).count();
        view.scrapes.iter().filter(|scrape| scrape.is_taken).count() == scraping
    }
}

/// Returns the traversals of a lookup, the leading one first.
fn traversals_of(traversals: &[Slot<Traversal>], lead: Ix) -> impl Iterator<Item = Ix> + Clone + use<> {
    [Some(lead), traversals[lead].sibling.some()].into_iter().flatten()
}

fn take_filters(scrape: &mut Scrape, response: &Response<'_>) -> bool {
    let peers = response.values.into_iter().flat_map(|values| values.iter());
    scrape.add_response([response.seeds, response.peers], peers.map(|peer| peer.ip()))
}

fn size(scrape: &Scrape) -> SwarmSize {
    let [seeds, downloaders] = scrape.estimate();
    SwarmSize { seeds, downloaders, sources: scrape.sources.into(), refused: scrape.refused.into() }
}
