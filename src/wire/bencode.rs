//! Bencode: a pull reader over borrowed bytes, and a writer into a slice.
//!
//! The reader never recurses and allocates nothing: what is nested deeper than the caller looks is
//! walked with one bit per level.

use core::mem;

use super::Malformed;

/// How deep containers may nest in a datagram, the outermost dictionary included.
///
/// libtorrent reads 10 levels. No field of the protocol needs more than 3, so only BEP 44 values
/// get near either number; 32 is what one machine word of bits can track.
pub const MAX_DEPTH: u32 = 32;

/// How many strings, integers, lists and dictionaries a datagram may hold.
///
/// The shortest of them takes two bytes, so nothing that fits an Ethernet frame comes near this
/// bound; it limits the work that a 64 KiB datagram can cause.
pub const MAX_TOKENS: u32 = 2000;

/// Whether `bytes` are exactly one value in canonical form: keys sorted and unique, integers and
/// lengths without leading zeros, at most [`MAX_DEPTH`] levels and [`MAX_TOKENS`] tokens.
///
/// BEP 44 lets nothing else be stored.
///
/// ```
/// use dht_proto::wire::is_canonical;
///
/// assert!(is_canonical(b"d1:ai1e1:bi2ee"));
/// assert!(!is_canonical(b"d1:bi2e1:ai1ee"));
/// ```
pub fn is_canonical(bytes: &[u8]) -> bool {
    let mut reader = Reader::new(bytes);
    reader.traversal::<STRICT>().is_ok() && reader.rest.is_empty()
}

/// Levels whose keys are compared: level 0 is outside of any dictionary.
const STRICT: usize = MAX_DEPTH as usize + 1;
const LENIENT: usize = 0;

/// One value, read whole.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) enum Value<'a> {
    /// The key did not occur.
    #[default]
    Absent,
    Bytes(&'a [u8]),
    Int(i64),
    /// A list: its well-formed members, without the `l` and the `e`.
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

    /// A string of exactly `N` bytes.
    pub(crate) fn array<const N: usize>(&self) -> Option<&'a [u8; N]> {
        self.bytes().and_then(|bytes| bytes.try_into().ok())
    }

    /// A string of at least one byte.
    pub(crate) fn non_empty(&self) -> Option<&'a [u8]> {
        self.bytes().filter(|bytes| !bytes.is_empty())
    }

    pub(crate) const fn int(&self) -> Option<i64> {
        match *self {
            Self::Int(value) => Some(value),
            _ => None,
        }
    }

    /// A UDP port that can be sent to.
    pub(crate) fn port(&self) -> Option<u16> {
        self.int().and_then(|port| u16::try_from(port).ok()).filter(|&port| port != 0)
    }

    /// Set, to any integer but 0.
    pub(crate) const fn flag(&self) -> bool {
        matches!(*self, Self::Int(value) if value != 0)
    }
}

/// The known keys of a dictionary that came, right or wrong, a bit for each.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Seen(u32);

impl Seen {
    /// Notes a key. Of equal keys the first counts: whether this is it.
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
    /// Dictionaries entered and not yet left.
    depth: u32,
    tokens_left: u32,
}

impl<'a> Reader<'a> {
    pub(crate) const fn new(bytes: &'a [u8]) -> Self {
        Self::with_tokens(bytes, MAX_TOKENS)
    }

    /// For what is no datagram: another bound than [`MAX_TOKENS`].
    pub(crate) const fn with_tokens(bytes: &'a [u8], tokens: u32) -> Self {
        Self { rest: bytes, depth: 0, tokens_left: tokens }
    }

    /// What has not been read yet.
    pub(crate) const fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// Enters a dictionary if one comes next; otherwise reads nothing. Then call [`Self::key`]
    /// and, for each key, read its value.
    #[inline(always)]
    pub(crate) fn enter_dictionary(&mut self) -> Result<bool, Malformed> {
        let [b'd', rest @ ..] = self.rest else { return Ok(false) };
        self.count()?;
        self.rest = rest;
        self.depth = self.depth.saturating_add(1);
        if self.depth > MAX_DEPTH { Err(Malformed::TooDeep) } else { Ok(true) }
    }

    /// The next key of the dictionary entered last, or `None` at its end, which is left.
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
            _ => self.traversal::<LENIENT>().map(|()| Value::Other),
        }
    }

    /// Reads one value and returns its bytes as they are.
    pub(crate) fn raw(&mut self) -> Result<&'a [u8], Malformed> {
        let before = self.rest;
        self.traversal::<LENIENT>()?;
        Ok(self.since(before))
    }

    /// What was read since `before` was what remained.
    pub(crate) fn since(&self, before: &'a [u8]) -> &'a [u8] {
        before.get(..before.len().saturating_sub(self.rest.len())).unwrap_or_default()
    }

    /// Reads one value of any kind to its end. The last keys of `LEVELS` levels are compared: with
    /// [`STRICT`] only the canonical form passes, with [`LENIENT`] any order does.
    fn traversal<const LEVELS: usize>(&mut self) -> Result<(), Malformed> {
        let strict = LEVELS == STRICT;
        // One bit per open container, the innermost in bit 0.
        let mut is_dictionary = 0_u32;
        let mut owes_value = 0_u32;
        let mut open = 0_u32;
        let mut last_keys = [None::<&[u8]>; LEVELS];
        loop {
            let expects_key = is_dictionary & !owes_value & 1 != 0;
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
                    // A key makes its dictionary owe a value, any other string pays it.
                    owes_value = (owes_value & !1) | u32::from(expects_key);
                }
                b'e' if open != 0 && owes_value & 1 == 0 => {
                    self.rest = tail;
                    open = open.saturating_sub(1);
                    is_dictionary >>= 1;
                    owes_value >>= 1;
                }
                _ if expects_key => return Err(Malformed::Syntax),
                b'i' => {
                    self.int(strict)?;
                    owes_value &= !1;
                }
                b'd' | b'l' => {
                    self.count()?;
                    self.rest = tail;
                    open = open.saturating_add(1);
                    if self.depth.saturating_add(open) > MAX_DEPTH {
                        return Err(Malformed::TooDeep);
                    }
                    owes_value = (owes_value & !1) << 1;
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

    /// `None` for an integer beyond 64 bits, which is well-formed but no number of ours (E-11).
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

    #[inline(always)]
    fn count(&mut self) -> Result<(), Malformed> {
        self.tokens_left = self.tokens_left.checked_sub(1).ok_or(Malformed::TooManyTokens)?;
        Ok(())
    }
}

/// Where bencode is written to, or merely measured.
pub(crate) trait Sink {
    /// Adds bytes as they are.
    fn put(&mut self, bytes: &[u8]);

    #[inline]
    fn string(&mut self, bytes: &[u8]) {
        self.length(bytes.len());
        self.put(bytes);
    }

    /// The length of a string and its colon.
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

    #[inline]
    fn int(&mut self, value: i64) {
        self.put(if value < 0 { b"i-" } else { b"i" });
        self.put(digits_of(value.unsigned_abs(), &mut [0; MAX_DIGITS]));
        self.put(b"e");
    }
}

/// Fills a slice from the front.
pub(crate) struct Writer<'b> {
    rest: &'b mut [u8],
    fits: bool,
}

impl<'b> Writer<'b> {
    pub(crate) const fn new(buf: &'b mut [u8]) -> Self {
        Self { rest: buf, fits: true }
    }

    /// How much of the slice is left; `None` if something did not fit.
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

/// Counts what would be written.
pub(crate) struct Counter(pub(crate) usize);

impl Sink for Counter {
    #[inline]
    fn put(&mut self, bytes: &[u8]) {
        self.0 = self.0.saturating_add(bytes.len());
    }
}

/// Digits of the largest `u64`.
const MAX_DIGITS: usize = 20;

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

/// A length of any number of digits and what follows its colon; kept apart because most are short.
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

/// The number that digits spell; `None` for none at all and for more than 64 bits.
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
