//! Bootstrap names: the usual ones, and how names are looked up.

use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;
use core::fmt;
use core::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use core::time::Duration;
use std::io;
use std::net::ToSocketAddrs as _;

/// Hosts that most clients start from, as `host:port`. Some are always down, so all of them are queried.
pub const BOOTSTRAP_HOSTS: [&str; 6] = [
    "router.bittorrent.com:6881",
    "router.utorrent.com:6881",
    "dht.transmissionbt.com:6881",
    "dht.libtorrent.org:25401",
    "router.silotis.us:6881",
    "dht.aelitis.com:6881",
];

/// Resolves a `host:port` to all its addresses of both families, where the host is a name, an IPv4 address or an
/// IPv6 address in brackets.
///
/// Blocks for as long as the system's resolver does.
///
/// # Errors
///
/// An error of the resolver, or one of kind `NotFound` if the name exists without an address.
pub fn resolve(host: &str) -> io::Result<Vec<SocketAddr>> {
    let addrs: Vec<SocketAddr> = host.to_socket_addrs()?.collect();
    if addrs.is_empty() {
        return Err(io::Error::new(io::ErrorKind::NotFound, "the name has no address"));
    }
    Ok(addrs)
}

/// Whether `host` has the form that [`resolve`] takes.
pub(crate) fn is_host_and_port(host: &str) -> bool {
    host.parse::<SocketAddr>().is_ok_and(|addr| addr.port() != 0)
        || host.rsplit_once(':').is_some_and(|(name, port)| {
            !name.is_empty()
                && !name.contains([':', ' ', '[', ']'])
                && port.parse().is_ok_and(|port: u16| port != 0)
        })
}

/// Returns the addresses of a host that needs no resolver: an IP address, or `localhost` (RFC 6761).
pub(crate) fn literal(host: &str) -> Option<Vec<SocketAddr>> {
    if let Ok(addr) = host.parse() {
        return Some(vec![addr]);
    }
    let (name, port) = host.rsplit_once(':')?;
    let port = port.parse().ok().filter(|_| name.eq_ignore_ascii_case("localhost"))?;
    Some(vec![SocketAddr::from((Ipv4Addr::LOCALHOST, port)), SocketAddr::from((Ipv6Addr::LOCALHOST, port))])
}

type LookUp = dyn Fn(&str) -> io::Result<Vec<SocketAddr>> + Send + Sync;

/// Looks up the names of bootstrap hosts, on threads beside the loop.
#[derive(Clone)]
pub(crate) struct Resolver(Arc<LookUp>);

impl Resolver {
    pub(crate) fn new(look_up: impl Fn(&str) -> io::Result<Vec<SocketAddr>> + Send + Sync + 'static) -> Self {
        Self(Arc::new(look_up))
    }

    pub(crate) fn look_up(&self, host: &str) -> io::Result<Vec<SocketAddr>> {
        (self.0)(host)
    }
}

impl Default for Resolver {
    fn default() -> Self {
        Self::new(resolve)
    }
}

impl fmt::Debug for Resolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Resolver").finish_non_exhaustive()
    }
}

/// Delays that double from the first to the longest.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Backoff {
    first: Duration,
    last: Duration,
    next: Duration,
}

impl Backoff {
    pub(crate) const fn new(first: Duration, last: Duration) -> Self {
        Self { first, last, next: first }
    }

    pub(crate) fn next(&mut self) -> Duration {
        let delay = self.next;
        self.next = delay.saturating_mul(2).min(self.last);
        delay
    }

    pub(crate) const fn reset(&mut self) {
        self.next = self.first;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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

    #[test]
    fn what_needs_no_look_up_is_known_at_once() {
        let addrs = |texts: &[&str]| Some(texts.iter().map(|text| text.parse().unwrap()).collect());
        assert_eq!(literal("192.0.2.1:9"), addrs(&["192.0.2.1:9"]));
        assert_eq!(literal("[2001:db8::1]:9"), addrs(&["[2001:db8::1]:9"]));
        assert_eq!(literal("LocalHost:9"), addrs(&["127.0.0.1:9", "[::1]:9"]));
        assert_eq!(literal("localhost.example:9"), None);
    }
}
