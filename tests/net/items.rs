//! Items (BEP 44, BEP 46) over real sockets on loopback, by callers that block and by tasks.

use std::net::{SocketAddr, UdpSocket};
use std::thread;
use std::time::Duration;

use dht_proto::errors::PublishError;
use dht_proto::items::{Item, ItemError, Salt, TorrentPointer, UpdatableTorrent};
use dht_proto::net::{CallError, Dht};
use dht_proto::wire::ErrorCode;
use dht_proto::{Announce, Config, Lookup, LookupKind, LookupOptions, NodeId, PutError};

use crate::common::items::secret;
use crate::common::net::blocking::{announces, builder, items, network, under_way, wait_for};
use crate::common::net::{HASH, LOOPBACK, PATIENCE};
use crate::common::raw::{Packet, join, node_list};

const SALT: &[u8] = b"manifests";

/// Long enough for datagrams on loopback, and short for a test.
const MOMENT: Duration = Duration::from_millis(100);

fn salt() -> Salt {
    Salt::new(SALT).unwrap()
}

fn version(seq: i64, value: &[u8]) -> Item {
    Item::sign(&secret(), Salt::new(SALT).unwrap(), seq, value).unwrap()
}

/// A node whose answers are written by hand.
struct Fake {
    id: [u8; 20],
    socket: UdpSocket,
}

impl Fake {
    fn new(id: u8) -> Self {
        let socket = UdpSocket::bind(LOOPBACK).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        Self { id: [id; 20], socket }
    }

    fn addr(&self) -> SocketAddr {
        self.socket.local_addr().unwrap()
    }

    /// Starts a node that knows only this one.
    fn dht(&self) -> Dht {
        let mut config = Config::private();
        // No query times out, even on a slow machine.
        (config.lookup.stall, config.lookup.timeout) = (Some(PATIENCE), PATIENCE);
        let dht = builder().config(config).spawn().unwrap();
        dht.add_node(self.addr()).wait().unwrap();
        let (ping, from) = self.until("ping");
        self.socket.send_to(&ping.answer(&self.id, b""), from).unwrap();
        dht
    }

    /// Answers all queries until one of this method arrives, and returns it.
    fn until(&self, method: &str) -> (Packet, SocketAddr) {
        let mut buffer = [0; 1500];
        loop {
            let (len, from) = self.socket.recv_from(&mut buffer).unwrap();
            let query = Packet::checked(self.addr(), &buffer[..len]);
            if query.method() == method {
                return (query, from);
            }
            self.socket.send_to(&query.answer(&self.id, b"5:nodes0:"), from).unwrap();
        }
    }

    /// Answers everything, without a token, until something has happened.
    fn serve_until(&self, has_happened: impl Fn() -> bool) {
        self.socket.set_read_timeout(Some(MOMENT)).unwrap();
        let mut buffer = [0; 1500];
        while !has_happened() {
            let Ok((len, from)) = self.socket.recv_from(&mut buffer) else { continue };
            let query = Packet::checked(self.addr(), &buffer[..len]);
            self.socket.send_to(&query.answer(&self.id, b"5:nodes0:"), from).unwrap();
        }
        self.socket.set_read_timeout(Some(PATIENCE)).unwrap();
    }

    /// Answers a `get` with an item and a list of nodes.
    fn answer(&self, (query, from): &(Packet, SocketAddr), item: &Item, nodes: &[&Self]) {
        let nodes: Vec<_> = nodes.iter().map(|node| (node.id, node.addr())).collect();
        let fields = join(&[
            b"1:k32:",
            item.key().unwrap().as_bytes(),
            &node_list(&nodes),
            format!("3:seqi{}e3:sig64:", item.seq().unwrap()).as_bytes(),
            item.signature().unwrap(),
            b"5:token1:x1:v",
            item.value(),
        ]);
        self.socket.send_to(&query.answer(&self.id, &fields), from).unwrap();
    }
}

#[test]
fn an_immutable_item_is_found_by_its_target() {
    let nodes = network(6);
    let mut putting = nodes[1].put_immutable(b"12:Hello World!");
    let put = putting.wait_timeout(PATIENCE).unwrap();
    assert_eq!((put.report.kind, put.acknowledged.len()), (LookupKind::Put, 5));
    assert_eq!(putting.iter().next(), None, "it finds no peers");
    let item = put.item.unwrap();
    assert_eq!(item.target().to_string(), "e5f96f6f38320f0f33959cb4d3d656452117aadb");
    assert_eq!(nodes[2].stored_item(item.target()).wait().unwrap(), Some(item.clone()));

    let mut getting = nodes[4].get_immutable(item.target());
    assert_eq!(getting.recv_timeout(PATIENCE), Ok(Some(item.clone())));
    assert_eq!(getting.recv_timeout(PATIENCE), Ok(None), "it is found once");
    assert_eq!(getting.outcome().unwrap().unwrap().item, Some(item.clone()));
    nodes[2].with(|node, _| node.clear_items()).wait().unwrap();
    assert_eq!(nodes[2].stored_item(item.target()).wait().unwrap(), None);
}

#[test]
fn each_version_of_a_mutable_item_replaces_the_one_before() {
    let nodes = network(6);
    for (seq, value) in [(1, b"3:one"), (2, b"3:two")] {
        let put = nodes[1].put_mutable(&secret(), salt(), value).wait_timeout(PATIENCE).unwrap();
        assert_eq!((put.acknowledged.len(), put.item), (5, Some(version(seq, value))));
    }
    let get = |salt| {
        let found = nodes[4].get_mutable(secret().public(), salt).wait_timeout(PATIENCE).unwrap();
        found.item
    };
    assert_eq!(get(salt()), Some(version(2, b"3:two")));
    assert_eq!(get(Salt::NONE), None);

    let put = |item, cas| nodes[1].put(&item, cas).wait_timeout(PATIENCE).unwrap();
    let mismatch = put(version(3, b"5:three"), Some(1));
    assert_eq!(mismatch.stored(), Err(PutError::CasMismatch { found: 2 }));
    // Once each, though the tokens of an earlier lookup were tried first.
    assert_eq!(mismatch.report.refused.cas_mismatch, 5, "{mismatch:?}");
    let stale = put(version(1, b"5:three"), None);
    assert_eq!((stale.report.sent, stale.stored()), (0, Err(PutError::Superseded { newest: 2 })));
    let other = put(version(2, b"5:three"), None);
    assert_eq!((other.report.sent, other.stored()), (0, Err(PutError::Conflict { seq: 2 })));
    assert_eq!(put(version(3, b"5:three"), Some(2)).stored().unwrap().acknowledged, 5);
    assert_eq!(get(salt()), Some(version(3, b"5:three")));
}

#[test]
fn b44_the_next_version_replaces_only_the_version_it_was_made_from() {
    let node = Fake::new(0x11);
    let dht = node.dht();
    thread::scope(|scope| {
        let putting = scope.spawn(|| dht.put_mutable(&secret(), salt(), b"3:two").wait());
        // Once to learn the sequence number, and once more for the put.
        for _ in 0..2 {
            node.answer(&node.until("get"), &version(7, b"3:one"), &[]);
        }
        let (put, from) = node.until("put");
        node.socket.send_to(&put.answer(&node.id, b""), from).unwrap();
        assert_eq!((put.int("a.cas"), put.int("a.seq")), (Some(7), Some(8)));
        assert_eq!(put.string("a.sig"), version(8, b"3:two").signature().map(|bytes| &bytes[..]));
        assert_eq!(putting.join().unwrap().unwrap().acknowledged, [node.addr()]);
    });
}

#[test]
fn no_version_follows_the_highest_sequence_number() {
    let nodes = network(3);
    let last = version(i64::MAX, b"3:end");
    assert_eq!(nodes[1].put(&last, None).wait_timeout(PATIENCE).unwrap().report.acknowledged, 2);
    let next = nodes[1].put_mutable(&secret(), salt(), b"4:more").wait_timeout(PATIENCE).map(drop);
    assert_eq!(next, Err(CallError::Item(ItemError::NoNextSeq)));
    assert_eq!(nodes[2].stored_item(last.target()).wait().unwrap(), Some(last));
}

#[test]
fn versions_arrive_as_they_are_found_also_at_later_callers() {
    let (near, far) = (Fake::new(0x11), Fake::new(0x22));
    let dht = near.dht();
    let mut first = dht.get_mutable(secret().public(), salt());
    near.answer(&near.until("get"), &version(1, b"3:one"), &[&far]);
    let asked = far.until("get");
    assert_eq!(first.recv_timeout(PATIENCE), Ok(Some(version(1, b"3:one"))));
    assert_eq!(first.outcome(), None, "the lookup continues");

    let mut late = dht.get_mutable(secret().public(), salt());
    assert_eq!(late.recv_timeout(PATIENCE), Ok(Some(version(1, b"3:one"))));
    far.answer(&asked, &version(2, b"3:two"), &[]);
    for lookup in [&mut first, &mut late] {
        assert_eq!(lookup.recv_timeout(PATIENCE), Ok(Some(version(2, b"3:two"))));
        assert_eq!(lookup.recv_timeout(PATIENCE), Ok(None));
        assert_eq!(lookup.outcome().unwrap().unwrap().item, Some(version(2, b"3:two")));
    }
    assert_eq!(dht.stats().wait().unwrap().queries_out.get, 2, "they shared a lookup");
}

#[test]
fn the_newest_version_within_some_time_does_not_wait_for_slow_nodes() {
    let (near, far) = (Fake::new(0x11), Fake::new(0x22));
    let dht = near.dht();
    let get = || dht.get_mutable(secret().public(), salt());
    let mut patient = get();
    near.answer(&near.until("get"), &version(1, b"3:one"), &[&far]);
    // It answers nothing, and the lookup waits for it.
    far.until("get");
    assert_eq!(patient.recv_timeout(PATIENCE), Ok(Some(version(1, b"3:one"))));
    let newest = get().newest_within(MOMENT).wait();
    assert_eq!(newest, Ok(Some(version(1, b"3:one"))));
    assert_eq!(patient.outcome(), None, "the lookup goes on for whoever waits for it");

    // Nobody waits any more: it is cancelled, and so is one whose call is dropped. Else the next would share it.
    drop(patient);
    let mut call = get().newest_within(PATIENCE);
    near.until("get");
    assert_eq!(call.wait_timeout(MOMENT), Err(CallError::TimedOut));
    drop(call);
    let _next = get();
    near.until("get");
}

#[test]
fn the_newest_version_is_there_as_soon_as_the_lookup_has_ended_and_where_nobody_has_it_none_is() {
    let nodes = network(4);
    let get = |salt| nodes[3].get_mutable(secret().public(), salt);
    assert_eq!(get(Salt::NONE).newest_within(PATIENCE).wait(), Ok(None));
    nodes[1].put_mutable_string(&secret(), salt(), b"one").wait_timeout(PATIENCE).unwrap().stored().unwrap();
    assert_eq!(get(salt()).newest_within(PATIENCE).wait(), Ok(Some(version(1, b"3:one"))));
    let mut ended = get(salt());
    assert_eq!(ended.wait_timeout(PATIENCE).unwrap().item, Some(version(1, b"3:one")));
    assert_eq!(ended.newest_within(MOMENT).wait(), Ok(Some(version(1, b"3:one"))), "it has ended before");

    let (fake, handle) = (Fake::new(0x11), nodes[0].handle());
    let dht = fake.dht();
    let nothing = dht.get_mutable(secret().public(), salt()).newest_within(MOMENT).wait();
    assert_eq!(nothing, Ok(None), "the one node that there is has not answered yet");
    for node in nodes {
        node.shutdown().wait().unwrap();
    }
    let gone = handle.get_mutable(secret().public(), salt()).newest_within(MOMENT).wait();
    assert_eq!(gone, Err(CallError::Closed));
}

#[test]
fn an_announce_and_a_put_that_nobody_stores_are_errors_with_their_reasons() {
    let alone = builder().spawn().unwrap();
    let hole = Fake::new(0x33);
    let only =
        |dht: &Dht, lookup| dht.lookup(lookup, LookupOptions::default().only(hole.addr()).timeout(MOMENT));
    let announce = Lookup::Announce(HASH, Announce::port(7777));
    let outcome = only(&alone, announce).wait_timeout(PATIENCE).unwrap();
    assert_eq!(outcome.stored(), Err(PutError::NoNodes));

    let node = Fake::new(0x11);
    let dht = node.dht();
    thread::scope(|scope| {
        let announcing = scope.spawn(|| dht.announce(HASH, Announce::port(7777)).wait().unwrap().stored());
        let (query, from) = node.until("get_peers");
        node.socket.send_to(&query.answer(&node.id, b"5:token1:x"), from).unwrap();
        let (query, from) = node.until("announce_peer");
        node.socket.send_to(&query.error(b"li203e1:xe"), from).unwrap();
        assert_eq!(announcing.join().unwrap(), Err(PutError::Refused(ErrorCode::PROTOCOL)));

        let putting = scope.spawn(|| dht.put_string(b"hi").wait().unwrap().stored());
        let (query, from) = node.until("get");
        node.socket.send_to(&query.answer(&node.id, b"5:token1:x"), from).unwrap();
        let (query, from) = node.until("put");
        node.socket.send_to(&query.error(b"li205e1:xe"), from).unwrap();
        assert_eq!(putting.join().unwrap(), Err(PutError::Refused(ErrorCode::VALUE_TOO_BIG)));

        let mute = scope.spawn(|| dht.put_string(b"ho").wait().unwrap().stored());
        node.serve_until(|| mute.is_finished());
        assert_eq!(mute.join().unwrap(), Err(PutError::NoTokens { answered: 1 }));
    });
    let peers = only(&dht, Lookup::GetPeers(HASH)).wait_timeout(PATIENCE).unwrap();
    assert_eq!(peers.stored(), Err(PutError::WrongKind(LookupKind::GetPeers)));
}

#[test]
fn a_lookup_of_an_item_is_cancelled_when_its_last_handle_is_dropped() {
    let mut config = Config::private();
    let hole = Fake::new(0);
    config.lookup.only = Some(hole.addr());
    let dht = builder().config(config).spawn().unwrap();
    let first = dht.get_immutable(NodeId::from_bytes([1; 20]));
    let second = dht.get_immutable(NodeId::from_bytes([1; 20]));
    let puts = [1, 2].map(|seq| dht.put(&version(seq, b"0:"), None));
    drop(first);
    let lookups = || dht.with(|node, _| under_way(node)).wait().unwrap().0;
    wait_for("the puts are two, the gets one", || lookups() == 3);
    drop((second, puts));
    wait_for("nothing is running", || lookups() == 0);

    // The memory of items is not used up either.
    for round in 0..500_i64 {
        drop(dht.get_mutable(secret().public(), Salt::new(&round.to_be_bytes()).unwrap()));
    }
}

#[test]
fn an_item_is_republished_until_its_last_handle_is_dropped() {
    let nodes = network(5);
    let mut first = nodes[3].start_publishing(&version(1, b"3:one"));
    assert_eq!(first.target(), version(1, b"3:one").target());
    let round = first.recv_timeout(PATIENCE).unwrap();
    assert_eq!((round.report.kind, round.acknowledged.len()), (LookupKind::Put, 4));

    let mut newer = nodes[3].start_publishing(&version(2, b"3:two"));
    drop(first);
    wait_for("the newer version is stored", || {
        nodes[1].stored_item(newer.target()).wait().unwrap() == Some(version(2, b"3:two"))
    });
    let stale = nodes[3].start_publishing(&version(1, b"3:one")).recv_timeout(PATIENCE).unwrap_err();
    assert_eq!(stale, CallError::Publish(PublishError::StaleItem));
    let kept = items(&nodes[3]);
    assert_eq!((kept.len(), kept[0].target, kept[0].seq), (1, newer.target(), Some(2)));
    assert!(newer.recv_timeout(PATIENCE).is_ok());

    let announce = nodes[3].start_announcing(HASH, Announce::port(7777));
    drop(newer);
    wait_for("there is no publication", || items(&nodes[3]).is_empty());
    assert_eq!(announces(&nodes[3]).len(), 1, "announcements are not affected");
    drop(announce);
}

#[test]
fn the_newest_version_stays_published_until_the_last_handle_is_dropped() {
    let dht = builder().spawn().unwrap();
    let older = dht.start_publishing(&version(1, b"3:one"));
    drop(dht.start_publishing(&version(2, b"3:two")));
    assert_eq!(items(&dht)[0].seq, Some(2));
    drop(older);
    assert!(items(&dht).is_empty());
}

#[test]
fn b46_a_link_is_followed_to_the_peers_of_the_current_torrent() {
    let nodes = network(6);
    let link = UpdatableTorrent { key: secret().public(), salt: salt() };
    assert_eq!(nodes[4].follow(link).wait().unwrap_err(), CallError::NoItem);
    nodes[1].put_mutable(&secret(), salt(), b"3:one").wait_timeout(PATIENCE).unwrap();
    assert_eq!(nodes[4].follow(link).wait().unwrap_err(), CallError::NoPointer);

    nodes[2].announce(HASH, Announce::port(7777)).wait_timeout(PATIENCE).unwrap();
    let pointer = TorrentPointer::new(HASH).to_value();
    nodes[1].put_mutable(&secret(), salt(), &pointer).wait_timeout(PATIENCE).unwrap();
    let infohash = nodes[4].follow(link).wait().unwrap();
    assert_eq!(infohash, HASH);
    assert_eq!(Vec::from_iter(nodes[4].get_peers(infohash)), [SocketAddr::from(([127, 0, 0, 1], 7777))]);
}

#[test]
fn an_invalid_item_is_refused_before_any_query() {
    let mut config = Config::private();
    let hole = Fake::new(0);
    config.lookup.only = Some(hole.addr());
    let dht = builder().config(config).spawn().unwrap();
    let refused = |error| Err(CallError::Item(error));
    assert_eq!(dht.put_immutable(b"Hello").wait().map(drop), refused(ItemError::NotCanonical));
    let long = [&b"997:"[..], &[0; 997]].concat();
    assert_eq!(dht.put_immutable(&long).wait().map(drop), refused(ItemError::ValueTooLong));
    assert_eq!(dht.put_mutable(&secret(), salt(), b"").wait().map(drop), refused(ItemError::NotCanonical));
    assert_eq!(dht.stats().wait().unwrap().queries_out.get, 0);
    let borrowed = dht.handle();
    dht.shutdown().wait().unwrap();
    assert_eq!(borrowed.put_immutable(b"0:").wait().map(drop), Err(CallError::Closed));
}

#[cfg(feature = "tokio")]
mod task {
    use tokio::time::{sleep, timeout};

    use super::*;
    use crate::common::net::tasks::{at_work, builder, network, soon};

    #[tokio::test]
    async fn items_are_put_found_and_replaced() {
        let nodes = network(6).await;
        let put = soon(nodes[1].put_immutable(b"2:hi")).await.unwrap();
        assert_eq!(put.acknowledged.len(), 5);
        let item = put.item.unwrap();
        let mut getting = nodes[4].get_immutable(item.target());
        assert_eq!(soon(getting.recv()).await, Ok(Some(item)));
        assert_eq!(soon(getting.recv()).await, Ok(None));

        for value in [b"3:one", b"3:two"] {
            let putting = nodes[1].put_mutable(&secret(), salt(), value);
            assert_eq!(soon(putting).await.unwrap().acknowledged.len(), 5);
        }
        let getting = nodes[4].get_mutable(secret().public(), salt());
        assert_eq!(soon(getting).await.unwrap().item, Some(version(2, b"3:two")));
        let getting = nodes[4].get_mutable(secret().public(), salt());
        assert_eq!(soon(getting.newest_within(PATIENCE)).await, Ok(Some(version(2, b"3:two"))));
        let putting = nodes[1].put(&version(3, b"0:"), Some(1));
        let report = soon(putting).await.unwrap().report;
        assert_eq!((report.acknowledged, report.refused.cas_mismatch), (0, 5), "{report:?}");
    }

    #[tokio::test]
    async fn an_item_is_republished_until_its_handle_is_dropped() {
        let nodes = network(4).await;
        let mut kept = nodes[3].start_publishing(&version(1, b"3:one"));
        assert_eq!(soon(kept.recv()).await.unwrap().acknowledged.len(), 3);
        assert_eq!(nodes[3].with(|node, _| node.publications().count()).await.unwrap(), 1);
        drop(kept);
        // Commands are taken in order, so the publication is stopped before the next call is answered.
        assert_eq!(nodes[3].with(|node, _| node.publications().count()).await, Ok(0));
    }

    #[tokio::test]
    async fn b46_a_link_is_followed() {
        let nodes = network(4).await;
        let link = UpdatableTorrent { key: secret().public(), salt: salt() };
        assert_eq!(soon(nodes[2].follow(link)).await.unwrap_err(), CallError::NoItem);
        let pointer = TorrentPointer::new(HASH).to_value();
        soon(nodes[1].put_mutable(&secret(), salt(), &pointer)).await.unwrap();
        let infohash = soon(nodes[2].follow(link)).await.unwrap();
        let mut peers = nodes[2].get_peers(infohash);
        assert_eq!((infohash, soon(peers.recv()).await), (HASH, Ok(None)));
    }

    #[tokio::test]
    async fn calls_dropped_in_flight_leak_nothing() {
        let mut config = Config::private();
        let hole = Fake::new(0);
        config.lookup.only = Some(hole.addr());
        let owner = builder().config(config).spawn_tokio().unwrap();
        let link = UpdatableTorrent { key: secret().public(), salt: salt() };
        let moment = Duration::from_millis(30);
        // Both wait for the silent node, which never answers.
        let putting = owner.put_mutable(&secret(), salt(), b"0:");
        assert!(timeout(moment, putting).await.is_err());
        assert!(timeout(moment, owner.follow(link)).await.is_err());
        let nothing = async {
            while at_work(&owner).await.unwrap().0 > 0 {
                sleep(Duration::from_millis(5)).await;
            }
        };
        soon(nothing).await;
    }
}
