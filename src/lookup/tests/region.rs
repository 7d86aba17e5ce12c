//! The region around a target, and the admission of candidates.

use super::*;
use crate::lookup::horizon::Region;

/// Creates a traversal in a network of 65,536 nodes, where one is expected at each number.
fn known(goal: Goal) -> Rig {
    let mut rig = Rig::new(goal, 16, 8);
    rig.traversal.expect(Some(65_536.0), false);
    rig
}

fn strict() -> Rig {
    Rig::new(Goal::GetPeers, 16, 8)
}

fn v4(subnet: u8, host: u8) -> Endpoint {
    Endpoint::v4([9, 9, subnet, host], 6881)
}

fn v6(subnet: u16, host: u8) -> Endpoint {
    let mut ip = [0; 16];
    ip[..6].copy_from_slice(&[0x2a, 0, 0, 1, 0, 2]);
    ip[6..8].copy_from_slice(&subnet.to_be_bytes());
    ip[15] = host;
    Endpoint::v6(ip, 6881)
}

impl Traversal {
    const fn search_region(&mut self) {
        self.region.is_searched = true;
    }
}

const BY: Endpoint = Endpoint::v4([7, 7, 7, 7], 6881);

impl Rig {
    fn listed_at(&mut self, host: u16, endpoint: Endpoint, by: Endpoint) -> bool {
        self.traversal.add_listed(&mut self.candidates, id(host), endpoint, false, by)
    }
}

#[test]
fn h_01_no_more_than_two_nodes_of_a_subnet_are_candidates() {
    let mut rig = strict();
    assert!(rig.listed_at(1, v4(1, 1), BY) && rig.listed_at(2, v4(1, 2), BY));
    assert!(!rig.listed_at(3, v4(1, 3), BY), "whoever lists it");
    assert!(!rig.listed_at(3, v4(1, 3), v4(5, 5)));
    assert!(!rig.listed_at(3, v4(1, 1).with_port(7), BY), "nor another port");
    assert!(rig.listed_at(3, v4(2, 1), BY), "another network");
    let rtt = Duration::from_millis(9);
    rig.traversal.add_known(&mut rig.candidates, id(4), v4(1, 4), rtt);
    let here = rig.candidates[..rig.traversal.len()].iter().filter(|c| c.endpoint == v4(1, 4));
    assert_eq!((here.count(), rig.traversal.len()), (1, 3), "a stranger gives way to one of our own table");
    let mut rig = strict();
    assert!(rig.listed_at(1, v6(0x100, 1), BY));
    assert!(!rig.listed_at(2, v6(0x1ff, 2), BY), "one of each household, a /56");
    assert!(rig.listed_at(3, v6(0x200, 3), BY));
    assert!(!rig.listed_at(4, v6(0x300, 4), BY), "two of each /48");
    let mut rig = strict();
    let private = |host| Endpoint::v4([10, 0, 0, host], 6881);
    assert!((1..=8).all(|host| rig.listed_at(host.into(), private(host), BY)), "a private one has one owner");
    let mut rig = Rig::new(Goal::GetPeers, 16, 8);
    rig.traversal.limits_sources = false;
    assert!((1..=8_u8).all(|host| rig.listed_at(host.into(), v4(1, host), BY)), "without limits");
}

#[test]
fn h_04_a_subnet_that_never_responds_is_sent_four_datagrams() {
    // Whichever node lists them and however often: as ports of one host, and as addresses.
    for is_one_host in [false, true] {
        let mut rig = strict();
        let (mut sent, mut host) = (0, 0);
        for round in 0..40 {
            for n in 0..8 {
                host += 1;
                let victim = if is_one_host { v4(1, 1).with_port(host) } else { v4(1, host as u8) };
                rig.listed_at(host, victim, v4(100 + round, n));
            }
            while let Step::Query(position) = rig.next() {
                rig.traversal.on_queried(&mut rig.candidates, position);
                sent += 1;
            }
            for position in 0..rig.traversal.len() {
                let victim = rig.candidates[position].endpoint;
                rig.traversal.on_stall(&mut rig.candidates, victim);
                if round % 3 == 2 {
                    rig.traversal.on_timeout(&mut rig.candidates, victim);
                }
            }
        }
        assert_eq!(sent, 4);
    }
    // A node that responds lifts the limit for its neighbour.
    let mut rig = strict();
    assert!(rig.listed_at(1, v4(1, 1), BY) && rig.listed_at(2, v4(1, 2), BY));
    assert_eq!(rig.ask_all().len(), 2);
    rig.traversal.on_stall(&mut rig.candidates, v4(1, 2));
    rig.traversal.on_response(&mut rig.candidates, &mut rig.tokens, v4(1, 1), id(1), None, Weight::Full);
    assert_eq!(rig.ask_all().len(), 1, "once more");
}

#[test]
fn h_02_responders_are_not_evicted_for_new_candidates() {
    let mut rig = Rig::with_memory(Goal::GetPeers, 16, 8, 16);
    (100..112).for_each(|host| assert!(rig.list(host)));
    rig.ask_all();
    (100..112).for_each(|host| _ = rig.answer(host));
    (1..=4).for_each(|host| assert!(rig.list(host)));
    assert!(!rig.list(120), "farther than all");
    for host in (5..60).rev() {
        rig.list(host);
    }
    let answered = rig.candidates.iter().filter(|c| c.has_responded());
    assert_eq!(answered.count(), 8, "half of the memory");
    assert!(rig.candidates.iter().any(|c| c.id == Some(id(5))), "the closest of the others");
}

#[test]
fn h_02_if_ids_must_match_addresses_a_matching_one_is_not_evicted_for_another() {
    let fit = |host: u8| {
        let at = v4(host, 1);
        (NodeId::secure_for(at.ip(), [host; 20]), at)
    };
    let mut rig = Rig::with_memory(Goal::GetPeers, 16, 8, 4);
    rig.traversal.expect(None, true);
    for host in 1..=4 {
        let (id, at) = fit(host);
        assert!(rig.traversal.add_listed(&mut rig.candidates, id, at, false, BY));
    }
    assert!(!rig.listed_at(0, v4(200, 1), BY), "however close");
    let mut rig = Rig::with_memory(Goal::GetPeers, 16, 8, 4);
    for host in 1..=4 {
        let (id, at) = fit(host);
        assert!(rig.traversal.add_listed(&mut rig.candidates, id, at, false, BY));
    }
    assert!(rig.listed_at(0, v4(200, 1), BY), "elsewhere the closest comes first");
}

#[test]
fn h_02_one_lister_fills_no_more_than_its_share_and_is_doubted_if_none_of_its_nodes_exist() {
    let mut rig = Rig::new(Goal::GetPeers, 4, 8);
    let other = Endpoint::v4([8, 8, 8, 8], 6881);
    let added = (1..=20).filter(|&host| rig.listed_at(host, endpoint(host), BY)).count();
    assert_eq!(added, 8);
    assert!((31..=36).all(|host| rig.listed_at(host, endpoint(host), other)));
    assert_eq!(rig.ask_all(), [1, 2, 3, 4]);
    (1..=4).for_each(|host| rig.stall(host));
    assert_eq!(rig.ask_all(), [31, 32, 33, 34], "those of others go first");
    rig.answer(31);
    rig.traversal.on_failure(&mut rig.candidates, endpoint(32));
    rig.answer(33);
    rig.answer(34);
    assert_eq!(rig.ask_all()[..2], [35, 36]);
    // One of them was only late.
    rig.answer(2);
    assert!(rig.ask_all().contains(&5));
}

#[test]
fn h_05_traversals_that_end_as_expected_go_no_further() {
    // The eighth closest is at its expected distance, or at either end of the plausible range.
    for farthest in [3, 8, 19] {
        let mut rig = known(Goal::GetPeers);
        (0..7).for_each(|host| assert!(rig.list_as(500 + host, Some(id_at(farthest, host)))));
        assert!(rig.list(farthest));
        (30..40).for_each(|host| assert!(rig.list(host)));
        let hosts: Vec<u16> = rig.ask_all();
        for host in hosts {
            let id = rig.candidates.iter().find(|c| c.endpoint == endpoint(host)).unwrap().id.unwrap();
            rig.answer_as(host, id, None);
        }
        assert_eq!(rig.next(), Step::Finish);
        assert!(!rig.traversal.widen(&rig.candidates, 1.0), "{farthest}");
        let within = rig.traversal.expected_within().unwrap();
        assert!((within - f32::from(farthest)).abs() < 0.01, "{within}");
    }
}

/// Returns an id before the one of a host.
fn id_at(farthest: u16, nth: u16) -> NodeId {
    let mut bytes = *id(farthest - 1).as_bytes();
    bytes[2] = nth as u8;
    NodeId::from_bytes(bytes)
}

#[test]
fn h_02_a_crowded_target_is_searched_for_the_nodes_behind() {
    let mut rig = known(ANNOUNCE);
    // Eight Sybils that share 15 bits with the target, and honest nodes from 1 to 60.
    let sybil = |nth: u16| {
        let mut bytes = [0; 20];
        bytes[2] = nth as u8;
        NodeId::from_bytes(bytes)
    };
    (1000..1008).for_each(|host| assert!(rig.list_as(host, Some(sybil(host - 999)))));
    assert!(rig.list(40) && rig.list(60));
    for host in rig.ask_all() {
        let id = if host >= 1000 { sybil(host - 999) } else { id(host) };
        rig.answer_as(host, id, Some(b"token"));
    }
    assert_eq!(rig.announce_all().len(), 8, "so far nothing is odd");
    (1000..1008).for_each(|host| _ = rig.store(host));
    assert_eq!(rig.next(), Step::Finish);
    assert!(rig.traversal.widen(&rig.candidates, 1.0) && rig.traversal.expected_within().unwrap() < 0.1);
    let mut asked = Vec::new();
    let mut announced = Vec::new();
    for _ in 0..200 {
        match rig.next() {
            Step::Probe(position, window) => {
                let from = host(rig.candidates[position].endpoint);
                assert!(from < 1000, "none of the crowd is asked who else is there");
                asked.push(from);
                rig.traversal.on_probed(&mut rig.candidates, position, window);
                let at = rig.traversal.probe_target(window);
                // The node lists the eight honest nodes closest to the queried target.
                let mut honest: Vec<u16> = (1..=60).collect();
                honest.sort_by_key(|host| id(*host).distance(&at));
                honest.iter().take(8).for_each(|host| _ = rig.list(*host));
                rig.traversal.on_probe_response(window, Distance::ZERO);
            }
            Step::Query(position) => {
                let host = host(rig.candidates[position].endpoint);
                rig.traversal.on_queried(&mut rig.candidates, position);
                rig.answer(host);
            }
            Step::Announce(position) => {
                let host = host(rig.candidates[position].endpoint);
                rig.traversal.on_announced(&mut rig.candidates, position);
                announced.push(host);
                rig.store(host);
            }
            Step::Wait | Step::Finish => break,
        }
    }
    announced.sort_unstable();
    assert_eq!(announced, (1..20).collect::<Vec<_>>(), "all of the region; asked: {asked:?}");
    assert!(asked.len() <= 24, "{asked:?}");
}

#[test]
fn h_02_too_many_nodes_next_to_the_target_do_not_all_become_candidates() {
    let mut rig = known(Goal::GetPeers);
    let near = |nth: u16| {
        let mut bytes = [0; 20];
        bytes[2..4].copy_from_slice(&nth.to_be_bytes());
        NodeId::from_bytes(bytes)
    };
    rig.traversal.search_region();
    let added = (1..=300).filter(|&nth| rig.list_as(1000 + nth, Some(near(nth)))).count();
    assert_eq!(added, 16, "a quarter");
    assert!(rig.list(3), "behind them there is room");
    let mut rig = Rig::new(Goal::GetPeers, 16, 8);
    let added = (1..=300).filter(|&nth| rig.list_as(1000 + nth, Some(near(nth)))).count();
    assert_eq!(added, 64, "while nothing is odd");
}

#[test]
fn h_05_a_traversal_of_unknown_surroundings_is_never_odd() {
    for nodes in [None, Some(20.0)] {
        let mut rig = Rig::knowing(Goal::GetPeers, 16, 8, 1..=8);
        rig.traversal.expect(nodes, false);
        rig.ask_all().into_iter().for_each(|host| _ = rig.answer(host));
        assert_eq!(rig.next(), Step::Finish);
        assert!(!rig.traversal.widen(&rig.candidates, 1.0));
    }
    assert_eq!(size_of::<Region>(), 16);
}
