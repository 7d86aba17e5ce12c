//! Samples of infohashes (BEP 51): requested from other nodes, and returned to them.

use core::net::SocketAddr;

use crate::base::addr::Endpoint;
use crate::base::id::{ID_LEN, InfoHash, NodeId};
use crate::base::pool::Ix;
use crate::base::time::Instant;
use crate::lookup::sampling::{self, QueryRef, Sampling};
use crate::node::Node;
use crate::node::api::error::{ContactError, Limit, QueryError};
use crate::node::api::event::NodeInfo;
use crate::node::api::ids::QueryId;
use crate::node::api::report::{Pong, Sample};
use crate::node::core::{Core, Sampler};
use crate::node::storage::Storage;
use crate::node::storage::sealed::{Memory, View};
use crate::rpc::inflight::Purpose;
use crate::store::peers::SampleResult;
use crate::wire::Response;

pub(in crate::node) const SAMPLER: Sampler = Sampler { accept: Core::fill_sampling, report };

/// Samples of the infohashes that others store (BEP 51).
impl<S: Storage> Node<S> {
    /// Queries a single node for a sample of the infohashes that it stores peers of, and for the nodes
    /// closest to `target` that it knows (BEP 51).
    ///
    /// The query ends with [`Event::SampleDone`](crate::Event::SampleDone). A node returns the same sample
    /// until its [`Sample::interval`](crate::report::Sample::interval) has passed, and asks not to be queried before.
    /// A `Crawler` (feature `alloc`) respects that.
    ///
    /// # Errors
    ///
    /// [`ContactError::AddressRefused`], [`ContactError::Disabled`], or [`ContactError::Full`], also past
    /// [`Limits::samplings`](field@crate::Limits::samplings).
    pub fn sample_infohashes(
        &mut self,
        now: Instant,
        addr: SocketAddr,
        target: NodeId,
    ) -> Result<QueryId, ContactError> {
        self.core.sample_infohashes(&mut self.storage.memory(), now, addr.into(), target)
    }

    /// Returns the infohashes in the response to [`sample_infohashes`](Self::sample_infohashes).
    ///
    /// May be called after [`Event::SampleDone`](crate::Event::SampleDone) until the next input or command.
    pub fn samples(&self, query: QueryId) -> impl Iterator<Item = InfoHash> {
        self.core.samples(self.storage.view(), query)
    }

    /// Returns the nodes in the response to [`sample_infohashes`](Self::sample_infohashes), at most 16. None
    /// of them has been verified.
    ///
    /// May be called after [`Event::SampleDone`](crate::Event::SampleDone) until the next input or command.
    pub fn sample_nodes(&self, query: QueryId) -> impl Iterator<Item = NodeInfo> {
        self.core.sample_nodes(self.storage.view(), query)
    }

    /// Whether sources are distinguished by IP address.
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
    ) -> Result<QueryId, ContactError> {
        self.advance(now);
        self.check_contact(to)?;
        let slot = sampling::alloc(m.samplings, target);
        let slot = slot.ok_or_else(|| Limit::Samplings.shortage(m.samplings.len(), 1))?;
        let query = self.start_ping(m, now, to, Purpose::Sample(slot));
        match query {
            Ok(query) => {
                m.samplings[slot.position()].begin(QueryRef { ix: query.ix, generation: query.generation })
            }
            Err(_) => m.samplings[slot.position()].free(),
        }
        query
    }

    /// Stores the response to a sample query of this node.
    pub(in crate::node) fn accept_sample(&mut self, m: &mut Memory<'_>, slot: Ix, response: &Response<'_>) {
        if let Some(sampler) = &self.code.parts.sampler {
            (sampler.accept)(self, m, slot, response);
        }
    }

    /// Returns the result of an ended sample query of this node.
    pub(in crate::node) fn report_sample(
        &self,
        m: &mut Memory<'_>,
        slot: Ix,
        result: Result<Pong, QueryError>,
    ) -> Option<Result<Sample, QueryError>> {
        let sampler = self.code.parts.sampler.as_ref()?;
        Some((sampler.report)(&mut m.samplings[slot.position()], result))
    }

    fn fill_sampling(&mut self, m: &mut Memory<'_>, slot: Ix, response: &Response<'_>) {
        let mut refused = 0;
        m.samplings[slot.position()].fill(response, |id, endpoint| {
            let is_usable = self.is_candidate(id, endpoint);
            refused += u64::from(!is_usable);
            is_usable
        });
        self.stats.contacts_refused += refused;
    }

    pub(in crate::node) fn samples<'a>(
        &self,
        view: View<'a>,
        query: QueryId,
    ) -> impl Iterator<Item = InfoHash> + use<'a> {
        let sampling =
            sampling::find(view.samplings, QueryRef { ix: query.ix, generation: query.generation });
        sampling.into_iter().flat_map(|sampling| sampling.samples()).copied()
    }

    pub(in crate::node) fn sample_nodes<'a>(
        &self,
        view: View<'a>,
        query: QueryId,
    ) -> impl Iterator<Item = NodeInfo> + use<'a> {
        let sampling =
            sampling::find(view.samplings, QueryRef { ix: query.ix, generation: query.generation });
        let nodes = sampling.into_iter().flat_map(|sampling| sampling.nodes());
        nodes.map(|&(id, endpoint)| NodeInfo { id, addr: endpoint.into(), rtt: None })
    }

    /// Writes infohashes that this node stores peers of, for a response.
    pub(in crate::node) fn report_infohashes(
        &mut self,
        m: &mut Memory<'_>,
        out: &mut [[u8; ID_LEN]],
    ) -> SampleResult {
        let samples = core::mem::take(&mut m.samples);
        let sample = self.peers.sample_infohashes(m.peers(), samples, self.now, &mut self.rng, out);
        m.samples = samples;
        sample
    }
}

fn report(sampling: &mut Sampling, result: Result<Pong, QueryError>) -> Result<Sample, QueryError> {
    let Pong { id, rtt } = match result {
        Ok(pong) => pong,
        Err(error) => {
            sampling.free();
            return Err(error);
        }
    };
    sampling.mark_reported();
    let (count, stored) = (sampling.samples().len() as u32, sampling.stored);
    let (is_supported, interval) = (sampling.is_supported, sampling.interval());
    Ok(Sample { id, rtt, is_supported, count, stored, interval })
}
