//! Bootstrap names: the usual ones, and a helper thread that resolves them until it succeeds.

use alloc::string::{String, ToString as _};
use alloc::vec::Vec;
use core::net::SocketAddr;
use core::time::Duration;
use std::io;
use std::net::ToSocketAddrs as _;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::thread;

use crate::BootstrapKind;

/// Hosts that most clients start from, as `host:port`. Some of them are always down, so all are
/// asked.
pub const BOOTSTRAP_HOSTS: [&str; 6] = [
    "router.bittorrent.com:6881",
    "router.utorrent.com:6881",
    "dht.transmissionbt.com:6881",
    "dht.libtorrent.org:25401",
    "router.silotis.us:6881",
    "dht.aelitis.com:6881",
];

const FIRST_RETRY: Duration = Duration::from_secs(1);
const LAST_RETRY: Duration = Duration::from_secs(10 * 60);

/// All addresses, of both families, of a `host:port`, where host is a name, an IPv4 address or an
/// IPv6 address in brackets. Blocks for as long as the system's resolver does.
///
/// # Errors
///
/// The resolver's, or one of kind `NotFound` if it knows the name but no address of it.
pub fn resolve(host: &str) -> io::Result<Vec<SocketAddr>> {
    let addrs: Vec<SocketAddr> = host.to_socket_addrs()?.collect();
    if addrs.is_empty() {
        return Err(io::Error::new(io::ErrorKind::NotFound, "the name has no address"));
    }
    Ok(addrs)
}

/// What a host is: a router if it is well known for one, or the user says so.
pub(super) fn kind(host: &String, routers: &[String]) -> BootstrapKind {
    let is_router = routers.contains(host) || BOOTSTRAP_HOSTS.contains(&host.as_str());
    if is_router { BootstrapKind::Router } else { BootstrapKind::Node }
}

/// Whether `host` has the form that [`resolve`] takes.
pub(super) fn is_host_and_port(host: &str) -> bool {
    host.parse::<SocketAddr>().is_ok_and(|addr| addr.port() != 0)
        || host.rsplit_once(':').is_some_and(|(name, port)| {
            !name.is_empty()
                && !name.contains([':', ' ', '[', ']'])
                && port.parse().is_ok_and(|port: u16| port != 0)
        })
}

/// What came of one attempt at one host.
pub(super) enum Attempt {
    Resolved { host: String, addrs: Vec<SocketAddr> },
    Failed { host: String, error: String, retry_in: Duration },
}

/// Resolves `hosts` on a thread of its own, each until it succeeds, until `report` returns false
/// or the other end of `stop` is gone.
///
/// The thread is not joined: nothing can interrupt the system's resolver.
pub(super) fn spawn(
    hosts: Vec<String>,
    stop: Receiver<()>,
    report: impl FnMut(Attempt) -> bool + Send + 'static,
) -> io::Result<()> {
    let wait = move |delay| stop.recv_timeout(delay) == Err(RecvTimeoutError::Timeout);
    thread::Builder::new()
        .name("dht-resolve".to_string())
        .spawn(move || run(hosts, resolve, wait, report))
        .map(drop)
}

/// `wait` returns false to stop.
fn run(
    mut hosts: Vec<String>,
    mut resolve: impl FnMut(&str) -> io::Result<Vec<SocketAddr>>,
    mut wait: impl FnMut(Duration) -> bool,
    mut report: impl FnMut(Attempt) -> bool,
) {
    let mut backoff = Backoff::new(FIRST_RETRY, LAST_RETRY);
    loop {
        let retry_in = backoff.next();
        let mut going = true;
        hosts.retain(|host| {
            if !going {
                return true;
            }
            let host = host.clone();
            let (attempt, keep) = match resolve(&host) {
                Ok(addrs) => (Attempt::Resolved { host, addrs }, false),
                Err(error) => (Attempt::Failed { host, error: error.to_string(), retry_in }, true),
            };
            going = report(attempt);
            keep
        });
        if hosts.is_empty() || !going || !wait(retry_in) {
            return;
        }
    }
}

/// Delays that double from a first to a last one.
#[derive(Clone, Copy, Debug)]
pub(super) struct Backoff {
    first: Duration,
    last: Duration,
    next: Duration,
}

impl Backoff {
    pub(super) const fn new(first: Duration, last: Duration) -> Self {
        Self { first, last, next: first }
    }

    pub(super) fn next(&mut self) -> Duration {
        let delay = self.next;
        self.next = delay.saturating_mul(2).min(self.last);
        delay
    }

    pub(super) const fn reset(&mut self) {
        self.next = self.first;
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec;
    use core::cell::RefCell;

    use super::*;

    fn hosts(names: &[&str]) -> Vec<String> {
        names.iter().copied().map(String::from).collect()
    }

    #[test]
    fn delays_double_up_to_the_last_and_start_over() {
        let secs = Duration::from_secs;
        let mut backoff = Backoff::new(secs(1), secs(5));
        let delays: Vec<_> = (0..5).map(|_| backoff.next()).collect();
        assert_eq!(delays, [secs(1), secs(2), secs(4), secs(5), secs(5)]);
        backoff.reset();
        assert_eq!(backoff.next(), secs(1));
    }

    #[test]
    fn l_13_all_addresses_of_a_name_are_reported() {
        let both: Vec<SocketAddr> = vec!["192.0.2.1:5".parse().unwrap(), "[2001:db8::1]:5".parse().unwrap()];
        let mut seen = Vec::new();
        run(
            hosts(&["a:5"]),
            |_| Ok(both.clone()),
            |_| panic!("nothing to retry"),
            |attempt| match attempt {
                Attempt::Resolved { addrs, .. } => {
                    seen.extend(addrs);
                    true
                }
                Attempt::Failed { .. } => panic!("resolved"),
            },
        );
        assert_eq!(seen, both);
    }

    #[test]
    fn only_what_failed_is_tried_again_and_ever_later() {
        let asked = RefCell::new(Vec::new());
        let waited = RefCell::new(Vec::new());
        run(
            hosts(&["good:1", "late:1"]),
            |host| {
                asked.borrow_mut().push(host.to_string());
                if host == "late:1" && waited.borrow().len() < 3 {
                    Err(io::ErrorKind::NotFound.into())
                } else {
                    Ok(vec!["192.0.2.1:1".parse().unwrap()])
                }
            },
            |delay| {
                waited.borrow_mut().push(delay.as_secs());
                true
            },
            |_| true,
        );
        assert_eq!(asked.into_inner(), ["good:1", "late:1", "late:1", "late:1", "late:1"]);
        assert_eq!(waited.into_inner(), [1, 2, 4]);
    }

    #[test]
    fn it_stops_when_nobody_listens_or_the_wait_is_cut_short() {
        let mut asked = 0;
        let fail = |_: &str| -> io::Result<Vec<SocketAddr>> { Err(io::ErrorKind::NotFound.into()) };
        run(
            hosts(&["a:1", "b:1"]),
            fail,
            |_| true,
            |_| {
                asked += 1;
                false
            },
        );
        assert_eq!(asked, 1);
        run(hosts(&["a:1"]), fail, |_| false, |_| true);
    }

    #[test]
    fn hosts_need_a_name_and_a_port() {
        for good in ["a.example:1", "192.0.2.1:6881", "[2001:db8::1]:6881", "localhost:65535"] {
            assert!(is_host_and_port(good), "{good}");
        }
        for bad in
            ["", "a.example", ":6881", "a.example:0", "a.example:70000", "2001:db8::1", "[::1]:0", "a b:1"]
        {
            assert!(!is_host_and_port(bad), "{bad}");
        }
    }

    #[test]
    fn l_11_the_usual_hosts_are_well_formed_and_several() {
        assert!(BOOTSTRAP_HOSTS.iter().all(|host| is_host_and_port(host)));
        let mut domains = BOOTSTRAP_HOSTS.map(|host| host.split_once('.').unwrap().1);
        domains.sort_unstable();
        assert!(domains.windows(2).all(|pair| pair[0] != pair[1]), "no two fail together: {domains:?}");
        assert!(domains.len() >= 3);
    }

    #[test]
    fn literal_addresses_resolve_without_a_resolver() {
        assert_eq!(resolve("127.0.0.1:9").unwrap(), ["127.0.0.1:9".parse().unwrap()]);
        assert_eq!(resolve("[::1]:9").unwrap(), ["[::1]:9".parse().unwrap()]);
    }
}
