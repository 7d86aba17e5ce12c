//! Capacity of a node: [`Limits`], each default with its reason.

/// Queries in flight for each traversal: as many as one sends at once, by the default options.
const QUERIES_PER_TRAVERSAL: usize = 8;

/// Chunks of 128 bytes that the longest value takes (BEP 44).
#[cfg(feature = "items")]
const CHUNKS_PER_ITEM: usize = 8;

/// Capacity of a node. All memory is reserved when the node is created and never grows.
///
/// Any field may be 0: the node then works without that part. Each field has a setter of its name;
/// [`lookups`](Self::lookups), [`publications`](Self::publications), [`torrents`](Self::torrents) and
/// `stored_items` set the fields that depend on them as well.
///
/// ```
/// use dht_proto::Limits;
///
/// let limits = Limits::default().publications(500).lookups(100).torrents(20_000);
/// assert_eq!((limits.publications, limits.traversals, limits.peers_v4), (500, 200, 160_000));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// Routing table entries for IPv4. The default of 400 is 128, 64, 32 and 16 for the four
    /// farthest buckets and 8 for each of twenty nearer ones.
    pub nodes_v4: usize,
    /// Routing table entries for IPv6. Default: 400.
    pub nodes_v6: usize,
    /// Replacements in each family that has nodes, spread over the buckets, of which there is one for every
    /// eight nodes and at most 24. With fewer replacements than buckets there are none, and a node that sends
    /// a query is never learned from it. Default: 8 for each of 24 buckets.
    pub replacements: usize,
    /// Queries in flight, those of lookups included. Default: 512.
    pub inflight: usize,
    /// Traversals in progress or remembered for their tokens, one for each family of a lookup or an announce.
    /// Starting a lookup past the limit fails. Default: 64, for 32 lookups in both families.
    pub traversals: usize,
    /// The closest nodes that a lookup tracks in one family. Default: 64.
    pub candidates_per_lookup: usize,
    /// Write tokens of up to 128 bytes that a lookup keeps in one family, those of the closest nodes: an
    /// announce goes to no others. Default: 16, twice [`K`](crate::ids::K), so that it can spill over.
    pub tokens_per_lookup: usize,
    /// Peers that a lookup remembers in one family, to report each once; past that it reports none
    /// ([`LookupReport::more_peers`](crate::LookupReport::more_peers)). Up to 65,535, of 18 bytes for each of
    /// [`traversals`](field@Self::traversals): with 3000, for the peers of large swarms, 64 lookups take 3.5 MB.
    /// [`LookupOptions::max_peers`](field@crate::LookupOptions::max_peers) lowers it for a single lookup. Default:
    /// 512.
    pub peers_per_lookup: usize,
    /// Torrents whose peers are stored. Default: 4096.
    pub swarms: usize,
    /// Stored IPv4 peers, in chunks of four. Default: 32,768.
    pub peers_v4: usize,
    /// Stored IPv6 peers, in chunks of four. Default: 8192.
    pub peers_v6: usize,
    /// Infohashes in the random subset that is sent in response to `sample_infohashes` (BEP 51). 45 fill a
    /// datagram; with 0 none are sent once there are more than fit into one. Default: 45.
    pub samples: usize,
    /// Sources whose rates are tracked, and half as many subnets whose allowance and share are tracked. With
    /// 0 no source is ever verified, and responses stay within three times the query: for nodes that do not
    /// answer. Default: 2048.
    pub sources: usize,
    /// Endpoints whose failures are remembered between lookups. Default: 2048.
    pub reputations: usize,
    /// Responses that wait to be polled. Without any the node is
    /// [read-only](field@crate::Config::read_only), whatever the configuration says. Default: 64.
    pub replies: usize,
    /// Informational events that wait to be polled. Default: 64.
    pub events: usize,
    /// Bootstrap addresses. Default: 32.
    pub bootstraps: usize,
    /// Announcements and items that are republished. Default: 1024.
    pub publications: usize,
    /// Items (BEP 44): those stored for others, and those that this node looks up and publishes.
    #[cfg(feature = "items")]
    pub items: ItemLimits,
    /// Scrapes in progress. Default: 4, the most at once that BEP 33 recommends.
    pub scrapes: usize,
    /// Queries of [`Node::sample_infohashes`](crate::Node::sample_infohashes) in flight, or ended and kept
    /// for their infohashes and nodes: 2 KB each. Default: 16.
    pub samplings: usize,
    /// Subnets that are remembered to have reported this node's external address, so that none votes twice;
    /// shared by the families that are on. With fewer than 16 for each, addresses are not learned. Default:
    /// 128.
    pub voters: usize,
}

/// Capacity for items (BEP 44), in [`Limits::items`](field@Limits::items).
#[cfg(feature = "items")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ItemLimits {
    /// Items stored for others. Default: 2048, three times what libtorrent stores.
    pub stored: usize,
    /// Chunks of 128 bytes for the items stored for others: an immutable item takes the length of its value,
    /// a mutable one 96 bytes and its salt more. Default: 8192, or 512 bytes for each item, in 1 MiB.
    pub chunks: usize,
    /// Items that this node's lookups seek or publish, and published items. A lookup needs one until it is
    /// reported; starting one past the limit fails. Published items take no more than three quarters, which
    /// leaves the rest to lookups. Default: 256, of which 192 may be published.
    pub own: usize,
    /// Chunks of 128 bytes for the items of this node's lookups and publications. A lookup takes the eight
    /// that the longest value needs until it has ended, a published item those of its own length. Published
    /// items take no more than three quarters; with fewer than 32 chunks that does not leave a lookup its
    /// eight. Default: 2048, or 192 published items of the greatest length, as many as there are slots for,
    /// beside 64 lookups.
    pub own_chunks: usize,
}

impl Limits {
    /// Limits of a client of one family that does not answer: it stores nothing for others, looks up one
    /// torrent at a time, and no items. Together with the node itself it takes less than 16 KiB.
    pub const CLIENT: Self = Self {
        nodes_v4: 64,
        nodes_v6: 0,
        replacements: 16,
        inflight: 24,
        traversals: 1,
        candidates_per_lookup: 32,
        tokens_per_lookup: 16,
        peers_per_lookup: 23,
        swarms: 0,
        peers_v4: 0,
        peers_v6: 0,
        samples: 0,
        sources: 0,
        reputations: 32,
        replies: 0,
        events: 4,
        bootstraps: 4,
        publications: 8,
        #[cfg(feature = "items")]
        items: ItemLimits::NONE,
        scrapes: 0,
        samplings: 0,
        voters: 32,
    };
    /// The defaults, as a constant.
    pub const DEFAULT: Self = Self {
        nodes_v4: 400,
        nodes_v6: 400,
        replacements: 192,
        inflight: 512,
        traversals: 64,
        candidates_per_lookup: 64,
        tokens_per_lookup: 16,
        peers_per_lookup: 512,
        swarms: 4096,
        peers_v4: 32_768,
        peers_v6: 8192,
        samples: 45,
        sources: 2048,
        reputations: 2048,
        replies: 64,
        events: 64,
        bootstraps: 32,
        publications: 1024,
        #[cfg(feature = "items")]
        items: ItemLimits::DEFAULT,
        scrapes: 4,
        samplings: 16,
        voters: 128,
    };
}

/// Limits in units of a program, which set all fields that depend on them.
impl Limits {
    /// Makes room for this number of lookups at once, in both families: twice as many
    /// [`traversals`](field@Self::traversals), and for each of these eight queries in
    /// [`inflight`](field@Self::inflight) and an item of this node's own, unless there are none at all.
    pub const fn lookups(mut self, lookups: usize) -> Self {
        self.traversals = lookups.saturating_mul(2);
        self.inflight = self.traversals.saturating_mul(QUERIES_PER_TRAVERSAL);
        #[cfg(feature = "items")]
        {
            self.items = self.items.with_own(self.items.publishable(), self.traversals);
        }
        self
    }

    /// Makes room for this number of [`publications`](field@Self::publications), announces or items of any length.
    ///
    /// With the feature `items`, `ItemLimits::own` and `own_chunks` follow, unless they are 0; there is one more item
    /// for each traversal, so that lookups find room beside publications.
    pub const fn publications(mut self, publications: usize) -> Self {
        self.publications = publications;
        #[cfg(feature = "items")]
        {
            self.items = self.items.with_own(publications, self.traversals);
        }
        self
    }

    /// Makes room for the peers of this number of torrents, as others announce them: for each of the
    /// [`swarms`](field@Self::swarms) eight IPv4 peers and two IPv6 peers on average. One torrent may take more of
    /// them ([`Config::peers_per_swarm`](field@crate::Config::peers_per_swarm)).
    pub const fn torrents(mut self, torrents: usize) -> Self {
        self.swarms = torrents;
        self.peers_v4 = torrents.saturating_mul(8);
        self.peers_v6 = torrents.saturating_mul(2);
        self
    }

    /// Makes room for this number of items that others put, of 512 bytes on average.
    #[cfg(feature = "items")]
    pub const fn stored_items(mut self, items: usize) -> Self {
        self.items.stored = items;
        self.items.chunks = items.saturating_mul(4);
        self
    }
}

/// Setters.
impl Limits {
    /// Sets [`nodes_v4`](field@Self::nodes_v4).
    pub const fn nodes_v4(mut self, nodes_v4: usize) -> Self {
        self.nodes_v4 = nodes_v4;
        self
    }

    /// Sets [`nodes_v6`](field@Self::nodes_v6).
    pub const fn nodes_v6(mut self, nodes_v6: usize) -> Self {
        self.nodes_v6 = nodes_v6;
        self
    }

    /// Sets [`replacements`](field@Self::replacements).
    pub const fn replacements(mut self, replacements: usize) -> Self {
        self.replacements = replacements;
        self
    }

    /// Sets [`inflight`](field@Self::inflight).
    pub const fn inflight(mut self, inflight: usize) -> Self {
        self.inflight = inflight;
        self
    }

    /// Sets [`traversals`](field@Self::traversals).
    pub const fn traversals(mut self, traversals: usize) -> Self {
        self.traversals = traversals;
        self
    }

    /// Sets [`candidates_per_lookup`](field@Self::candidates_per_lookup).
    pub const fn candidates_per_lookup(mut self, candidates_per_lookup: usize) -> Self {
        self.candidates_per_lookup = candidates_per_lookup;
        self
    }

    /// Sets [`tokens_per_lookup`](field@Self::tokens_per_lookup).
    pub const fn tokens_per_lookup(mut self, tokens_per_lookup: usize) -> Self {
        self.tokens_per_lookup = tokens_per_lookup;
        self
    }

    /// Sets [`peers_per_lookup`](field@Self::peers_per_lookup).
    pub const fn peers_per_lookup(mut self, peers_per_lookup: usize) -> Self {
        self.peers_per_lookup = peers_per_lookup;
        self
    }

    /// Sets [`swarms`](field@Self::swarms).
    pub const fn swarms(mut self, swarms: usize) -> Self {
        self.swarms = swarms;
        self
    }

    /// Sets [`peers_v4`](field@Self::peers_v4).
    pub const fn peers_v4(mut self, peers_v4: usize) -> Self {
        self.peers_v4 = peers_v4;
        self
    }

    /// Sets [`peers_v6`](field@Self::peers_v6).
    pub const fn peers_v6(mut self, peers_v6: usize) -> Self {
        self.peers_v6 = peers_v6;
        self
    }

    /// Sets [`samples`](field@Self::samples).
    pub const fn samples(mut self, samples: usize) -> Self {
        self.samples = samples;
        self
    }

    /// Sets [`sources`](field@Self::sources).
    pub const fn sources(mut self, sources: usize) -> Self {
        self.sources = sources;
        self
    }

    /// Sets [`reputations`](field@Self::reputations).
    pub const fn reputations(mut self, reputations: usize) -> Self {
        self.reputations = reputations;
        self
    }

    /// Sets [`replies`](field@Self::replies).
    pub const fn replies(mut self, replies: usize) -> Self {
        self.replies = replies;
        self
    }

    /// Sets [`events`](field@Self::events).
    pub const fn events(mut self, events: usize) -> Self {
        self.events = events;
        self
    }

    /// Sets [`bootstraps`](field@Self::bootstraps).
    pub const fn bootstraps(mut self, bootstraps: usize) -> Self {
        self.bootstraps = bootstraps;
        self
    }

    /// Sets [`scrapes`](field@Self::scrapes).
    pub const fn scrapes(mut self, scrapes: usize) -> Self {
        self.scrapes = scrapes;
        self
    }

    /// Sets [`samplings`](field@Self::samplings).
    pub const fn samplings(mut self, samplings: usize) -> Self {
        self.samplings = samplings;
        self
    }

    /// Sets [`voters`](field@Self::voters).
    pub const fn voters(mut self, voters: usize) -> Self {
        self.voters = voters;
        self
    }

    /// Sets [`items`](field@Self::items).
    #[cfg(feature = "items")]
    pub const fn items(mut self, items: ItemLimits) -> Self {
        self.items = items;
        self
    }
}

#[cfg(feature = "items")]
impl ItemLimits {
    /// No items at all.
    pub const NONE: Self = Self { stored: 0, chunks: 0, own: 0, own_chunks: 0 };

    /// The defaults, as a constant.
    pub const DEFAULT: Self = Self { stored: 2048, chunks: 8192, own: 256, own_chunks: 2048 };

    /// Sets [`stored`](field@Self::stored).
    pub const fn stored(mut self, stored: usize) -> Self {
        self.stored = stored;
        self
    }

    /// Sets [`chunks`](field@Self::chunks).
    pub const fn chunks(mut self, chunks: usize) -> Self {
        self.chunks = chunks;
        self
    }

    /// Sets [`own`](field@Self::own).
    pub const fn own(mut self, own: usize) -> Self {
        self.own = own;
        self
    }

    /// Sets [`own_chunks`](field@Self::own_chunks).
    pub const fn own_chunks(mut self, own_chunks: usize) -> Self {
        self.own_chunks = own_chunks;
        self
    }

    /// Returns how many items may be published: three quarters of this node's own.
    const fn publishable(self) -> usize {
        self.own - self.own / 4
    }

    /// Sizes this node's own items, unless there are none at all, for as many published and as many lookups.
    const fn with_own(mut self, published: usize, lookups: usize) -> Self {
        if self.own > 0 {
            let (shared, quarter) =
                (published.saturating_add(lookups), published.saturating_mul(4).div_ceil(3));
            self.own = if shared > quarter { shared } else { quarter };
            self.own_chunks = self.own.saturating_mul(CHUNKS_PER_ITEM);
        }
        self
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self::DEFAULT
    }
}

#[cfg(feature = "items")]
impl Default for ItemLimits {
    fn default() -> Self {
        Self::DEFAULT
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_units_of_a_program_agree_with_the_defaults() {
        let limits = Limits::DEFAULT.lookups(32).torrents(4096);
        assert_eq!(limits, Limits::DEFAULT);
        #[cfg(feature = "items")]
        assert_eq!(limits.publications(192).stored_items(2048).items, ItemLimits::DEFAULT);
    }

    #[test]
    fn every_setter_sets_its_own_field() {
        let expected = Limits {
            nodes_v4: 1,
            nodes_v6: 2,
            replacements: 3,
            inflight: 4,
            traversals: 5,
            candidates_per_lookup: 6,
            tokens_per_lookup: 7,
            peers_per_lookup: 8,
            swarms: 9,
            peers_v4: 10,
            peers_v6: 11,
            samples: 12,
            sources: 13,
            reputations: 14,
            replies: 15,
            events: 16,
            bootstraps: 17,
            publications: 18,
            scrapes: 19,
            samplings: 20,
            voters: 21,
            #[cfg(feature = "items")]
            items: ItemLimits { stored: 31, chunks: 32, own: 33, own_chunks: 34 },
        };
        let limits = Limits::DEFAULT
            .publications(18)
            .nodes_v4(1)
            .nodes_v6(2)
            .replacements(3)
            .inflight(4)
            .traversals(5)
            .candidates_per_lookup(6)
            .tokens_per_lookup(7)
            .peers_per_lookup(8)
            .swarms(9)
            .peers_v4(10)
            .peers_v6(11)
            .samples(12)
            .sources(13)
            .reputations(14)
            .replies(15)
            .events(16)
            .bootstraps(17)
            .scrapes(19)
            .samplings(20)
            .voters(21);
        #[cfg(feature = "items")]
        let limits = limits.items(ItemLimits::NONE.stored(31).chunks(32).own(33).own_chunks(34));
        assert_eq!(limits, expected);
    }

    #[test]
    fn a_part_that_is_off_stays_off() {
        const CLIENT: Limits = Limits::CLIENT.lookups(2).publications(20);
        assert_eq!((CLIENT.traversals, CLIENT.inflight, CLIENT.publications), (4, 32, 20));
        #[cfg(feature = "items")]
        assert_eq!(CLIENT.items, ItemLimits::NONE);
    }

    #[cfg(feature = "items")]
    #[test]
    fn as_many_items_can_be_published_as_there_are_publications_and_lookups_have_the_rest() {
        for publications in [1, 10, 192, 500, 100_000] {
            let items = Limits::DEFAULT.publications(publications).items;
            assert!(items.publishable() >= publications, "{publications}: {items:?}");
            assert!(items.own - publications >= 64 && items.own_chunks == 8 * items.own);
        }
        let limits = Limits::DEFAULT.publications(500).lookups(100);
        assert!(limits.items.publishable() >= 500 && limits.items.own >= 700, "{:?}", limits.items);
    }
}
