//! The Bloom filter with which a scrape counts the peers of a torrent (BEP 33).

use core::f64::consts::LN_2;
use core::fmt;
use core::net::IpAddr;

use sha1_smol::Sha1;

/// Size of a scrape filter in bytes (BEP 33).
pub const FILTER_LEN: usize = 256;

/// Size of a filter in bits.
const BITS: u32 = 8 * FILTER_LEN as u32;

/// Number of zero bits below which a filter is not plausible.
///
/// With fewer, the estimate exceeds 7000 addresses, while nodes insert at most 6000 and the standard error is 400
/// (BEP 33).
const MIN_ZEROS: u32 = 3;

/// A set of IP addresses in 256 bytes, whose size can be estimated (BEP 33).
///
/// The standard error of the estimate is 2 % around 1000 addresses and 7 % around 6000. In a union of
/// filters, an address that occurs in several of them is counted once.
///
/// ```
/// use dht_proto::stats::BloomFilter;
///
/// let mut filter = BloomFilter::EMPTY;
/// filter.insert("192.168.1.1".parse()?);
/// let mut other = BloomFilter::EMPTY;
/// other.insert("2001:db8::1".parse()?);
/// filter.unite(&other);
/// assert_eq!(filter.estimate().round(), 2.0);
/// # Ok::<(), std::net::AddrParseError>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "checkpoint", derive(serde::Serialize, serde::Deserialize))]
pub struct BloomFilter(
    #[cfg_attr(feature = "checkpoint", serde(with = "serde_big_array::BigArray"))] [u8; FILTER_LEN],
);

impl BloomFilter {
    /// The empty filter.
    pub const EMPTY: Self = Self([0; FILTER_LEN]);

    /// Creates a filter from its bytes on the wire.
    pub const fn from_bytes(bytes: [u8; FILTER_LEN]) -> Self {
        Self(bytes)
    }

    /// Returns the bytes on the wire.
    pub const fn as_bytes(&self) -> &[u8; FILTER_LEN] {
        &self.0
    }

    /// Adds an address. An IPv4-mapped IPv6 address counts as the IPv4 address.
    pub fn insert(&mut self, ip: IpAddr) {
        self.insert_indices(indices_of(ip));
    }

    /// Whether an address may have been added: always true if it has been, rarely true if it has not.
    pub fn contains(&self, ip: IpAddr) -> bool {
        indices_of(ip).into_iter().all(|index| {
            let (byte, bit) = place(index);
            self.0[byte] & bit != 0
        })
    }

    /// Adds every address of another filter.
    pub fn unite(&mut self, other: &Self) {
        self.0.iter_mut().zip(other.0).for_each(|(own, other)| *own |= other);
    }

    /// Estimates how many addresses were added.
    ///
    /// Returns 0 for the empty filter, where the formula of the BEP yields 0.5, and at most 7805 for a full one.
    pub fn estimate(&self) -> f64 {
        match self.zeros() {
            BITS => 0.0,
            // ln(zeros / m) / (k ln(1 - 1 / m)), with k = 2
            zeros => ln_share(zeros.clamp(1, BITS - 1)) / (2.0 * ln_share(BITS - 1)),
        }
    }

    /// Whether a node can have stored this filter: the estimate does not exceed 7000 addresses.
    pub fn is_plausible(&self) -> bool {
        self.zeros() >= MIN_ZEROS
    }

    /// Adds an address given by its two bit indices.
    pub(crate) fn insert_indices(&mut self, indices: [u16; 2]) {
        for index in indices {
            let (byte, bit) = place(index);
            self.0[byte] |= bit;
        }
    }

    fn zeros(&self) -> u32 {
        self.0.iter().map(|byte| byte.count_zeros()).sum()
    }
}

impl Default for BloomFilter {
    fn default() -> Self {
        Self::EMPTY
    }
}

impl fmt::Debug for BloomFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BloomFilter({:.1})", self.estimate())
    }
}

/// Returns the indices of the two bits that represent an address of 4 or 16 bytes.
pub(crate) fn filter_indices(ip: &[u8]) -> [u16; 2] {
    let [a, b, c, d, ..] = Sha1::from(ip).digest().bytes();
    [u16::from_le_bytes([a, b]) % BITS as u16, u16::from_le_bytes([c, d]) % BITS as u16]
}

/// Returns the indices of the two bits that represent an address.
fn indices_of(ip: IpAddr) -> [u16; 2] {
    match ip.to_canonical() {
        IpAddr::V4(ip) => filter_indices(&ip.octets()),
        IpAddr::V6(ip) => filter_indices(&ip.octets()),
    }
}

/// Returns the byte and the bit of an index.
const fn place(index: u16) -> (usize, u8) {
    (index as usize / 8 % FILTER_LEN, 1 << (index % 8))
}

/// Returns the natural logarithm of `zeros / 2048`, which `core` does not provide. `zeros` must not be 0.
fn ln_share(zeros: u32) -> f64 {
    let exponent = zeros.ilog2();
    // ln(x) = 2 artanh(z). Because x is in 1..2, z is at most 1/3 and each term is at most a ninth of the
    // previous.
    let x = f64::from(zeros) / f64::from(1_u32 << exponent);
    let z = (x - 1.0) / (x + 1.0);
    let (mut power, mut sum) = (z, 0.0);
    for odd in (1..40).step_by(2) {
        sum += power / f64::from(odd);
        power *= z * z;
    }
    2.0 * sum - f64::from(BITS.ilog2() - exponent) * LN_2
}

#[cfg(test)]
mod tests {
    use std::format;
    use std::string::String;

    use super::*;

    /// The test vector of the BEP, recomputed: its filter, its zero bits and its estimate.
    const VECTOR: &str = "\
        F6C3F5EAA07FFD91BDE89F777F26FB2BFF37BDB8FB2BBAA2FD3DDDE7BACFFF75\
        EE7CCBAEFE5EEDB1FBFAFF67F6ABFF5E43DDBCA3FD9B9FFDF4FFD3E9DFF12D1B\
        DF59DB53DBE9FA5B7FF3B8FDFCDE1AFB8BEDD7BE2F3EE71EBBBFE93BCDEEFE14\
        8246C2BC5DBFF7E7EFDCF24FD8DC7ADFFD8FFFDFDDFFF7A4BBEEDF5CB95CE81F\
        C7FCFF1FF4FFFFDFE5F7FDCBB7FD79B3FA1FC77BFE07FFF905B7B7FFC7FEFEFF\
        E0B8370BB0CD3F5B7F2BD93FEB4386CFDD6F7FD5BFAF2E9EBFFFFEECD67ADBF7\
        C67F17EFD5D75EBA6FFEBA7FFF47A91EB1BFBB53E8ABFB5762ABE8FF237279BF\
        EFBFEEF5FFC5FEBFDFE5ADFFADFEE1FB737FFFFBFD9F6AEFFEEE76B6FD8F72EF";

    fn v4(last: u8) -> IpAddr {
        IpAddr::from([192, 0, 2, last])
    }

    fn v6(last: u16) -> IpAddr {
        IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, last])
    }

    fn filter_of(ips: impl IntoIterator<Item = IpAddr>) -> BloomFilter {
        let mut filter = BloomFilter::EMPTY;
        ips.into_iter().for_each(|ip| filter.insert(ip));
        filter
    }

    /// Returns a filter whose only zero bits are the first `zeros` ones.
    fn with_zeros(zeros: u32) -> BloomFilter {
        let mut filter = BloomFilter([0xff; FILTER_LEN]);
        for index in 0..zeros as u16 {
            let (byte, bit) = place(index);
            filter.0[byte] &= !bit;
        }
        filter
    }

    #[test]
    fn b33_01_b33_03_the_vector_of_the_bep_has_its_bits_and_its_estimate() {
        let filter = filter_of((0..=255).map(v4).chain((0..1000).map(v6)));
        let hex: String = filter.as_bytes().iter().map(|byte| format!("{byte:02X}")).collect();
        assert_eq!(hex, VECTOR);
        assert_eq!(filter.zeros(), 619);
        assert!((filter.estimate() - 1_224.930_889_82).abs() < 1e-7, "{}", filter.estimate());
    }

    #[test]
    fn b33_01_an_address_sets_the_two_bits_of_its_hash() {
        assert_eq!(filter_indices(&[192, 168, 1, 1]), [1711, 1831]);
        let filter = filter_of([IpAddr::from([192, 168, 1, 1])]);
        assert_eq!((filter.0[1711 / 8], filter.0[1831 / 8]), (1 << (1711 % 8), 1 << (1831 % 8)));
        assert_eq!(filter.zeros(), BITS - 2);
    }

    #[test]
    fn b33_02_a_mapped_address_is_the_ipv4_address() {
        let mapped = "::ffff:192.0.2.7".parse().unwrap();
        assert_eq!(filter_of([mapped]), filter_of([v4(7)]));
        assert!(filter_of([v4(7)]).contains(mapped));
    }

    #[test]
    fn b33_03_the_estimate_follows_the_formula_from_empty_to_full() {
        assert_eq!(BloomFilter::EMPTY.estimate(), 0.0, "where the formula has 0.5");
        for zeros in 1..BITS {
            let share = f64::from(zeros) / 2048.0;
            let expected = share.ln() / (2.0 * (1.0 - 1.0 / 2048.0_f64).ln());
            let estimate = with_zeros(zeros).estimate();
            assert!((estimate - expected).abs() < 1e-9 * expected, "{zeros}: {estimate}, not {expected}");
        }
        assert_eq!(with_zeros(0).estimate(), with_zeros(1).estimate(), "a full one is finite");
        assert_eq!(with_zeros(1).estimate() as u32, 7805);
    }

    #[test]
    fn b33_04_a_union_counts_each_address_once() {
        let mut union = filter_of((0..150).map(v4));
        union.unite(&filter_of((100..=255).map(v4)));
        assert_eq!(union, filter_of((0..=255).map(v4)));
        assert!((0..=255).map(v4).all(|ip| union.contains(ip)));
        assert!(!(0..100).map(v6).all(|ip| union.contains(ip)));
    }

    #[test]
    fn b33_13_a_filter_of_more_than_7000_is_not_plausible() {
        assert!(BloomFilter::EMPTY.is_plausible() && with_zeros(3).is_plausible());
        assert!(with_zeros(3).estimate() < 7000.0 && with_zeros(2).estimate() > 7000.0);
        assert!(!with_zeros(2).is_plausible() && !with_zeros(0).is_plausible());
    }
}
