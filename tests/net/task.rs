//! Nodes in tasks of a tokio runtime, over real sockets on loopback, whose callers await.

use std::future::{Future, poll_fn};
use std::net::SocketAddr;

use crate::common;
#[cfg(all(target_os = "linux", target_env = "gnu"))]
use crate::common::net::start;
use crate::common::net::tasks::{addr, at_work, builder, network, soon};
use crate::common::net::{HASH, LOOPBACK, PATIENCE, asking, assert_asleep, without_starts};
use crate::common::raw::{ID, Packet, join, node_list, value_list};
#[cfg(all(target_os = "linux", target_env = "gnu"))]
use std::path::Path;
use std::pin::{Pin, pin};
#[cfg(all(target_os = "linux", target_env = "gnu"))]
use std::process::{Command, Stdio};
use std::sync::Arc;
#[cfg(all(target_os = "linux", target_env = "gnu"))]
use std::sync::mpsc;
use std::task::Poll;
#[cfg(all(target_os = "linux", target_env = "gnu"))]
use std::thread;
use std::time::{Duration, Instant};

use dht_proto::errors::ContactError;
use dht_proto::net::{
    Builder, CallError, Dht, DhtHandle, External, Loaded, LookupHandle, NetEvent, Outgoing, SpawnError,
    StateFile,
};
use dht_proto::state::State;
use dht_proto::{Announce, Config, Event, Family, InfoHash, Lookup, LookupOptions, QueryError};
use futures_core::Stream;
use tokio::net::UdpSocket;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

/// Builds a node without a socket.
fn external(mut builder: Builder) -> (Dht, External) {
    let external = builder.external();
    (builder.spawn_tokio().unwrap(), external)
}

/// A socket that never answers by itself.
async fn silent() -> (UdpSocket, SocketAddr) {
    let socket = UdpSocket::bind(LOOPBACK).await.unwrap();
    let addr = socket.local_addr().unwrap();
    (socket, addr)
}

async fn wait_for_under_way(dht: &DhtHandle, what: &str, done: impl Fn(usize, usize) -> bool) {
    for _ in 0..6000 {
        let (lookups, queries) = at_work(dht).await.unwrap();
        if done(lookups, queries) {
            return;
        }
        sleep(Duration::from_millis(5)).await;
    }
    panic!("{what}");
}

async fn next<S: Stream + Unpin>(stream: &mut S) -> Option<S::Item> {
    soon(poll_fn(|cx| Pin::new(&mut *stream).poll_next(cx))).await
}

/// Answers the next get_peers query at `socket` with one peer.
async fn answer_with(peer: SocketAddr, socket: &UdpSocket) {
    let hole = socket.local_addr().unwrap();
    let mut buffer = [0; 1500];
    let (query, from) = loop {
        let (len, from) = soon(socket.recv_from(&mut buffer)).await.unwrap();
        let query = Packet::checked(hole, &buffer[..len]);
        if query.method() == "get_peers" {
            break (query, from);
        }
    };
    let answer = query.answer(&ID, &join(&[b"5:token1:x", &value_list(&[peer])]));
    socket.send_to(&answer, from).await.unwrap();
}

#[test]
fn handles_and_lookups_may_move_to_any_task() {
    fn shared<T: Clone + Send + Sync + 'static>() {}
    fn sent<T: Send + 'static>() {}
    shared::<DhtHandle>();
    sent::<LookupHandle>();
    sent::<Dht>();
}

#[tokio::test]
async fn two_nodes_find_each_other_s_peers() {
    let nodes = network(2).await;
    let (a, b) = (&nodes[0], &nodes[1]);
    for (from, to, port) in [(a, b, 7001), (b, a, 7002)] {
        let hash = InfoHash::from_bytes([port as u8; 20]);
        let mut announcing = from.announce(hash, Announce::port(port));
        assert_eq!(soon(&mut announcing).await.unwrap().acknowledged, [addr(to)]);
        let peers = to.stored_peers(hash).await.unwrap();
        assert_eq!(peers, [SocketAddr::from(([127, 0, 0, 1], port))]);
        let mut lookup = from.get_peers(hash);
        assert_eq!(next(&mut lookup).await, Some(peers[0]));
        assert_eq!(next(&mut lookup).await, None);
        assert_eq!(lookup.outcome().unwrap().unwrap().report.peers, 1);
        assert_eq!(lookup.report().await, Ok(lookup.outcome().unwrap().unwrap().report));
        let metrics = to.metrics().await.unwrap();
        assert_eq!((metrics.stats.queries_in.announce_peer, metrics.families[0].levels.peers), (1, 1));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_announced_by_one_of_many_nodes_is_found_by_another() {
    let nodes = network(10).await;
    let mut announcing = nodes[3].announce(HASH, Announce::port(7777));
    assert!(!soon(&mut announcing).await.unwrap().acknowledged.is_empty());
    let dht = nodes[7].handle();
    let found = tokio::spawn(async move {
        let mut lookup = dht.get_peers(HASH);
        (lookup.recv().await, lookup.recv().await)
    });
    let peer = "127.0.0.1:7777".parse().unwrap();
    assert_eq!(soon(found).await.unwrap(), (Ok(Some(peer)), Ok(None)));
    let outcome = soon(nodes[5].find_node(HASH.into())).await.unwrap();
    assert!(!outcome.nodes.is_empty());
}

#[tokio::test]
async fn callers_share_a_lookup_and_dropping_one_does_not_end_it() {
    let dht = builder().spawn_tokio().unwrap();
    let (socket, hole) = silent().await;
    let start = async |lookup| dht.lookup(lookup, asking(hole));
    let mut first = start(Lookup::GetPeers(HASH)).await;
    let second = start(Lookup::GetPeers(HASH)).await;
    let other = start(Lookup::FindNode(HASH.into())).await;
    assert_eq!(at_work(&dht).await.unwrap().0, 2);
    drop(second);
    drop(other);
    wait_for_under_way(&dht, "a lookup without handles ends", |lookups, _| lookups == 1).await;
    let peer = "127.0.0.1:6881".parse().unwrap();
    let (found, ()) = tokio::join!(next(&mut first), answer_with(peer, &socket));
    assert_eq!(found, Some(peer));
    assert_eq!(soon(&mut first).await.unwrap().report.peers, 1);
}

#[tokio::test]
async fn a_peer_arrives_when_it_is_found_and_again_for_a_later_caller() {
    let (owner, external) = external(builder());
    let [answering, hole, peer] = [1, 2, 6881].map(|port| SocketAddr::from(([127, 0, 0, 1], port)));
    let network = tokio::spawn(async move {
        while let Some(Outgoing { destination: to, datagram, .. }) = external.next_outgoing().await {
            let query = Packet::checked(to, &datagram);
            let mut fields = Vec::new();
            if query.method() == "get_peers" {
                // The other node in the table never answers, so the lookup continues.
                let nodes = node_list(&[(*b"zbcdefghij0123456789", hole)]);
                fields = join(&[&nodes, b"5:token1:x", &value_list(&[peer])]);
            }
            assert!(to != answering || external.feed(to, &query.answer(&ID, &fields)));
            assert!(to == answering || to == hole, "{to}");
        }
    });
    owner.add_node(answering).await.unwrap();
    wait_for_under_way(&owner, "it has answered", |_, queries| queries == 0).await;
    let mut options = LookupOptions::default();
    (options.timeout, options.stall) = (PATIENCE, Some(PATIENCE));
    let start = async || owner.lookup(Lookup::GetPeers(HASH), options);
    let mut first = start().await;
    assert_eq!(next(&mut first).await, Some(peer));
    assert_eq!(first.outcome(), None);
    let mut late = start().await;
    assert_eq!(next(&mut late).await, Some(peer));
    drop(first);
    assert!(late.report().await.is_ok(), "it continues for the handle that is left");
    drop(late);
    wait_for_under_way(&owner, "none is left", |lookups, _| lookups == 0).await;
    soon(owner.shutdown()).await.unwrap();
    soon(network).await.unwrap();
}

#[tokio::test]
async fn dropped_streams_and_futures_cancel_and_leak_nothing() {
    let dht = builder().spawn_tokio().unwrap();
    let (_socket, hole) = silent().await;
    let mut random = 1_u32;
    let mut draw = |below: u32| {
        // xorshift32
        random ^= random << 13;
        random ^= random >> 17;
        random ^= random << 5;
        random % below
    };
    let mut options = asking(hole);
    options.timeout = Duration::from_secs(2);
    let (mut kept, mut started): (Vec<LookupHandle>, u32) = (Vec::new(), 0);
    for round in 0..4000_u32 {
        let mut hash = [0; 20];
        hash[..4].copy_from_slice(&draw(50).to_le_bytes());
        let mut lookup = dht.lookup(Lookup::GetPeers(hash.into()), options);
        let mut pinged = (round % 4 == 0).then(|| dht.ping(hole));
        // Each is polled a few times, and then dropped or kept in any state.
        let mut left = draw(4);
        poll_fn(|cx| {
            if left == 0 {
                return Poll::Ready(());
            }
            left -= 1;
            assert_eq!(Pin::new(&mut lookup).poll_next(cx), Poll::Pending);
            if let Some(pinged) = &mut pinged
                && let Poll::Ready(result) = Pin::new(pinged).poll(cx)
            {
                panic!("it neither answers nor fails so soon: {result:?}");
            }
            cx.waker().wake_by_ref();
            Poll::Pending
        })
        .await;
        if draw(2) == 0 {
            kept.push(lookup);
            started += 1;
        }
        if draw(3) == 0 || kept.len() == 20 {
            kept.clear();
        }
    }
    drop(kept);
    assert!(started > 500, "{started} lookups");
    // Calls are taken in order, so earlier drops are handled first.
    assert_eq!(at_work(&dht).await.unwrap().0, 0);
    // Queries in flight are still waited for: answers are useful for the table.
    wait_for_under_way(&dht, "all queries end", |_, queries| queries == 0).await;
    let tasks = tokio::runtime::Handle::current().metrics().num_alive_tasks();
    assert_eq!(tasks, 1, "of its maintenance");
    soon(dht.shutdown()).await.unwrap();
    assert_eq!(tokio::runtime::Handle::current().metrics().num_alive_tasks(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn tasks_that_are_aborted_leak_nothing() {
    let dht = builder().spawn_tokio().unwrap();
    let (_socket, hole) = silent().await;
    for round in 0..100_u32 {
        let tasks: Vec<JoinHandle<_>> = (0..20_u8)
            .map(|n| {
                let dht = dht.handle();
                tokio::spawn(async move {
                    let lookup = Lookup::GetPeers(InfoHash::from_bytes([n % 7; 20]));
                    let mut lookup = dht.lookup(lookup, asking(hole));
                    lookup.recv().await
                })
            })
            .collect();
        for _ in 0..round % 5 {
            tokio::task::yield_now().await;
        }
        tasks.iter().for_each(JoinHandle::abort);
        for task in tasks {
            assert!(soon(task).await.is_err_and(|error| error.is_cancelled()));
        }
        assert_eq!(at_work(&dht).await.unwrap().0, 0);
    }
}

#[tokio::test]
async fn a_dropped_ping_is_cancelled() {
    let dht = builder().spawn_tokio().unwrap();
    let (_socket, hole) = silent().await;
    assert!(timeout(Duration::from_millis(50), dht.ping(hole)).await.is_err());
    assert_eq!(at_work(&dht).await, Ok((0, 0)));
    assert_eq!(dht.ping("127.0.0.1:0".parse().unwrap()).await, Err(ContactError::AddressRefused.into()));
}

#[tokio::test]
async fn many_tasks_wait_for_slots_and_all_are_served() {
    let dht = builder().spawn_tokio().unwrap();
    let tasks: Vec<JoinHandle<_>> = (0..2000)
        .map(|_| {
            let dht = dht.handle();
            tokio::spawn(async move { at_work(&dht).await })
        })
        .collect();
    for task in tasks {
        assert_eq!(soon(task).await.unwrap(), Ok((0, 0)));
    }
}

#[tokio::test]
async fn an_idle_task_sleeps() {
    let started = Instant::now();
    let dht = builder().spawn_tokio().unwrap();
    dht.stats().await.unwrap();
    sleep(Duration::from_secs(2)).await;
    // It slept between the two calls, or it could not have answered the second.
    dht.stats().await.unwrap();
    assert_asleep(dht.loop_stats().wakeups, started.elapsed());
}

#[tokio::test]
async fn waiting_datagrams_are_sent_at_shutdown() {
    let dht = builder().spawn_tokio().unwrap();
    let port = addr(&dht);
    let (socket, hole) = silent().await;
    dht.add_node(hole).await.unwrap();
    soon(dht.shutdown()).await.unwrap();
    let mut buffer = [0; 1500];
    let len = soon(socket.recv(&mut buffer)).await.unwrap();
    assert!(buffer[..len].windows(7).any(|word| word == b"1:q4:pi"));
    let _no_starts = without_starts();
    std::net::UdpSocket::bind(port).expect("the port is free again");
}

#[tokio::test]
async fn ports_in_use_and_invalid_hosts_are_errors_at_the_start() {
    let taken = builder().spawn_tokio().unwrap();
    match builder().bind(addr(&taken)).spawn_tokio() {
        Err(SpawnError::Bind { addr: refused, .. }) => assert_eq!(refused, addr(&taken)),
        other => panic!("{other:?}"),
    }
    assert!(matches!(builder().bootstrap(["no port"]).spawn_tokio(), Err(SpawnError::Host(_))));
    let mut config = Config::default();
    (config.ipv4, config.ipv6) = (false, false);
    let mut builder = builder().config(config);
    let _external = builder.external();
    assert!(matches!(builder.spawn_tokio(), Err(SpawnError::NoFamily)));
}

#[tokio::test]
async fn a_node_without_a_socket_is_disabled_and_enabled_too() {
    let (owner, external) = external(builder());
    let other = SocketAddr::from(([127, 0, 0, 1], 9));
    for _ in 0..2 {
        owner.set_enabled(false).await.unwrap();
        assert!(!owner.is_enabled());
    }
    assert_eq!(owner.add_node(other).await, Err(ContactError::Disabled.into()));
    assert!(external.feed(other, b"d1:ad2:id20:abcdefghij0123456789e1:q4:ping1:t2:aa1:y1:qe"));
    while owner.stats().await.unwrap().dropped.address == 0 {
        sleep(Duration::from_millis(5)).await;
    }
    owner.set_enabled(true).await.unwrap();
    owner.add_node(other).await.unwrap();
    assert_eq!(soon(external.next_outgoing()).await.unwrap().destination, other);
    // The caller moves its own socket, and reports it.
    owner.rebind(None).await.unwrap();
    assert_eq!(owner.stats().await.unwrap().interrupted, 1);
    let refused = owner.rebind(Some(other)).await;
    assert_eq!(refused, Err(CallError::NoSocket));
}

#[test]
fn spawning_outside_a_runtime_is_an_error() {
    assert!(matches!(builder().spawn_tokio(), Err(SpawnError::System(_))));
}

#[tokio::test]
async fn c_17_after_the_end_every_call_returns_closed() {
    let owner = builder().spawn_tokio().unwrap();
    let dht = owner.handle();
    let (_socket, hole) = silent().await;
    let mut lookup = dht.lookup(Lookup::GetPeers(HASH), asking(hole));
    let mut events = dht.subscribe();
    let pinging = tokio::spawn({
        let dht = dht.clone();
        async move { dht.ping(hole).await }
    });
    let waiting = tokio::spawn({
        let dht = dht.clone();
        async move { dht.ready().await }
    });
    wait_for_under_way(&dht, "the ping is sent", |_, queries| queries == 2).await;
    drop(owner);
    assert_eq!(soon(pinging).await.unwrap(), Err(CallError::Closed));
    assert_eq!(soon(waiting).await.unwrap(), Err(CallError::Closed));
    assert_eq!(next(&mut lookup).await, None);
    assert_eq!(lookup.recv().await, Err(CallError::Closed));
    assert_eq!((&mut lookup).await, Err(CallError::Closed));
    assert_eq!(lookup.report().await, Err(CallError::Closed));
    while next(&mut events).await.is_some() {}
    assert_eq!(dht.stats().await, Err(CallError::Closed));
    assert_eq!(dht.ping(hole).await, Err(CallError::Closed));
    assert_eq!(dht.ready().await, Err(CallError::Closed));
    assert_eq!(dht.get_peers(HASH).recv().await, Err(CallError::Closed));
    assert_eq!(dht.subscribe().recv().await, Err(CallError::Closed));
}

#[test]
fn a_node_whose_runtime_is_gone_is_closed() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let owner = runtime.block_on(async { builder().spawn_tokio().unwrap() });
    drop(runtime);
    let other = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    other.block_on(async {
        assert_eq!(soon(owner.stats()).await, Err(CallError::Closed));
        soon(owner.shutdown()).await.unwrap();
    });
}

#[tokio::test]
async fn subscribers_receive_events_of_joining_and_of_resolved_names() {
    let first = builder().spawn_tokio().unwrap();
    let known = addr(&first);
    let mut builder = builder().bootstrap(["a.example:1"]).resolver(move |_| Ok(vec![known]));
    let mut events = builder.subscribe();
    let _second = builder.spawn_tokio().unwrap();
    let (mut resolved, mut ready) = (false, false);
    while !(resolved && ready) {
        match soon(events.recv()).await.unwrap() {
            NetEvent::Resolved { addrs, .. } => resolved = addrs.contains(&addr(&first)),
            NetEvent::Node(Event::Ready { family: Family::V4 }) => ready = true,
            _ => {}
        }
    }
}

#[tokio::test]
async fn a_node_without_a_socket_works_through_the_socket_of_its_caller() {
    let inner = builder().spawn_tokio().unwrap();
    let socket = Arc::new(UdpSocket::bind(LOOPBACK).await.unwrap());
    let own = socket.local_addr().unwrap();
    let (owner, external) = external(builder().bootstrap([addr(&inner).to_string()]));
    let external = Arc::new(external);
    let (utp, mut not_ours) = tokio::sync::mpsc::channel(8);
    let receiving = tokio::spawn({
        let (socket, external) = (Arc::clone(&socket), Arc::clone(&external));
        async move {
            let mut buffer = [0; 65_535];
            loop {
                let (len, from) = socket.recv_from(&mut buffer).await.unwrap();
                if !external.feed(from, &buffer[..len]) {
                    utp.send(buffer[..len].to_vec()).await.unwrap();
                }
            }
        }
    });
    let sending = tokio::spawn({
        let (socket, external) = (Arc::clone(&socket), Arc::clone(&external));
        async move {
            let mut sent = 0;
            while let Some(next) = external.next_outgoing().await {
                socket.send_to(&next.datagram, next.destination).await.unwrap();
                sent += 1;
            }
            sent
        }
    });
    assert_eq!(soon(owner.ready()).await, Ok(()));
    assert_eq!(soon(inner.ping(own)).await.unwrap().id, owner.id(Family::V4).await.unwrap());
    let mut announcing = owner.announce(HASH, Announce::port(7777));
    assert_eq!(soon(&mut announcing).await.unwrap().acknowledged, [addr(&inner)]);
    assert_eq!(owner.local_addr(Family::V4), None);

    let stranger = UdpSocket::bind(LOOPBACK).await.unwrap();
    let utp_syn = [0x41, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0];
    stranger.send_to(&utp_syn, own).await.unwrap();
    assert_eq!(soon(not_ours.recv()).await.unwrap(), utp_syn);

    let (_hole_socket, hole) = silent().await;
    owner.add_node(hole).await.unwrap();
    soon(owner.shutdown()).await.unwrap();
    assert!(soon(sending).await.unwrap() > 0);
    receiving.abort();
}

#[tokio::test]
async fn a_caller_that_sends_nothing_delays_the_node_but_not_its_shutdown() {
    let (owner, external) = external(builder());
    for port in 1..100 {
        owner.add_node(SocketAddr::from(([127, 0, 0, 9], port))).await.unwrap();
    }
    assert!(owner.stats().await.unwrap().queries_out.ping <= 17);
    let ping = b"d1:ad2:id20:abcdefghij0123456789e1:q4:ping1:t2:aa1:y1:qe";
    let from = "127.0.0.1:9".parse().unwrap();
    let (dht, before) = (owner.handle(), owner.loop_stats().wakeups);
    // Datagrams that arrive during shutdown are ignored, and do not keep it awake.
    (0..10).for_each(|_| assert!(external.feed(from, ping)));
    soon(owner.shutdown()).await.unwrap();
    let wakeups = dht.loop_stats().wakeups - before;
    assert!(wakeups <= 10, "{wakeups}");
    assert_eq!(dht.loop_stats().sends_blocked, 0, "no socket was full");
    let mut left = 0;
    while soon(external.next_outgoing()).await.is_some() {
        left += 1;
    }
    assert_eq!(left, 16, "what the queue holds");
    assert!(external.feed(from, ping));
}

#[tokio::test]
async fn datagrams_to_send_are_polled_tried_and_awaited() {
    let (owner, external) = external(builder());
    assert_eq!(external.try_next_outgoing(), None);
    let nothing = poll_fn(|cx| Poll::Ready(external.poll_outgoing(cx).is_pending())).await;
    assert!(nothing);
    let holes = [1, 2, 3].map(|port| SocketAddr::from(([127, 0, 0, 9], port)));
    for hole in holes {
        owner.add_node(hole).await.unwrap();
    }
    let waited = soon(external.next_outgoing()).await.unwrap();
    let polled = soon(poll_fn(|cx| external.poll_outgoing(cx))).await.unwrap();
    let tried = loop {
        match external.try_next_outgoing() {
            Some(tried) => break tried,
            None => sleep(Duration::from_millis(5)).await,
        }
    };
    assert_eq!([waited, polled, tried].map(|next| next.destination), holes);
    // An answer leaves from the queried address.
    let asked = "127.0.0.7".parse().unwrap();
    let ping = b"d1:ad2:id20:abcdefghij0123456789e1:q4:ping1:t2:aa1:y1:qe";
    assert!(external.feed_at(holes[0], Some(asked), ping));
    let answer = soon(external.next_outgoing()).await.unwrap();
    assert_eq!((answer.destination, answer.source), (holes[0], Some(asked)));
    soon(owner.shutdown()).await.unwrap();
    while external.try_next_outgoing().is_some() {}
    assert_eq!(soon(poll_fn(|cx| external.poll_outgoing(cx))).await, None);
}

/// With a clock other than that of the runtime, the node would wake for nothing, again and again.
#[tokio::test(start_paused = true)]
async fn a_node_under_a_paused_clock_sleeps() {
    let (owner, external) = external(builder());
    owner.add_node("127.0.0.9:1".parse().unwrap()).await.unwrap();
    assert!(external.next_outgoing().await.is_some());
    for _ in 0..10 {
        sleep(Duration::from_secs(1)).await;
    }
    assert_eq!(owner.stats().await.unwrap().timed_out, 1, "time passes for the node as well");
    let wakeups = owner.loop_stats().wakeups;
    assert!(wakeups < 50, "{wakeups}");
}

#[tokio::test]
async fn a_query_that_the_caller_reports_as_unreachable_fails_at_once() {
    let (owner, external) = external(builder());
    let hole = "127.0.0.1:9".parse().unwrap();
    let pinged = async {
        let next = soon(external.next_outgoing()).await.unwrap();
        assert_eq!(next.destination, hole);
        assert!(next.datagram.starts_with(b"d1:a"));
        external.unreachable(hole);
    };
    let (pong, ()) = tokio::join!(soon(owner.ping(hole)), pinged);
    assert_eq!(pong, Err(CallError::Query(QueryError::Unreachable)));
    drop(external);
    assert_eq!(soon(owner.ping(hole)).await, Err(CallError::Query(QueryError::Unreachable)));
}

#[tokio::test]
async fn an_announce_is_republished_until_its_last_handle_is_dropped() {
    let nodes = network(12).await;
    let (announcer, other) = (&nodes[3], &nodes[7]);
    let mut kept = announcer.start_announcing(HASH, Announce::port(4242));
    let shared = announcer.start_announcing(HASH, Announce::port(4242));
    let round = next(&mut kept).await.unwrap();
    assert!(round.report.acknowledged > 0 && !round.acknowledged.is_empty(), "{round:?}");
    let mut lookup = other.get_peers(HASH);
    assert_eq!(next(&mut lookup).await.map(|peer| peer.port()), Some(4242));
    let count = |node: &DhtHandle| {
        let node = node.clone();
        async move { node.with(|node, _| node.announcements().collect::<Vec<_>>()).await.unwrap().len() }
    };
    drop(kept);
    assert_eq!(count(announcer).await, 1, "the other holder keeps it");
    drop(shared);
    assert_eq!(count(announcer).await, 0);
    let mut last = announcer.start_announcing(HASH, Announce::port(4242));
    for node in nodes {
        soon(node.shutdown()).await.unwrap();
    }
    while soon(last.recv()).await.is_ok() {}
}

#[test]
fn the_state_is_saved_though_the_runtime_ends_with_the_owner() {
    let file = std::env::temp_dir().join(format!("dht-proto-tokio-runtime-{}.state", std::process::id()));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let nodes = runtime.block_on(async {
        let mut nodes = network(3).await;
        let start = addr(&nodes[0]).to_string();
        nodes.push(builder().bootstrap([&start]).state(&file).spawn_tokio().unwrap());
        assert_eq!(soon(nodes[3].ready()).await, Ok(()));
        nodes
    });
    drop(nodes);
    drop(runtime);
    assert!(matches!(StateFile::new(&file).load(), Ok(Loaded::State(_))));
    std::fs::remove_file(&file).unwrap();
}

/// The environment variable that names the folder of a test to its child process.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const CHILD: &str = "DHT_PROTO_FOLDER";

/// A disk that does not respond until it is released.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
struct Stuck {
    release: mpsc::Sender<()>,
    released: thread::JoinHandle<bool>,
}

#[cfg(all(target_os = "linux", target_env = "gnu"))]
impl Stuck {
    fn new(stuck: &Path) -> Self {
        std::fs::write(stuck, b"").unwrap();
        let ((release, asked), stuck) = (mpsc::channel(), stuck.to_owned());
        let released = thread::spawn(move || {
            // A thread, because no task runs if the runtime waits for the disk.
            let in_time = asked.recv_timeout(PATIENCE).is_ok();
            std::fs::remove_file(stuck).unwrap();
            in_time
        });
        Self { release, released }
    }

    /// Releases the disk, and returns whether it had not been released before.
    fn release(self) -> bool {
        let _ = self.release.send(());
        self.released.join().unwrap()
    }
}

#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[test]
fn tasks_continue_while_the_disk_does_not_respond() {
    let folder = std::env::temp_dir().join(format!("dht-proto-tokio-stuck-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let mut child = Command::new(std::env::current_exe().unwrap());
    child
        .args(["--exact", "task::continues_while_the_disk_does_not_respond", "--ignored"])
        .env(CHILD, &folder);
    common::disk::stick(&mut child, &folder);
    let running = start(child.stdout(Stdio::piped()).stderr(Stdio::piped())).unwrap();
    let output = running.wait_with_output().unwrap();
    std::fs::remove_dir_all(folder).unwrap();
    assert!(output.status.success(), "{output:?}");
}

#[cfg(all(target_os = "linux", target_env = "gnu"))]
async fn is_waiting<F: Future>(mut call: Pin<&mut F>) -> bool {
    poll_fn(|cx| Poll::Ready(call.as_mut().poll(cx).is_pending())).await
}

#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[tokio::test]
#[ignore = "no test of its own, but the child of another one"]
async fn continues_while_the_disk_does_not_respond() {
    let Some(folder) = std::env::var_os(CHILD).map(std::path::PathBuf::from) else { return };
    let nodes = network(3).await;
    let start = addr(&nodes[0]).to_string();
    let node = builder().bootstrap([&start]).state(folder.join("dht.state")).spawn_tokio().unwrap();
    assert_eq!(soon(node.ready()).await, Ok(()));
    let path = folder.join("stuck");

    let stuck = Stuck::new(&path);
    let dht = node.handle();
    let mut saving = pin!(dht.save_state());
    assert!(is_waiting(saving.as_mut()).await);
    soon(node.ping(addr(&nodes[1]))).await.unwrap();
    let mut clearing = pin!(dht.clear_state());
    assert!(is_waiting(clearing.as_mut()).await);
    assert_eq!(node.node_count(Family::V4).await, Ok(0), "that needs no disk");
    assert!(is_waiting(clearing.as_mut()).await);
    assert!(stuck.release(), "the task has waited");
    assert!(soon(saving).await.unwrap());
    soon(clearing).await.unwrap();

    for other in &nodes[1..] {
        node.add_node(addr(other)).await.unwrap();
    }
    // A bootstrap host alone is not saved.
    while node.node_count(Family::V4).await.unwrap() < 2 {
        sleep(Duration::from_millis(5)).await;
    }
    let stuck = Stuck::new(&path);
    let mut ending = pin!(node.shutdown());
    // Enough time to reach the disk; with less the test would prove less.
    assert!(timeout(Duration::from_millis(500), &mut ending).await.is_err(), "it waits for the disk");
    assert!(stuck.release(), "the runtime has waited");
    soon(ending).await.unwrap();
}

#[tokio::test]
async fn the_state_is_saved_when_the_task_ends() {
    let nodes = network(3).await;
    let file = std::env::temp_dir().join(format!("dht-proto-tokio-{}.state", std::process::id()));
    let start = addr(&nodes[0]).to_string();
    let node = builder().bootstrap([&start]).state(&file).spawn_tokio().unwrap();
    assert_eq!(soon(node.ready()).await, Ok(()));
    let id = node.id(Family::V4).await.unwrap();
    assert!(node.save_state().await.unwrap());
    soon(node.shutdown()).await.unwrap();
    // It joins through its saved nodes: it is given no bootstrap host.
    let mut starting = builder().state(&file);
    let mut events = starting.subscribe();
    let again = starting.spawn_tokio().unwrap();
    let restored = soon(events.recv()).await;
    assert!(
        matches!(restored, Ok(NetEvent::Restored { nodes: 1.., announces: 0, items: 0, skipped: 0 })),
        "{restored:?}"
    );
    assert_eq!(soon(again.ready()).await, Ok(()));
    assert_eq!(again.id(Family::V4).await.unwrap(), id);
    again.clear_state().await.unwrap();
    assert!(!file.exists());
    soon(again.shutdown()).await.unwrap();
    let _ = std::fs::remove_file(&file);
}

#[tokio::test]
async fn only_announcements_that_are_dropped_after_the_node_are_saved() {
    let nodes = network(3).await;
    let file = std::env::temp_dir().join(format!("dht-proto-given-up-{}.state", std::process::id()));
    let start = addr(&nodes[0]).to_string();
    for after_node in [false, true] {
        let mut starting = builder().bootstrap([&start]).state(&file);
        let mut events = starting.subscribe();
        let node = starting.spawn_tokio().unwrap();
        assert_eq!(soon(node.ready()).await, Ok(()));
        let kept = node.start_announcing(HASH, Announce::port(4242));
        // The node's task does not run in between.
        if after_node {
            drop(node);
            drop(kept);
        } else {
            drop(kept);
            drop(node);
        }
        while soon(events.recv()).await.is_ok() {}
        let saved = std::fs::read(&file).unwrap();
        assert_eq!(State::parse(&saved).unwrap().announces().count(), usize::from(after_node));
    }
    let _ = std::fs::remove_file(&file);
}
