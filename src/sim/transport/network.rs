//! What happens to a datagram between two hosts: a pure function of the seed and the rng.

use core::time::Duration;

use crate::addr::Endpoint;
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
    /// How far apart two hosts are.
    pub latency: Latency,
    /// Each datagram takes up to this long in addition.
    pub jitter: Duration,
    /// Share of datagrams that are lost, each by itself.
    pub loss: f64,
    /// Losses that come together, of each host and direction for itself.
    pub bursts: Option<Bursts>,
    /// Share of datagrams that arrive twice.
    pub duplication: f64,
    /// Share of datagrams that are held back, and so overtaken by later ones.
    pub reordering: f64,
    /// For how long at most these are held back.
    pub reordering_delay: Duration,
    /// Share of datagrams that arrive with up to four bytes changed, unnoticed by the checksum.
    pub corruption: f64,
    /// Longer datagrams are lost, in bytes of UDP payload.
    pub mtu: usize,
}

/// Round-trip times. They depend on the two addresses and the seed alone and are the same in both
/// directions, so they need no memory.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Latency {
    /// The same between any two hosts.
    Fixed {
        /// There and back.
        rtt: Duration,
    },
    /// Log-normally distributed over the pairs of hosts.
    LogNormal {
        /// There and back, in half of the pairs less.
        median: Duration,
        /// Standard deviation of the logarithm: 0.6 gives 30 to 210 ms in nine pairs of ten around a
        /// median of 80 ms.
        sigma: f64,
    },
}

/// The model of Gilbert and Elliott: a link is good or bad, and may change with each datagram.
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
    /// Any two hosts are 80 ms apart, there and back, and nothing is ever lost.
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

    /// Log-normal round trips with a median of 80 ms and a sigma of 0.6, 5 ms of jitter, 2 % loss,
    /// an MTU of 1472 bytes.
    pub const fn internet() -> Self {
        Self {
            latency: Latency::LogNormal { median: Duration::from_millis(80), sigma: 0.6 },
            jitter: Duration::from_millis(5),
            loss: 0.02,
            mtu: 1472,
            ..Self::perfect()
        }
    }

    /// The round-trip time between two hosts in a world of this seed, jitter apart.
    pub(super) fn rtt(&self, seed: u64, a: Endpoint, b: Endpoint) -> Duration {
        match self.latency {
            Latency::Fixed { rtt } => rtt,
            Latency::LogNormal { median, sigma } => {
                // The sum is the same in both directions.
                let pair = place(seed, a).wrapping_add(place(seed, b));
                median.mul_f64(libm::exp(sigma * normal(mix(pair))))
            }
        }
    }

    /// What becomes of a datagram of `len` bytes: the times after which a copy of it arrives.
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
        let first = distance + self.dawdle(rng);
        let copy = rng.chance(self.duplication).then(|| distance + self.dawdle(rng));
        // What a host sends to itself never leaves it.
        let is_corrupt = from != to && rng.chance(self.corruption);
        Passage { delay: Some(first), copy, is_corrupt }
    }

    /// Jitter, and being held back.
    fn dawdle(&self, rng: &mut SimRng) -> Duration {
        let jitter = rng.up_to(self.jitter);
        if rng.chance(self.reordering) { jitter + rng.up_to(self.reordering_delay) } else { jitter }
    }

    /// Whether a burst takes this datagram. `is_bad` is the state of the link.
    pub(super) fn burst_takes(&self, rng: &mut SimRng, is_bad: &mut bool) -> bool {
        let Some(bursts) = self.bursts else { return false };
        *is_bad ^= rng.chance(if *is_bad { bursts.stop } else { bursts.start });
        *is_bad && rng.chance(bursts.loss)
    }
}

/// One datagram's way.
pub(super) struct Passage {
    /// After this long it arrives; `None` if it is lost.
    pub(super) delay: Option<Duration>,
    /// After this long a second copy arrives.
    pub(super) copy: Option<Duration>,
    /// Some of its bytes are changed on the way.
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

/// Where an IP address lies: all of its ports at one place.
fn place(seed: u64, endpoint: Endpoint) -> u64 {
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
