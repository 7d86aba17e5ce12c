//! The sockets of nodes in each loop while they run: closed, opened, moved, and broken.

use std::io;
#[cfg(target_os = "linux")]
use std::net::{IpAddr, Ipv6Addr};
use std::net::{SocketAddr, UdpSocket};
use std::ops::Deref;
use std::time::Duration;

use dht_proto::errors::ContactError;
use dht_proto::net::{CallError, Dht, NetEvent, NetEvents};
use dht_proto::report::Pong;
use dht_proto::{Announce, Family, NodeId, QueryError, StartError};

use crate::common::local_config;
use crate::common::net::loops::{LOOPS, Loop};
use crate::common::net::nodes::{builder, under_way, wait_for};
use crate::common::net::{HASH, PATIENCE};

const PING: &[u8] = b"d1:ad2:id20:abcdefghij0123456789e1:q4:ping1:t2:aa1:y1:qe";
const DISABLED: CallError = CallError::Start(StartError::Disabled);

/// Why a query of a single node does not start.
const NOT_ASKED: CallError = CallError::Contact(ContactError::Disabled);

/// A node in one of the loops, and what it tells.
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
        let builder = Dht::builder().config(local_config()).bind(at.parse().unwrap());
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

    /// The error of a lookup that cannot start.
    fn refusal(&self) -> CallError {
        self.get_peers(HASH).wait().unwrap_err()
    }

    /// The next event about the sockets.
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

/// What the system said.
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

/// A node that knows nobody, and its address.
fn lone(on: Loop) -> (Dht, SocketAddr) {
    let owner = on.spawn(builder()).unwrap();
    let addr = owner.local_addr(Family::V4).unwrap();
    (owner, addr)
}

/// A node that stays, and one under test that has joined it. It has an address that no other test binds,
/// so that nobody takes its port while its socket is closed.
fn pair(on: Loop) -> (Dht, SocketAddr, Host) {
    let (stays, addr) = lone(on);
    let host =
        Host::start(on, if cfg!(target_os = "linux") { "127.0.0.3:0" } else { "127.0.0.1:0" }, &[addr]);
    host.wait_ready();
    (stays, addr, host)
}

#[test]
fn c_17_a_node_is_switched_off_and_on_at_the_same_port() {
    for &on in LOOPS {
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
    }
}

#[test]
fn a_node_that_has_lost_the_dht_is_not_ready_until_it_has_joined_anew() {
    for &on in LOOPS {
        let (gone, gone_at) = lone(on);
        let host = Host::start(on, "127.0.0.1:0", &[]);
        host.add_node(gone_at).wait().unwrap();
        host.wait_ready();
        assert!(host.is_ready());
        wait_for("it is at rest", || host.with(|node, _| under_way(node)).wait() == Ok((0, 0)));
        // Nobody is left whom it could join at once.
        gone.shutdown().wait().unwrap();
        host.clear_state().wait().unwrap();
        assert!(!host.is_ready());
        let (_other, other_at) = lone(on);
        host.add_node(other_at).wait().unwrap();
        host.wait_ready();
        assert!(host.is_ready() && host.knows(other_at));
    }
}

#[test]
fn a_node_that_has_ended_is_not_ready() {
    for &on in LOOPS {
        let (_stays, _, host) = pair(on);
        let dht = host.handle();
        host.dht.shutdown().wait().unwrap();
        assert!(!dht.is_ready(Family::V4));
    }
}

#[test]
fn c_18_a_port_that_was_named_and_is_taken_is_waited_for() {
    for &on in LOOPS {
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
        wait_for("it is opened", || host.addr() == Some(free));
    }
}

#[test]
fn c_18_a_port_that_was_not_named_and_is_taken_gives_way_to_another() {
    for &on in LOOPS {
        let (_stays, stays_at, host) = pair(on);
        let before = host.addr().unwrap();
        host.set_enabled(false).wait().unwrap();
        let _taken = socket(before);
        host.set_enabled(true).wait().unwrap();
        assert!(host.addr().is_some_and(|addr| addr != before));
        assert!(host.ping(stays_at).is_ok());
    }
}

#[test]
fn c_18_a_rebound_node_keeps_its_id_and_table() {
    for &on in LOOPS {
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
        // Where it is bound already, to a socket of its own.
        host.rebind(Some(addr)).wait().unwrap();
        assert_eq!(host.addr(), Some(addr));
        assert!(host.ping(stays_at).is_ok());
    }
}

#[test]
fn an_address_that_cannot_be_bound_changes_nothing() {
    for &on in LOOPS {
        let (_stays, stays_at, host) = pair(on);
        let addr = host.addr().unwrap();
        assert_eq!(kind(host.rebind(Some(stays_at)).wait().unwrap_err()), io::ErrorKind::AddrInUse);
        let elsewhere = "192.0.2.1:0".parse().unwrap();
        assert_eq!(kind(host.rebind(Some(elsewhere)).wait().unwrap_err()), io::ErrorKind::AddrNotAvailable);
        let other_family = "[::1]:0".parse().unwrap();
        assert_eq!(host.rebind(Some(other_family)).wait(), Err(CallError::NoSocket));
        assert_eq!(host.addr(), Some(addr));
        assert!(host.is_ready() && host.ping(stays_at).is_ok());
    }
}

#[test]
fn b43_01_read_only_is_switched_on_and_off() {
    for &on in LOOPS {
        let (stays, _, host) = pair(on);
        // What it asks on its own account would be counted as well.
        assert_eq!(stays.ready().wait_timeout(PATIENCE), Ok(()));
        wait_for("it is at rest", || stays.with(|node, _| under_way(node)).wait() == Ok((0, 0)));
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
    }
}

/// Waits for an answer to [`PING`], and returns where it came from.
fn answer(stranger: &UdpSocket) -> SocketAddr {
    let mut buffer = [0; 1500];
    loop {
        let (len, from) = stranger.recv_from(&mut buffer).unwrap();
        // It may be pinged itself.
        if buffer[..len].ends_with(b"1:y1:re") {
            return from;
        }
    }
}

/// Queries that came while the node was read-only.
fn dropped(host: &Host) -> u64 {
    host.stats().wait().unwrap().dropped.read_only
}

/// On loopback all of 127/8 is ours; of IPv6 what the host has.
#[cfg(target_os = "linux")]
#[test]
fn q_27_b32_16_a_socket_bound_to_all_addresses_answers_from_the_one_that_was_asked() {
    let v4 = ["127.0.0.1", "127.0.0.2", "127.5.6.7"].map(|ip| ip.parse().unwrap());
    for &on in LOOPS {
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
    }
}

/// The addresses of this host that can be asked without a scope: loopback first.
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
fn c_18_a_socket_that_breaks_is_opened_again_and_nobody_notices() {
    for &on in LOOPS {
        // While it is closed another program may take its port.
        assert!((0..5).any(|_| is_opened_again(on)));
    }
}

/// Whether a socket that breaks comes back at its own address, and nobody notices.
#[cfg(target_os = "linux")]
fn is_opened_again(on: Loop) -> bool {
    let (_stays, stays_at, mut host) = pair(on);
    let (addr, id) = (host.addr().unwrap(), host.id());
    break_socket(addr);
    // Not even the query that finds it broken is lost.
    assert!(host.ping(stays_at).is_ok());
    let lost = host.event();
    assert!(
        matches!(lost, NetEvent::SocketLost { addr: at, retry_in: Duration::ZERO, .. } if at == addr),
        "{lost:?}"
    );
    let NetEvent::Rebound { addr: reopened } = host.event() else { panic!("it is opened again") };
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
fn c_18_a_socket_that_breaks_again_and_again_is_opened_ever_more_seldom() {
    for &on in LOOPS {
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
            assert_eq!(host.event(), NetEvent::Rebound { addr });
        }
        assert_eq!(pauses, [0, 100, 200, 400]);
        host.wait_ready();
        assert!(host.ping(stays_at).is_ok() && host.knows(stays_at));
    }
}

/// Shuts the socket of this process at `addr` down, as systems do to programs that were suspended:
/// whatever is sent from it from now on fails.
#[cfg(target_os = "linux")]
fn break_socket(addr: SocketAddr) {
    use std::fs;

    use rustix::net::{Shutdown, shutdown};
    use rustix::process::{PidfdFlags, PidfdGetfdFlags, getpid, pidfd_getfd, pidfd_open};

    let port = format!(":{:04X}", addr.port());
    let sockets = fs::read_to_string("/proc/self/net/udp").unwrap();
    let line = sockets.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let inode = line.into_iter().find(|line| line[1].ends_with(&port)).expect("it is bound")[9].to_owned();
    let link = format!("socket:[{inode}]");
    let is_it =
        |entry: &fs::DirEntry| fs::read_link(entry.path()).is_ok_and(|to| to.as_os_str() == link.as_str());
    let entry = fs::read_dir("/proc/self/fd").unwrap().flatten().find(is_it).expect("it is open");
    let number = entry.file_name().to_str().unwrap().parse().unwrap();
    let process = pidfd_open(getpid(), PidfdFlags::empty()).unwrap();
    let ours = pidfd_getfd(&process, number, PidfdGetfdFlags::empty()).unwrap();
    // It was never connected, which is told, and it is shut down all the same.
    let _ = shutdown(&ours, Shutdown::Both);
}
