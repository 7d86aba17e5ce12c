//! Floods of queries, forged or not: what a node sends in answer, and which hosts still get answers.

use std::net::SocketAddr;
use std::time::Duration;

use dht_proto::{AddressPolicy, Config, Family, Limits};

use crate::common::raw::{
    ID, Lone, TARGET, addr6, config, crowd, find_node, get_peers, join, query_by, unhurried,
};
use crate::common::{addr, stranger};

/// The default of the bytes of all answers in a second.
const PER_SEC: usize = 128 * 1024;

/// Creates a node that knows others and stores peers of a torrent, each in its own /16.
fn stocked(config: Config) -> Lone {
    let mut lone = Lone::with_limits(config, &Limits::default());
    for index in 0..100 {
        lone.store(addr(257 * index), &TARGET);
        lone.wait(Duration::from_millis(500));
    }
    for index in 0..20 {
        lone.store(addr6(1000 + index), &TARGET);
        lone.wait(Duration::from_secs(1));
    }
    lone.wait(Duration::from_secs(120));
    lone.meet(crowd(Family::V4, 20));
    lone
}

/// Returns an address in the `index`-th of many unknown subnets.
fn forged(index: u32) -> SocketAddr {
    let [_, b, c, d] = index.wrapping_mul(0x9e37_79b1).to_be_bytes();
    SocketAddr::from(([30 + (b >> 4), b << 4 | c >> 4, c << 4 | d >> 4, 1], 53))
}

fn len_of_answers(lone: &mut Lone, from: SocketAddr, query: &[u8]) -> usize {
    lone.receive(from, query).iter().map(|reply| reply.bytes.len()).sum()
}

#[test]
fn h_20_answers_of_a_minute_have_no_more_bytes_than_configured() {
    let mut lone = stocked(config());
    // In verified subnets, to which the allowance for unverified ones does not apply.
    let hosts: Vec<_> = (0..600).map(|index| addr(30_000 + index)).collect();
    for host in &hosts {
        lone.store(*host, &ID);
        lone.wait(Duration::from_millis(100));
    }
    let asked = get_peers(&TARGET, b"4:wantl2:n42:n6e");
    let (mut seconds, mut served) = (Vec::new(), vec![0; hosts.len()]);
    for _ in 0..120 {
        let mut bytes = 0;
        for step in 0..3000 {
            lone.wait(Duration::from_micros(333));
            let len = len_of_answers(&mut lone, hosts[step % 600], &asked);
            (bytes, served[step % 600]) = (bytes + len, served[step % 600] + len);
        }
        seconds.push(bytes);
    }
    let largest = seconds.windows(60).map(|minute| minute.iter().sum::<usize>()).max().unwrap();
    assert!(largest <= 61 * PER_SEC && largest > 50 * PER_SEC, "{largest} bytes in a minute");
    let (least, most) = (served.iter().min().unwrap(), served.iter().max().unwrap());
    // Some share their slot in memory, and its counter, with others.
    assert!(*most < 4 * least, "shared fairly: {least} {most}");
    // Hosts that query little are answered all the same, most of them in full.
    let mut in_full = 0;
    for index in 0..50 {
        let reply = lone.accepted(addr(40_000 + index), &get_peers(&TARGET, b""));
        assert!(reply.nodes().len() >= 2 && reply.values().len() >= 4, "{reply:?}");
        in_full += usize::from(reply.bytes.len() > 900);
        lone.wait(Duration::from_millis(100));
    }
    assert!(in_full > 25, "{in_full}");
    assert!(lone.stats().dropped.budget > 0);
}

#[test]
fn h_20_subnets_with_most_traffic_get_short_answers_before_they_get_none() {
    let mut slow = config();
    slow.answer_bytes = 8 * 1024;
    let mut lone = stocked(slow);
    let host = addr(30_000);
    lone.store(host, &ID);
    let asked = get_peers(&TARGET, b"");
    let mut lens = Vec::new();
    for _ in 0..40 {
        lens.push(len_of_answers(&mut lone, host, &asked));
    }
    assert!(lens[0] > 900, "{lens:?}");
    assert!(lens.iter().any(|len| (200..=300).contains(len)), "{lens:?}");
    assert_eq!(lens.last(), Some(&0), "{lens:?}");
    let short = lens.iter().rposition(|len| *len > 0).unwrap();
    assert!(lens[..short].iter().all(|len| *len > 0), "full, then short, then none: {lens:?}");
}

#[test]
fn h_21_without_source_limits_or_a_byte_limit_answers_are_not_limited() {
    let mut local = unhurried();
    (local.address_policy, local.source_limits) = (AddressPolicy::Any, false);
    (local.answer_bytes, local.unverified_bytes) = (1, u32::MAX);
    for config in [local, unhurried()] {
        let mut lone = stocked(config);
        let asked = get_peers(&TARGET, b"");
        for _ in 0..2000 {
            assert!(len_of_answers(&mut lone, addr(30_000), &asked) > 900);
        }
    }
}

#[test]
fn h_22_forged_queries_of_ever_new_subnets_are_answered_with_at_most_four_times_their_bytes() {
    let get_peers = get_peers(&TARGET, b"");
    let scrape = query_by(&ID, b"aa", "get_peers", &join(&[b"9:info_hash20:", &TARGET, b"6:scrapei1e"]));
    for asked in [get_peers, scrape, find_node(&TARGET, b"")] {
        let mut lone = stocked(config());
        let (mut bytes_in, mut bytes_out) = (0, 0);
        for index in 0..50 * 360 {
            bytes_in += asked.len();
            bytes_out += len_of_answers(&mut lone, forged(index), &asked);
            lone.wait(Duration::from_millis(20));
        }
        assert!(bytes_out <= 4 * bytes_in, "{bytes_out} for {bytes_in}: {}", asked.escape_ascii());
    }
}

#[test]
fn h_23_unverified_nodes_get_a_token_nodes_and_peers_during_a_flood_and_after_it() {
    let mut lone = stocked(config());
    let asked = get_peers(&TARGET, b"");
    let between = Duration::from_secs_f64(asked.len() as f64 / 30_000.0);
    let mut next = 0;
    for number in 0..120 {
        let begun = lone.now;
        while lone.now - begun < Duration::from_secs(1) {
            if number < 80 {
                next += 1;
                lone.receive(forged(next), &asked);
            }
            lone.wait(between);
        }
        let from = if number % 4 == 0 { addr6(5000 + number) } else { stranger(257 * number) };
        let reply = lone.accepted(from, &asked);
        let nodes = reply.nodes().len() + reply.nodes6().len();
        assert!(reply.string("r.token").is_some(), "{number}: {reply:?}");
        assert!(from.is_ipv6() || nodes >= 2, "{number}: {nodes}");
        assert!(reply.values().len() >= 4, "{number}: {}", reply.values().len());
    }
}

#[test]
fn h_32_hosts_of_a_private_network_have_an_allowance_each() {
    let mut private = config();
    private.address_policy = AddressPolicy::Any;
    let mut lone = stocked(private);
    let asked = get_peers(&TARGET, b"");
    for host in 1..60 {
        let len = len_of_answers(&mut lone, SocketAddr::from(([192, 168, 1, host], 6881)), &asked);
        assert!(len > 900, "{host}: {len}");
    }
}

#[cfg(feature = "items")]
mod items {
    use dht_proto::NodeId;
    use dht_proto::items::Item;
    use dht_proto::wire::{Body, Message, Method, PutItem, Query, Want};

    use super::*;

    fn bytes(method: Method<'_>) -> Vec<u8> {
        let mut buf = [0; 2000];
        let query = Query { id: NodeId::from_bytes(ID), method };
        let size = Message::new(b"aa", Body::Query(query)).emit(&mut buf).unwrap();
        buf[..size].to_vec()
    }

    fn node_with(item: &Item) -> (Lone, Vec<u8>) {
        let mut lone = stocked(config());
        let get = bytes(Method::Get { target: item.target(), seq: None, want: Want::NONE });
        let token = lone.accepted(addr(50_000), &get).string("r.token").unwrap().to_vec();
        let put = PutItem::Immutable { value: item.value(), seq: None };
        lone.accepted(addr(50_000), &bytes(Method::Put { token: &token, target: None, item: put }));
        (lone, get)
    }

    #[test]
    fn h_24_an_unverified_subnet_is_sent_one_long_item_a_minute() {
        let item = Item::immutable(&join(&[b"900:", &[b'x'; 900]])).unwrap();
        let (mut lone, get) = node_with(&item);
        let has_item = |lone: &mut Lone, host: u8| {
            let reply = lone.accepted(SocketAddr::from(([70, 1, 1, host], 53)), &get);
            assert!(reply.string("r.token").is_some() && reply.nodes().len() >= 2, "{reply:?}");
            assert!(reply.string("r.v").is_some() || reply.bytes.len() <= 3 * get.len());
            reply.string("r.v").is_some()
        };
        assert!(has_item(&mut lone, 1));
        assert!(!has_item(&mut lone, 1), "the second answer is no longer than three queries");
        assert!(!has_item(&mut lone, 2), "whichever of its addresses queries");
        assert!(lone.accepted(addr(50_001), &get).string("r.v").is_some(), "another network has its own");
        lone.wait(Duration::from_secs(50));
        assert!(!has_item(&mut lone, 2));
        lone.wait(Duration::from_secs(40));
        assert!(has_item(&mut lone, 2));
        // A verified host gets it at all times.
        let proven = SocketAddr::from(([70, 1, 1, 9], 53));
        lone.store(proven, &TARGET);
        assert!(lone.accepted(proven, &get).string("r.v").is_some());
    }

    #[test]
    fn h_24_short_items_are_not_withheld_from_unverified_subnets() {
        let (mut lone, get) = node_with(&Item::immutable(b"5:short").unwrap());
        for _ in 0..20 {
            assert!(lone.accepted(addr(50_001), &get).string("r.v").is_some());
        }
    }

    #[test]
    fn h_22_forged_gets_are_answered_with_at_most_four_times_their_bytes() {
        let (mut lone, get) = node_with(&Item::immutable(&join(&[b"990:", &[b'x'; 990]])).unwrap());
        let (mut bytes_in, mut bytes_out) = (0, 0);
        for index in 0..50 * 360 {
            bytes_in += get.len();
            bytes_out += len_of_answers(&mut lone, forged(index), &get);
            lone.wait(Duration::from_millis(20));
        }
        assert!(bytes_out <= 4 * bytes_in, "{bytes_out} for {bytes_in}");
    }
}
