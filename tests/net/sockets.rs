//! The sockets of running nodes in each loop: closed, opened, moved, and failing.

use std::io;
#[cfg(target_os = "linux")]
use std::net::{IpAddr, Ipv6Addr};
use std::net::{SocketAddr, UdpSocket};
use std::ops::Deref;
use std::time::Duration;

use dht_proto::errors::ContactError;
use dht_proto::net::{CallError, Dht, NetEvent, NetEvents};
use dht_proto::report::Pong;
use dht_proto::{Announce, Config, Family, NodeId, QueryError, StartError};

use crate::common::net::loops::{self, Loop};
use crate::common::net::nodes::{builder, under_way, wait_for};
use crate::common::net::{HASH, PATIENCE, without_starts};

const PING: &[u8] = b"d1:ad2:id20:abcdefghij0123456789e1:q4:ping1:t2:aa1:y1:qe";
const DISABLED: CallError = CallError::Start(StartError::Disabled);

/// Why a query of a single node does not start.
const NOT_ASKED: CallError = CallError::Contact(ContactError::Disabled);

/// A node in one of the loops, and its events.
struct Host {
    dht: Dht,
    events: NetEvents,
}

impl Deref for Host {
    type Target = Dht;

    fn deref(&self) -> &Dht {
        &self.dht
    }
}

impl Host {
    fn start(on: Loop, at: &str, start: &[SocketAddr]) -> Self {
        let builder = Dht::builder().config(Config::private()).bind(at.parse().unwrap());
        let mut builder = builder.bootstrap(start.iter().map(SocketAddr::to_string));
        let events = builder.subscribe();
        Self { dht: on.spawn(builder).unwrap(), events }
    }

    fn addr(&self) -> Option<SocketAddr> {
        self.local_addr(Family::V4)
    }

    fn is_ready(&self) -> bool {
        self.dht.is_ready(Family::V4)
    }

    fn id(&self) -> NodeId {
        self.dht.id(Family::V4).wait().unwrap()
    }

    fn knows(&self, addr: SocketAddr) -> bool {
        self.nodes(Family::V4).wait().unwrap().iter().any(|node| node.addr == addr)
    }

    fn ping(&self, addr: SocketAddr) -> Result<Pong, CallError> {
        self.dht.ping(addr).wait()
    }

    /// Returns the error of a lookup that cannot start.
    fn refusal(&self) -> CallError {
        self.get_peers(HASH).wait().unwrap_err()
    }

    /// Returns the next event about the sockets.
    fn event(&mut self) -> NetEvent {
        loop {
            let event = self.events.recv_timeout(PATIENCE).expect("it runs");
            if matches!(event, NetEvent::SocketLost { .. } | NetEvent::Rebound { .. }) {
                return event;
            }
        }
    }

    fn wait_ready(&self) {
        assert_eq!(self.ready().wait_timeout(PATIENCE), Ok(()));
    }
}

/// Returns the kind of the system's error.
fn kind(error: CallError) -> io::ErrorKind {
    match error {
        CallError::Io(error) => error.kind(),
        other => panic!("{other:?}"),
    }
}

fn socket(at: SocketAddr) -> UdpSocket {
    let socket = UdpSocket::bind(at).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket
}

/// Runs a test in every loop at once. Ports of closed sockets are free meanwhile.
fn in_each_loop(test: impl Fn(Loop) + Sync) {
    let _no_starts = without_starts();
    loops::in_each_loop(test);
}

/// Starts a node without contacts, and returns its address.
fn lone(on: Loop) -> (Dht, SocketAddr) {
    let owner = on.spawn(builder()).unwrap();
    let addr = owner.local_addr(Family::V4).unwrap();
    (owner, addr)
}

/// A node that stays, and one under test that has joined it. The latter has an address of its loop, which
/// other tests do not bind, so that its port stays free while its socket is closed.
fn pair(on: Loop) -> (Dht, SocketAddr, Host) {
    let (stays, addr) = lone(on);
    let own = if cfg!(target_os = "linux") { 3 + on as u8 } else { 1 };
    let host = Host::start(on, &format!("127.0.0.{own}:0"), &[addr]);
    host.wait_ready();
    (stays, addr, host)
}

#[test]
fn c_17_a_node_is_disabled_and_enabled_on_the_same_port() {
    in_each_loop(|on| {
        let (stays, stays_at, mut host) = pair(on);
        let (addr, id) = (host.addr().unwrap(), host.id());
        let _held = host.start_announcing(HASH, Announce::port(7777));
        wait_for("it is announced", || !stays.stored_peers(HASH).wait().unwrap().is_empty());
        for _ in 0..2 {
            host.set_enabled(false).wait().unwrap();
            assert!(!host.is_enabled() && !host.is_ready());
            assert_eq!(host.addr(), None);
            assert_eq!((host.ping(stays_at), host.refusal()), (Err(NOT_ASKED), DISABLED));
            assert!(host.knows(stays_at) && host.id() == id);
        }
        drop(socket(addr));
        stays.with(|node, _| node.clear_peers()).wait().unwrap();
        for _ in 0..2 {
            host.set_enabled(true).wait().unwrap();
            assert!(host.is_enabled());
            assert_eq!(host.addr(), Some(addr));
        }
        assert_eq!(host.event(), NetEvent::Rebound { addr }, "and nothing before");
        host.wait_ready();
        wait_for("it is announced again", || !stays.stored_peers(HASH).wait().unwrap().is_empty());
        assert!(host.ping(stays_at).is_ok() && host.id() == id);
    });
}

#[test]
fn a_node_that_has_lost_the_dht_is_not_ready_until_it_has_rejoined() {
    in_each_loop(|on| {
        let (gone, gone_at) = lone(on);
        let host = Host::start(on, "127.0.0.1:0", &[]);
        host.add_node(gone_at).wait().unwrap();
        host.wait_ready();
        assert!(host.is_ready());
        wait_for("it is idle", || host.with(|node, _| under_way(node)).wait() == Ok((0, 0)));
        // No node is left through which it could join at once.
        gone.shutdown().wait().unwrap();
        host.clear_state().wait().unwrap();
        assert!(!host.is_ready());
        let (_other, other_at) = lone(on);
        host.add_node(other_at).wait().unwrap();
        host.wait_ready();
        assert!(host.is_ready() && host.knows(other_at));
    });
}

#[test]
fn a_node_that_has_ended_is_not_ready() {
    in_each_loop(|on| {
        let (_stays, _, host) = pair(on);
        let dht = host.handle();
        host.dht.shutdown().wait().unwrap();
        assert!(!dht.is_ready(Family::V4));
    });
}

#[test]
fn c_18_a_node_waits_for_its_configured_port_if_that_is_in_use() {
    in_each_loop(|on| {
        let free = socket("127.0.0.1:0".parse().unwrap()).local_addr().unwrap();
        let mut host = Host::start(on, &free.to_string(), &[]);
        host.set_enabled(false).wait().unwrap();
        let taken = socket(free);
        assert_eq!(kind(host.set_enabled(true).wait().unwrap_err()), io::ErrorKind::AddrInUse);
        assert!(host.is_enabled() && host.addr().is_none());
        assert_eq!(host.refusal(), DISABLED);
        assert!(
            matches!(host.event(), NetEvent::SocketLost { addr, retry_in, .. } if addr == free && !retry_in.is_zero())
        );
        drop(taken);
        wait_for("it is reopened", || host.addr() == Some(free));
    });
}

#[test]
fn c_18_a_node_moves_to_another_port_if_its_automatic_one_is_in_use() {
    in_each_loop(|on| {
        let (_stays, stays_at, host) = pair(on);
        let before = host.addr().unwrap();
        host.set_enabled(false).wait().unwrap();
        let _taken = socket(before);
        host.set_enabled(true).wait().unwrap();
        assert!(host.addr().is_some_and(|addr| addr != before));
        assert!(host.ping(stays_at).is_ok());
    });
}

#[test]
fn c_18_a_rebound_node_keeps_its_id_and_table() {
    in_each_loop(|on| {
        let (stays, stays_at, mut host) = pair(on);
        let (before, id) = (host.addr().unwrap(), host.id());
        host.rebind(None).wait().unwrap();
        assert_eq!(host.event(), NetEvent::Rebound { addr: before });
        host.wait_ready();
        host.rebind(Some("127.0.0.1:0".parse().unwrap())).wait().unwrap();
        let addr = host.addr().unwrap();
        assert_ne!(addr, before);
        assert_eq!(host.event(), NetEvent::Rebound { addr });
        assert!(host.knows(stays_at) && host.id() == id);
        drop(socket(before));
        host.wait_ready();
        assert_eq!(stays.ping(addr).wait().unwrap().id, id);
        // To the address at which it is bound already.
        host.rebind(Some(addr)).wait().unwrap();
        assert_eq!(host.addr(), Some(addr));
        assert!(host.ping(stays_at).is_ok());
    });
}

#[test]
fn an_address_that_cannot_be_bound_changes_nothing() {
    in_each_loop(|on| {
        let (_stays, stays_at, host) = pair(on);
        let addr = host.addr().unwrap();
        assert_eq!(kind(host.rebind(Some(stays_at)).wait().unwrap_err()), io::ErrorKind::AddrInUse);
        let elsewhere = "192.0.2.1:0".parse().unwrap();
        assert_eq!(kind(host.rebind(Some(elsewhere)).wait().unwrap_err()), io::ErrorKind::AddrNotAvailable);
        let other_family = "[::1]:0".parse().unwrap();
        assert_eq!(host.rebind(Some(other_family)).wait(), Err(CallError::NoSocket));
        assert_eq!(host.addr(), Some(addr));
        assert!(host.is_ready() && host.ping(stays_at).is_ok());
    });
}

#[test]
fn b43_01_read_only_is_switched_on_and_off() {
    in_each_loop(|on| {
        let (stays, _, host) = pair(on);
        // Queries of its maintenance would be counted as well.
        assert_eq!(stays.ready().wait_timeout(PATIENCE), Ok(()));
        wait_for("it is idle", || stays.with(|node, _| under_way(node)).wait() == Ok((0, 0)));
        let stranger = socket("127.0.0.1:0".parse().unwrap());
        for (count, read_only) in [true, true, false, false].into_iter().enumerate() {
            host.set_read_only(read_only).wait().unwrap();
            stranger.send_to(PING, host.addr().unwrap()).unwrap();
            if read_only {
                wait_for("it is counted", || dropped(&host) == count as u64 + 1);
            } else {
                answer(&stranger);
            }
        }
        assert_eq!(dropped(&host), 2);
    });
}

/// Waits for an answer to [`PING`], and returns where it came from.
fn answer(stranger: &UdpSocket) -> SocketAddr {
    let mut buffer = [0; 1500];
    loop {
        let (len, from) = stranger.recv_from(&mut buffer).unwrap();
        // The node may ping this socket too.
        if buffer[..len].ends_with(b"1:y1:re") {
            return from;
        }
    }
}

/// Returns the number of queries that arrived while the node was read-only.
fn dropped(host: &Host) -> u64 {
    host.stats().wait().unwrap().dropped.read_only
}

/// On loopback all of 127/8 belongs to the host; IPv6 addresses are those it has.
#[cfg(target_os = "linux")]
#[test]
fn q_27_b32_16_a_socket_bound_to_all_addresses_answers_from_the_one_that_was_queried() {
    let v4 = ["127.0.0.1", "127.0.0.2", "127.5.6.7"].map(|ip| ip.parse().unwrap());
    in_each_loop(|on| {
        for (all, ours) in [("0.0.0.0:0", v4.to_vec()), ("[::]:0", own_ipv6())] {
            let Some(&first) = ours.first() else {
                eprintln!("skipped: a host without IPv6");
                continue;
            };
            let host = Host::start(on, all, &[]);
            let port = host.local_addr(Family::of(&all.parse().unwrap())).unwrap().port();
            let stranger = socket(SocketAddr::new(first, 0));
            for &asked in &ours {
                let asked = SocketAddr::new(asked, port);
                stranger.send_to(PING, asked).unwrap();
                assert_eq!(answer(&stranger), asked);
            }
        }
    });
}

/// Runs `during` while the node does nothing, so that all that it sends arrives at once.
fn at_once(dht: &Dht, during: impl FnOnce()) {
    let (go, going) = std::sync::mpsc::channel::<()>();
    let stopped = dht.with(move |_, _| going.recv().is_ok());
    during();
    go.send(()).unwrap();
    assert_eq!(stopped.wait(), Ok(true));
}

#[cfg(target_os = "linux")]
#[test]
fn q_27_queries_that_arrive_at_once_are_each_answered_from_the_address_that_was_asked() {
    const EACH: usize = 15; // more than one batch, and fewer than one source may ask in a burst
    let ours = ["127.0.0.1", "127.0.0.2", "127.5.6.7"].map(|ip| ip.parse::<IpAddr>().unwrap());
    in_each_loop(|on| {
        let host = Host::start(on, "0.0.0.0:0", &[]);
        let ours = ours.map(|ip| SocketAddr::new(ip, host.addr().unwrap().port()));
        let stranger = socket("127.0.0.1:0".parse().unwrap());
        at_once(&host.dht, || {
            for asked in ours.iter().cycle().take(EACH * ours.len()) {
                stranger.send_to(PING, asked).unwrap();
            }
        });
        let mut answered = ours.map(|ours| (ours, 0));
        for _ in 0..EACH * ours.len() {
            let from = answer(&stranger);
            answered.iter_mut().find(|(ours, _)| *ours == from).expect("it was asked").1 += 1;
        }
        assert_eq!(answered.map(|(_, count)| count), [EACH; 3]);
    });
}

#[test]
fn e_29_the_largest_datagram_among_others_is_read_and_holds_up_none() {
    let filling = 65_400;
    let (head, end) = PING.split_at(PING.len() - 1);
    let largest = [head, format!("1:z{filling}:").as_bytes(), &vec![b'x'; filling], end].concat();
    in_each_loop(|on| {
        let host = Host::start(on, "127.0.0.1:0", &[]);
        let stranger = socket("127.0.0.1:0".parse().unwrap());
        at_once(&host.dht, || {
            for datagram in [PING, &largest, PING, b"", PING] {
                stranger.send_to(datagram, host.addr().unwrap()).unwrap();
            }
        });
        (0..4).for_each(|_| assert_eq!(Some(answer(&stranger)), host.addr()));
    });
}

#[cfg(target_os = "linux")]
#[test]
fn c_18_a_socket_that_breaks_under_a_batch_is_opened_again_and_every_response_leaves() {
    const QUERIES: usize = 30; // no more than one batch: the rest is lost with the socket
    in_each_loop(|on| {
        // While it is closed another program may take its port.
        let is_answered = |_| {
            let mut host = Host::start(on, &format!("127.0.0.{}:0", 6 + on as u8), &[]);
            let addr = host.addr().unwrap();
            let stranger = socket("127.0.0.1:0".parse().unwrap());
            at_once(&host.dht, || {
                (0..QUERIES).for_each(|_| assert!(stranger.send_to(PING, addr).is_ok()));
                break_socket(addr);
            });
            assert!(matches!(host.event(), NetEvent::SocketLost { addr: at, .. } if at == addr));
            let NetEvent::Rebound { addr: reopened } = host.event() else { panic!("it is opened again") };
            (0..QUERIES).for_each(|_| assert_eq!(answer(&stranger), reopened));
            reopened == addr
        };
        assert!((0..5).any(is_answered));
    });
}

/// Returns the addresses of this host that can be queried without a scope: loopback first.
#[cfg(target_os = "linux")]
fn own_ipv6() -> Vec<IpAddr> {
    let known = std::fs::read_to_string("/proc/net/if_inet6").unwrap_or_default();
    let addresses = known.lines().filter_map(|line| u128::from_str_radix(line.get(..32)?, 16).ok());
    let mut addresses: Vec<_> = addresses.map(Ipv6Addr::from).collect();
    addresses.retain(|ip| !ip.is_unicast_link_local());
    addresses.sort_by_key(|ip| !ip.is_loopback());
    addresses.into_iter().map(IpAddr::V6).collect()
}

#[cfg(target_os = "linux")]
#[test]
fn c_18_a_failed_socket_is_reopened_without_failed_calls() {
    in_each_loop(|on| {
        // Another program may take the port while the socket is closed.
        assert!((0..5).any(|_| is_opened_again(on)));
    });
}

/// Breaks the socket of a node, and returns whether it was reopened at its own address, unnoticed by callers.
#[cfg(target_os = "linux")]
fn is_opened_again(on: Loop) -> bool {
    let (_stays, stays_at, mut host) = pair(on);
    let (addr, id) = (host.addr().unwrap(), host.id());
    break_socket(addr);
    // Even the query that detects the failure is not lost.
    assert!(host.ping(stays_at).is_ok());
    let lost = host.event();
    assert!(
        matches!(lost, NetEvent::SocketLost { addr: at, retry_in: Duration::ZERO, .. } if at == addr),
        "{lost:?}"
    );
    let NetEvent::Rebound { addr: reopened } = host.event() else { panic!("it is reopened") };
    if reopened != addr {
        return false;
    }
    assert!(host.addr() == Some(addr) && host.is_ready() && host.id() == id && host.knows(stays_at));
    let stranger = socket("127.0.0.1:0".parse().unwrap());
    stranger.send_to(PING, addr).unwrap();
    answer(&stranger);
    true
}

#[cfg(target_os = "linux")]
#[test]
fn c_18_a_socket_that_keeps_failing_is_reopened_after_growing_pauses() {
    in_each_loop(|on| {
        let (_stays, stays_at, mut host) = pair(on);
        let _held = host.start_announcing(HASH, Announce::port(7777));
        let mut pauses = Vec::new();
        for _ in 0..4 {
            let addr = host.addr().unwrap();
            break_socket(addr);
            let result = host.ping(stays_at);
            assert!(
                matches!(result, Ok(_) | Err(CallError::Query(QueryError::Disabled) | NOT_ASKED)),
                "{result:?}"
            );
            let NetEvent::SocketLost { addr: at, retry_in, .. } = host.event() else { panic!("it was lost") };
            assert_eq!(at, addr);
            pauses.push(retry_in.as_millis());
            let NetEvent::Rebound { addr: reopened } = host.event() else { panic!("it is opened again") };
            // Another socket may have taken the port meanwhile.
            assert_eq!(reopened.ip(), addr.ip());
        }
        assert_eq!(pauses, [0, 100, 200, 400]);
        host.wait_ready();
        assert!(host.ping(stays_at).is_ok() && host.knows(stays_at));
    });
}

/// Shuts the socket of this process at `addr` down, as systems do to programs that were suspended:
/// whatever is sent from it from now on fails.
#[cfg(target_os = "linux")]
fn break_socket(addr: SocketAddr) {
    use std::fs;
    use std::os::fd::BorrowedFd;

    use rustix::net::{Shutdown, shutdown};

    let IpAddr::V4(ip) = addr.ip() else { panic!("{addr} is not in this list") };
    let bound = format!("{:08X}:{:04X}", u32::from_ne_bytes(ip.octets()), addr.port());
    let sockets = fs::read_to_string("/proc/self/net/udp").unwrap();
    let line = sockets.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let inode = line.into_iter().find(|line| line[1] == bound).expect("it is bound")[9].to_owned();
    let link = format!("socket:[{inode}]");
    let is_it =
        |entry: &fs::DirEntry| fs::read_link(entry.path()).is_ok_and(|to| to.as_os_str() == link.as_str());
    let entry = fs::read_dir("/proc/self/fd").unwrap().flatten().find(is_it).expect("it is open");
    let number = entry.file_name().to_str().unwrap().parse().unwrap();
    // A copy of it would still hold the port when the node opens the next socket.
    // SAFETY: the node keeps the socket open until it fails.
    let socket = unsafe { BorrowedFd::borrow_raw(number) };
    // The call fails because the socket is not connected, but shuts it down all the same.
    let _ = shutdown(socket, Shutdown::Both);
}
