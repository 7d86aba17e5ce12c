//! Magnet links, as far as a DHT uses them.

/// A magnet link.
///
/// Its parameters identify a torrent (`xt`, BEP 9) or the public key of a mutable torrent (`xs`, BEP 46).
///
/// ```
/// use dht_proto::{InfoHash, MagnetLink};
///
/// let text = "magnet:?dn=a%20name&xt=urn:btih:5fbfbff10c5d6a4ec8a88e4c6ab4c28b95eee401";
/// let link = MagnetLink::new(text).expect("it begins as one");
/// let hex = link.values("xt").find_map(|topic| topic.strip_prefix("urn:btih:"));
/// let infohash: InfoHash = hex.expect("it has one of version 1").parse()?;
/// # Ok::<(), dht_proto::ParseIdError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MagnetLink<'a> {
    query: &'a str,
}

impl<'a> MagnetLink<'a> {
    /// Wraps a magnet link, or returns `None` if the text does not begin with `magnet:?` in either case.
    ///
    /// Nothing after that prefix is validated. A fragment, from `#` on, is not part of the parameters.
    pub fn new(text: &'a str) -> Option<Self> {
        let query = strip_prefix(text, "magnet:?")?;
        Some(Self { query: query.split_once('#').map_or(query, |(query, _)| query) })
    }

    /// Returns the values of a parameter in the order of the link, as written there: not percent-decoded.
    ///
    /// Parameter names are matched case-insensitively and may be numbered, as in links with several topics:
    /// `xt.1`, `xt.2`. `&amp;` separates parameters as `&` does, because links are copied from HTML.
    pub fn values(self, name: &str) -> impl Iterator<Item = &'a str> {
        let parameters = self.query.split('&').map(|parameter| parameter.trim_start_matches("amp;"));
        let pairs = parameters.filter_map(|parameter| parameter.split_once('='));
        pairs.filter(move |(key, _)| is_name(key, name)).map(|(_, value)| value)
    }
}

/// Strips a prefix case-insensitively, as schemes of links and URNs are compared.
fn strip_prefix<'a>(text: &'a str, prefix: &str) -> Option<&'a str> {
    let (head, rest) = text.split_at_checked(prefix.len())?;
    head.eq_ignore_ascii_case(prefix).then_some(rest)
}

/// Strips `urn:` and a namespace with its colon from a URN; colons may be percent-encoded.
#[cfg(feature = "items")]
pub(crate) fn strip_urn<'a>(urn: &'a str, namespace: &str) -> Option<&'a str> {
    ["urn", namespace].into_iter().try_fold(urn, |rest, word| {
        let rest = strip_prefix(rest, word)?;
        rest.strip_prefix(':').or_else(|| strip_prefix(rest, "%3A"))
    })
}

fn is_name(key: &str, name: &str) -> bool {
    let number = strip_prefix(key, name).map(|rest| rest.strip_prefix('.').unwrap_or(rest));
    number.is_some_and(|number| number.bytes().all(|byte| byte.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use super::*;

    #[test]
    fn values_are_found_in_their_order_under_names_of_either_case_and_numbered() {
        let link = MagnetLink::new("MAGNET:?xt=a&x.pe=b&xt.2=c=%20d&XT.1=&xt&xt.x=e&xtc=f&=g").unwrap();
        assert_eq!(link.values("xt").collect::<Vec<_>>(), ["a", "c=%20d", ""]);
        assert_eq!(link.values("x.PE").collect::<Vec<_>>(), ["b"]);
        assert_eq!(link.values("x").count(), 0);
    }

    #[test]
    fn links_copied_from_html_and_links_with_a_fragment_are_read() {
        let link = MagnetLink::new("magnet:?dn=a&amp;xt=b&amp;amp;xt.2=c&amp=d&xt=e#f&xt=g").unwrap();
        assert_eq!(link.values("xt").collect::<Vec<_>>(), ["b", "c", "e"]);
        assert_eq!(link.values("dn").collect::<Vec<_>>(), ["a"]);
        assert_eq!(MagnetLink::new("magnet:?#xt=a").unwrap().values("xt").count(), 0);
    }

    #[test]
    fn other_links_are_none() {
        for text in ["", "magnet:", "magnet", "http://a/?xt=b", " magnet:?xt=a", "magné:?xt=a"] {
            assert_eq!(MagnetLink::new(text), None, "{text}");
        }
        assert_eq!(MagnetLink::new("magnet:?").unwrap().values("xt").count(), 0);
    }
}
