//! The external address of the node as other nodes see it: a vote over the `ip` field of responses (BEP 42).
//!
//! Every response contains an address, and any node may lie. The first response with an address other than the
//! known one opens a vote on it: each later response with the same address counts for it, and each with another
//! one counts against it. If no address is known, one that leads by [`FIRST_LEAD`] votes is
//! adopted; one that leads by [`CHANGE_LEAD`] replaces the known one. The vote ends when the lead is used up.
//! Within a vote, each wide subnet (/24, /48) is counted once, and again only after ten minutes or after as many
//! others as are remembered. Votes cannot be saved up, because none counts before the vote is opened.
//!
//! A lead is the most reliable way to determine which of two responses the majority gives (it is Wald's
//! sequential test, followed by Page's). If a share of the responding nodes reports the same false address forever:
//!
//! | liars | first address is false | known one is displaced after (mean) | true one displaces a false one after |
//! |---|---|---|---|
//! | none | never | never | 32 votes |
//! | 30 % | 1.3 in a million | 2.6 million million votes | 78 votes |
//! | 40 % | 1.5 in a thousand | 6.5 million votes | 156 votes |
//!
//! A busy node receives a hundred votes per minute, so at 30 % it is misled once in 50,000 years. The
//! responses to a first bootstrap suffice for a first address.

use core::net::SocketAddr;

use crate::base::addr::Endpoint;
use crate::base::time::Secs;

/// Lead at which a first address is adopted.
pub(crate) const FIRST_LEAD: u8 = 16;
/// Lead at which another address replaces the known one.
pub(crate) const CHANGE_LEAD: u8 = 32;
/// Minimum number of voters remembered: with fewer, a handful of nodes could vote in turn forever.
const MIN_VOTERS: usize = 16;
/// Seconds after which a subnet may vote again, so that a small DHT notices a change as well.
const VOTE_AGAIN: u32 = 10 * 60;
/// Maximum lead of a port, so that a new one is noticed soon.
const MAX_PORT_LEAD: u8 = 16;
/// Lead at which a port is reported.
///
/// Behind a symmetric NAT, no two voters see the same port, but each sees its own again and again.
const PORT_LEAD: u8 = 8;

/// A wide subnet that has voted, and the minute in which it did. Zeroed memory is none.
#[derive(Clone, Copy, Debug, Default)]
#[cfg_attr(feature = "checkpoint", derive(serde::Serialize, serde::Deserialize))]
pub(crate) struct Voter {
    tag: u16,
    minute: u16,
}

impl Voter {
    pub(crate) const EMPTY: Self = Self { tag: 0, minute: 0 };
}

/// The state of the votes of one family, without the voters.
#[derive(Clone, Copy, Debug, Default)]
#[cfg_attr(feature = "checkpoint", derive(serde::Serialize, serde::Deserialize))]
pub(crate) struct External {
    known: Contender,
    rival: Contender,
    /// Index of the voter that is overwritten next.
    next: u16,
}

/// An address that was voted for; none if it has no lead.
#[derive(Clone, Copy, Debug, Default)]
#[cfg_attr(feature = "checkpoint", derive(serde::Serialize, serde::Deserialize))]
struct Contender {
    /// The address, with the port that most voters see.
    endpoint: Endpoint,
    /// Votes for the address beyond those against it.
    lead: u8,
    port_lead: u8,
}

impl External {
    /// Returns the known address of the node. The port is 0 if voters disagree on it.
    pub(crate) fn known(&self) -> Option<SocketAddr> {
        self.known.exists().then(|| self.known.endpoint().into())
    }

    /// Returns the known address or, before there is one, the one that leads, even by a single vote.
    ///
    /// The port is 0 if voters disagree on it. Responses about this node's own announces contain this address: in a
    /// network of two nodes there is no second voter. A liar that responds first misdirects nodes that look up those
    /// announces, but it could do so by its own responses as well.
    pub(crate) fn presumed(&self) -> Option<Endpoint> {
        if self.known.exists() {
            Some(self.known.endpoint())
        } else {
            self.rival.exists().then_some(self.rival.endpoint)
        }
    }

    /// Whether this is the known endpoint of this node.
    pub(crate) fn is_known_as(&self, endpoint: Endpoint) -> bool {
        self.known.exists() && self.known.endpoint() == endpoint
    }

    /// Counts a vote: a voter with this `tag` responded to a query and sees this node at `seen`.
    ///
    /// Returns whether `seen` is thereby adopted as a new address.
    pub(crate) fn vote(&mut self, voters: &mut [Voter], tag: u64, seen: Endpoint, now: Secs) -> bool {
        let is_known = self.known.exists() && self.known.is_at(seen);
        if is_known {
            self.known.see_port(seen.port());
        }
        if !self.rival.exists() {
            if is_known {
                return false;
            }
            voters.fill(Voter::EMPTY);
            self.next = 0;
        }
        if !self.admit(voters, tag, now) {
            return false;
        }
        if !self.rival.exists() {
            self.rival = Contender { endpoint: seen, lead: 1, port_lead: 1 };
        } else if self.rival.is_at(seen) {
            self.rival.lead += 1;
            self.rival.see_port(seen.port());
        } else {
            self.rival.lead -= 1;
        }
        let needed = if self.known.exists() { CHANGE_LEAD } else { FIRST_LEAD };
        let has_won = self.rival.lead >= needed;
        if has_won {
            self.known = core::mem::take(&mut self.rival);
        }
        has_won
    }

    /// Sets the address on behalf of a caller that knows it. Returns whether it differs from the known one.
    pub(crate) fn set(&mut self, endpoint: Endpoint) -> bool {
        let is_new = !self.known.exists() || !self.known.is_at(endpoint);
        self.known = Contender { endpoint, lead: FIRST_LEAD, port_lead: MAX_PORT_LEAD };
        self.rival = Contender::default();
        is_new
    }

    /// Whether the state is valid with memory for this number of voters.
    #[cfg(any(test, feature = "checkpoint", feature = "sim"))]
    pub(crate) const fn is_consistent(&self, voters: usize) -> bool {
        (self.next as usize) < if voters == 0 { 1 } else { voters } && self.rival.lead < CHANGE_LEAD
    }

    /// Records a voter; returns false if it has voted recently.
    fn admit(&mut self, voters: &mut [Voter], tag: u64, now: Secs) -> bool {
        let minute = now.minutes();
        let tag = ((tag >> 48) as u16).max(1);
        let is_recent = |voter: &Voter| u32::from(minute.wrapping_sub(voter.minute)) * 60 < VOTE_AGAIN;
        if voters.len() < MIN_VOTERS || voters.iter().any(|voter| voter.tag == tag && is_recent(voter)) {
            return false;
        }
        let next = usize::from(self.next);
        voters[next] = Voter { tag, minute };
        self.next = if next + 1 < voters.len().min(u16::MAX.into()) { self.next + 1 } else { 0 };
        true
    }
}

impl Contender {
    /// Whether this is an address at all.
    const fn exists(&self) -> bool {
        self.lead > 0
    }

    fn is_at(&self, seen: Endpoint) -> bool {
        self.endpoint.ip_bytes() == seen.ip_bytes()
    }

    const fn endpoint(&self) -> Endpoint {
        if self.port_lead >= PORT_LEAD { self.endpoint } else { self.endpoint.with_port(0) }
    }

    /// Counts a vote on the port in the same way. Some voters report none.
    fn see_port(&mut self, port: u16) {
        match port {
            0 => {}
            _ if port == self.endpoint.port() => self.port_lead = MAX_PORT_LEAD.min(self.port_lead + 1),
            _ if self.port_lead > 1 => self.port_lead -= 1,
            _ => (self.endpoint, self.port_lead) = (self.endpoint.with_port(port), 1),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::vec;
    use std::vec::Vec;

    use super::*;
    use crate::base::rng::Rng;

    const OURS: Endpoint = Endpoint::v4([81, 2, 3, 4], 6881);
    const FALSE: Endpoint = Endpoint::v4([66, 6, 6, 6], 6881);
    const NOW: Secs = Secs::ZERO;

    /// Votes with the memory of voters that they need.
    struct Booth {
        external: External,
        voters: Vec<Voter>,
        last: u64,
    }

    impl Booth {
        fn new() -> Self {
            Self { external: External::default(), voters: vec![Voter::EMPTY; 64], last: 0 }
        }

        /// Votes with a new voter each time.
        fn vote(&mut self, seen: Endpoint) -> bool {
            self.last += 1;
            let is_ours = self.external.vote(&mut self.voters, tag(self.last), seen, NOW);
            assert!(self.external.is_consistent(self.voters.len()));
            is_ours
        }

        fn votes(&mut self, count: u8, seen: Endpoint) -> usize {
            (0..count).filter(|_| self.vote(seen)).count()
        }

        fn is_at(&self, endpoint: Endpoint) -> bool {
            self.external.known() == Some(endpoint.into())
        }
    }

    /// Stands in for a hash: the bits that count differ between consecutive voters.
    const fn tag(voter: u64) -> u64 {
        (voter % 60_000 + 1) << 48
    }

    /// Returns the mean number of votes until a share of them leads by `lead`.
    ///
    /// The lead cannot become negative.
    fn mean_votes(share: f64, lead: u8) -> f64 {
        let step = |next: f64| 1.0 / share + (1.0 - share) / share * next;
        let steps = core::iter::successors(Some(1.0 / share), |&below| Some(step(below)));
        steps.take(lead.into()).sum()
    }

    #[test]
    fn b42_09_a_first_address_takes_sixteen_votes_and_another_thirty_two() {
        let mut booth = Booth::new();
        assert_eq!(booth.votes(FIRST_LEAD - 1, OURS), 0);
        assert_eq!(booth.external.known(), None);
        assert!(booth.vote(OURS) && booth.is_at(OURS));
        assert_eq!(booth.votes(100, OURS), 0, "it is told once");
        assert_eq!(booth.votes(CHANGE_LEAD - 1, FALSE), 0);
        assert!(booth.is_at(OURS));
        assert!(booth.vote(FALSE) && booth.is_at(FALSE));
    }

    #[test]
    fn b42_09_a_vote_for_another_address_counts_against_it() {
        let mut booth = Booth::new();
        booth.votes(FIRST_LEAD - 1, OURS);
        for last in 0..200 {
            // Two voters that disagree cancel each other out, whichever address the first one names.
            assert!(!booth.vote(Endpoint::v4([9, 9, 9, last], 1)) && !booth.vote(OURS), "{last}");
        }
        assert!(booth.vote(OURS));
        booth.votes(CHANGE_LEAD - 1, FALSE);
        booth.vote(OURS);
        assert!(!booth.vote(FALSE) && booth.vote(FALSE));
    }

    #[test]
    fn b42_08_a_subnet_has_one_vote_until_ten_minutes_have_passed() {
        let mut booth = Booth::new();
        let mut lead_after = |voter, secs| {
            booth.external.vote(&mut booth.voters, tag(voter), OURS, NOW.after(secs));
            booth.external.rival.lead
        };
        assert_eq!((0..50).map(|secs| lead_after(1, secs)).max(), Some(1));
        assert_eq!(lead_after(1, VOTE_AGAIN - 60), 1);
        assert_eq!(lead_after(1, VOTE_AGAIN + 60), 2);
        assert_eq!(lead_after(2, VOTE_AGAIN + 60), 3);
    }

    #[test]
    fn b42_08_as_many_subnets_are_remembered_as_there_is_memory_for() {
        let mut booth = Booth::new();
        booth.voters.truncate(MIN_VOTERS);
        let (external, voters) = (&mut booth.external, &mut booth.voters);
        for voter in 0..MIN_VOTERS as u64 {
            assert!(external.admit(voters, tag(voter), NOW) && !external.admit(voters, tag(0), NOW));
        }
        assert!(external.admit(voters, tag(99), NOW), "the first makes room");
        assert!(external.admit(voters, tag(0), NOW) && !external.admit(voters, tag(99), NOW));
    }

    #[test]
    fn b42_09_votes_cannot_be_saved_up() {
        let mut booth = Booth::new();
        booth.votes(FIRST_LEAD, OURS);
        let mut answer = |voter, seen| booth.external.vote(&mut booth.voters, tag(voter), seen, NOW);
        // All nodes respond over and over; forty of a hundred networks start to lie at the same time.
        for round in 0..100 {
            for voter in 0..100 {
                let is_liar = voter % 5 < 2 && round > 50;
                assert!(!answer(voter, if is_liar { FALSE } else { OURS }), "{round}");
            }
        }
    }

    #[test]
    fn without_memory_for_voters_no_vote_counts() {
        for len in [0, MIN_VOTERS - 1] {
            let mut booth = Booth::new();
            booth.voters.truncate(len);
            assert_eq!(booth.votes(200, OURS), 0);
        }
    }

    /// Verifies the table in the module documentation.
    ///
    /// A million votes with 30 % of liars correspond to ten years of a quiet node.
    #[test]
    fn b42_09_a_minority_of_liars_changes_nothing() {
        let rng = &mut Rng::new([5; 32]);
        let mut changes = |liars: usize, votes: u32| {
            let mut booth = Booth::new();
            booth.votes(FIRST_LEAD, OURS);
            (0..votes).filter(|_| booth.vote(if rng.below(100) < liars { FALSE } else { OURS })).count()
        };
        assert_eq!(changes(30, 1_000_000), 0);
        // With as many liars as others, the address would change every so often.
        let (expected, counted) = (1_000_000.0 / mean_votes(0.5, CHANGE_LEAD), changes(50, 1_000_000) as f64);
        assert!((expected - counted).abs() < expected / 5.0, "{counted} instead of {expected}");
        assert!(mean_votes(0.3, CHANGE_LEAD) > 2.6e12 && mean_votes(0.4, CHANGE_LEAD) > 6.4e6);
        assert!(mean_votes(0.7, CHANGE_LEAD) < 79.0 && mean_votes(0.6, CHANGE_LEAD) < 157.0);
    }

    #[test]
    fn b42_09_a_first_address_is_hardly_ever_false() {
        let rng = &mut Rng::new([6; 32]);
        let mut share_of_false = |liars: usize, runs: u32| {
            let is_false = |_: &u32| {
                let mut booth = Booth::new();
                while booth.external.known().is_none() {
                    booth.vote(if rng.below(100) < liars { FALSE } else { OURS });
                }
                booth.is_at(FALSE)
            };
            (0..runs).filter(is_false).count() as f64 / f64::from(runs)
        };
        let chance = |liars: f64| 1.0 / (1.0 + ((1.0 - liars) / liars).powi(FIRST_LEAD.into()));
        assert_eq!(share_of_false(30, 10_000), 0.0);
        assert!(chance(0.3) < 1.3e-6 && chance(0.4) < 1.6e-3);
        let (expected, counted) = (chance(0.45), share_of_false(45, 10_000));
        assert!((expected - counted).abs() < 0.01, "{counted} instead of {expected}");
    }

    #[test]
    fn the_port_is_the_one_that_most_see() {
        let mut booth = Booth::new();
        booth.votes(FIRST_LEAD, OURS);
        assert!(booth.is_at(OURS));
        booth.votes(2, OURS.with_port(7));
        booth.votes(2, OURS.with_port(0));
        assert!(booth.is_at(OURS), "a few see another one, a few see none");
        booth.votes(2 * MAX_PORT_LEAD, OURS.with_port(7));
        assert!(booth.is_at(OURS.with_port(7)), "another one by now");
        for port in 1000..1100 {
            booth.vote(OURS.with_port(port));
        }
        assert!(booth.is_at(OURS.with_port(0)), "everybody sees another one");
    }

    #[test]
    fn what_the_user_says_holds_until_votes_say_otherwise() {
        let mut booth = Booth::new();
        assert!(booth.external.set(FALSE) && !booth.external.set(FALSE));
        assert!(booth.is_at(FALSE) && booth.external.is_known_as(FALSE));
        assert_eq!(booth.votes(CHANGE_LEAD - 1, OURS), 0);
        assert!(booth.vote(OURS) && !booth.external.is_known_as(FALSE));
    }
}
