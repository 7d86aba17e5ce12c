//! Parsers of single values. White space around a value is ignored: values are pasted, or come from files.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs as _};
use std::path::PathBuf;
use std::time::Duration;

use dht_proto::NodeId;
use dht_proto::ids::ParseIdError;
use dht_proto::items::Salt;

/// The longest time. Longer ones are reduced to it, so that every clock can express them.
pub(crate) const FOREVER: Duration = Duration::from_secs(u32::MAX as u64);

/// The shortest time between two queries of a crawl, so that it does not flood the network.
const SHORTEST_SPACING: Duration = Duration::from_millis(10);

/// Parses an address of this host, with or without a port, and with the name of an interface if it is
/// link-local. An IPv4-mapped IPv6 address counts as the IPv4 address.
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
        return Err(format!(
            "{} is not the address of a single host; expected an address of this host",
            addr.ip()
        ));
    }
    Ok(addr)
}

/// Parses an IPv6 address in brackets without a port.
fn parse_bracketed(text: &str) -> Option<SocketAddr> {
    let ip: Ipv6Addr = text.strip_prefix('[')?.strip_suffix(']')?.parse().ok()?;
    Some(SocketAddr::new(ip.into(), 0))
}

/// Parses a link-local address, such as `fe80::1%eth0` or `[fe80::1%eth0]:6881`.
fn parse_scoped(text: &str) -> Result<SocketAddr, String> {
    let expected = || "expected an IP address, with or without a port".to_owned();
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
    // The resolver of the system parses such an address without any query.
    let mut addrs =
        (host, port).to_socket_addrs().map_err(|_| format!("there is no network interface {interface:?}"))?;
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
        .ok_or_else(|| format!("expected a number of seconds, at least {}", SHORTEST_SPACING.as_secs_f64()))
}

pub(crate) fn parse_id(text: &str) -> Result<NodeId, ParseIdError> {
    text.trim().parse()
}

/// Takes the text as it is: white space counts in a salt.
pub(crate) fn parse_salt(text: &str) -> Result<Salt, String> {
    Salt::new(text.as_bytes()).map_err(|error| error.to_string())
}

/// Parses the name of a file of the only format that is written.
pub(crate) fn parse_svg(text: &str) -> Result<PathBuf, String> {
    let path = PathBuf::from(text);
    let is_svg = path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("svg"));
    is_svg
        .then_some(path)
        .ok_or_else(|| "expected a name that ends in .svg, the only format of plots".to_owned())
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
        assert_eq!(
            parse_bind("[fe80::1%no-such]:5"),
            Err("there is no network interface \"no-such\"".to_owned())
        );
    }

    #[test]
    fn addresses_that_are_not_of_a_single_host_are_refused() {
        for text in
            ["224.0.0.1:6881", "239.1.2.3", "[ff02::1]:6881", "[::ffff:224.0.0.1]", "255.255.255.255:1"]
        {
            assert!(parse_bind(text).unwrap_err().contains("not the address of a single host"), "{text}");
        }
        for text in
            ["", "localhost", "127.0.0.1:70000", "[::1", "::1]:5", "[fe80::1%]:5", "x%lo", "[fe80::1%lo]x"]
        {
            assert!(parse_bind(text).unwrap_err().contains("expected an IP address"), "{text}");
        }
    }

    #[test]
    fn times_are_reduced_to_what_a_clock_can_express() {
        for secs in ["1e10", "1e19", "1e300", "inf"] {
            assert_eq!(parse_secs(secs), Ok(FOREVER), "{secs}");
        }
        assert!(std::time::Instant::now().checked_add(FOREVER * 2).is_some());
        assert_eq!(parse_spacing("0.25\n"), Ok(Duration::from_millis(250)));
        assert!(parse_spacing("0.009").is_err() && parse_spacing("x").is_err());
    }

    #[test]
    fn plots_are_svg_files() {
        assert_eq!(parse_svg("a/b.SVG"), Ok("a/b.SVG".into()));
        for name in ["a.png", "svg", ".svg", "a.svg.png", "-"] {
            assert!(parse_svg(name).is_err(), "{name}");
        }
    }
}
