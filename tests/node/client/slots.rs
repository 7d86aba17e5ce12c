//! Slots that are reused: cases that fuzzing found, written out.

use std::net::SocketAddr;
use std::time::Duration;

use dht_proto::wire::{Body, Message, Method, Response};
use dht_proto::{
    Announce, Config, Event, InfoHash, Instant, Limits, Lookup, LookupId, LookupOptions, MAX_DATAGRAM, Node,
    NodeId,
};

const V4: ([u8; 4], u16) = ([60, 1, 1, 1], 6881);
const V6: ([u16; 8], u16) = ([0x2a00, 1, 0, 0, 0, 0, 0, 1], 6881);

/// Lets the node exchange datagrams with one host in each family, for the given time and until its lookup
/// ends. Only the IPv4 host issues tokens. Returns how often the lookup ended.
fn talk(node: &mut Node, now: &mut Instant, lookup: LookupId, time: Duration) -> usize {
    let (mut ends, end) = (0, *now + time);
    let mut buf = [0; MAX_DATAGRAM];
    while *now < end || ends == 0 {
        node.handle_timeout(*now);
        while let Some(transmit) = node.poll_transmit(*now, &mut buf) {
            let query = Message::parse(&buf[..transmit.size]).unwrap();
            let is_v4 = transmit.destination.is_ipv4();
            let mut response = Response::new(NodeId::from_bytes([if is_v4 { 4 } else { 6 }; 20]));
            if let Body::Query(query) = query.body
                && matches!(query.method, Method::GetPeers { .. })
                && is_v4
            {
                response.token = Some(b"a token");
            }
            let mut answer = [0; 200];
            let len = Message::new(query.transaction, Body::Response(response)).emit(&mut answer).unwrap();
            *now = *now + Duration::from_millis(1);
            node.handle_datagram(*now, transmit.destination, &answer[..len]);
        }
        while let Some(event) = node.poll_event() {
            ends += usize::from(matches!(event, Event::LookupDone { lookup: done, .. } if done == lookup));
        }
        *now = node.poll_timeout().unwrap().max(*now);
    }
    ends
}

/// The traversal whose tokens an announce uses in one family was also reused, as the one reported
/// longest ago, in the other family.
#[test]
fn t_08_tokens_in_only_one_family_do_not_skip_the_lookup_in_the_other() {
    let mut now = Instant::from_micros(1);
    let mut limits = Limits::default();
    limits.traversals = 2;
    let mut node = Node::new(Config::default(), &limits, [7; 32], now);
    for addr in [SocketAddr::from(V4), SocketAddr::from(V6)] {
        node.add_node(now, addr).unwrap();
    }
    let infohash = InfoHash::from_bytes([9; 20]);
    let lookup = node.get_peers(now, infohash).unwrap();
    assert_eq!(talk(&mut node, &mut now, lookup, Duration::ZERO), 1);
    let lookup = node.announce(now, infohash, Announce::port(6881)).unwrap();
    assert_eq!(node.lookup_count(), 2, "one traversal in each family");
    assert_eq!(talk(&mut node, &mut now, lookup, Duration::from_secs(30)), 1);
    assert_eq!(node.stats().queries_out.announce_peer, 1, "the token was used");
}

#[test]
fn a_lookup_that_waits_for_a_slot_continues_when_a_completion_is_polled() {
    let mut config = Config::default();
    config.ipv6 = false;
    let mut limits = Limits::default();
    limits.inflight = 1;
    let mut now = Instant::ZERO;
    let mut node = Node::new(config, &limits, [7; 32], now);
    let mut buf = [0; MAX_DATAGRAM];
    node.ping(now, V4.into()).unwrap();
    assert!(node.poll_transmit(now, &mut buf).is_some());
    let mut options = LookupOptions::default();
    options.only = Some(V4.into());
    node.lookup(now, Lookup::FindNode(NodeId::ZERO), &options).unwrap();
    assert!(node.poll_transmit(now, &mut buf).is_none(), "the ping has the only slot");
    now = now + Duration::from_secs(5);
    node.handle_timeout(now);
    assert!(node.poll_transmit(now, &mut buf).is_none(), "and keeps it until its end is polled");
    while let Some(event) = node.poll_event() {
        assert!(matches!(event, Event::QueryDone { .. }));
    }
    assert_eq!(node.poll_timeout(), Some(now), "now there is something to send");
    assert!(node.poll_transmit(now, &mut buf).is_some());
}
