//! Bencode: a pull reader over borrowed bytes, and a writer into a slice.
//!
//! The reader neither recurses nor allocates: values nested deeper than the caller reads are skipped with one
//! bit of state per level.

use core::mem;

use super::malformed::Malformed;

/// Maximum nesting depth of containers in a datagram, including the outermost dictionary.
///
/// libtorrent reads 10 levels. No field of the protocol needs more than 3, so only BEP 44 values come close
/// to either number; 32 is the number of bits in one machine word.
pub const MAX_DEPTH: u32 = 32;

/// Maximum number of strings, integers, lists and dictionaries in a datagram.
///
/// The shortest of them takes two bytes, so nothing that fits into an Ethernet frame comes close to this
/// limit. It bounds the work that a 64 KiB datagram can cause.
pub const MAX_TOKENS: u32 = 2000;

/// Whether `bytes` are exactly one value in canonical form.
///
/// Keys must be sorted and unique, integers and lengths must have no leading zeros, and there may be at most
/// [`MAX_DEPTH`] levels and [`MAX_TOKENS`] tokens. BEP 44 allows nothing else to be stored.
///
/// ```
/// use dht_proto::wire::is_canonical;
///
/// assert!(is_canonical(b"d1:ai1e1:bi2ee"));
/// assert!(!is_canonical(b"d1:bi2e1:ai1ee"));
/// ```
pub fn is_canonical(bytes: &[u8]) -> bool {
    let mut reader = Reader::new(bytes);
    reader.skip::<STRICT>().is_ok() && reader.rest.is_empty()
}

/// Number of levels whose keys are compared: level 0 is outside of any dictionary.
const STRICT: usize = MAX_DEPTH as usize + 1;
/// Number of levels whose keys are compared: none.
const LENIENT: usize = 0;

/// One complete value.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) enum Value<'a> {
    /// The key was not present.
    #[default]
    Absent,
    Bytes(&'a [u8]),
    Int(i64),
    /// The well-formed members of a list, without the `l` and the `e`.
    List(&'a [u8]),
    /// A dictionary, or an integer beyond 64 bits.
    Other,
}

impl<'a> Value<'a> {
    pub(crate) const fn is_absent(&self) -> bool {
        matches!(self, Self::Absent)
    }

    pub(crate) const fn bytes(&self) -> Option<&'a [u8]> {
        match *self {
            Self::Bytes(bytes) => Some(bytes),
            _ => None,
        }
    }

    /// Returns a string of exactly `N` bytes.
    pub(crate) fn array<const N: usize>(&self) -> Option<&'a [u8; N]> {
        self.bytes().and_then(|bytes| bytes.try_into().ok())
    }

    /// Returns a string of at least one byte.
    pub(crate) fn non_empty(&self) -> Option<&'a [u8]> {
        self.bytes().filter(|bytes| !bytes.is_empty())
    }

    pub(crate) const fn int(&self) -> Option<i64> {
        match *self {
            Self::Int(value) => Some(value),
            _ => None,
        }
    }

    /// Returns a valid UDP port: an integer from 1 to 65535.
    pub(crate) fn port(&self) -> Option<u16> {
        self.int().and_then(|port| u16::try_from(port).ok()).filter(|&port| port != 0)
    }

    /// Whether the value is an integer other than 0.
    pub(crate) const fn flag(&self) -> bool {
        matches!(*self, Self::Int(value) if value != 0)
    }
}

/// The known keys that have occurred in a dictionary, valid or not, one bit each.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Seen(u32);

impl Seen {
    /// Marks a key as seen and returns whether it is the first one: of duplicate keys, the first counts.
    #[inline(always)]
    pub(crate) const fn first(&mut self, key: u32) -> bool {
        let is_first = !self.has(key);
        self.0 |= key;
        is_first
    }

    pub(crate) const fn has(self, key: u32) -> bool {
        self.0 & key != 0
    }
}

/// Reads tokens from the front of a slice, within [`MAX_DEPTH`] and [`MAX_TOKENS`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
    /// Number of dictionaries entered and not yet left.
    depth: u32,
    tokens_left: u32,
}

impl<'a> Reader<'a> {
    pub(crate) const fn new(bytes: &'a [u8]) -> Self {
        Self::with_tokens(bytes, MAX_TOKENS)
    }

    /// Creates a reader with another limit than [`MAX_TOKENS`], for input that is not a datagram.
    pub(crate) const fn with_tokens(bytes: &'a [u8], tokens: u32) -> Self {
        Self { rest: bytes, depth: 0, tokens_left: tokens }
    }

    /// Returns the bytes that have not been read yet.
    pub(crate) const fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// Enters a dictionary if one comes next; otherwise reads nothing.
    ///
    /// Afterwards, call [`Self::key`] and, for each key, read its value.
    #[inline(always)]
    pub(crate) fn enter_dictionary(&mut self) -> Result<bool, Malformed> {
        let [b'd', rest @ ..] = self.rest else { return Ok(false) };
        self.count()?;
        self.rest = rest;
        self.depth = self.depth.saturating_add(1);
        if self.depth > MAX_DEPTH { Err(Malformed::TooDeep) } else { Ok(true) }
    }

    /// Reads the next key of the innermost dictionary entered, or leaves it and returns `None` at its end.
    #[inline(always)]
    pub(crate) fn key(&mut self) -> Result<Option<&'a [u8]>, Malformed> {
        if let [b'e', rest @ ..] = self.rest {
            self.rest = rest;
            self.depth = self.depth.saturating_sub(1);
            return Ok(None);
        }
        self.string(false).map(Some)
    }

    /// Reads one value.
    #[inline(always)]
    pub(crate) fn value(&mut self) -> Result<Value<'a>, Malformed> {
        match self.rest {
            [b'0'..=b'9', ..] => self.string(false).map(Value::Bytes),
            [b'i', ..] => Ok(self.int(false)?.map_or(Value::Other, Value::Int)),
            [b'l', ..] => match self.raw()? {
                [_, members @ .., _] => Ok(Value::List(members)),
                _ => Err(Malformed::Syntax),
            },
            _ => self.skip::<LENIENT>().map(|()| Value::Other),
        }
    }

    /// Reads one value and returns its raw bytes.
    pub(crate) fn raw(&mut self) -> Result<&'a [u8], Malformed> {
        let before = self.rest;
        self.skip::<LENIENT>()?;
        Ok(self.since(before))
    }

    /// Returns the bytes read since `before` was the remaining input.
    pub(crate) fn since(&self, before: &'a [u8]) -> &'a [u8] {
        before.get(..before.len().saturating_sub(self.rest.len())).unwrap_or_default()
    }

    /// Skips one value of any kind.
    ///
    /// The last keys of `LEVELS` levels are compared: with [`STRICT`] only the canonical form is accepted,
    /// with [`LENIENT`] keys in any order.
    fn skip<const LEVELS: usize>(&mut self) -> Result<(), Malformed> {
        let strict = LEVELS == STRICT;
        // One bit per open container, the innermost in bit 0.
        let mut is_dictionary = 0_u32;
        let mut awaits_value = 0_u32;
        let mut open = 0_u32;
        let mut last_keys = [None::<&[u8]>; LEVELS];
        loop {
            let expects_key = is_dictionary & !awaits_value & 1 != 0;
            let (&first, tail) = self.rest.split_first().ok_or(Malformed::Syntax)?;
            match first {
                b'0'..=b'9' => {
                    let string = self.string(strict)?;
                    if strict && expects_key {
                        let slot = last_keys.get_mut(open as usize).ok_or(Malformed::TooDeep)?;
                        if slot.is_some_and(|last| last >= string) {
                            return Err(Malformed::Syntax);
                        }
                        *slot = Some(string);
                    }
                    // After a key, its dictionary awaits a value; any other string is that value.
                    awaits_value = (awaits_value & !1) | u32::from(expects_key);
                }
                b'e' if open != 0 && awaits_value & 1 == 0 => {
                    self.rest = tail;
                    open = open.saturating_sub(1);
                    is_dictionary >>= 1;
                    awaits_value >>= 1;
                }
                _ if expects_key => return Err(Malformed::Syntax),
                b'i' => {
                    self.int(strict)?;
                    awaits_value &= !1;
                }
                b'd' | b'l' => {
                    self.count()?;
                    self.rest = tail;
                    open = open.saturating_add(1);
                    if self.depth.saturating_add(open) > MAX_DEPTH {
                        return Err(Malformed::TooDeep);
                    }
                    awaits_value = (awaits_value & !1) << 1;
                    is_dictionary = (is_dictionary << 1) | u32::from(first == b'd');
                    if let Some(slot) = last_keys.get_mut(open as usize) {
                        *slot = None;
                    }
                }
                _ => return Err(Malformed::Syntax),
            }
            if open == 0 {
                return Ok(());
            }
        }
    }

    #[inline(always)]
    fn string(&mut self, strict: bool) -> Result<&'a [u8], Malformed> {
        self.count()?;
        let (length, rest) = match self.rest {
            [a @ b'0'..=b'9', b':', rest @ ..] => (usize::from(a & 15), rest),
            [a @ b'1'..=b'9', b @ b'0'..=b'9', b':', rest @ ..] => {
                (usize::from((a & 15).wrapping_mul(10).wrapping_add(b & 15)), rest)
            }
            other => long_length(other, strict)?,
        };
        let (string, rest) = rest.split_at_checked(length).ok_or(Malformed::Syntax)?;
        self.rest = rest;
        Ok(string)
    }

    /// Reads an integer. `None` if it exceeds 64 bits, which is well-formed but of no use here (E-11).
    #[inline]
    fn int(&mut self, strict: bool) -> Result<Option<i64>, Malformed> {
        self.count()?;
        let (negative, rest) = match self.rest {
            [b'i', b'-', rest @ ..] => (true, rest),
            [b'i', rest @ ..] => (false, rest),
            _ => return Err(Malformed::Syntax),
        };
        let (digits, rest) = digits(rest);
        let [b'e', rest @ ..] = rest else { return Err(Malformed::Syntax) };
        match digits {
            [] => return Err(Malformed::Syntax),
            [b'0'] if strict && negative => return Err(Malformed::Syntax),
            [b'0', _, ..] if strict => return Err(Malformed::Syntax),
            _ => self.rest = rest,
        }
        let magnitude = decimal(digits);
        Ok(if negative {
            magnitude.and_then(|value| 0_i64.checked_sub_unsigned(value))
        } else {
            magnitude.and_then(|value| value.try_into().ok())
        })
    }

    /// Counts a token against the limit.
    #[inline(always)]
    fn count(&mut self) -> Result<(), Malformed> {
        self.tokens_left = self.tokens_left.checked_sub(1).ok_or(Malformed::TooManyTokens)?;
        Ok(())
    }
}

/// A destination of bencode: bytes are written, or merely counted.
pub(crate) trait Sink {
    /// Appends raw bytes.
    fn put(&mut self, bytes: &[u8]);

    /// Appends a string with its length.
    #[inline]
    fn string(&mut self, bytes: &[u8]) {
        self.length(bytes.len());
        self.put(bytes);
    }

    /// Appends the length of a string and a colon.
    #[inline]
    fn length(&mut self, length: usize) {
        match length {
            0..10 => self.put(&[b'0'.wrapping_add(length as u8), b':']),
            _ => {
                self.put(digits_of(length as u64, &mut [0; MAX_DIGITS]));
                self.put(b":");
            }
        }
    }

    /// Appends an integer.
    #[inline]
    fn int(&mut self, value: i64) {
        self.put(if value < 0 { b"i-" } else { b"i" });
        self.put(digits_of(value.unsigned_abs(), &mut [0; MAX_DIGITS]));
        self.put(b"e");
    }
}

/// A sink that fills a slice from the front.
pub(crate) struct Writer<'b> {
    rest: &'b mut [u8],
    fits: bool,
}

impl<'b> Writer<'b> {
    pub(crate) const fn new(buf: &'b mut [u8]) -> Self {
        Self { rest: buf, fits: true }
    }

    /// Returns how much of the slice is left, or `None` if something did not fit.
    pub(crate) const fn left(&self) -> Option<usize> {
        if self.fits { Some(self.rest.len()) } else { None }
    }
}

impl Sink for Writer<'_> {
    #[inline]
    fn put(&mut self, bytes: &[u8]) {
        match mem::take(&mut self.rest).split_at_mut_checked(bytes.len()) {
            Some((to, rest)) => {
                to.copy_from_slice(bytes);
                self.rest = rest;
            }
            None => self.fits = false,
        }
    }
}

/// A sink that counts the bytes that would be written.
pub(crate) struct Counter(pub(crate) usize);

impl Sink for Counter {
    #[inline]
    fn put(&mut self, bytes: &[u8]) {
        self.0 = self.0.saturating_add(bytes.len());
    }
}

/// Number of digits of the largest `u64`.
const MAX_DIGITS: usize = 20;

/// Writes the decimal digits of a number to the end of `buf`, and returns them.
fn digits_of(mut value: u64, buf: &mut [u8; MAX_DIGITS]) -> &[u8] {
    let mut start = MAX_DIGITS;
    for digit in buf.iter_mut().rev() {
        *digit = b'0'.wrapping_add((value % 10) as u8);
        value /= 10;
        start = start.saturating_sub(1);
        if value == 0 {
            break;
        }
    }
    buf.get(start..).unwrap_or_default()
}

/// Splits off the leading digits.
fn digits(bytes: &[u8]) -> (&[u8], &[u8]) {
    let count = bytes.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(bytes.len());
    bytes.split_at_checked(count).unwrap_or_default()
}

/// Parses a length of any number of digits and its colon. Not inlined, because most lengths are short.
#[inline(never)]
fn long_length(bytes: &[u8], strict: bool) -> Result<(usize, &[u8]), Malformed> {
    let (digits, rest) = digits(bytes);
    let [b':', rest @ ..] = rest else { return Err(Malformed::Syntax) };
    if strict && digits.starts_with(b"0") {
        return Err(Malformed::Syntax);
    }
    let length = decimal(digits).and_then(|length| length.try_into().ok());
    length.map(|length| (length, rest)).ok_or(Malformed::Syntax)
}

/// Parses decimal digits; `None` if there are none or the number exceeds 64 bits.
fn decimal(digits: &[u8]) -> Option<u64> {
    let first = if digits.is_empty() { None } else { Some(0_u64) };
    digits.iter().fold(first, |value, digit| value?.checked_mul(10)?.checked_add(u64::from(digit & 15)))
}

#[cfg(test)]
#[allow(clippy::arithmetic_side_effects)]
mod tests {
    use super::*;

    #[test]
    fn b44_07_canonical_is_one_whole_value_in_order_and_minimal() {
        for good in [
            "i0e",
            "i-1e",
            "0:",
            "le",
            "de",
            "d1:a0:1:ble2:bbi0ee",
            "ld1:b0:ed1:a0:ee",
            "i99999999999999999999e",
        ] {
            assert!(is_canonical(good.as_bytes()), "{good}");
        }
        for bad in [
            "",
            "e",
            "i0",
            "i0ei0e",
            "i-0e",
            "i00e",
            "i-01e",
            "00:",
            "01:a",
            "d1:b0:1:a0:e",
            "d1:a0:1:a0:e",
            "d1:ae",
            "di1e0:e",
            "d1:a0:",
            "1:ab",
            "ld1:b0:1:a0:ee",
        ] {
            assert!(!is_canonical(bad.as_bytes()), "{bad}");
        }
    }

    #[test]
    fn e_09_canonical_values_are_bounded_too() {
        let nested = |levels| ["l".repeat(levels), "e".repeat(levels)].concat();
        assert!(is_canonical(nested(MAX_DEPTH as usize).as_bytes()));
        assert!(!is_canonical(nested(MAX_DEPTH as usize + 1).as_bytes()));
        let dictionaries =
            ["d0:".repeat(MAX_DEPTH as usize), "i1e".into(), "e".repeat(MAX_DEPTH as usize)].concat();
        assert!(is_canonical(dictionaries.as_bytes()));
        let many = |count| ["l", &"0:".repeat(count), "e"].concat();
        assert!(is_canonical(many(MAX_TOKENS as usize - 1).as_bytes()));
        assert!(!is_canonical(many(MAX_TOKENS as usize).as_bytes()));
    }

    #[test]
    fn the_reader_steps_through_a_dictionary() {
        let mut reader = Reader::new(b"d1:ali1ei2ee1:b3:foo1:cdee!");
        assert_eq!(reader.enter_dictionary(), Ok(true));
        assert_eq!(reader.key(), Ok(Some(&b"a"[..])));
        assert!(matches!(reader.value(), Ok(Value::List(b"i1ei2e"))));
        assert_eq!(reader.key(), Ok(Some(&b"b"[..])));
        assert_eq!(reader.raw(), Ok(&b"3:foo"[..]));
        assert_eq!(reader.key(), Ok(Some(&b"c"[..])));
        assert!(matches!(reader.value(), Ok(Value::Other)));
        assert_eq!(reader.key(), Ok(None));
        assert_eq!(reader.rest(), b"!");
        assert_eq!(reader.enter_dictionary(), Ok(false));
        assert_eq!(reader.key(), Err(Malformed::Syntax));
    }

    #[test]
    fn integers_and_lengths_are_written_in_decimal() {
        let mut buf = [0; 200];
        let mut writer = Writer::new(&mut buf);
        for value in [0, 9, 10, -1, i64::MAX, i64::MIN] {
            writer.int(value);
        }
        for length in [0, 9, 10, 100] {
            writer.string(&[b'x'; 100][..length]);
        }
        let left = writer.left().unwrap();
        let expected = b"i0ei9ei10ei-1ei9223372036854775807ei-9223372036854775808e\
            0:9:xxxxxxxxx10:xxxxxxxxxx100:";
        assert_eq!(&buf[..expected.len()], expected);
        assert_eq!(left, buf.len() - expected.len() - 100);
    }

    #[test]
    fn a_writer_that_overflowed_stays_so() {
        let mut buf = [0; 3];
        let mut writer = Writer::new(&mut buf);
        writer.put(b"1234");
        writer.put(b"");
        writer.put(b"1");
        assert_eq!(writer.left(), None);
    }
}
