//! Our address as others see it: what answers say in `ip` (BEP 42), put to the vote.
//!
//! Every answer names an address, and any node may lie. The first to name one that is not known calls
//! a vote on it: whoever answers from then on and names the same counts for it, whoever names another
//! one against it. An address that leads by [`FIRST`] votes is ours where none was known; one that
//! leads by [`CHANGE`] displaces the one that was. The vote is over when the lead is used up. In it
//! each network (/24, /48) is heard once, and again only after ten minutes or as many others as are
//! remembered. Nobody can save up votes, because none counts before it is called for.
//!
//! A lead is the surest way to tell which of two answers the majority gives (it is Wald's sequential
//! test, and then Page's). Let a share of those who answer name the same false address, for ever:
//!
//! | liars | a first address is false | a known one is displaced, on average after | the true one displaces a false one after |
//! |---|---|---|---|
//! | none | never | never | 32 votes |
//! | 30 % | 1.3 times in a million | 2.6 million million votes | 78 |
//! | 40 % | 1.5 times in a thousand | 6.5 million votes | 156 |
//!
//! A busy node hears a hundred votes a minute, so at 30 % it is misled once in 50,000 years. The
//! answers to a first bootstrap are enough for a first address.

use core::net::SocketAddr;

use crate::base::addr::Endpoint;
use crate::base::time::Secs;

/// The lead with which the first address is ours.
pub(crate) const FIRST: u8 = 16;
/// The lead with which another one takes its place.
pub(crate) const CHANGE: u8 = 32;
/// With fewer voters in mind a handful could vote in turn for ever.
const MIN_VOTERS: usize = 16;
/// Seconds after which a network may vote again, so that a small DHT notices a change as well.
const AGAIN: u32 = 10 * 60;
/// Ports are counted up to this lead, so that a new one is noticed soon.
const MAX_PORT_LEAD: u8 = 16;
/// The lead that a port needs: behind a symmetric NAT no two voters see the same, but each sees it again
/// and again.
const PORT: u8 = 8;

/// A network that was heard in a vote, and in which minute. All zero is none.
#[derive(Clone, Copy, Debug, Default)]
#[cfg_attr(feature = "checkpoint", derive(serde::Serialize, serde::Deserialize))]
pub(crate) struct Voter {
    tag: u16,
    minute: u16,
}

impl Voter {
    pub(crate) const EMPTY: Self = Self { tag: 0, minute: 0 };
}

/// The votes of one family, but for the voters.
#[derive(Clone, Copy, Debug, Default)]
#[cfg_attr(feature = "checkpoint", derive(serde::Serialize, serde::Deserialize))]
pub(crate) struct External {
    known: Contender,
    rival: Contender,
    /// The place of the voter that is forgotten next.
    next: u16,
}

/// An address that was voted for. Where it leads nobody, it is none.
#[derive(Clone, Copy, Debug, Default)]
#[cfg_attr(feature = "checkpoint", derive(serde::Serialize, serde::Deserialize))]
struct Contender {
    /// With the port that most voters see.
    endpoint: Endpoint,
    /// Votes for it beyond those against it.
    lead: u8,
    port_lead: u8,
}

impl External {
    /// Our address; the port is 0 where voters disagree on it.
    pub(crate) fn known(&self) -> Option<SocketAddr> {
        self.known.exists().then(|| self.known.endpoint().into())
    }

    /// Our address, or before that is known the one that leads, be it by a single vote; the port is 0
    /// where voters disagree on it.
    ///
    /// It is for answers about what we announce. In a network of two there is no second voter. A liar
    /// who answers first sends whoever seeks that to a wrong address, as its own answers could.
    pub(crate) fn presumed(&self) -> Option<Endpoint> {
        if self.known.exists() {
            Some(self.known.endpoint())
        } else {
            self.rival.exists().then_some(self.rival.endpoint)
        }
    }

    /// Whether this is our very endpoint, as far as is known.
    pub(crate) fn is_known_as(&self, endpoint: Endpoint) -> bool {
        self.known.exists() && self.known.endpoint() == endpoint
    }

    /// A voter of whom `tag` is known answered a query of ours, and sees us at `seen`. Returns
    /// whether that makes it our address, and another than before.
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
        let wanted = if self.known.exists() { CHANGE } else { FIRST };
        let has_won = self.rival.lead >= wanted;
        if has_won {
            self.known = core::mem::take(&mut self.rival);
        }
        has_won
    }

    /// Somebody who must know says where we are. Returns whether that is news.
    pub(crate) fn set(&mut self, endpoint: Endpoint) -> bool {
        let is_news = !self.known.exists() || !self.known.is_at(endpoint);
        self.known = Contender { endpoint, lead: FIRST, port_lead: MAX_PORT_LEAD };
        self.rival = Contender::default();
        is_news
    }

    /// Whether votes may go on from here, with memory for so many voters.
    #[cfg(any(test, feature = "checkpoint", feature = "sim"))]
    pub(crate) const fn is_consistent(&self, voters: usize) -> bool {
        (self.next as usize) < if voters == 0 { 1 } else { voters } && self.rival.lead < CHANGE
    }

    /// Notes a voter; false if it has voted lately.
    fn admit(&mut self, voters: &mut [Voter], tag: u64, now: Secs) -> bool {
        let minute = now.minutes();
        let tag = ((tag >> 48) as u16).max(1);
        let is_recent = |voter: &Voter| u32::from(minute.wrapping_sub(voter.minute)) * 60 < AGAIN;
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
    const fn exists(&self) -> bool {
        self.lead > 0
    }

    fn is_at(&self, seen: Endpoint) -> bool {
        self.endpoint.ip_bytes() == seen.ip_bytes()
    }

    const fn endpoint(&self) -> Endpoint {
        if self.port_lead >= PORT { self.endpoint } else { self.endpoint.with_port(0) }
    }

    /// Ports are put to the vote in the same way. Some voters name none.
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

        /// Another voter each time.
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

    /// As good as a hash: what counts of it differs from that of its neighbours.
    const fn tag(voter: u64) -> u64 {
        (voter % 60_000 + 1) << 48
    }

    /// How many votes it takes on average until a share of them leads by so many where it cannot
    /// fall behind.
    fn mean_votes(share: f64, lead: u8) -> f64 {
        let step = |next: f64| 1.0 / share + (1.0 - share) / share * next;
        let steps = core::iter::successors(Some(1.0 / share), |&below| Some(step(below)));
        steps.take(lead.into()).sum()
    }

    #[test]
    fn b42_09_a_first_address_takes_sixteen_votes_and_another_thirty_two() {
        let mut booth = Booth::new();
        assert_eq!(booth.votes(FIRST - 1, OURS), 0);
        assert_eq!(booth.external.known(), None);
        assert!(booth.vote(OURS) && booth.is_at(OURS));
        assert_eq!(booth.votes(100, OURS), 0, "it is told once");
        assert_eq!(booth.votes(CHANGE - 1, FALSE), 0);
        assert!(booth.is_at(OURS));
        assert!(booth.vote(FALSE) && booth.is_at(FALSE));
    }

    #[test]
    fn b42_09_a_vote_for_another_address_counts_against_it() {
        let mut booth = Booth::new();
        booth.votes(FIRST - 1, OURS);
        for last in 0..200 {
            // Two who disagree cancel each other out, whatever the one says.
            assert!(!booth.vote(Endpoint::v4([9, 9, 9, last], 1)) && !booth.vote(OURS), "{last}");
        }
        assert!(booth.vote(OURS));
        booth.votes(CHANGE - 1, FALSE);
        booth.vote(OURS);
        assert!(!booth.vote(FALSE) && booth.vote(FALSE));
    }

    #[test]
    fn b42_08_a_network_is_heard_once_in_a_vote_until_ten_minutes_have_passed() {
        let mut booth = Booth::new();
        let mut lead_after = |voter, secs| {
            booth.external.vote(&mut booth.voters, tag(voter), OURS, NOW.after(secs));
            booth.external.rival.lead
        };
        assert_eq!((0..50).map(|secs| lead_after(1, secs)).max(), Some(1));
        assert_eq!(lead_after(1, AGAIN - 60), 1);
        assert_eq!(lead_after(1, AGAIN + 60), 2);
        assert_eq!(lead_after(2, AGAIN + 60), 3);
    }

    #[test]
    fn b42_08_as_many_networks_are_remembered_as_there_is_memory_for() {
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
        booth.votes(FIRST, OURS);
        let mut answer = |voter, seen| booth.external.vote(&mut booth.voters, tag(voter), seen, NOW);
        // Everybody answers over and over; of a hundred networks forty turn false at once.
        for round in 0..100 {
            for voter in 0..100 {
                let is_liar = voter % 5 < 2 && round > 50;
                assert!(!answer(voter, if is_liar { FALSE } else { OURS }), "{round}");
            }
        }
    }

    #[test]
    fn without_memory_for_voters_nobody_has_a_vote() {
        for len in [0, MIN_VOTERS - 1] {
            let mut booth = Booth::new();
            booth.voters.truncate(len);
            assert_eq!(booth.votes(200, OURS), 0);
        }
    }

    /// The table above. A million votes of a node that 30 % lie to are ten years of a quiet one.
    #[test]
    fn b42_09_liars_who_are_fewer_than_the_others_change_nothing() {
        let dice = &mut Rng::new([5; 32]);
        let mut changes = |liars: usize, votes: u32| {
            let mut booth = Booth::new();
            booth.votes(FIRST, OURS);
            (0..votes).filter(|_| booth.vote(if dice.below(100) < liars { FALSE } else { OURS })).count()
        };
        assert_eq!(changes(30, 1_000_000), 0);
        // Were they as many as the others, it would change every so often.
        let (expected, counted) = (1_000_000.0 / mean_votes(0.5, CHANGE), changes(50, 1_000_000) as f64);
        assert!((expected - counted).abs() < expected / 5.0, "{counted} instead of {expected}");
        assert!(mean_votes(0.3, CHANGE) > 2.6e12 && mean_votes(0.4, CHANGE) > 6.4e6);
        assert!(mean_votes(0.7, CHANGE) < 79.0 && mean_votes(0.6, CHANGE) < 157.0);
    }

    #[test]
    fn b42_09_a_first_address_is_hardly_ever_false() {
        let dice = &mut Rng::new([6; 32]);
        let mut share_of_false = |liars: usize, runs: u32| {
            let is_false = |_: &u32| {
                let mut booth = Booth::new();
                while booth.external.known().is_none() {
                    booth.vote(if dice.below(100) < liars { FALSE } else { OURS });
                }
                booth.is_at(FALSE)
            };
            (0..runs).filter(is_false).count() as f64 / f64::from(runs)
        };
        let chance = |liars: f64| 1.0 / (1.0 + ((1.0 - liars) / liars).powi(FIRST.into()));
        assert_eq!(share_of_false(30, 10_000), 0.0);
        assert!(chance(0.3) < 1.3e-6 && chance(0.4) < 1.6e-3);
        let (expected, counted) = (chance(0.45), share_of_false(45, 10_000));
        assert!((expected - counted).abs() < 0.01, "{counted} instead of {expected}");
    }

    #[test]
    fn the_port_is_the_one_that_most_see() {
        let mut booth = Booth::new();
        booth.votes(FIRST, OURS);
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
        assert_eq!(booth.votes(CHANGE - 1, OURS), 0);
        assert!(booth.vote(OURS) && !booth.external.is_known_as(FALSE));
    }
}
