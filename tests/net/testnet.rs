//! The private network that tests of other programs join.

use std::net::{SocketAddr, UdpSocket};

use dht_proto::net::{CallError, SpawnError, Testnet};
use dht_proto::{Announce, Family, InfoHash, Lookup, LookupOptions};

use crate::common::net::loops::LOOPS;
use crate::common::net::{HASH, LOOPBACK, PATIENCE};

#[test]
fn what_a_client_of_a_testnet_announces_another_client_finds() {
    for &on in LOOPS {
        let testnet = Testnet::start(20, |node| on.spawn(node)).unwrap();
        assert_eq!(testnet.wait_timeout(PATIENCE), Ok(()));
        let known = testnet.nodes.iter().map(|node| node.node_count(Family::V4).wait().unwrap());
        assert!(known.clone().all(|known| known == 19), "{:?}", Vec::from_iter(known));
        let [here, there] = [(); 2].map(|()| on.spawn(testnet.builder()).unwrap());
        let announced = here.announce(HASH, Announce::port(7777)).wait_timeout(PATIENCE).unwrap();
        // A slow node is replaced by a ninth, and may acknowledge all the same.
        assert!(announced.acknowledged.len() >= 8);
        let peer = SocketAddr::from(([127, 0, 0, 1], 7777));
        assert_eq!(Vec::from_iter(there.get_peers(HASH)), [peer]);
        let holders = testnet.nodes.iter().filter(|node| !node.stored_peers(HASH).wait().unwrap().is_empty());
        assert!(holders.count() >= 7, "the other client may be one of the eight");
    }
}

#[test]
fn a_testnet_ends_with_its_drop_and_its_ports_are_free() {
    for nodes in [0, 1, 2, 40] {
        let testnet = Testnet::new(nodes).unwrap();
        let addrs: Vec<_> = testnet.addrs().collect();
        assert_eq!((addrs.len(), testnet.bootstrap().len()), (nodes, nodes.min(8)));
        let handles: Vec<_> = testnet.nodes.iter().map(|node| node.handle()).collect();
        drop(testnet);
        assert!(handles.iter().all(|handle| handle.stats().wait() == Err(CallError::Closed)));
        assert!(addrs.into_iter().all(|addr| UdpSocket::bind(addr).is_ok()));
    }
}

/// A node that has ended is no node to wait for, and a testnet of which one does not start ends the others.
#[test]
fn a_testnet_that_cannot_be_had_is_an_error() {
    let mut testnet = Testnet::start(3, |node| node.spawn()).unwrap();
    testnet.nodes[1].handle().with(|_, _| ()).wait().unwrap();
    testnet.nodes.swap_remove(0).shutdown().wait().unwrap();
    assert_eq!(testnet.wait_timeout(PATIENCE), Ok(()), "those that are left know each other");
    let taken = UdpSocket::bind(LOOPBACK).unwrap();
    let at = taken.local_addr().unwrap();
    let refused = Testnet::start(2, |node| node.bind(at).spawn());
    assert!(matches!(refused, Err(SpawnError::Bind { addr, .. }) if addr == at));
}

#[test]
fn no_rate_holds_up_a_private_network() {
    let testnet = Testnet::new(10).unwrap();
    let client = testnet.builder().spawn().unwrap();
    client.ready().wait().unwrap();
    let hash = |index: u16| InfoHash::from_bytes([(index % 251) as u8 ^ (index >> 8) as u8; 20]);
    let mut lookups: Vec<_> = (0..400)
        .map(|index| client.lookup(Lookup::GetPeers(hash(index)), LookupOptions::default()))
        .collect();
    for lookup in &mut lookups {
        let report = lookup.wait_timeout(PATIENCE).unwrap().report;
        assert!(report.answered >= 8, "{report:?}");
    }
    for node in &testnet.nodes {
        assert_eq!(node.stats().wait().unwrap().dropped.rate, 0);
    }
}

#[cfg(feature = "tokio")]
#[tokio::test]
async fn a_testnet_may_be_tasks_of_the_one_thread_that_tests() {
    use crate::common::net::tasks::soon;

    let testnet = Testnet::start(12, |node| node.spawn_tokio()).unwrap();
    assert_eq!(soon(testnet.ready()).await, Ok(()));
    let client = testnet.builder().spawn_tokio().unwrap();
    let announced = soon(client.announce(HASH, Announce::port(1))).await.unwrap();
    assert_eq!(announced.acknowledged.len(), 8);
}
