//! The sockets of both adapters while they run: closed, opened, moved, and broken.

use std::any::Any;
use std::future::Future;
use std::io;

use crate::common::local_config;
use crate::common::net::blocking::{builder, wait_for};
use crate::common::net::{HASH, PATIENCE};
#[cfg(target_os = "linux")]
use std::net::{IpAddr, Ipv6Addr};
use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

use dht_proto::net::{self, CallError, NetEvent};
use dht_proto::{Announce, Family, NodeId, Pong, QueryError, StartError};
use tokio::runtime::{Builder as RuntimeBuilder, Runtime};

const PING: &[u8] = b"d1:ad2:id20:abcdefghij0123456789e1:q4:ping1:t2:aa1:y1:qe";
const DISABLED: CallError = CallError::Start(StartError::Disabled);

/// A node in one of the adapters.
enum Host {
    Thread(net::Dht, net::NetEvents),
    Task { owner: net::tokio::Dht, events: net::tokio::NetEvents, runtime: Runtime },
}

impl Host {
    fn thread(at: &str, start: &[SocketAddr]) -> Self {
        let builder = net::Dht::builder().config(local_config()).bind(at.parse().unwrap());
        let mut builder = builder.bootstrap(start.iter().map(SocketAddr::to_string));
        let events = builder.subscribe();
        Self::Thread(builder.spawn().unwrap(), events)
    }

    fn task(at: &str, start: &[SocketAddr]) -> Self {
        let runtime = RuntimeBuilder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let builder = net::tokio::Dht::builder().config(local_config()).bind(at.parse().unwrap());
        let mut builder = builder.bootstrap(start.iter().map(SocketAddr::to_string));
        let events = builder.subscribe();
        let owner = {
            let _inside = runtime.enter();
            builder.spawn().unwrap()
        };
        Self::Task { owner, events, runtime }
    }

    fn addr(&self) -> Option<SocketAddr> {
        self.bound(Family::V4)
    }

    fn bound(&self, family: Family) -> Option<SocketAddr> {
        match self {
            Self::Thread(owner, _) => owner.local_addr(family),
            Self::Task { owner, .. } => owner.local_addr(family),
        }
    }

    fn is_enabled(&self) -> bool {
        match self {
            Self::Thread(owner, _) => owner.is_enabled(),
            Self::Task { owner, .. } => owner.is_enabled(),
        }
    }

    fn is_ready(&self) -> bool {
        match self {
            Self::Thread(owner, _) => owner.is_ready(Family::V4),
            Self::Task { owner, .. } => owner.is_ready(Family::V4),
        }
    }

    /// What tells whether it is ready, also after its end.
    fn readiness(&self) -> Box<dyn Fn() -> bool> {
        match self {
            Self::Thread(owner, _) => {
                let dht = owner.handle();
                Box::new(move || dht.is_ready(Family::V4))
            }
            Self::Task { owner, .. } => {
                let dht = owner.handle();
                Box::new(move || dht.is_ready(Family::V4))
            }
        }
    }

    fn set_enabled(&self, enabled: bool) -> io::Result<()> {
        match self {
            Self::Thread(owner, _) => owner.set_enabled(enabled),
            Self::Task { owner, runtime, .. } => block(runtime, owner.set_enabled(enabled)),
        }
    }

    fn set_read_only(&self, read_only: bool) {
        match self {
            Self::Thread(owner, _) => owner.set_read_only(read_only).unwrap(),
            Self::Task { owner, runtime, .. } => block(runtime, owner.set_read_only(read_only)).unwrap(),
        }
    }

    fn rebind(&self, addr: Option<SocketAddr>) -> io::Result<()> {
        match self {
            Self::Thread(owner, _) => owner.rebind(addr),
            Self::Task { owner, runtime, .. } => block(runtime, owner.rebind(addr)),
        }
    }

    fn id(&self) -> NodeId {
        match self {
            Self::Thread(owner, _) => owner.id(Family::V4).unwrap(),
            Self::Task { owner, runtime, .. } => block(runtime, owner.id(Family::V4)).unwrap(),
        }
    }

    fn knows(&self, addr: SocketAddr) -> bool {
        let nodes = match self {
            Self::Thread(owner, _) => owner.nodes(Family::V4).unwrap(),
            Self::Task { owner, runtime, .. } => block(runtime, owner.nodes(Family::V4)).unwrap(),
        };
        nodes.iter().any(|node| node.addr == addr)
    }

    fn ping(&self, addr: SocketAddr) -> Result<Pong, CallError> {
        match self {
            Self::Thread(owner, _) => owner.ping(addr),
            Self::Task { owner, runtime, .. } => block(runtime, owner.ping(addr)),
        }
    }

    /// Forgets its nodes.
    fn clear(&self) {
        match self {
            Self::Thread(owner, _) => owner.clear_state().unwrap(),
            Self::Task { owner, runtime, .. } => block(runtime, owner.clear_state()).unwrap(),
        }
    }

    fn add_node(&self, addr: SocketAddr) {
        match self {
            Self::Thread(owner, _) => owner.add_node(addr).unwrap(),
            Self::Task { owner, runtime, .. } => block(runtime, owner.add_node(addr)).unwrap(),
        }
    }

    /// Whether no lookup and no query is under way.
    fn is_at_rest(&self) -> bool {
        let under_way = match self {
            Self::Thread(owner, _) => owner.under_way(),
            Self::Task { owner, runtime, .. } => block(runtime, owner.under_way()),
        };
        under_way == Ok((0, 0))
    }

    fn shutdown(self) {
        match self {
            Self::Thread(owner, _) => owner.shutdown(),
            Self::Task { owner, runtime, .. } => block(&runtime, owner.shutdown()),
        }
    }

    /// Returns what keeps it up.
    fn keep_announced(&self) -> Box<dyn Any> {
        let announce = Announce::port(7777);
        match self {
            Self::Thread(owner, _) => Box::new(owner.keep_announced(HASH, announce).unwrap()),
            Self::Task { owner, runtime, .. } => {
                Box::new(block(runtime, owner.keep_announced(HASH, announce)).unwrap())
            }
        }
    }

    /// The error of a lookup that cannot start.
    fn refusal(&self) -> CallError {
        match self {
            Self::Thread(owner, _) => owner.get_peers(HASH).unwrap_err(),
            Self::Task { owner, runtime, .. } => block(runtime, owner.get_peers(HASH)).unwrap_err(),
        }
    }

    /// The next notice about the sockets.
    fn notice(&mut self) -> NetEvent {
        loop {
            let notice = match self {
                Self::Thread(_, events) => events.recv_timeout(PATIENCE).unwrap(),
                Self::Task { events, runtime, .. } => block(runtime, events.recv()),
            };
            let notice = notice.expect("it runs");
            if matches!(notice, NetEvent::SocketLost { .. } | NetEvent::Rebound { .. }) {
                return notice;
            }
        }
    }

    fn wait_ready(&self) {
        match self {
            Self::Thread(owner, _) => assert_eq!(owner.wait_ready(PATIENCE), Ok(true)),
            Self::Task { owner, runtime, .. } => {
                assert_eq!(block(runtime, owner.wait_ready(PATIENCE)), Ok(true));
            }
        }
    }
}

fn block<T>(runtime: &Runtime, future: impl Future<Output = T>) -> T {
    runtime.block_on(async { tokio::time::timeout(PATIENCE, future).await.expect("it takes too long") })
}

fn socket(at: SocketAddr) -> UdpSocket {
    let socket = UdpSocket::bind(at).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket
}

/// A node that knows nobody, and its address.
fn lone() -> (net::Dht, SocketAddr) {
    let owner = builder().spawn().unwrap();
    let addr = owner.local_addr(Family::V4).unwrap();
    (owner, addr)
}

/// A node that stays, and one under test that has joined it. It has an address that no other test binds,
/// so that nobody takes its port while its socket is closed.
fn pair(start: Start) -> (net::Dht, SocketAddr, Host) {
    let (stays, addr) = lone();
    let host = start(if cfg!(target_os = "linux") { "127.0.0.3:0" } else { "127.0.0.1:0" }, &[addr]);
    host.wait_ready();
    (stays, addr, host)
}

type Start = fn(&str, &[SocketAddr]) -> Host;

const BOTH: [Start; 2] = [Host::thread, Host::task];

#[test]
fn a_node_is_switched_off_and_on_at_the_same_port() {
    for start in BOTH {
        let (stays, stays_at, mut host) = pair(start);
        let (addr, id) = (host.addr().unwrap(), host.id());
        let _held = host.keep_announced();
        wait_for("it is announced", || !stays.stored_peers(HASH).unwrap().is_empty());
        for _ in 0..2 {
            host.set_enabled(false).unwrap();
            assert!(!host.is_enabled() && !host.is_ready());
            assert_eq!(host.addr(), None);
            assert_eq!((host.ping(stays_at), host.refusal()), (Err(DISABLED), DISABLED));
            assert!(host.knows(stays_at) && host.id() == id);
        }
        drop(socket(addr));
        stays.clear_peers().unwrap();
        for _ in 0..2 {
            host.set_enabled(true).unwrap();
            assert!(host.is_enabled());
            assert_eq!(host.addr(), Some(addr));
        }
        assert_eq!(host.notice(), NetEvent::Rebound { addr }, "and nothing before");
        host.wait_ready();
        wait_for("it is announced again", || !stays.stored_peers(HASH).unwrap().is_empty());
        assert!(host.ping(stays_at).is_ok() && host.id() == id);
    }
}

#[test]
fn a_node_that_has_lost_the_dht_is_not_ready_until_it_has_joined_anew() {
    for start in BOTH {
        let (gone, gone_at) = lone();
        let host = start("127.0.0.1:0", &[]);
        host.add_node(gone_at);
        host.wait_ready();
        assert!(host.is_ready());
        wait_for("it is at rest", || host.is_at_rest());
        // Nobody is left whom it could join at once.
        gone.shutdown();
        host.clear();
        assert!(!host.is_ready());
        let (_other, other_at) = lone();
        host.add_node(other_at);
        host.wait_ready();
        assert!(host.is_ready() && host.knows(other_at));
    }
}

#[test]
fn a_node_that_has_ended_is_not_ready() {
    for start in BOTH {
        let (_stays, _, host) = pair(start);
        let is_ready = host.readiness();
        host.shutdown();
        assert!(!is_ready());
    }
}

#[test]
fn a_port_that_was_named_and_is_taken_is_waited_for() {
    for start in BOTH {
        let free = socket("127.0.0.1:0".parse().unwrap()).local_addr().unwrap();
        let mut host = start(&free.to_string(), &[]);
        host.set_enabled(false).unwrap();
        let taken = socket(free);
        assert_eq!(host.set_enabled(true).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        assert!(host.is_enabled() && host.addr().is_none());
        assert_eq!(host.refusal(), DISABLED);
        assert!(
            matches!(host.notice(), NetEvent::SocketLost { addr, retry_in, .. } if addr == free && !retry_in.is_zero())
        );
        drop(taken);
        wait_for("it is opened", || host.addr() == Some(free));
    }
}

#[test]
fn a_port_that_was_not_named_and_is_taken_gives_way_to_another() {
    for start in BOTH {
        let (_stays, stays_at, host) = pair(start);
        let before = host.addr().unwrap();
        host.set_enabled(false).unwrap();
        let _taken = socket(before);
        host.set_enabled(true).unwrap();
        assert!(host.addr().is_some_and(|addr| addr != before));
        assert!(host.ping(stays_at).is_ok());
    }
}

#[test]
fn a_rebound_node_keeps_its_id_and_table() {
    for start in BOTH {
        let (stays, stays_at, mut host) = pair(start);
        let (before, id) = (host.addr().unwrap(), host.id());
        host.rebind(None).unwrap();
        assert_eq!(host.notice(), NetEvent::Rebound { addr: before });
        host.wait_ready();
        host.rebind(Some("127.0.0.1:0".parse().unwrap())).unwrap();
        let addr = host.addr().unwrap();
        assert_ne!(addr, before);
        assert_eq!(host.notice(), NetEvent::Rebound { addr });
        assert!(host.knows(stays_at) && host.id() == id);
        drop(socket(before));
        host.wait_ready();
        assert_eq!(stays.ping(addr).unwrap().id, id);
        // Where it is bound already, to a socket of its own.
        host.rebind(Some(addr)).unwrap();
        assert_eq!(host.addr(), Some(addr));
        assert!(host.ping(stays_at).is_ok());
    }
}

#[test]
fn an_address_that_cannot_be_bound_changes_nothing() {
    for start in BOTH {
        let (_stays, stays_at, host) = pair(start);
        let addr = host.addr().unwrap();
        assert_eq!(host.rebind(Some(stays_at)).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        let elsewhere = "192.0.2.1:0".parse().unwrap();
        assert_eq!(host.rebind(Some(elsewhere)).unwrap_err().kind(), io::ErrorKind::AddrNotAvailable);
        let other_family = "[::1]:0".parse().unwrap();
        assert_eq!(host.rebind(Some(other_family)).unwrap_err().kind(), io::ErrorKind::Unsupported);
        assert_eq!(host.addr(), Some(addr));
        assert!(host.is_ready() && host.ping(stays_at).is_ok());
    }
}

#[test]
fn b43_01_read_only_is_switched_on_and_off() {
    for start in BOTH {
        let (stays, _, host) = pair(start);
        // What it asks on its own account would be counted as well.
        assert_eq!(stays.wait_ready(PATIENCE), Ok(true));
        wait_for("it is at rest", || stays.under_way() == Ok((0, 0)));
        let stranger = socket("127.0.0.1:0".parse().unwrap());
        for (count, read_only) in [true, true, false, false].into_iter().enumerate() {
            host.set_read_only(read_only);
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
    match host {
        Host::Thread(dht, _) => dht.stats().unwrap().dropped.read_only,
        Host::Task { owner, runtime, .. } => block(runtime, owner.stats()).unwrap().dropped.read_only,
    }
}

/// On loopback all of 127/8 is ours; of IPv6 what the host has.
#[cfg(target_os = "linux")]
#[test]
fn q_27_b32_16_a_socket_bound_to_all_addresses_answers_from_the_one_that_was_asked() {
    let v4 = ["127.0.0.1", "127.0.0.2", "127.5.6.7"].map(|ip| ip.parse().unwrap());
    for start in BOTH {
        for (all, ours) in [("0.0.0.0:0", v4.to_vec()), ("[::]:0", own_ipv6())] {
            let Some(&first) = ours.first() else {
                eprintln!("skipped: a host without IPv6");
                continue;
            };
            let host = start(all, &[]);
            let port = host.bound(Family::of(&all.parse().unwrap())).unwrap().port();
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
fn a_socket_that_breaks_is_opened_again_and_nobody_notices() {
    for start in BOTH {
        // While it is closed another program may take its port.
        assert!((0..5).any(|_| is_opened_again(start)));
    }
}

/// Whether a socket that breaks comes back at its own address, and nobody notices.
#[cfg(target_os = "linux")]
fn is_opened_again(start: Start) -> bool {
    let (_stays, stays_at, mut host) = pair(start);
    let (addr, id) = (host.addr().unwrap(), host.id());
    break_socket(addr);
    // Not even the query that finds it broken is lost.
    assert!(host.ping(stays_at).is_ok());
    let lost = host.notice();
    assert!(
        matches!(lost, NetEvent::SocketLost { addr: at, retry_in: Duration::ZERO, .. } if at == addr),
        "{lost:?}"
    );
    let NetEvent::Rebound { addr: reopened } = host.notice() else { panic!("it is opened again") };
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
fn a_socket_that_breaks_again_and_again_is_opened_ever_more_seldom() {
    for start in BOTH {
        let (_stays, stays_at, mut host) = pair(start);
        let _held = host.keep_announced();
        let mut pauses = Vec::new();
        for _ in 0..4 {
            let addr = host.addr().unwrap();
            break_socket(addr);
            let result = host.ping(stays_at);
            assert!(
                matches!(result, Ok(_) | Err(CallError::Query(QueryError::Disabled) | DISABLED)),
                "{result:?}"
            );
            let NetEvent::SocketLost { addr: at, retry_in, .. } = host.notice() else {
                panic!("it was lost")
            };
            assert_eq!(at, addr);
            pauses.push(retry_in.as_millis());
            assert_eq!(host.notice(), NetEvent::Rebound { addr });
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
