//! Nodes in each loop, over real sockets on loopback, whose callers block.

use std::net::{SocketAddr, UdpSocket};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::mpsc::channel;
use std::thread;
use std::time::{Duration, Instant};

use dht_proto::errors::{ContactError, PublishError};
use dht_proto::net::{BootstrapRefusal, CallError, NetEvent, SpawnError};
use dht_proto::{
    Announce, Config, Event, Family, InfoHash, Limits, Lookup, LookupKind, LookupOptions, NodeId, QueryError,
    StartError,
};

use crate::common::net::loops::{Loop, in_each_loop};
use crate::common::net::nodes::{addr, announces, builder, wait_for};
use crate::common::net::{HASH, LOOPBACK, PATIENCE, asking, assert_asleep, without_starts};
use crate::common::raw::{ID, Packet, join, value_list};

/// A socket that never answers.
fn silent() -> (UdpSocket, SocketAddr) {
    let socket = UdpSocket::bind(LOOPBACK).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let addr = socket.local_addr().unwrap();
    (socket, addr)
}

#[test]
fn two_nodes_find_each_other() {
    in_each_loop(|on| {
        let nodes = on.network(2);
        let (a, b) = (&nodes[0], &nodes[1]);
        wait_for("each is in the other's table", || {
            a.node_count(Family::V4).wait() == Ok(1) && b.node_count(Family::V4).wait() == Ok(1)
        });
        let known = b.nodes(Family::V4).wait().unwrap();
        assert_eq!(known[0].id, a.id(Family::V4).wait().unwrap());
        assert_eq!(known[0].addr, addr(a));
    });
}

#[test]
fn all_metrics_are_read_in_one_call() {
    in_each_loop(|on| {
        let nodes = on.network(2);
        let mut lookup = nodes[1].announce(HASH, Announce::port(7001));
        assert_eq!(lookup.wait_timeout(PATIENCE).unwrap().acknowledged, [addr(&nodes[0])]);
        let metrics = nodes[0].metrics().wait().unwrap();
        assert_eq!(metrics.stats.queries_in.announce_peer, 1);
        assert!(metrics.loop_stats.wakeups > 0);
        let [v4, v6] = &metrics.families;
        assert_eq!((v4.family, v6.family), (Family::V4, Family::V6));
        assert_eq!((v4.levels.peers, v4.levels.peer_capacity, v6.levels.peers), (1, 1024, 0));
        assert_eq!((metrics.levels.infohashes, v4.levels.nodes, v6.levels.nodes), (1, 1, 0));
        assert_eq!(v4.buckets.iter().map(|bucket| bucket.good).sum::<usize>(), 1);
        let metrics = nodes[1].metrics().wait().unwrap();
        assert_eq!((metrics.stats.responses_in.announce_peer, metrics.families[0].levels.ready), (1, 1));
        let (median, rtt) = metrics.rtt[0];
        assert!(median == 0.5 && rtt > Duration::ZERO);
    });
}

#[cfg(target_os = "linux")]
#[test]
fn the_last_error_in_sending_can_be_read_even_after_the_end() {
    in_each_loop(|on| {
        let owner = on.spawn(builder()).unwrap();
        let dht = owner.handle();
        let other = on.spawn(builder()).unwrap();
        dht.ping(addr(&other)).wait().unwrap();
        assert!(dht.last_send_error().is_none(), "that one was sent");
        // A socket on loopback has no route to another host.
        assert!(dht.ping("192.0.2.1:9".parse().unwrap()).wait().is_err());
        owner.shutdown().wait().unwrap();
        assert!(dht.last_send_error().unwrap().raw_os_error().is_some());
    });
}

#[test]
fn c_12_a_peer_announced_by_one_node_is_found_by_another() {
    in_each_loop(|on| {
        let nodes = on.network(10);
        let mut announcing = nodes[3].announce(HASH, Announce::port(7777));
        let outcome = announcing.wait_timeout(PATIENCE).unwrap();
        assert_eq!(outcome.report.kind, LookupKind::Announce);
        assert!(!outcome.acknowledged.is_empty());
        assert_eq!(outcome.acknowledged.len(), outcome.report.acknowledged as usize);
        let stored = nodes.iter().filter(|node| !node.stored_peers(HASH).wait().unwrap().is_empty()).count();
        assert_eq!(stored, outcome.acknowledged.len());

        let mut lookup = nodes[7].get_peers(HASH);
        let peers: Vec<_> = lookup.iter().collect();
        assert_eq!(peers, ["127.0.0.1:7777".parse().unwrap()]);
        let report = lookup.outcome().unwrap().unwrap().report;
        assert_eq!((report.kind, report.peers), (LookupKind::GetPeers, 1));
        assert!(report.answered > 0);
    });
}

#[test]
fn nodes_that_bootstrap_from_each_other_verify_and_find_each_other() {
    in_each_loop(|on| {
        // The ports must be known before the nodes start.
        let sockets: Vec<_> = (0..4).map(|_| UdpSocket::bind(LOOPBACK).unwrap()).collect();
        let addrs: Vec<_> = sockets.iter().map(|socket| socket.local_addr().unwrap()).collect();
        drop(sockets);
        let start = |own: &SocketAddr| {
            let others = addrs.iter().filter(|addr| *addr != own).map(SocketAddr::to_string);
            on.spawn(builder().bind(*own).bootstrap(others)).unwrap()
        };
        let nodes: Vec<_> = addrs.iter().map(start).collect();
        wait_for("each has all others in its table", || {
            nodes.iter().all(|node| node.node_count(Family::V4).wait() == Ok(3))
        });
        let mut announcing = nodes[2].announce(HASH, Announce::port(7777));
        assert_eq!(announcing.wait_timeout(PATIENCE).unwrap().acknowledged.len(), 3);
        for seeker in [0, 1, 3] {
            let peers: Vec<_> = nodes[seeker].get_peers(HASH).into_iter().collect();
            assert_eq!(peers, ["127.0.0.1:7777".parse().unwrap()]);
        }
    });
}

#[test]
fn of_two_nodes_each_finds_the_peer_that_the_other_announced() {
    in_each_loop(|on| {
        let mut nodes = on.network(2);
        let mut announcing = nodes[0].announce(HASH, Announce::port(7777));
        assert_eq!(announcing.wait_timeout(PATIENCE).unwrap().acknowledged, [addr(&nodes[1])]);
        // The node that stores it leaves, and another one joins.
        nodes.remove(1).shutdown().wait().unwrap();
        let other = on.spawn(builder().bootstrap([addr(&nodes[0]).to_string()])).unwrap();
        assert_eq!(other.ready().wait_timeout(PATIENCE), Ok(()));
        assert_eq!(
            other.get_peers(HASH).into_iter().collect::<Vec<_>>(),
            ["127.0.0.1:7777".parse().unwrap()]
        );
    });
}

#[test]
fn c_11_an_announce_is_republished_until_its_last_handle_is_dropped() {
    in_each_loop(|on| {
        let mut nodes = on.network(5);
        let mut first = nodes[3].start_announcing(HASH, Announce::port(7777));
        let round = first.recv_timeout(PATIENCE).unwrap();
        assert!(!round.acknowledged.is_empty());
        assert_eq!(round.report.acknowledged as usize, round.acknowledged.len());
        assert_eq!(
            first.recv_timeout(Duration::ZERO),
            Err(CallError::TimedOut),
            "a republish is reported once"
        );

        // A second caller receives the last result, and with another port the next announce starts soon.
        let mut second = nodes[3].start_announcing(HASH, Announce::port(7777));
        assert_eq!(second.recv_timeout(PATIENCE).unwrap().report, round.report);
        drop(first);
        let mut third = nodes[3].start_announcing(HASH, Announce::port(8888));
        drop(second);
        let mut changed = third.recv_timeout(PATIENCE).unwrap();
        if changed.report == round.report {
            // The next announce had not ended yet.
            changed = third.recv_timeout(PATIENCE).unwrap();
        }
        assert_eq!(changed.acknowledged.len(), changed.report.sent as usize);
        let peers: Vec<SocketAddr> = nodes[1].get_peers(HASH).into_iter().collect();
        assert!(peers.iter().any(|peer| peer.port() == 8888), "{peers:?}");
        assert_eq!(announces(&nodes[3]).len(), 1);
        drop(third);
        wait_for("nothing is republished", || announces(&nodes[3]).is_empty());

        let refused = nodes[3].start_announcing(HASH, Announce::port(0)).recv_timeout(PATIENCE).unwrap_err();
        assert_eq!(refused, CallError::Publish(PublishError::PortZero));
        let announcement = nodes[3].start_announcing(HASH, Announce::port(7777));
        nodes.remove(3).shutdown().wait().unwrap();
        assert!(announcement.into_iter().count() <= 1, "it ends with the thread");
    });
}

#[test]
fn an_implied_port_is_that_of_the_socket() {
    in_each_loop(|on| {
        let nodes = on.network(3);
        let own = addr(&nodes[1]);
        let mut announcing = nodes[1].announce(HASH, Announce::implied(own.port()));
        assert!(announcing.wait_timeout(PATIENCE).unwrap().report.acknowledged > 0);
        assert_eq!(nodes[2].get_peers(HASH).into_iter().collect::<Vec<_>>(), [own]);
    });
}

#[test]
fn find_node_returns_the_closest_nodes_in_order() {
    in_each_loop(|on| {
        let nodes = on.network(12);
        let target = NodeId::from_bytes([0x77; 20]);
        let outcome = nodes[5].find_node(target).wait_timeout(PATIENCE).unwrap();
        assert!(!outcome.nodes.is_empty() && outcome.nodes.len() <= 8);
        assert!(outcome.nodes.is_sorted_by_key(|node| node.id.distance(&target)));
    });
}

#[test]
fn a_ping_reaches_a_node_and_fails_at_a_closed_port() {
    in_each_loop(|on| {
        let (a, b) = (on.spawn(builder()).unwrap(), on.spawn(builder()).unwrap());
        let pong = a.ping(addr(&b)).wait().unwrap();
        assert_eq!(pong.id, b.id(Family::V4).wait().unwrap());
        let (socket, closed) = silent();
        drop(socket);
        assert!(matches!(
            a.ping(closed).wait(),
            Err(CallError::Query(QueryError::TimedOut | QueryError::Unreachable))
        ));
        assert_eq!(
            a.ping("127.0.0.1:0".parse().unwrap()).wait(),
            Err(CallError::Contact(ContactError::AddressRefused))
        );
        assert_eq!(
            a.ping("[::1]:9".parse().unwrap()).wait(),
            Err(CallError::Contact(ContactError::AddressRefused))
        );
    });
}

#[test]
fn the_public_policy_refuses_loopback() {
    in_each_loop(|on| {
        let dht = on.spawn(builder().config(Config::default())).unwrap();
        assert_eq!(
            dht.ping("127.0.0.1:9".parse().unwrap()).wait(),
            Err(CallError::Contact(ContactError::AddressRefused))
        );
        assert_eq!(
            dht.add_node("10.0.0.1:9".parse().unwrap()).wait(),
            Err(CallError::Contact(ContactError::AddressRefused))
        );
    });
}

#[test]
fn dropping_a_lookup_cancels_it_and_leaks_nothing() {
    in_each_loop(|on| {
        let mut limits = Limits::default();
        limits.traversals = 4;
        let dht = on.spawn(builder().limits(limits)).unwrap();
        let (_socket, hole) = silent();
        for round in 0..100 {
            let hash = InfoHash::from_bytes([round; 20]);
            drop(dht.lookup(Lookup::GetPeers(hash), asking(hole)));
        }
    });
}

#[test]
fn callers_share_a_lookup_and_dropping_one_does_not_end_it() {
    in_each_loop(|on| {
        let dht = on.spawn(builder()).unwrap();
        let (socket, hole) = silent();
        let start = |lookup| dht.lookup(lookup, asking(hole));
        let first = start(Lookup::GetPeers(HASH));
        let mut second = start(Lookup::GetPeers(HASH));
        let other = start(Lookup::FindNode(HASH.into()));
        wait_for("both lookups send queries", || {
            let out = dht.stats().wait().unwrap().queries_out;
            out.get_peers >= 1 && out.find_node >= 1
        });
        drop(first);
        drop(other);
        assert_eq!(second.recv_timeout(Duration::from_millis(20)), Err(CallError::TimedOut));
        assert_eq!(second.outcome(), None);

        // An answer still reaches the second caller.
        let mut buffer = [0; 1500];
        let (query, from) = loop {
            let (len, from) = socket.recv_from(&mut buffer).unwrap();
            let query = Packet::checked(hole, &buffer[..len]);
            if query.method() == "get_peers" {
                break (query, from);
            }
        };
        let peer = "127.0.0.1:6881".parse().unwrap();
        let answer = query.answer(&ID, &join(&[b"5:token1:x", &value_list(&[peer])]));
        socket.send_to(&answer, from).unwrap();
        assert_eq!(second.recv_timeout(PATIENCE), Ok(Some(peer)));
        assert!(second.wait_timeout(PATIENCE).is_ok());
    });
}

#[test]
fn ports_in_use_and_invalid_hosts_are_errors_at_the_start() {
    in_each_loop(|on| {
        let taken = on.spawn(builder()).unwrap();
        match on.spawn(builder().bind(addr(&taken))) {
            Err(SpawnError::Bind { addr: refused, .. }) => assert_eq!(refused, addr(&taken)),
            other => panic!("{other:?}"),
        }
        assert!(matches!(on.spawn(builder().bootstrap(["no port"])), Err(SpawnError::Host(_))));
        let mut config = Config::default();
        config.ipv4 = false;
        assert!(matches!(on.spawn(builder().config(config)), Err(SpawnError::NoFamily)));
    });
}

#[test]
fn c_17_dropping_the_owner_ends_the_node_and_frees_the_port_despite_other_handles() {
    in_each_loop(|on| {
        // No other test binds this address, so no other takes the port.
        let own = if cfg!(target_os = "linux") { 9 + on as u8 } else { 1 };
        let owner = on.spawn(builder().bind(SocketAddr::from(([127, 0, 0, own], 0)))).unwrap();
        let (port, borrowed) = (addr(&owner), owner.handle());
        let (mut announcement, crawl) =
            (borrowed.start_announcing(HASH, Announce::port(1)), borrowed.crawl(Default::default()));
        drop(borrowed.clone());
        assert!(borrowed.stats().wait().is_ok(), "dropping another handle ends nothing");
        // Dropping the owner waits only for a thread.
        if on == Loop::Thread {
            drop(owner)
        } else {
            owner.shutdown().wait().unwrap()
        }
        let _no_starts = without_starts();
        UdpSocket::bind(port).unwrap();
        assert_eq!(borrowed.stats().wait(), Err(CallError::Closed));
        assert!(announcement.iter().next().is_none() && crawl.into_iter().next().is_none());
    });
}

#[test]
fn waiting_datagrams_are_sent_at_shutdown() {
    in_each_loop(|on| {
        let dht = on.spawn(builder()).unwrap();
        let (socket, hole) = silent();
        dht.add_node(hole).wait().unwrap();
        drop(dht);
        let mut buffer = [0; 1500];
        let (len, _) = socket.recv_from(&mut buffer).unwrap();
        assert!(buffer[..len].windows(7).any(|word| word == b"1:q4:pi"));
    });
}

#[cfg(target_os = "linux")]
#[test]
fn l_09_a_destination_that_the_system_refuses_is_unreachable_at_once() {
    in_each_loop(|on| {
        let dht = on.spawn(builder()).unwrap();
        // Bound to loopback, a socket cannot reach another host.
        let elsewhere = "192.0.2.1:9".parse().unwrap();
        assert_eq!(dht.ping(elsewhere).wait(), Err(CallError::Query(QueryError::Unreachable)));
        assert_eq!(dht.loop_stats().sends_unreachable, 1);
        assert!(dht.stats().wait().is_ok());
    });
}

#[test]
fn an_open_lookup_does_not_keep_the_node_running() {
    in_each_loop(|on| {
        let dht = on.spawn(builder()).unwrap();
        let (_socket, hole) = silent();
        let mut lookup = dht.lookup(Lookup::GetPeers(HASH), asking(hole));
        drop(dht);
        assert_eq!(lookup.wait(), Err(CallError::Closed));
    });
}

#[test]
fn c_17_after_the_end_every_call_returns_closed() {
    in_each_loop(|on| {
        let owner = on.spawn(builder()).unwrap();
        let dht = owner.handle();
        let (_socket, hole) = silent();
        let mut options = LookupOptions::default();
        options.only = Some(hole);
        let mut lookup = dht.lookup(Lookup::GetPeers(HASH), options);
        let mut events = dht.subscribe();
        let pinging = thread::spawn({
            let dht = dht.clone();
            move || dht.ping(hole).wait()
        });
        wait_for("the ping is sent", || dht.stats().wait().unwrap().queries_out.ping == 1);
        owner.shutdown().wait().unwrap();
        assert_eq!(pinging.join().unwrap(), Err(CallError::Closed));
        assert_eq!(lookup.iter().next(), None);
        assert_eq!(lookup.wait(), Err(CallError::Closed));
        assert_eq!(lookup.recv_timeout(PATIENCE), Err(CallError::Closed));
        events.iter().for_each(drop);
        assert_eq!(dht.stats().wait(), Err(CallError::Closed));
        assert_eq!(dht.ping(hole).wait(), Err(CallError::Closed));
        assert_eq!(dht.ready().wait_timeout(PATIENCE), Err(CallError::Closed));
        assert_eq!(dht.id(Family::V4).wait(), Err(CallError::Closed));
        assert_eq!(dht.get_peers(HASH).recv_timeout(PATIENCE), Err(CallError::Closed));
        assert_eq!(dht.crawl(Default::default()).recv_timeout(PATIENCE), Err(CallError::Closed));
        assert_eq!(dht.subscribe().recv_timeout(PATIENCE), Err(CallError::Closed));
    });
}

#[test]
fn starting_errors_reach_the_caller() {
    in_each_loop(|on| {
        let dht = on.spawn(builder()).unwrap();
        let refused = dht.announce(HASH, Announce::port(0)).wait_timeout(PATIENCE);
        assert_eq!(refused, Err(CallError::Start(StartError::PortZero)));
    });
}

#[test]
fn an_idle_thread_sleeps() {
    in_each_loop(|on| {
        let started = Instant::now();
        let dht = on.spawn(builder()).unwrap();
        dht.stats().wait().unwrap();
        thread::sleep(Duration::from_secs(2));
        // It slept between the two calls, or it could not have answered the second.
        dht.stats().wait().unwrap();
        assert_asleep(dht.loop_stats().wakeups, started.elapsed());
    });
}

#[test]
fn e_29_garbage_and_the_largest_datagram_are_counted() {
    in_each_loop(|on| {
        let dht = on.spawn(builder()).unwrap();
        let (socket, _) = silent();
        // 65,507 bytes are the most that UDP over IPv4 carries.
        for len in [0, 1, 1500, 65_507] {
            socket.send_to(&vec![b'x'; len], addr(&dht)).unwrap();
        }
        wait_for("all are counted", || dht.stats().wait().unwrap().dropped.malformed == 4);
        assert_eq!(dht.stats().wait().unwrap().bytes_in, 1 + 1500 + 65_507);
    });
}

#[test]
fn e_29_b32_15_a_query_of_the_largest_size_is_answered() {
    in_each_loop(|on| {
        let dht = on.spawn(builder()).unwrap();
        let (socket, _) = silent();
        let mut query = b"d1:ad2:id20:abcdefghij01234567891:p64000:".to_vec();
        query.extend(vec![b'x'; 64_000]);
        query.extend(b"e1:q4:ping1:t2:aa1:y1:qe");
        socket.send_to(&query, addr(&dht)).unwrap();
        let mut buffer = [0; 1500];
        let (len, _) = socket.recv_from(&mut buffer).unwrap();
        assert!(buffer[..len].ends_with(b"1:y1:re"), "{}", buffer[..len].escape_ascii());
    });
}

#[test]
fn q_27_b32_16_b45_03_b45_05_an_answer_leaves_from_the_bound_address_that_was_queried() {
    in_each_loop(|on| {
        let mut tried = 0;
        for bound in ["127.0.0.1:0", "127.0.0.2:0", "[::1]:0"] {
            let bound: SocketAddr = bound.parse().unwrap();
            let Ok(dht) = on.spawn(builder().bind(bound)) else {
                eprintln!("skipped: a host without {bound}");
                continue;
            };
            let asked = dht.local_addr(Family::of(&bound)).unwrap();
            assert_eq!(asked.ip(), bound.ip());
            let socket = UdpSocket::bind(bound).unwrap();
            socket.set_read_timeout(Some(PATIENCE)).unwrap();
            socket.send_to(b"d1:ad2:id20:abcdefghij0123456789e1:q4:ping1:t2:aa1:y1:qe", asked).unwrap();
            let mut buffer = [0; 1500];
            let (_, from) = socket.recv_from(&mut buffer).unwrap();
            assert_eq!(from, asked);
            tried += 1;
        }
        assert!(tried > 0);
    });
}

#[test]
fn c_19_subscribers_receive_the_event_of_joining() {
    in_each_loop(|on| {
        let first = on.spawn(builder()).unwrap();
        let mut builder = builder().bootstrap([addr(&first).to_string()]);
        let mut events = builder.subscribe();
        let _second = on.spawn(builder).unwrap();
        let mut added = false;
        loop {
            match events.recv_timeout(PATIENCE).unwrap() {
                NetEvent::Node(Event::NodeAdded { addr: node, .. }) => added |= node == addr(&first),
                NetEvent::Node(Event::Ready { family: Family::V4 }) => break,
                _ => {}
            }
        }
        assert!(added);
    });
}

#[test]
fn l_13_a_bootstrap_name_is_resolved_and_queried() {
    in_each_loop(|on| {
        let first = on.spawn(builder()).unwrap();
        let host = format!("localhost:{}", addr(&first).port());
        let mut builder = builder().bootstrap([&host]);
        let mut events = builder.subscribe();
        let second = on.spawn(builder).unwrap();
        let resolved = events.iter().find_map(|event| match event {
            NetEvent::Resolved { host, addrs } => Some((host, addrs)),
            _ => None,
        });
        let (name, addrs) = resolved.unwrap();
        assert_eq!(name, host);
        assert!(addrs.contains(&addr(&first)));
        assert_eq!(second.ready().wait_timeout(PATIENCE), Ok(()));
    });
}

#[test]
fn a_name_that_resolves_slowly_does_not_delay_another() {
    in_each_loop(|on| {
        let first = on.spawn(builder()).unwrap();
        let known = addr(&first);
        let (_hold, held) = channel::<()>();
        let held = Mutex::new(held);
        let second = on
            .spawn(builder().bootstrap(["hangs.example:1", "good.example:1"]).resolver(move |host| {
                if host == "hangs.example:1" {
                    let _ = held.lock().unwrap().recv();
                }
                Ok(vec![known])
            }))
            .unwrap();
        assert_eq!(second.ready().wait_timeout(PATIENCE), Ok(()));
        second.shutdown().wait().unwrap();
    });
}

#[test]
fn names_are_resolved_again_after_a_change_of_the_network() {
    in_each_loop(|on| {
        let first = on.spawn(builder()).unwrap();
        let known = addr(&first);
        // Only a result that differs from the one before is reported.
        let port = AtomicU16::new(1);
        let other = move || SocketAddr::from(([127, 0, 0, 9], port.fetch_add(1, Ordering::Relaxed)));
        let mut builder = builder().bootstrap(["a.example:1"]).resolver(move |_| Ok(vec![known, other()]));
        let mut events = builder.subscribe();
        let second = on.spawn(builder).unwrap();
        let mut resolved = || events.iter().find(|event| matches!(event, NetEvent::Resolved { .. }));
        assert!(resolved().is_some());
        assert_eq!(second.ready().wait_timeout(PATIENCE), Ok(()));
        for _ in 0..2 {
            second.rebind(None).wait().unwrap();
            assert!(resolved().is_some());
        }
    });
}

#[test]
fn a_refused_bootstrap_host_is_reported() {
    in_each_loop(|on| {
        let mut config = Config::default();
        config.ipv6 = false;
        let hosts = ["127.0.0.1:1", "[::1]:1"];
        let mut builder = builder().config(config).bootstrap(hosts);
        let mut events = builder.subscribe();
        let _dht = on.spawn(builder).unwrap();
        for (wanted, why) in hosts.into_iter().zip([BootstrapRefusal::Policy, BootstrapRefusal::Family]) {
            match events.recv_timeout(PATIENCE) {
                Ok(NetEvent::BootstrapRefused { host, addr, reason, retry_in: None }) => {
                    assert_eq!((host.as_str(), addr.to_string().as_str(), reason), (wanted, wanted, why));
                }
                other => panic!("{other:?}"),
            }
        }
    });
}

#[test]
fn names_that_do_not_resolve_are_reported_and_the_node_continues() {
    in_each_loop(|on| {
        let mut builder = builder().bootstrap(["name.invalid:6881"]);
        let mut events = builder.subscribe();
        let dht = on.spawn(builder).unwrap();
        match events.recv_timeout(PATIENCE) {
            Ok(NetEvent::Unresolved { host, retry_in, .. }) => {
                assert_eq!(host, "name.invalid:6881");
                assert!(retry_in > Duration::ZERO);
            }
            other => panic!("{other:?}"),
        }
        assert!(dht.stats().wait().is_ok());
    });
}

#[test]
fn b32_16_both_families_run_side_by_side() {
    in_each_loop(|on| {
        let both = || builder().bind("[::1]:0".parse().unwrap());
        let Ok(a) = on.spawn(both()) else {
            eprintln!("skipped: a host without IPv6");
            return;
        };
        let b = on.spawn(both()).unwrap();
        for family in Family::ALL {
            let pong = a.ping(b.local_addr(family).unwrap()).wait().unwrap();
            assert_eq!(pong.id, b.id(family).wait().unwrap());
        }
    });
}
