//! Records of published items, in the format of this crate.

use core::time::Duration;

use super::encoding::put_secs;
use super::saved::SavedItem;
use crate::store::items::{Item, PublicKey, Salt};
use crate::wire::Sink;

/// Maximum number of records read from one state, which bounds the work; fewer items can be republished.
const MAX_ITEMS: u16 = 8192;

/// The length of the beginning of every record: a byte of flags, one with the number of nodes that confirmed
/// the last republish, and its age.
const HEAD_LEN: usize = 6;

/// The flag of a mutable item.
const MUTABLE: u8 = 1;

/// The records of a state; `None` for one that is not an item, or is past the limit.
#[derive(Clone, Copy)]
pub(super) struct Records<'a> {
    rest: &'a [u8],
    count: u16,
}

impl<'a> Records<'a> {
    pub(super) const fn new(records: &'a [u8]) -> Self {
        Self { rest: records, count: 0 }
    }
}

impl Iterator for Records<'_> {
    type Item = Option<SavedItem>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let record = self.rest.split_first_chunk().and_then(|(len, rest)| {
            let len = usize::from(u16::from_be_bytes(*len));
            rest.split_at_checked(len)
        });
        // After a record that is too long the start of the next one is unknown.
        let (record, rest) = record.unwrap_or_default();
        self.rest = rest;
        self.count = self.count.saturating_add(1);
        Some(Some(record).filter(|_| self.count <= MAX_ITEMS).and_then(read))
    }
}

/// Returns the length of an item's record.
pub(super) fn record_len(item: &Item) -> usize {
    let signed_len = item.signed_parts().map_or(0, |_| 32 + 8 + 64 + 1 + item.salt().as_bytes().len());
    2 + HEAD_LEN + signed_len + item.value().len()
}

pub(super) fn put_record(out: &mut impl Sink, saved: &SavedItem) {
    let item = &saved.item;
    out.put(&((record_len(item) - 2) as u16).to_be_bytes());
    let flags = if item.is_mutable() { MUTABLE } else { 0 };
    out.put(&[flags, u8::try_from(saved.acknowledged).unwrap_or(u8::MAX)]);
    put_secs(out, saved.age);
    if let Some(signed) = item.signed_parts() {
        out.put(signed.key.as_bytes());
        out.put(&signed.seq.to_be_bytes());
        out.put(&signed.signature);
        let salt = signed.salt.as_bytes();
        out.put(&[salt.len() as u8]);
        out.put(salt);
    }
    out.put(item.value());
}

/// Reads a record and checks the signature, once at a start.
///
/// An [`Item`] guarantees a valid signature, and the checksum of a state does not prevent forgery.
fn read(record: &[u8]) -> Option<SavedItem> {
    let (&[flags, acknowledged, a, b, c, d], rest) = record.split_first_chunk::<HEAD_LEN>()?;
    let item = match flags {
        0 => Item::immutable(rest),
        MUTABLE => {
            let (key, rest) = rest.split_first_chunk()?;
            let (seq, rest) = rest.split_first_chunk()?;
            let (signature, rest) = rest.split_first_chunk()?;
            let (salt_len, rest) = rest.split_first()?;
            let (salt, value) = rest.split_at_checked(usize::from(*salt_len))?;
            let (key, salt) = (PublicKey::from_bytes(*key), Salt::new(salt).ok()?);
            Item::signed(key, salt, i64::from_be_bytes(*seq), value, *signature)
        }
        _ => return None,
    };
    let age = Duration::from_secs(u32::from_be_bytes([a, b, c, d]).into());
    Some(SavedItem { item: item.ok()?, acknowledged: acknowledged.into(), age })
}
