//! The rules of a walk, one by one, without a network.

use std::vec::Vec;

use proptest::prelude::*;

use super::candidates::LINGERING_TRIES;
use super::*;

const TARGET: NodeId = NodeId::ZERO;
const ANNOUNCE: Goal = Goal::Announce(Announce::port(1));

/// A walk towards zero and its memory. Hosts are numbered; a host's id is its number, so a lower
/// number is closer.
struct Rig {
    walk: Walk,
    candidates: Vec<Candidate>,
    tokens: Vec<Token>,
}

impl Rig {
    fn new(goal: Goal, alpha: u8, k: u8) -> Self {
        Self::with_memory(goal, alpha, k, 64)
    }

    fn with_memory(goal: Goal, alpha: u8, k: u8, candidates: usize) -> Self {
        let options = LookupOptions { alpha, k, ..LookupOptions::default() };
        let walk = Walk::new(goal, TARGET, Family::V4, &options, true, Instant::ZERO);
        let candidates = std::vec![Candidate::EMPTY; candidates];
        Self { walk, candidates, tokens: std::vec![Token::EMPTY; TOKENS] }
    }

    /// A walk that knows these hosts.
    fn knowing(goal: Goal, alpha: u8, k: u8, hosts: impl IntoIterator<Item = u16>) -> Self {
        let mut rig = Self::new(goal, alpha, k);
        hosts.into_iter().for_each(|host| assert!(rig.list(host)));
        rig
    }

    fn list(&mut self, host: u16) -> bool {
        self.list_as(host, Some(id(host)))
    }

    fn list_as(&mut self, host: u16, id: Option<NodeId>) -> bool {
        self.walk.add(&mut self.candidates, id, endpoint(host), false)
    }

    fn next(&self) -> Step {
        self.walk.next(&self.candidates)
    }

    /// Sends every query that the walk wants to send now.
    fn ask_all(&mut self) -> Vec<u16> {
        let mut asked = Vec::new();
        while let Step::Query(position) = self.next() {
            self.walk.asked(&mut self.candidates, position);
            asked.push(host(self.candidates[position].endpoint));
        }
        asked
    }

    /// Sends everything that the walk wants to send now, and returns whom it announced to.
    fn announce_all(&mut self) -> Vec<u16> {
        let mut announced = Vec::new();
        loop {
            match self.next() {
                Step::Query(position) => self.walk.asked(&mut self.candidates, position),
                Step::Announce(position) => {
                    self.walk.announced(&mut self.candidates, position);
                    announced.push(host(self.candidates[position].endpoint));
                }
                Step::Look(_, window) => self.walk.looked(window),
                Step::Wait | Step::Finish => return announced,
            }
        }
    }

    fn answer(&mut self, host: u16) -> Verdict {
        self.answer_as(host, id(host), Some(b"token"))
    }

    fn answer_as(&mut self, host: u16, id: NodeId, token: Option<&[u8]>) -> Verdict {
        self.walk.on_answer(&mut self.candidates, &mut self.tokens, endpoint(host), id, token)
    }

    fn stall(&mut self, host: u16) {
        self.walk.on_stall(&mut self.candidates, endpoint(host));
    }

    fn time_out(&mut self, host: u16) {
        self.walk.on_timeout(&mut self.candidates, endpoint(host));
    }

    fn lose_announce(&mut self, host: u16) {
        self.walk.on_announce_stall(&mut self.candidates, endpoint(host));
    }

    fn store(&mut self, host: u16) -> bool {
        self.walk.on_stored(&mut self.candidates, endpoint(host))
    }

    /// The answer of a host near the target, which lists these.
    fn answer_listing(&mut self, host: u16, listed: &[u16]) {
        self.answer(host);
        let farthest = listed.iter().max().unwrap();
        self.walk.on_list(&id(host), &id(*farthest), listed.len());
        listed.iter().for_each(|other| _ = self.list(*other));
    }

    fn look_answered(&mut self, window: Window, listed: impl Iterator<Item = u16>) {
        let mut reach = Distance::ZERO;
        for host in listed {
            reach = reach.max(self.walk.target_in(window).distance(&id(host)));
            self.list(host);
        }
        self.walk.on_looked(window, reach);
    }

    fn refuse(&mut self, host: u16) {
        self.walk.on_refused(&mut self.candidates, endpoint(host));
    }

    fn closest(&self) -> Vec<u16> {
        self.walk.closest(&self.candidates).map(|(_, endpoint)| host(endpoint)).collect()
    }

    fn token_holders(&self) -> Vec<u16> {
        let holders = self.candidates[..self.walk.len()].iter().filter(|c| c.has_token());
        holders.map(|c| host(c.endpoint)).collect()
    }
}

fn id(host: u16) -> NodeId {
    let mut bytes = [0; 20];
    bytes[..2].copy_from_slice(&host.to_be_bytes());
    NodeId::from_bytes(bytes)
}

fn endpoint(host: u16) -> Endpoint {
    let [high, low] = host.to_be_bytes();
    Endpoint::v4([9, 9, high, low], 6881)
}

fn host(endpoint: Endpoint) -> u16 {
    let [.., high, low] = endpoint.as_v4().unwrap();
    u16::from_be_bytes([high, low])
}

#[test]
fn l_01_the_closest_are_asked_first_and_listed_ones_are_merged() {
    let mut rig = Rig::knowing(Goal::FindNode, 2, 8, [50, 10, 30, 20]);
    assert_eq!(rig.ask_all(), [10, 20]);
    rig.answer(10);
    assert!(rig.list(5));
    assert_eq!(rig.ask_all(), [5], "a closer one goes ahead of those known before");
    rig.answer(20);
    rig.answer(5);
    assert_eq!(rig.ask_all(), [30, 50]);
    rig.answer(30);
    assert_eq!(rig.next(), Step::Wait);
    rig.answer(50);
    assert_eq!(rig.next(), Step::Finish);
    assert_eq!(rig.closest(), [5, 10, 20, 30, 50]);
}

#[test]
fn l_03_no_more_than_alpha_queries_are_open() {
    let mut rig = Rig::knowing(Goal::GetPeers, 3, 8, 1..=20);
    assert_eq!(rig.ask_all(), [1, 2, 3]);
    rig.answer(2);
    assert_eq!(rig.ask_all(), [4], "an answer frees one slot");
    rig.walk.on_failure(&mut rig.candidates, endpoint(1));
    assert_eq!(rig.ask_all(), [5], "so does a failure");
}

#[test]
fn l_03_alpha_of_one_asks_one_after_the_other() {
    let mut rig = Rig::knowing(Goal::GetPeers, 1, 3, 1..=5);
    for host in 1..=3 {
        assert_eq!(rig.ask_all(), [host]);
        rig.answer(host);
    }
    assert_eq!(rig.next(), Step::Finish);
}

#[test]
fn l_03_k_of_one_wants_a_single_node() {
    let mut rig = Rig::knowing(Goal::GetPeers, 4, 1, [3, 5, 7]);
    assert_eq!(rig.ask_all(), [3, 5], "one, and one more in case the first is dead");
    rig.answer(3);
    assert_eq!(rig.next(), Step::Finish);
    rig.list(1);
    assert_eq!(rig.ask_all(), [1], "but a closer one does");
    rig.answer(1);
    assert_eq!((rig.next(), rig.closest()), (Step::Finish, std::vec![1]));
}

#[test]
fn l_04_the_walk_ends_when_the_k_closest_that_live_have_answered() {
    let mut rig = Rig::knowing(Goal::GetPeers, 16, 4, 1..=10);
    assert_eq!(rig.ask_all(), [1, 2, 3, 4, 5, 6, 7, 8], "no more than twice K are asked at once");
    for host in [1, 3, 4] {
        rig.answer(host);
    }
    rig.stall(2);
    rig.time_out(2);
    assert_eq!(rig.next(), Step::Wait, "a dead node is no answer");
    rig.answer(5);
    assert_eq!(rig.next(), Step::Finish);
    assert_eq!(rig.closest(), [1, 3, 4, 5]);
    assert_eq!((rig.walk.queried, rig.walk.answered, rig.walk.failed), (8, 4, 1));
}

#[test]
fn l_04_a_walk_that_nobody_answers_ends_with_the_last_failure() {
    let mut rig = Rig::knowing(Goal::GetPeers, 16, 8, 1..=3);
    rig.ask_all();
    (1..=3).for_each(|host| rig.stall(host));
    assert_eq!(rig.ask_all(), [1, 2, 3], "each is asked once more");
    (1..=3).for_each(|host| rig.stall(host));
    assert_eq!(rig.next(), Step::Wait, "a late answer is better than none");
    (1..=3).for_each(|host| rig.time_out(host));
    assert_eq!(rig.next(), Step::Finish);
    assert_eq!((rig.walk.queried, rig.walk.failed), (3, 3));
}

#[test]
fn l_05_an_address_is_asked_once_under_whatever_id() {
    let mut rig = Rig::knowing(Goal::GetPeers, 16, 8, [1]);
    assert!(!rig.list(1), "listed again");
    assert!(rig.list_as(1, Some(id(77))), "the same host under another id");
    assert_eq!(rig.ask_all(), [1]);
    assert!(rig.list_as(1, Some(id(99))));
    assert_eq!(rig.ask_all(), []);
    rig.answer(1);
    assert_eq!(rig.ask_all(), []);
    assert!(!rig.list_as(1, Some(id(55))), "it is known who it is");
    assert_eq!((rig.next(), rig.walk.queried, rig.closest()), (Step::Finish, 1, std::vec![1]));
}

#[test]
fn l_05_an_id_and_an_ip_address_are_accepted_once() {
    let mut rig = Rig::knowing(Goal::GetPeers, 16, 8, [1, 2]);
    rig.list_as(3, Some(id(1)));
    let other_port = endpoint(2).with_port(1);
    assert!(rig.walk.add(&mut rig.candidates, Some(id(4)), other_port, false));
    rig.ask_all();
    assert_eq!(rig.answer(1), Verdict::Accepted);
    assert_eq!(rig.answer_as(3, id(1), None), Verdict::Rejected, "a second node with the id");
    assert_eq!(rig.answer(2), Verdict::Accepted);
    assert_eq!(rig.answer(2), Verdict::Rejected, "the answer to a query sent twice");
    let twin = rig.walk.on_answer(&mut rig.candidates, &mut rig.tokens, other_port, id(4), None);
    assert_eq!(twin, Verdict::Rejected, "a second node on the host");
    assert_eq!(rig.closest(), [1, 2]);
}

#[test]
fn l_06_unknown_ids_come_after_all_known_ones() {
    let mut rig = Rig::new(Goal::FindNode, 1, 8);
    assert!(rig.list_as(90, None) && rig.list_as(91, None) && rig.list(60_000));
    assert!(!rig.list_as(90, None), "known already");
    assert!(!rig.list_as(60_000, None), "known better");
    assert_eq!(rig.ask_all(), [60_000]);
    rig.answer(60_000);
    assert_eq!(rig.ask_all(), [90], "and keep their order");
    rig.answer_as(90, id(3), None);
    assert_eq!(rig.closest(), [90, 60_000], "its answer puts it in its place");
}

#[test]
fn l_07_an_answer_under_another_id_counts_as_a_failure() {
    let mut rig = Rig::knowing(Goal::GetPeers, 16, 8, [1, 2]);
    rig.ask_all();
    assert_eq!(rig.answer_as(1, id(2), Some(b"token")), Verdict::Rejected);
    assert_eq!(rig.answer(2), Verdict::Accepted, "the id is not taken by the liar");
    assert_eq!((rig.closest(), rig.token_holders()), (std::vec![2], std::vec![2]));
    assert_eq!((rig.walk.answered, rig.walk.failed), (1, 1));
}

#[test]
fn l_07_a_false_listing_does_not_shadow_the_host_behind_it() {
    // A liar names host 9 under an id next to the target; an honest node then names it rightly.
    let mut rig = Rig::new(Goal::GetPeers, 16, 8);
    rig.list_as(9, Some(id(1)));
    assert_eq!(rig.ask_all(), [9]);
    assert!(rig.list(9));
    assert_eq!(rig.ask_all(), [], "it is asked already");
    assert_eq!(rig.answer(9), Verdict::Accepted);
    assert_eq!(rig.closest(), [9]);
    assert_eq!((rig.walk.queried, rig.walk.failed), (1, 0));
    // It answers the liar's listing before anybody names it rightly.
    let mut rig = Rig::new(Goal::GetPeers, 16, 8);
    rig.list_as(9, Some(id(1)));
    rig.ask_all();
    assert_eq!(rig.answer(9), Verdict::Rejected);
    assert_eq!((rig.next(), rig.walk.failed), (Step::Finish, 1));
    rig.list_as(9, Some(id(2)));
    assert_eq!(rig.ask_all(), [], "not under a third name");
    assert!(rig.list(9));
    assert_eq!(rig.ask_all(), [9]);
    assert_eq!(rig.answer_as(9, id(3), None), Verdict::Rejected);
    rig.list_as(9, Some(id(3)));
    assert_eq!(rig.ask_all(), [], "whoever changes his name is not asked a third time");
    // The same with the honest name first.
    let mut rig = Rig::knowing(Goal::GetPeers, 16, 8, [9]);
    rig.list_as(9, Some(id(1)));
    assert_eq!(rig.ask_all(), [9]);
    assert_eq!(rig.answer(9), Verdict::Accepted);
}

#[test]
fn l_07_a_second_answer_under_another_id_counts_no_more_than_the_first() {
    // Under one listing, and under a second one that the same query asks.
    for listings in [1, 2] {
        let mut rig = Rig::new(Goal::GetPeers, 16, 8);
        (0..listings).for_each(|nth| assert!(rig.list_as(5, Some(id(5 + nth)))));
        assert_eq!(rig.ask_all(), [5]);
        rig.stall(5);
        assert_eq!(rig.ask_all(), [5], "it is near the target and sent once more");
        for _ in 0..2 {
            assert_eq!(rig.answer_as(5, id(1), Some(b"token")), Verdict::Rejected);
        }
        assert_eq!((rig.walk.queried, rig.walk.answered, rig.walk.failed), (1, 0, 1));
        assert!(rig.closest().is_empty() && rig.token_holders().is_empty());
    }
}

#[test]
fn l_08_a_stall_frees_the_slot_and_a_late_answer_still_counts() {
    let mut rig = Rig::knowing(Goal::GetPeers, 2, 2, 1..=9);
    assert_eq!(rig.ask_all(), [1, 2]);
    rig.stall(1);
    assert_eq!(rig.ask_all(), [3]);
    rig.stall(2);
    assert_eq!(rig.ask_all(), [4]);
    assert_eq!(rig.answer(1), Verdict::Accepted);
    rig.answer(3);
    assert_eq!(rig.closest(), [1, 3]);
}

#[test]
fn l_08_a_lost_query_near_the_target_is_sent_once_more() {
    let mut rig = Rig::knowing(Goal::GetPeers, 4, 2, [1, 2, 3]);
    assert_eq!(rig.ask_all(), [1, 2, 3]);
    rig.stall(1);
    assert_eq!(rig.ask_all(), [1]);
    rig.answer(2);
    rig.answer(3);
    assert_eq!(rig.next(), Step::Wait, "for the second try");
    rig.stall(1);
    assert_eq!(rig.next(), Step::Finish, "and for no third");
    assert_eq!(rig.walk.queried, 3, "nodes, not datagrams");
}

#[test]
fn once_peers_are_found_nothing_is_sent_again_for_more() {
    let mut rig = Rig::knowing(Goal::GetPeers, 4, 2, [1, 2, 3]);
    rig.ask_all();
    rig.walk.found = 1;
    [1, 2, 3].into_iter().for_each(|host| rig.stall(host));
    assert_eq!(rig.next(), Step::Wait, "while nobody has answered");
    rig.answer(2);
    assert_eq!(rig.next(), Step::Finish);
}

#[test]
fn of_equally_close_nodes_the_fastest_is_asked_first() {
    let mut rig = Rig::new(Goal::GetPeers, 3, 8);
    assert!(rig.list(0b101));
    for (host, ms) in [(0b1000, 90), (0b1001, 20), (0b1010, 40), (0b10000, 1)] {
        rig.walk.add_known(&mut rig.candidates, id(host), endpoint(host), Duration::from_millis(ms));
    }
    assert!(rig.list(0b1011));
    assert_eq!(rig.ask_all(), [0b101, 0b1001, 0b1010], "the closest, and of four at the next distance two");
    rig.answer(0b101);
    rig.answer(0b1001);
    assert_eq!(rig.ask_all(), [0b1000, 0b1011], "whose speed is unknown goes last");
}

#[test]
fn l_08_the_timeout_of_the_first_try_does_not_end_the_second() {
    let mut rig = Rig::knowing(Goal::GetPeers, 4, 2, [1, 2]);
    rig.ask_all();
    rig.stall(1);
    assert_eq!(rig.ask_all(), [1]);
    rig.time_out(1);
    assert_eq!(rig.answer(1), Verdict::Accepted);
    assert_eq!((rig.walk.answered, rig.walk.failed), (1, 0));
}

#[test]
fn a_lost_node_behind_the_k_closest_is_not_asked_again() {
    let mut rig = Rig::knowing(Goal::GetPeers, 4, 2, [5, 9]);
    rig.ask_all();
    rig.list(1);
    rig.ask_all();
    rig.answer(5);
    rig.answer(1);
    rig.stall(9);
    assert_eq!(rig.next(), Step::Finish);
}

#[test]
fn l_02_announces_go_to_the_k_closest_as_soon_as_all_closer_ones_have_settled() {
    let mut rig = Rig::knowing(ANNOUNCE, 16, 3, 1..=5);
    assert_eq!(rig.announce_all(), []);
    rig.answer(1);
    assert_eq!(rig.announce_all(), [1], "nobody is closer");
    rig.answer(3);
    assert_eq!(rig.announce_all(), [], "2 may still be alive");
    rig.stall(2);
    assert_eq!(rig.announce_all(), [3]);
    rig.answer(4);
    assert_eq!(rig.announce_all(), [4]);
    (0..2).for_each(|_| rig.stall(2));
    for host in [1, 3, 4] {
        assert!(rig.store(host));
    }
    assert_eq!(rig.next(), Step::Finish);
    assert_eq!((rig.walk.announced, rig.walk.acknowledged), (3, 3));
}

#[test]
fn l_02_a_late_closer_answer_adds_one_announce() {
    let mut rig = Rig::knowing(ANNOUNCE, 16, 2, 1..=3);
    rig.ask_all();
    rig.stall(1);
    rig.announce_all();
    rig.answer(2);
    rig.answer(3);
    assert_eq!(rig.announce_all(), [2, 3]);
    rig.answer(1);
    assert_eq!(rig.announce_all(), [1]);
    assert_eq!(rig.walk.announced, 3);
}

#[test]
fn t_10_a_node_without_a_token_serves_the_walk_but_is_not_announced_to() {
    let mut rig = Rig::knowing(ANNOUNCE, 16, 2, 1..=4);
    rig.ask_all();
    assert_eq!(rig.answer_as(1, id(1), None), Verdict::Accepted);
    rig.answer_as(2, id(2), Some(b""));
    rig.answer_as(3, id(3), Some(&[7; 129]));
    assert_eq!(rig.announce_all(), [], "no token, an empty one, and one that is too long");
    rig.answer(4);
    assert_eq!(rig.announce_all(), [4]);
    rig.store(4);
    assert_eq!((rig.next(), rig.closest()), (Step::Finish, std::vec![1, 2]));
}

#[test]
fn a_refused_announce_spills_over_to_the_next() {
    let mut rig = Rig::knowing(ANNOUNCE, 16, 2, 1..=6);
    rig.ask_all();
    rig.answer(1);
    rig.answer(2);
    assert_eq!(rig.announce_all(), [1, 2]);
    rig.refuse(1);
    assert_eq!(rig.announce_all(), [], "the next has to be asked for its token first");
    rig.answer(3);
    assert_eq!(rig.announce_all(), [3]);
    rig.store(2);
    rig.store(3);
    assert_eq!((rig.next(), rig.walk.acknowledged), (Step::Finish, 2));
}

#[test]
fn refusals_do_not_spill_over_without_end() {
    let mut rig = Rig::knowing(ANNOUNCE, 16, 2, 1..=30);
    let mut announced = 0;
    loop {
        match rig.next() {
            Step::Query(position) => {
                rig.walk.asked(&mut rig.candidates, position);
                let host = host(rig.candidates[position].endpoint);
                rig.answer(host);
            }
            Step::Announce(position) => {
                announced += 1;
                rig.walk.announced(&mut rig.candidates, position);
                let host = host(rig.candidates[position].endpoint);
                rig.refuse(host);
            }
            Step::Look(..) | Step::Wait | Step::Finish => break,
        }
    }
    assert_eq!((rig.next(), announced), (Step::Finish, 4), "2 K nodes are tried");
}

#[test]
fn a_lost_announce_is_sent_once_more_and_then_goes_to_the_next() {
    let mut rig = Rig::knowing(ANNOUNCE, 16, 1, [1, 2]);
    rig.ask_all();
    rig.answer(1);
    assert_eq!(rig.announce_all(), [1]);
    rig.lose_announce(1);
    assert_eq!(rig.announce_all(), [1]);
    rig.lose_announce(1);
    rig.announce_all();
    rig.answer(2);
    assert_eq!(rig.announce_all(), [2]);
    assert!(rig.store(1), "a late confirmation counts");
    assert!(!rig.store(1), "once");
    rig.store(2);
    assert_eq!((rig.walk.announced, rig.walk.acknowledged), (2, 2));
}

#[test]
fn where_the_dead_hide_the_living_nodes_beyond_the_horizon_are_asked_for() {
    let mut rig = Rig::knowing(ANNOUNCE, 16, 8, [3, 5]);
    rig.ask_all();
    rig.answer_listing(3, &[1, 2, 5, 6, 7, 8, 9, 10]);
    rig.answer(5);
    assert_eq!(rig.ask_all(), [1, 2, 6, 7, 8, 9, 10]);
    assert!(rig.list(300), "somebody far away");
    rig.stall(6);
    [1, 2].into_iter().for_each(|host| _ = rig.answer(host));
    let mut looks = Vec::new();
    loop {
        match rig.next() {
            Step::Announce(position) => rig.walk.announced(&mut rig.candidates, position),
            Step::Query(position) => rig.walk.asked(&mut rig.candidates, position),
            Step::Look(position, window) => {
                rig.walk.looked(window);
                looks.push((host(rig.candidates[position].endpoint), rig.walk.target_in(window)));
            }
            Step::Wait | Step::Finish => break,
        }
    }
    assert_eq!(looks, [(1, id(12)), (2, id(16))], "each at another node, for the next 8 from 10 on");
    // The quarter before is listed whole, so nothing more is left to ask for.
    rig.look_answered(Window::Rest, [3, 8, 9, 10, 12, 13, 14, 15].into_iter());
    rig.look_answered(Window::Next, 16..24);
    [7, 8, 9, 10].into_iter().for_each(|host| (0..2).for_each(|_| rig.stall(host)));
    rig.stall(6);
    assert!(rig.ask_all().starts_with(&[12, 13, 14, 15]), "closer than the one far away");
}

#[test]
fn who_knows_its_neighbours_is_not_asked_beyond_them() {
    let mut rig = Rig::knowing(ANNOUNCE, 16, 8, 1..=8);
    rig.ask_all();
    (1..=8).for_each(|host| rig.answer_listing(host, &[1, 2, 3, 4, 5, 6, 7, 8]));
    rig.list(300);
    assert_eq!(rig.announce_all(), (1..=8).collect::<Vec<_>>());
    assert_eq!(rig.walk.horizon.tries(), 0);
    let mut rig = Rig::knowing(Goal::GetPeers, 16, 8, 1..=8);
    rig.ask_all();
    rig.answer_listing(1, &[1, 2, 3, 4, 5, 6, 7, 8]);
    rig.list(300);
    rig.ask_all();
    assert_eq!(rig.next(), Step::Wait, "and only announces look there");
}

#[test]
fn a_reported_announce_still_goes_to_closer_nodes_that_answer_late_or_are_named_late() {
    let mut rig = Rig::knowing(ANNOUNCE, 16, 2, 2..=4);
    rig.ask_all();
    (0..2).for_each(|_| rig.stall(2));
    rig.announce_all();
    [3, 4].into_iter().for_each(|host| _ = rig.answer(host));
    assert_eq!(rig.announce_all(), [3, 4]);
    [3, 4].into_iter().for_each(|host| _ = rig.store(host));
    rig.announce_all();
    rig.stall(2);
    assert_eq!(rig.next(), Step::Finish);
    rig.walk.phase = Phase::Remembered;
    for _ in TRIES..LINGERING_TRIES {
        assert_eq!(rig.ask_all(), [2], "it is asked a few times more");
        rig.stall(2);
    }
    assert_eq!(rig.next(), Step::Finish);
    rig.list(1);
    assert_eq!(rig.ask_all(), [1]);
    rig.answer(2);
    rig.answer(1);
    assert_eq!(rig.announce_all(), [1, 2]);
    rig.lose_announce(2);
    assert_eq!(rig.announce_all(), [2]);
    rig.store(1);
    rig.store(2);
    assert_eq!(rig.next(), Step::Finish);
    rig.list(9);
    assert_eq!(rig.next(), Step::Finish, "who is farther away is of no interest");
}

#[test]
fn a_node_that_failed_not_long_ago_is_asked_only_when_nobody_waits() {
    let mut rig = Rig::knowing(ANNOUNCE, 16, 1, [2]);
    assert!(rig.walk.add(&mut rig.candidates, Some(id(1)), endpoint(1), true));
    assert_eq!(rig.ask_all(), [2]);
    rig.answer(2);
    assert_eq!(rig.announce_all(), [2], "it holds up nothing");
    rig.store(2);
    assert_eq!(rig.next(), Step::Finish);
    rig.walk.phase = Phase::Remembered;
    for _ in TRIES..LINGERING_TRIES {
        assert_eq!(rig.ask_all(), [1]);
        rig.stall(1);
    }
    assert_eq!(rig.next(), Step::Finish, "what it was asked before counts");
    rig.answer(1);
    assert_eq!(rig.announce_all(), [1]);
    let mut rig = Rig::knowing(Goal::GetPeers, 16, 1, [2]);
    assert!(!rig.walk.add(&mut rig.candidates, Some(id(1)), endpoint(1), true), "of no use to others");
}

#[test]
fn tokens_of_the_closest_are_kept_and_the_farthest_gives_way() {
    let mut rig = Rig::knowing(ANNOUNCE, 64, 16, 11..=30);
    (11..=30).rev().for_each(|host| {
        rig.ask_all();
        rig.walk.asked(&mut rig.candidates, usize::from(host) - 11);
        rig.answer(host);
    });
    assert_eq!(TOKENS, 2 * K);
    assert_eq!(rig.token_holders(), (11..=26).collect::<Vec<_>>());
    rig.list(40);
    rig.walk.asked(&mut rig.candidates, 20);
    rig.answer(40);
    assert!(!rig.token_holders().contains(&40), "a farther one takes no place");
    rig.list(1);
    rig.walk.asked(&mut rig.candidates, 0);
    rig.answer_as(1, id(1), Some(b"new"));
    assert!(rig.token_holders().contains(&1) && !rig.token_holders().contains(&26));
    let token = |host| rig.walk.token_of(&rig.candidates, &rig.tokens, endpoint(host)).unwrap();
    assert_eq!((token(1).bytes(), token(11).bytes()), (&b"new"[..], &b"token"[..]));
    assert!(rig.walk.token_of(&rig.candidates, &rig.tokens, endpoint(40)).is_none());
}

#[test]
fn the_token_of_a_host_is_found_whatever_else_is_listed_there() {
    let mut rig = Rig::knowing(ANNOUNCE, 16, 8, [9]);
    rig.list_as(9, Some(id(1)));
    rig.ask_all();
    assert_eq!(rig.answer(9), Verdict::Accepted);
    let token = rig.walk.token_of(&rig.candidates, &rig.tokens, endpoint(9));
    assert_eq!(token.unwrap().bytes(), b"token");
}

#[test]
fn full_memory_keeps_the_closest_candidates() {
    let mut rig = Rig::with_memory(Goal::GetPeers, 16, 8, 4);
    assert!([50, 40, 30, 20].into_iter().all(|host| rig.list(host)));
    assert!(!rig.list(60), "farther than all");
    assert!(rig.list(10));
    assert!(!rig.list_as(70, None), "an unknown id does not displace a known one");
    assert_eq!((rig.ask_all(), rig.walk.len()), (std::vec![10, 20, 30, 40], 4));
    let mut rig = Rig::with_memory(Goal::GetPeers, 16, 8, 0);
    assert!(!rig.list(1));
    assert_eq!(rig.next(), Step::Finish);
}

#[test]
fn one_answer_of_lies_does_not_end_a_walk() {
    let mut rig = Rig::knowing(Goal::GetPeers, 16, 8, 101..=108);
    rig.ask_all();
    rig.answer(101);
    (1..=32).for_each(|fake| assert!(rig.list(fake)));
    for host in 102..=108 {
        rig.answer(host);
    }
    for _ in 0..8 {
        rig.ask_all().into_iter().filter(|&host| host <= 32).for_each(|fake| rig.stall(fake));
    }
    assert_eq!(rig.next(), Step::Finish);
    assert_eq!(rig.closest(), (101..=108).collect::<Vec<_>>());
}

#[test]
fn a_query_to_a_single_node_asks_nobody_else() {
    let options = LookupOptions { only: Some(([1, 1, 1, 1], 1).into()), ..LookupOptions::default() };
    let mut rig = Rig::new(ANNOUNCE, 16, 8);
    rig.walk = Walk::new(ANNOUNCE, TARGET, Family::V4, &options, true, Instant::ZERO);
    rig.list_as(7, None);
    assert_eq!(rig.ask_all(), [7]);
    rig.answer(7);
    rig.list(1);
    assert_eq!(rig.announce_all(), [7]);
    rig.store(7);
    assert_eq!((rig.next(), rig.closest()), (Step::Finish, std::vec![1]), "what it listed");
}

/// What the world does to one datagram of a walk.
#[derive(Clone, Copy, Debug)]
enum Fate {
    Answer,
    AnswerAs(u16),
    Lose,
    Fail,
}

fn fates() -> impl Strategy<Value = Fate> {
    prop_oneof![
        4 => Just(Fate::Answer),
        1 => (0_u16..60).prop_map(Fate::AnswerAs),
        2 => Just(Fate::Lose),
        1 => Just(Fate::Fail),
    ]
}

proptest! {
    /// Whatever becomes of its datagrams, a walk ends, and asks no address more than twice.
    #[test]
    fn l_05_a_walk_always_ends_and_asks_no_address_more_than_twice(
        announce in any::<bool>(),
        (alpha, k, memory) in (1_u8..20, 1_u8..16, prop_oneof![Just(64_usize), 1_usize..40]),
        seeds in proptest::collection::vec((1_u16..60, 0_u16..60), 1..12),
        script in proptest::collection::vec((fates(), proptest::collection::vec((1_u16..60, 0_u16..60), 0..10)), 1..150),
    ) {
        let goal = if announce { ANNOUNCE } else { Goal::GetPeers };
        let mut rig = Rig::with_memory(goal, alpha, k, memory);
        for (host, name) in seeds {
            rig.list_as(host, (name != 0).then(|| id(name)));
        }
        let mut asked = std::collections::BTreeMap::<u16, u32>::new();
        let mut open = std::collections::VecDeque::new();
        let mut lost = std::collections::VecDeque::new();
        let (mut windows, mut looked) = (std::collections::VecDeque::new(), 0);
        let mut script = script.into_iter().cycle();
        let mut steps = 0;
        loop {
            steps += 1;
            prop_assert!(steps < 5000, "the walk does not end");
            match rig.next() {
                Step::Query(position) => {
                    let host = host(rig.candidates[position].endpoint);
                    *asked.entry(host).or_default() += 1;
                    rig.walk.asked(&mut rig.candidates, position);
                    open.push_back((host, false));
                    continue;
                }
                Step::Announce(position) => {
                    let host = host(rig.candidates[position].endpoint);
                    rig.walk.announced(&mut rig.candidates, position);
                    open.push_back((host, true));
                    continue;
                }
                Step::Finish => break,
                Step::Wait => {}
                Step::Look(_, window) => {
                    rig.walk.looked(window);
                    windows.push_back(window);
                    looked += 1;
                    prop_assert!(looked <= 6, "each window is asked for twice at most");
                    continue;
                }
            }
            let (fate, listed) = script.next().unwrap();
            if let Some(window) = windows.pop_front() {
                match fate {
                    Fate::Answer => rig.look_answered(window, listed.into_iter().map(|(host, _)| host)),
                    _ => rig.walk.on_looked_in_vain(window),
                }
                continue;
            }
            let Some((host, is_announce)) = open.pop_front() else {
                let host = lost.pop_front();
                prop_assert!(host.is_some(), "the walk waits for nothing");
                rig.time_out(host.unwrap());
                continue;
            };
            match fate {
                Fate::Answer if is_announce => _ = rig.store(host),
                Fate::AnswerAs(_) | Fate::Fail if is_announce => rig.refuse(host),
                Fate::Lose if is_announce => rig.lose_announce(host),
                Fate::Answer | Fate::AnswerAs(_) => {
                    let name = if let Fate::AnswerAs(name) = fate { name } else { host };
                    if rig.answer_as(host, id(name), Some(b"token")) == Verdict::Accepted {
                        let farthest = listed.iter().map(|(_, name)| *name).max();
                        if let Some(farthest) = farthest.filter(|_| announce) {
                            rig.walk.on_list(&id(name), &id(farthest), listed.len());
                        }
                        for (host, name) in listed {
                            rig.list_as(host, Some(id(name)));
                        }
                    }
                }
                Fate::Lose => {
                    rig.stall(host);
                    lost.push_back(host);
                }
                Fate::Fail => rig.walk.on_failure(&mut rig.candidates, endpoint(host)),
            }
        }
        // Where memory is short a host may be forgotten, and listed again under another id.
        if memory == 64 {
            prop_assert!(asked.values().all(|&times| times <= u32::from(TRIES)), "{asked:?}");
        }
        prop_assert!(rig.closest().len() <= usize::from(k));
    }
}
