//! How values of the command line are read. White space around them is ignored: they are pasted, or
//! come from files.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs as _};
use std::path::PathBuf;
use std::time::Duration;

use dht_proto::{NodeId, ParseIdError, ParseLinkError, PublicKey, Salt, UpdatableTorrent};

/// What no command lasts: a time that any clock can express, and a longer one is cut to it.
pub(crate) const FOREVER: Duration = Duration::from_secs(u32::MAX as u64);

/// The shortest time between two queries of a crawl, so that it is no flood.
const SHORTEST_SPACING: Duration = Duration::from_millis(10);

/// An address of this host, with or without a port, and with the name of an interface where it is
/// local to a link. An IPv4 address in the form of an IPv6 one is the IPv4 address.
pub(crate) fn parse_bind(text: &str) -> Result<SocketAddr, String> {
    let text = text.trim();
    let addr = text
        .parse()
        .or_else(|_| text.parse::<IpAddr>().map(|ip| SocketAddr::new(ip, 0)))
        .ok()
        .or_else(|| parse_bracketed(text))
        .map_or_else(|| parse_scoped(text), Ok)?;
    let addr = match addr.ip().to_canonical() {
        ip @ IpAddr::V4(_) => SocketAddr::new(ip, addr.port()),
        IpAddr::V6(_) => addr,
    };
    if addr.ip().is_multicast() || addr.ip() == IpAddr::V4(Ipv4Addr::BROADCAST) {
        return Err(format!("{} is no address of one host; expected one of this host", addr.ip()));
    }
    Ok(addr)
}

/// An IPv6 address in brackets without a port.
fn parse_bracketed(text: &str) -> Option<SocketAddr> {
    let ip: Ipv6Addr = text.strip_prefix('[')?.strip_suffix(']')?.parse().ok()?;
    Some(SocketAddr::new(ip.into(), 0))
}

/// An address that is local to a link, such as `fe80::1%eth0` or `[fe80::1%eth0]:6881`.
fn parse_scoped(text: &str) -> Result<SocketAddr, String> {
    let expected = || "expected an address, with or without a port".to_owned();
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (host, tail) = rest.split_once(']').ok_or_else(expected)?;
            let port =
                tail.strip_prefix(':').map_or_else(|| tail.is_empty().then_some(0), |it| it.parse().ok());
            (host, port.ok_or_else(expected)?)
        }
        None => (text, 0),
    };
    let (ip, interface) = host.split_once('%').ok_or_else(expected)?;
    if ip.parse::<Ipv6Addr>().is_err() || interface.is_empty() {
        return Err(expected());
    }
    // The system's resolver reads such an address without asking anybody.
    let mut addrs =
        (host, port).to_socket_addrs().map_err(|_| format!("there is no interface {interface:?}"))?;
    addrs.next().ok_or_else(expected)
}

pub(crate) fn parse_secs(text: &str) -> Result<Duration, String> {
    text.trim()
        .parse()
        .ok()
        .and_then(|secs: f64| {
            let is_longer = secs > FOREVER.as_secs_f64();
            if is_longer { Some(FOREVER) } else { Duration::try_from_secs_f64(secs).ok() }
        })
        .ok_or_else(|| "expected a number of seconds".to_owned())
}

pub(crate) fn parse_spacing(text: &str) -> Result<Duration, String> {
    parse_secs(text)
        .ok()
        .filter(|spacing| *spacing >= SHORTEST_SPACING)
        .ok_or_else(|| format!("expected a number of seconds, {} or more", SHORTEST_SPACING.as_secs_f64()))
}

pub(crate) fn parse_id(text: &str) -> Result<NodeId, ParseIdError> {
    text.trim().parse()
}

/// A bare key is a link without a salt.
pub(crate) fn parse_key(text: &str) -> Result<UpdatableTorrent, String> {
    let text = text.trim();
    match text.parse::<PublicKey>() {
        Ok(key) => Ok(UpdatableTorrent { key, salt: Salt::NONE }),
        Err(_) if text.contains(':') => text.parse().map_err(|error: ParseLinkError| error.to_string()),
        Err(error) => Err(error.to_string()),
    }
}

/// Taken as it is: white space may tell items apart.
pub(crate) fn parse_salt(text: &str) -> Result<Salt, String> {
    Salt::new(text.as_bytes()).map_err(|error| error.to_string())
}

/// A file of the one format that is written.
pub(crate) fn parse_svg(text: &str) -> Result<PathBuf, String> {
    let path = PathBuf::from(text);
    let is_svg = path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("svg"));
    is_svg
        .then_some(path)
        .ok_or_else(|| "expected a name that ends in .svg: the picture is in that format".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_to_bind_have_many_forms() {
        for (text, addr) in [
            ("127.0.0.1", "127.0.0.1:0"),
            ("127.0.0.1:6881", "127.0.0.1:6881"),
            ("::1", "[::1]:0"),
            ("[::1]", "[::1]:0"),
            (" [::1]:6881\n", "[::1]:6881"),
            ("::ffff:127.0.0.1", "127.0.0.1:0"),
            ("[::ffff:127.0.0.1]", "127.0.0.1:0"),
            ("[::ffff:127.0.0.1]:5", "127.0.0.1:5"),
            ("[fe80::1%1]:5", "[fe80::1%1]:5"),
        ] {
            assert_eq!(parse_bind(text), Ok(addr.parse().unwrap()), "{text}");
        }
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn an_interface_may_be_named() {
        for (text, port) in [("fe80::1%lo", 0), ("[fe80::1%lo]", 0), ("[fe80::1%lo]:5", 5)] {
            let Ok(SocketAddr::V6(addr)) = parse_bind(text) else { panic!("{text}") };
            assert_eq!((addr.port(), addr.scope_id()), (port, 1), "{text}");
            assert_eq!(*addr.ip(), "fe80::1".parse::<Ipv6Addr>().unwrap(), "{text}");
        }
        assert_eq!(parse_bind("[fe80::1%no-such]:5"), Err("there is no interface \"no-such\"".to_owned()));
    }

    #[test]
    fn addresses_that_are_none_of_this_host_are_refused() {
        for text in
            ["224.0.0.1:6881", "239.1.2.3", "[ff02::1]:6881", "[::ffff:224.0.0.1]", "255.255.255.255:1"]
        {
            assert!(parse_bind(text).unwrap_err().contains("no address of one host"), "{text}");
        }
        for text in
            ["", "localhost", "127.0.0.1:70000", "[::1", "::1]:5", "[fe80::1%]:5", "x%lo", "[fe80::1%lo]x"]
        {
            assert!(parse_bind(text).unwrap_err().contains("expected an address"), "{text}");
        }
    }

    #[test]
    fn times_are_cut_to_what_a_clock_can_express() {
        for secs in ["1e10", "1e19", "1e300", "inf"] {
            assert_eq!(parse_secs(secs), Ok(FOREVER), "{secs}");
        }
        assert!(std::time::Instant::now().checked_add(FOREVER * 2).is_some());
        assert_eq!(parse_spacing("0.25\n"), Ok(Duration::from_millis(250)));
        assert!(parse_spacing("0.009").is_err() && parse_spacing("x").is_err());
    }

    #[test]
    fn pictures_are_svg() {
        assert_eq!(parse_svg("a/b.SVG"), Ok("a/b.SVG".into()));
        for name in ["a.png", "svg", ".svg", "a.svg.png", "-"] {
            assert!(parse_svg(name).is_err(), "{name}");
        }
    }
}
