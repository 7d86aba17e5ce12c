//! Samples of infohashes (BEP 51): of ours for others, and of theirs for us.

use core::net::SocketAddr;

use crate::base::addr::Endpoint;
use crate::base::id::{ID_LEN, InfoHash, NodeId};
use crate::base::pool::Ix;
use crate::base::time::Instant;
use crate::lookup::sampling;
use crate::node::Node;
use crate::node::api::error::Limit;
use crate::node::api::error::{QueryError, StartError};
use crate::node::api::event::{NodeInfo, Pong, QueryId, Sample};
use crate::node::core::Core;
use crate::node::storage::Storage;
use crate::node::storage::sealed::{Memory, View};
use crate::rpc::inflight::Purpose;
use crate::store::peers::{PeerSlots, Told};
use crate::wire::Response;

/// Samples of the infohashes that others store (BEP 51).
impl<S: Storage> Node<S> {
    /// Asks a single node for a sample of the infohashes that it stores peers of, and for the nodes that it
    /// knows closest to `target` (BEP 51). It ends with [`Event::SampleDone`](crate::Event::SampleDone).
    ///
    /// A node that was asked tells the same again until its [`Sample::interval`](crate::Sample::interval)
    /// is over, and wants not to be asked before. A `Crawler` (feature `alloc`) sees to that.
    ///
    /// # Errors
    ///
    /// [`StartError::AddressRefused`], [`StartError::Disabled`], or [`StartError::Full`], also past
    /// [`Limits::samplings`](crate::Limits::samplings).
    pub fn sample_infohashes(
        &mut self,
        now: Instant,
        addr: SocketAddr,
        target: NodeId,
    ) -> Result<QueryId, StartError> {
        self.core.sample_infohashes(&mut self.storage.memory(), now, addr.into(), target)
    }

    /// The infohashes in the answer to [`sample_infohashes`](Self::sample_infohashes).
    ///
    /// After [`Event::SampleDone`](crate::Event::SampleDone) it may be called until the next input or
    /// command.
    pub fn samples(&self, query: QueryId) -> impl Iterator<Item = InfoHash> {
        self.core.samples(self.storage.view(), query)
    }

    /// The nodes in the answer to [`sample_infohashes`](Self::sample_infohashes), at most 16. None of them
    /// was asked whether it exists.
    ///
    /// After [`Event::SampleDone`](crate::Event::SampleDone) it may be called until the next input or
    /// command.
    pub fn sample_nodes(&self, query: QueryId) -> impl Iterator<Item = NodeInfo> {
        self.core.sample_nodes(self.storage.view(), query)
    }

    /// Whether it tells sources apart by IP address.
    #[cfg(feature = "alloc")]
    pub(crate) const fn limits_sources(&self) -> bool {
        self.core.config.source_limits
    }
}

impl Core {
    pub(in crate::node) fn sample_infohashes(
        &mut self,
        m: &mut Memory<'_>,
        now: Instant,
        to: Endpoint,
        target: NodeId,
    ) -> Result<QueryId, StartError> {
        self.advance(now);
        self.check_contact(to)?;
        let slot = sampling::alloc(m.samplings, target);
        let slot = slot.ok_or_else(|| Limit::Samplings.refusal(m.samplings.len(), 1))?;
        let query = self.start_ping(m, now, to, Purpose::Sample(slot));
        match query {
            Ok(query) => m.samplings[slot.position()].begin((query.ix, query.generation)),
            Err(_) => m.samplings[slot.position()].free(),
        }
        query
    }

    /// Takes in the answer to a query of ours.
    pub(in crate::node) fn accept_sample(&mut self, m: &mut Memory<'_>, slot: Ix, response: &Response<'_>) {
        let mut refused = 0;
        m.samplings[slot.position()].fill(response, |id, endpoint| {
            let is_usable = self.is_candidate(id, endpoint);
            refused += u64::from(!is_usable);
            is_usable
        });
        self.stats.contacts_refused += refused;
    }

    /// What is reported of a query of ours that has ended.
    pub(in crate::node) fn report_sample(
        m: &mut Memory<'_>,
        slot: Ix,
        result: Result<Pong, QueryError>,
    ) -> Result<Sample, QueryError> {
        let Pong { id, rtt } = match result {
            Ok(pong) => pong,
            Err(error) => {
                m.samplings[slot.position()].free();
                return Err(error);
            }
        };
        let sampling = &mut m.samplings[slot.position()];
        sampling.tell();
        let (count, stored) = (sampling.samples().len() as u32, sampling.stored);
        let (is_supported, interval) = (sampling.is_supported, sampling.interval());
        Ok(Sample { id, rtt, is_supported, count, stored, interval })
    }

    pub(in crate::node) fn samples<'a>(
        &self,
        view: View<'a>,
        query: QueryId,
    ) -> impl Iterator<Item = InfoHash> + use<'a> {
        let sampling = sampling::find(view.samplings, (query.ix, query.generation));
        sampling.into_iter().flat_map(|sampling| sampling.samples()).copied()
    }

    pub(in crate::node) fn sample_nodes<'a>(
        &self,
        view: View<'a>,
        query: QueryId,
    ) -> impl Iterator<Item = NodeInfo> + use<'a> {
        let sampling = sampling::find(view.samplings, (query.ix, query.generation));
        let nodes = sampling.into_iter().flat_map(|sampling| sampling.nodes());
        nodes.map(|&(id, endpoint)| NodeInfo { id, addr: endpoint.into(), rtt: None })
    }

    /// Writes infohashes of ours for somebody who asked.
    pub(in crate::node) fn report_infohashes(
        &mut self,
        m: &mut Memory<'_>,
        out: &mut [[u8; ID_LEN]],
    ) -> Told {
        let slots = PeerSlots { swarms: m.swarms, v4: m.peers_v4, v6: m.peers_v6 };
        self.peers.sample_infohashes(slots, m.samples, self.now, &mut self.rng, out)
    }
}
