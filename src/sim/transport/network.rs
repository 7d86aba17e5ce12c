//! What the network does to a datagram: a function of the seed and the random numbers drawn.

use core::time::Duration;

use crate::base::addr::Endpoint;
use crate::sim::rng::{SimRng, mix, normal};

/// The network between all hosts. Shares and probabilities lie in `0.0..=1.0`.
///
/// ```
/// use dht_proto::sim::Network;
///
/// let mut network = Network::internet();
/// network.loss = 0.3;
/// ```
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Network {
    /// Round-trip times between hosts.
    pub latency: Latency,
    /// Most additional delay of a datagram, uniform from 0.
    pub jitter: Duration,
    /// Share of datagrams that are lost, independently.
    pub loss: f64,
    /// Bursts of losses, independent for each host and direction.
    pub bursts: Option<Bursts>,
    /// Share of datagrams that arrive twice.
    pub duplication: f64,
    /// Share of datagrams that are delayed, so that later ones overtake them.
    pub reordering: f64,
    /// Most delay of a reordered datagram, uniform from 0.
    pub reordering_delay: Duration,
    /// Share of datagrams that arrive with one to four bytes changed, undetected by the checksum.
    pub corruption: f64,
    /// Most bytes of UDP payload; longer datagrams are lost.
    pub mtu: usize,
}

/// Distribution of round-trip times.
///
/// They depend on the two addresses and the seed alone, and are the same in both directions, so they
/// need no memory.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Latency {
    /// A fixed round-trip time between any two hosts.
    Fixed {
        /// The round-trip time.
        rtt: Duration,
    },
    /// Log-normally distributed over the pairs of hosts.
    LogNormal {
        /// Median round-trip time.
        median: Duration,
        /// Standard deviation of the logarithm: 0.6 gives 30 to 210 ms in nine pairs of ten around a
        /// median of 80 ms.
        sigma: f64,
    },
}

/// Bursts of losses (Gilbert and Elliott): a link is good or bad, and may change with each datagram.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bursts {
    /// Probability that a good link turns bad.
    pub start: f64,
    /// Probability that a bad link turns good.
    pub stop: f64,
    /// Share of datagrams that a bad link loses. A good one loses none.
    pub loss: f64,
}

impl Network {
    /// A network with a round-trip time of 80 ms between any two hosts, and no loss.
    pub const fn perfect() -> Self {
        Self {
            latency: Latency::Fixed { rtt: Duration::from_millis(80) },
            jitter: Duration::ZERO,
            loss: 0.0,
            bursts: None,
            duplication: 0.0,
            reordering: 0.0,
            reordering_delay: Duration::from_millis(50),
            corruption: 0.0,
            mtu: usize::MAX,
        }
    }

    /// A network like the internet: log-normal round trips, jitter, loss, an MTU.
    ///
    /// The median round trip is 80 ms with a sigma of 0.6, jitter 5 ms, loss 2 %, the MTU 1472 bytes.
    pub const fn internet() -> Self {
        Self {
            latency: Latency::LogNormal { median: Duration::from_millis(80), sigma: 0.6 },
            jitter: Duration::from_millis(5),
            loss: 0.02,
            mtu: 1472,
            ..Self::perfect()
        }
    }

    /// The round-trip time between two hosts in a world of this seed, without jitter.
    pub(super) fn rtt(&self, seed: u64, a: Endpoint, b: Endpoint) -> Duration {
        match self.latency {
            Latency::Fixed { rtt } => rtt,
            Latency::LogNormal { median, sigma } => {
                // The sum is the same in both directions.
                let pair = location(seed, a).wrapping_add(location(seed, b));
                median.mul_f64(libm::exp(sigma * normal(mix(pair))))
            }
        }
    }

    /// Decides what happens to a datagram of `len` bytes.
    pub(super) fn carry(
        &self,
        seed: u64,
        rng: &mut SimRng,
        from: Endpoint,
        to: Endpoint,
        len: usize,
    ) -> Passage {
        if len > self.mtu || rng.chance(self.loss) {
            return Passage { delay: None, copy: None, is_corrupt: false };
        }
        let distance = self.rtt(seed, from, to) / 2;
        let first = distance + self.extra_delay(rng);
        let copy = rng.chance(self.duplication).then(|| distance + self.extra_delay(rng));
        // What a host sends to itself does not cross the network.
        let is_corrupt = from != to && rng.chance(self.corruption);
        Passage { delay: Some(first), copy, is_corrupt }
    }

    /// Draws the delay from jitter and reordering.
    fn extra_delay(&self, rng: &mut SimRng) -> Duration {
        let jitter = rng.up_to(self.jitter);
        if rng.chance(self.reordering) { jitter + rng.up_to(self.reordering_delay) } else { jitter }
    }

    /// Whether a burst loses this datagram. `is_bad` is the state of the link.
    pub(super) fn burst_takes(&self, rng: &mut SimRng, is_bad: &mut bool) -> bool {
        let Some(bursts) = self.bursts else { return false };
        *is_bad ^= rng.chance(if *is_bad { bursts.stop } else { bursts.start });
        *is_bad && rng.chance(bursts.loss)
    }
}

/// What happens to one datagram.
pub(super) struct Passage {
    /// Delay after which it arrives; `None` if it is lost.
    pub(super) delay: Option<Duration>,
    /// Delay after which a second copy arrives.
    pub(super) copy: Option<Duration>,
    /// Whether some of its bytes are changed.
    pub(super) is_corrupt: bool,
}

/// Changes one to four bytes.
pub(super) fn corrupt(rng: &mut SimRng, bytes: &mut [u8]) {
    for _ in 0..=rng.below(4) {
        let at = rng.below(bytes.len());
        if let Some(byte) = bytes.get_mut(at) {
            *byte ^= 1 + rng.below(255) as u8;
        }
    }
}

/// A hash of an IP address, without its port.
fn location(seed: u64, endpoint: Endpoint) -> u64 {
    let (high, low) = endpoint.halves();
    mix(mix(low ^ seed) ^ high)
}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use super::*;

    fn endpoint(index: u32) -> Endpoint {
        Endpoint::v4(index.to_be_bytes(), 1)
    }

    #[test]
    fn round_trips_are_log_normal_over_the_pairs_and_symmetric() {
        let network = Network::internet();
        let mut rtts: Vec<Duration> =
            (1..10_001).map(|index| network.rtt(7, endpoint(0), endpoint(index))).collect();
        assert_eq!(network.rtt(7, endpoint(3), endpoint(0)), rtts[2]);
        assert_ne!(network.rtt(8, endpoint(3), endpoint(0)), rtts[2]);
        rtts.sort();
        let at = |share: usize| rtts[share * 100].as_millis();
        assert!((77..84).contains(&at(50)), "{}", at(50));
        assert!((27..33).contains(&at(5)) && (200..230).contains(&at(95)), "{} {}", at(5), at(95));
    }

    #[test]
    fn shares_are_kept_roughly() {
        let mut network = Network::perfect();
        (network.loss, network.duplication, network.corruption) = (0.1, 0.2, 0.3);
        let mut rng = SimRng::new(1);
        let (mut lost, mut copies, mut corrupt) = (0, 0, 0);
        for _ in 0..10_000 {
            let passage = network.carry(1, &mut rng, endpoint(1), endpoint(2), 100);
            lost += u32::from(passage.delay.is_none());
            copies += u32::from(passage.copy.is_some());
            corrupt += u32::from(passage.is_corrupt);
        }
        assert!((900..1100).contains(&lost), "{lost}");
        assert!((1650..1950).contains(&copies), "{copies}");
        assert!((2500..2900).contains(&corrupt), "{corrupt}");
    }

    #[test]
    fn bursts_come_in_runs() {
        let mut network = Network::perfect();
        network.bursts = Some(Bursts { start: 0.01, stop: 0.1, loss: 1.0 });
        let (mut rng, mut is_bad) = (SimRng::new(1), false);
        let lost: Vec<bool> = (0..100_000).map(|_| network.burst_takes(&mut rng, &mut is_bad)).collect();
        let total = lost.iter().filter(|lost| **lost).count();
        let runs = lost.windows(2).filter(|pair| !pair[0] && pair[1]).count();
        assert!((8000..10_200).contains(&total), "a share of 1/11: {total}");
        assert!((8.0..12.0).contains(&(total as f64 / runs as f64)), "ten in a row: {total} in {runs}");
    }

    #[test]
    fn what_is_too_long_is_lost() {
        let (network, mut rng) = (Network::internet(), SimRng::new(1));
        let passage = network.carry(1, &mut rng, endpoint(1), endpoint(2), 1473);
        assert!(passage.delay.is_none());
    }
}
