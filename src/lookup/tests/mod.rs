//! The rules of a traversal, tested one by one without a network.
//!
//! - `announce`: the nodes that an announce is sent to, and when
//! - `region`: the region around a target, and the admission of candidates
//! - `traversal`: which nodes are queried, which again, and when a traversal ends

mod announce;
mod region;
mod traversal;

use std::vec::Vec;

use proptest::prelude::*;

use super::admission::SILENT_SUBNET_TRIES;
use super::*;

const TARGET: NodeId = NodeId::ZERO;
const ANNOUNCE: Goal = Goal::Announce(Announce::port(1));

/// A traversal towards zero and its memory.
///
/// Hosts are numbered; a host's id is its number, so a lower number is closer.
struct Rig {
    traversal: Traversal,
    candidates: Vec<Candidate>,
    tokens: Vec<Token>,
}

impl Rig {
    fn new(goal: Goal, alpha: u8, k: u8) -> Self {
        Self::with_memory(goal, alpha, k, 64)
    }

    fn with_memory(goal: Goal, alpha: u8, k: u8, candidates: usize) -> Self {
        let options = LookupOptions { alpha, k, ..LookupOptions::default() };
        let traversal = Traversal::new(goal, TARGET, Family::V4, &options, true, Instant::ZERO);
        let candidates = std::vec![Candidate::EMPTY; candidates];
        Self { traversal, candidates, tokens: std::vec![Token::EMPTY; MAX_K.into()] }
    }

    /// Creates a traversal that knows these hosts.
    fn knowing(goal: Goal, alpha: u8, k: u8, hosts: impl IntoIterator<Item = u16>) -> Self {
        let mut rig = Self::new(goal, alpha, k);
        hosts.into_iter().for_each(|host| assert!(rig.list(host)));
        rig
    }

    fn list(&mut self, host: u16) -> bool {
        self.list_as(host, Some(id(host)))
    }

    fn list_as(&mut self, host: u16, id: Option<NodeId>) -> bool {
        self.traversal.add(&mut self.candidates, id, endpoint(host), false)
    }

    fn next(&self) -> Step {
        self.traversal.next(&self.candidates)
    }

    /// Sends every query that is due, and returns the hosts.
    fn ask_all(&mut self) -> Vec<u16> {
        let mut asked = Vec::new();
        while let Step::Query(position) = self.next() {
            self.traversal.on_queried(&mut self.candidates, position);
            asked.push(host(self.candidates[position].endpoint));
        }
        asked
    }

    /// Sends everything that is due, and returns the hosts that were announced to.
    fn announce_all(&mut self) -> Vec<u16> {
        let mut announced = Vec::new();
        loop {
            match self.next() {
                Step::Query(position) => self.traversal.on_queried(&mut self.candidates, position),
                Step::Announce(position) => {
                    self.traversal.on_announced(&mut self.candidates, position);
                    announced.push(host(self.candidates[position].endpoint));
                }
                Step::Probe(position, window) => {
                    self.traversal.on_probed(&mut self.candidates, position, window);
                }
                Step::Wait | Step::Finish => return announced,
            }
        }
    }

    fn answer(&mut self, host: u16) -> Verdict {
        self.answer_as(host, id(host), Some(b"token"))
    }

    fn answer_as(&mut self, host: u16, id: NodeId, token: Option<&[u8]>) -> Verdict {
        self.traversal.on_response(
            &mut self.candidates,
            &mut self.tokens,
            endpoint(host),
            id,
            token,
            Weight::Full,
        )
    }

    fn stall(&mut self, host: u16) {
        self.traversal.on_stall(&mut self.candidates, endpoint(host));
    }

    fn time_out(&mut self, host: u16) {
        self.traversal.on_timeout(&mut self.candidates, endpoint(host));
    }

    fn lose_announce(&mut self, host: u16) {
        self.traversal.on_announce_stall(&mut self.candidates, endpoint(host));
    }

    fn store(&mut self, host: u16) -> bool {
        self.traversal.on_stored(&mut self.candidates, endpoint(host))
    }

    /// Handles the response of a host near the target, which lists these hosts.
    fn answer_listing(&mut self, host: u16, listed: &[u16]) {
        self.answer(host);
        let farthest = listed.iter().max().unwrap();
        self.traversal.on_list(&id(host), &id(*farthest), listed.len());
        listed.iter().for_each(|other| _ = self.list(*other));
    }

    fn respond_to_probe(&mut self, window: Window, listed: impl Iterator<Item = u16>) {
        let mut reach = Distance::ZERO;
        for host in listed {
            reach = reach.max(self.traversal.probe_target(window).distance(&id(host)));
            self.list(host);
        }
        self.traversal.on_probe_response(window, reach);
    }

    fn refuse(&mut self, host: u16) {
        self.traversal.on_refused(&mut self.candidates, endpoint(host), None);
    }

    fn closest(&self) -> Vec<u16> {
        self.traversal.closest(&self.candidates).map(|(_, endpoint)| host(endpoint)).collect()
    }

    fn token_holders(&self) -> Vec<u16> {
        let holders = self.candidates[..self.traversal.len()].iter().filter(|c| c.has_token());
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
    // Each host is in a subnet of its own.
    Endpoint::v4([9, high, low, 9], 6881)
}

fn host(endpoint: Endpoint) -> u16 {
    let [_, high, low, _] = endpoint.as_v4().unwrap();
    u16::from_be_bytes([high, low])
}

/// Memory for every host under every name.
const ENOUGH: usize = 60 * 60;

/// The delivery of one datagram.
#[derive(Clone, Copy, Debug)]
enum Delivery {
    Answer,
    AnswerAs(u16),
    Lose,
    Fail,
}

fn deliveries() -> impl Strategy<Value = Delivery> {
    prop_oneof![
        4 => Just(Delivery::Answer),
        1 => (0_u16..60).prop_map(Delivery::AnswerAs),
        2 => Just(Delivery::Lose),
        1 => Just(Delivery::Fail),
    ]
}

proptest! {
    /// A traversal ends, and queries no address more than twice, whatever happens to its datagrams.
    #[test]
    fn l_05_a_traversal_always_ends_and_queries_no_address_more_than_twice(
        announce in any::<bool>(),
        (alpha, k, memory) in (1_u8..20, 1_u8..16, prop_oneof![Just(ENOUGH), 1_usize..40]),
        seeds in proptest::collection::vec((1_u16..60, 0_u16..60), 1..12),
        script in proptest::collection::vec((deliveries(), proptest::collection::vec((1_u16..60, 0_u16..60), 0..10)), 1..150),
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
            prop_assert!(steps < 5000, "the traversal does not end");
            match rig.next() {
                Step::Query(position) => {
                    let host = host(rig.candidates[position].endpoint);
                    *asked.entry(host).or_default() += 1;
                    rig.traversal.on_queried(&mut rig.candidates, position);
                    open.push_back((host, false));
                    continue;
                }
                Step::Announce(position) => {
                    let host = host(rig.candidates[position].endpoint);
                    rig.traversal.on_announced(&mut rig.candidates, position);
                    open.push_back((host, true));
                    continue;
                }
                Step::Finish => break,
                Step::Wait => {}
                Step::Probe(position, window) => {
                    rig.traversal.on_probed(&mut rig.candidates, position, window);
                    windows.push_back(window);
                    looked += 1;
                    prop_assert!(looked <= 6, "each window is asked for twice at most");
                    continue;
                }
            }
            let (delivery, listed) = script.next().unwrap();
            if let Some(window) = windows.pop_front() {
                match delivery {
                    Delivery::Answer => rig.respond_to_probe(window, listed.into_iter().map(|(host, _)| host)),
                    _ => rig.traversal.on_probe_failed(window),
                }
                continue;
            }
            let Some((host, is_announce)) = open.pop_front() else {
                let host = lost.pop_front();
                prop_assert!(host.is_some(), "the traversal waits for nothing");
                rig.time_out(host.unwrap());
                continue;
            };
            match delivery {
                Delivery::Answer if is_announce => _ = rig.store(host),
                Delivery::AnswerAs(_) | Delivery::Fail if is_announce => rig.refuse(host),
                Delivery::Lose if is_announce => rig.lose_announce(host),
                Delivery::Answer | Delivery::AnswerAs(_) => {
                    let name = if let Delivery::AnswerAs(name) = delivery { name } else { host };
                    if rig.answer_as(host, id(name), Some(b"token")) == Verdict::Accepted {
                        let farthest = listed.iter().map(|(_, name)| *name).max();
                        if let Some(farthest) = farthest.filter(|_| announce) {
                            rig.traversal.on_list(&id(name), &id(farthest), listed.len());
                        }
                        for (host, name) in listed {
                            rig.list_as(host, Some(id(name)));
                        }
                    }
                }
                Delivery::Lose => {
                    rig.stall(host);
                    lost.push_back(host);
                }
                Delivery::Fail => rig.traversal.on_failure(&mut rig.candidates, endpoint(host)),
            }
        }
        // With little memory a host may be evicted, and listed again under another id.
        if memory == ENOUGH {
            prop_assert!(asked.values().all(|&times| times <= u32::from(TRIES)), "{asked:?}");
        }
        prop_assert!(rig.closest().len() <= usize::from(k));
    }
}
