//! Results of calls while the loop is blocked, busy, gone, or runs elsewhere.

use std::net::SocketAddr;
use std::sync::mpsc::{Sender, channel};
use std::thread;
use std::time::Duration;

use dht_proto::errors::ContactError;
use dht_proto::net::{CallError, DhtHandle, NetEvent};
use dht_proto::{Announce, Event, Family, InfoHash, Lookup, StartError};
use futures_lite::StreamExt as _;
use futures_lite::future::block_on;

use crate::common::net::loops::{Loop, in_each_loop};
use crate::common::net::nodes::{addr, announces, builder, under_way};
use crate::common::net::{HASH, LOOPBACK, PATIENCE, asking};

/// The most calls that wait for the loop.
const COMMANDS: usize = 8192;

/// Blocks the loop until the sender is dropped.
fn hold(dht: &DhtHandle) -> Sender<()> {
    let ((holding, held), (release, released)) = (channel(), channel::<()>());
    drop(dht.with(move |_, _| {
        holding.send(()).unwrap();
        let _ = released.recv();
    }));
    held.recv().unwrap();
    release
}

fn silent() -> (std::net::UdpSocket, SocketAddr) {
    let socket = std::net::UdpSocket::bind(LOOPBACK).unwrap();
    let addr = socket.local_addr().unwrap();
    (socket, addr)
}

#[test]
fn calls_beyond_the_queue_of_commands_return_busy_without_blocking() {
    in_each_loop(|on| {
        let dht = on.spawn(builder()).unwrap();
        let release = hold(&dht);
        let calls: Vec<_> = (0..COMMANDS).map(|_| dht.stats()).collect();
        assert_eq!(dht.stats().wait(), Err(CallError::Busy));
        assert_eq!(dht.ping(addr(&dht)).wait(), Err(CallError::Busy));
        assert_eq!(dht.get_peers(HASH).wait(), Err(CallError::Busy));
        assert_eq!(dht.get_peers(HASH).recv_timeout(PATIENCE), Err(CallError::Busy));
        assert_eq!(dht.get_peers(HASH).into_iter().next(), None);
        let mut announcement = dht.start_announcing(HASH, Announce::port(1));
        assert_eq!(announcement.recv_timeout(PATIENCE), Err(CallError::Busy));
        assert_eq!(dht.crawl(Default::default()).recv_timeout(PATIENCE), Err(CallError::Busy));
        assert_eq!(dht.subscribe().recv_timeout(PATIENCE), Err(CallError::Busy));
        drop(release);
        assert!(calls.into_iter().all(|call| call.wait().is_ok()));
        assert!(dht.stats().wait().is_ok());
    });
}

#[test]
fn calls_dropped_before_the_loop_sees_them_leak_nothing() {
    in_each_loop(|on| {
        let dht = on.spawn(builder()).unwrap();
        let (_socket, hole) = silent();
        let release = hold(&dht);
        for index in 0..100 {
            let hash = InfoHash::from_bytes([index; 20]);
            drop(dht.lookup(Lookup::GetPeers(hash), asking(hole)));
            drop(dht.start_announcing(hash, Announce::port(1)));
            drop(dht.ping(hole));
            drop(dht.crawl(Default::default()));
            drop(dht.subscribe());
        }
        drop(release);
        assert_eq!(dht.with(|node, _| under_way(node)).wait(), Ok((0, 0)));
        assert!(announces(&dht).is_empty());
        assert_eq!(dht.stats().wait().unwrap().queries_out.ping, 0);
    });
}

#[test]
fn calls_made_before_the_end_complete_and_later_ones_return_closed() {
    in_each_loop(|on| {
        let dht = on.spawn(builder()).unwrap();
        let (release, handle) = (hold(&dht), dht.handle());
        let before = dht.stats();
        let ended = dht.shutdown();
        let after = handle.stats();
        assert_eq!(after.wait(), Err(CallError::Closed));
        drop(release);
        assert!(before.wait().is_ok());
        assert_eq!(ended.wait(), Ok(()));
        assert_eq!(handle.ready().wait(), Err(CallError::Closed));
    });
}

#[test]
fn a_refused_start_is_returned_by_every_read() {
    in_each_loop(|on| {
        let dht = on.spawn(builder()).unwrap();
        dht.set_enabled(false).wait().unwrap();
        let disabled = CallError::Start(StartError::Disabled);
        let mut lookup = dht.get_peers(HASH);
        assert_eq!(lookup.recv_timeout(PATIENCE), Err(disabled.clone()));
        assert_eq!(lookup.iter().next(), None);
        assert_eq!(lookup.wait(), Err(disabled.clone()));
        assert_eq!(lookup.outcome(), Some(Err(disabled.clone())));
        assert_eq!(lookup.report().wait(), Err(disabled.clone()));
        assert_eq!(block_on(lookup.recv()), Err(disabled.clone()));
        assert_eq!(block_on(lookup.next()), None);
        assert_eq!(block_on(lookup.into_future()), Err(disabled));
        let mut call = dht.add_node("127.0.0.1:0".parse().unwrap());
        assert!(matches!(
            call.wait_timeout(PATIENCE),
            Err(CallError::Contact(ContactError::Disabled | ContactError::AddressRefused))
        ));
        assert_eq!(call.wait_timeout(PATIENCE), Err(CallError::Closed), "a result is taken once");
    });
}

#[test]
fn ready_waits_until_the_node_has_joined() {
    in_each_loop(|on| {
        let (dht, other) = (on.spawn(builder()).unwrap(), on.spawn(builder()).unwrap());
        let mut ready = dht.ready();
        assert_eq!(ready.wait_timeout(Duration::from_millis(20)), Err(CallError::TimedOut));
        dht.add_node(addr(&other)).wait().unwrap();
        assert_eq!(ready.wait_timeout(PATIENCE), Ok(()));
        assert_eq!(dht.ready().wait(), Ok(()));
    });
}

/// Threads and tasks of an executor that is independent of the loop use the same types.
#[test]
fn every_loop_serves_blocking_and_async_callers() {
    in_each_loop(|on| {
        let nodes = on.network(6);
        let announced = block_on(nodes[1].announce(HASH, Announce::port(7777)).into_future()).unwrap();
        assert!(!announced.acknowledged.is_empty());
        let peer = SocketAddr::from(([127, 0, 0, 1], 7777));
        assert_eq!(Vec::from_iter(nodes[3].get_peers(HASH)), [peer]);
        block_on(async {
            let mut lookup = nodes[4].get_peers(HASH);
            assert_eq!(lookup.recv().await, Ok(Some(peer)));
            assert_eq!(lookup.recv().await, Ok(None));
            assert_eq!((&mut lookup).await.unwrap().report.peers, 1);
            assert_eq!(nodes[5].get_peers(HASH).collect::<Vec<_>>().await, [peer]);
            assert!(nodes[0].ping(addr(&nodes[2])).await.is_ok());
            let mut announcement = nodes[0].start_announcing(HASH, Announce::port(7778));
            assert!(!announcement.recv().await.unwrap().acknowledged.is_empty());
            assert_eq!(nodes[0].set_read_only(true).await, Ok(()));
            nodes[0].store_peer(HASH, peer, true).await.unwrap();
            assert_eq!(nodes[0].with(|node, _| node.stored_peers(HASH).count()).await, Ok(1));
        });
        for node in nodes {
            assert_eq!(block_on(node.shutdown()), Ok(()));
        }
    });
}

#[test]
fn a_node_without_a_socket_serves_a_blocking_caller() {
    in_each_loop(|on| {
        let inner = on.spawn(builder()).unwrap();
        let mut starting = builder().bootstrap([addr(&inner).to_string()]);
        let mut events = starting.subscribe();
        let external = starting.external();
        let dht = on.spawn(starting).unwrap();
        let socket = std::net::UdpSocket::bind(LOOPBACK).unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(10))).unwrap();
        let handle = dht.handle();
        thread::scope(|scope| {
            scope.spawn(|| {
                while let Ok(Some(next)) = external.next_outgoing_timeout(PATIENCE) {
                    socket.send_to(&next.datagram, next.destination).unwrap();
                }
            });
            scope.spawn(|| {
                let mut buffer = [0; 2048];
                while handle.stats().wait().is_ok() {
                    if let Ok((len, from)) = socket.recv_from(&mut buffer) {
                        assert!(external.feed(from, &buffer[..len]));
                    }
                }
            });
            assert_eq!(dht.ready().wait_timeout(PATIENCE), Ok(()));
            assert_eq!(dht.local_addr(Family::V4), None);
            let mut announcing = dht.announce(HASH, Announce::port(7777));
            assert_eq!(announcing.wait_timeout(PATIENCE).unwrap().acknowledged, [addr(&inner)]);
            let is_ready = |event: &NetEvent| matches!(event, NetEvent::Node(Event::Ready { .. }));
            assert!(events.iter().any(|event| is_ready(&event)));
            // The node ends, and with it the threads that serve it.
            dht.shutdown().wait().unwrap();
        });
    });
}

#[cfg(feature = "tokio")]
mod in_a_runtime {
    use tokio::runtime::{Builder, Runtime};

    use super::*;

    fn runtime() -> Runtime {
        Builder::new_current_thread().enable_all().build().unwrap()
    }

    #[cfg(debug_assertions)]
    #[test]
    fn a_blocking_call_in_a_task_panics_with_a_helpful_message() {
        let dht = Loop::Thread.spawn(builder()).unwrap();
        let handle = dht.handle();
        let caught = |call: fn(DhtHandle)| {
            let handle = handle.clone();
            let blocked = runtime().block_on(async { tokio::spawn(async move { call(handle) }).await });
            let panic = blocked.unwrap_err().into_panic();
            let message = panic.downcast_ref::<String>().cloned();
            message.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned())).unwrap()
        };
        for call in [
            |dht: DhtHandle| drop(dht.stats().wait()),
            |dht: DhtHandle| assert!(dht.get_peers(HASH).into_iter().next().is_some()),
            |dht: DhtHandle| assert!(dht.subscribe().recv_timeout(Duration::ZERO).is_ok()),
        ] {
            let message = caught(call);
            assert!(message.contains("inside of an asynchronous task: use `.await`"), "{message}");
        }
        assert!(dht.stats().wait().is_ok());
    }

    #[test]
    fn a_call_blocks_where_the_runtime_allows_blocking() {
        let dht = Loop::Thread.spawn(builder()).unwrap();
        let handle = dht.handle();
        let stats =
            runtime().block_on(async { tokio::task::spawn_blocking(move || handle.stats().wait()).await });
        assert!(stats.unwrap().is_ok());
        let runtime = runtime();
        let _inside = runtime.enter();
        assert!(dht.stats().wait().is_ok());
    }

    #[test]
    fn a_handle_is_awaited_in_another_runtime_and_after_the_end_of_the_node() {
        let first = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let dht = first.block_on(async { builder().spawn_tokio().unwrap() });
        let mut lookup = runtime().block_on(async {
            assert!(dht.stats().await.is_ok());
            dht.lookup(Lookup::GetPeers(HASH), asking(silent().1))
        });
        drop(first);
        runtime().block_on(async {
            assert_eq!(lookup.recv().await, Err(CallError::Closed));
            assert_eq!(dht.stats().await, Err(CallError::Closed));
        });
        assert_eq!(dht.stats().wait(), Err(CallError::Closed));
        assert_eq!(dht.shutdown().wait(), Ok(()));
    }
}

#[cfg(feature = "smol")]
#[test]
fn a_loop_that_is_not_polled_delays_only_its_callers_and_closes_when_dropped() {
    let (dht, node) = builder().build_smol().unwrap();
    let mut call = dht.stats();
    assert_eq!(call.wait_timeout(Duration::from_millis(10)), Err(CallError::TimedOut));
    drop(node);
    assert!(call.wait_timeout(PATIENCE).is_ok(), "it was called before the end");
    assert_eq!(dht.get_peers(HASH).wait(), Err(CallError::Closed));
    assert!(!dht.is_ready(Family::V4));
}
