//! Counting the peers of a torrent by the Bloom filters of a scrape (BEP 33).

use core::net::IpAddr;

use crate::base::bloom::BloomFilter;
use crate::wire::FILTER_LEN;

/// The union of the filters received, and the peers that were listed.
#[derive(Clone, Copy, Debug)]
#[cfg_attr(feature = "checkpoint", derive(serde::Serialize, serde::Deserialize))]
pub(crate) struct Scrape {
    /// Belongs to a lookup that has not been reported.
    pub(crate) is_taken: bool,
    seeds: BloomFilter,
    others: BloomFilter,
    /// Peers listed by nodes with and without filters.
    listed: BloomFilter,
    /// Nodes whose filters were accepted.
    pub(crate) sources: u16,
    /// Nodes whose filters were rejected.
    pub(crate) refused: u16,
}

impl Scrape {
    pub(crate) const EMPTY: Self = Self {
        is_taken: false,
        seeds: BloomFilter::EMPTY,
        others: BloomFilter::EMPTY,
        listed: BloomFilter::EMPTY,
        sources: 0,
        refused: 0,
    };

    /// Creates the scrape of a new lookup.
    pub(crate) const fn new() -> Self {
        Self { is_taken: true, ..Self::EMPTY }
    }

    /// Adds the filters of seeds and of other peers.
    pub(crate) fn add_filters(&mut self, [seeds, others]: &[BloomFilter; 2]) {
        self.seeds.unite(seeds);
        self.others.unite(others);
    }

    /// Adds the filters of a response, where a missing one counts as empty.
    ///
    /// Returns whether the peers in the same response are credible: the filters are plausible and contain them.
    pub(crate) fn add_response(
        &mut self,
        filters: [Option<&[u8; FILTER_LEN]>; 2],
        mut peers: impl Iterator<Item = IpAddr>,
    ) -> bool {
        if filters == [None; 2] {
            return true;
        }
        let [seeds, others] =
            filters.map(|filter| filter.map_or(BloomFilter::EMPTY, |bytes| BloomFilter::from_bytes(*bytes)));
        let is_credible = seeds.is_plausible()
            && others.is_plausible()
            && peers.all(|ip| seeds.contains(ip) || others.contains(ip));
        if is_credible {
            self.add_filters(&[seeds, others]);
        }
        let count = if is_credible { &mut self.sources } else { &mut self.refused };
        *count = count.saturating_add(1);
        is_credible
    }

    /// Adds a peer listed in a response.
    pub(crate) fn add_listed(&mut self, peer: IpAddr) {
        self.listed.insert(peer);
    }

    /// Estimates the number of seeds and of other peers.
    ///
    /// Peers listed by nodes without filters do not count as seeds, unless the filters of another node, which may
    /// respond later, contain them. They therefore have a filter of their own, and what it adds to the union of the
    /// others is counted at the end.
    pub(crate) fn estimate(&self) -> [u32; 2] {
        let mut all = self.seeds;
        all.unite(&self.others);
        let counted = all.estimate();
        all.unite(&self.listed);
        let more = all.estimate() - counted;
        [self.seeds.estimate(), self.others.estimate() + more].map(|count| (count + 0.5) as u32)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(last: u8) -> IpAddr {
        IpAddr::from([192, 0, 2, last])
    }

    fn filter(ips: core::ops::Range<u8>) -> [u8; FILTER_LEN] {
        let mut filter = BloomFilter::EMPTY;
        ips.for_each(|last| filter.insert(ip(last)));
        *filter.as_bytes()
    }

    #[test]
    fn b33_04_the_filters_of_all_nodes_are_united() {
        let mut scrape = Scrape::EMPTY;
        for (seeds, others) in [(0..10, 50..90), (5..15, 60..100), (0..0, 50..60)] {
            assert!(scrape.add_response([Some(&filter(seeds)), Some(&filter(others))], [].into_iter()));
        }
        let [seeds, others] = scrape.estimate();
        assert!((14..=16).contains(&seeds) && (48..=52).contains(&others), "{seeds} {others}");
        assert_eq!((scrape.sources, scrape.refused), (3, 0));
    }

    #[test]
    fn b33_13_filters_that_are_full_or_lack_a_peer_of_the_same_response_are_refused() {
        let mut scrape = Scrape::EMPTY;
        let (few, full) = (filter(0..10), [0xff; FILTER_LEN]);
        let mut nearly_full = full;
        nearly_full[9] = 0xfc;
        assert!(!scrape.add_response([Some(&few), Some(&full)], [].into_iter()));
        assert!(!scrape.add_response([Some(&nearly_full), Some(&few)], [].into_iter()));
        assert!(!scrape.add_response([Some(&few), Some(&filter(20..30))], [ip(5), ip(200)].into_iter()));
        assert_eq!(scrape.estimate(), [0, 0]);
        assert_eq!((scrape.sources, scrape.refused), (0, 3));
        assert!(scrape.add_response([Some(&few), Some(&filter(20..30))], [ip(5), ip(25)].into_iter()));
        assert!(
            scrape.add_response([None; 2], [ip(200)].into_iter()),
            "a node without filters is none that lies"
        );
        assert_eq!((scrape.sources, scrape.refused), (1, 3));
    }

    #[test]
    fn b33_14_peers_of_nodes_without_filters_are_counted_unless_they_are_known_seeds() {
        let mut scrape = Scrape::EMPTY;
        scrape.add_response([Some(&filter(0..10)), Some(&filter(20..30))], [].into_iter());
        (5..10).chain(25..35).map(ip).for_each(|peer| scrape.add_listed(peer));
        let [seeds, others] = scrape.estimate();
        assert!((9..=11).contains(&seeds) && (14..=16).contains(&others), "{seeds} {others}");
    }
}
