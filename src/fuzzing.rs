//! What the fuzz targets do, kept here so that an ordinary test replays their corpus.

use crate::wire::{Body, MAX_TRANSACTION_LEN, Malformed, Message, ParseError, is_canonical, is_krpc};

/// Reads a datagram; what can be read must survive being written and read again.
///
/// # Panics
///
/// If it does not: that is a bug of this crate.
pub fn message(datagram: &[u8]) {
    let (message, rest) = match Message::parse_prefix(datagram) {
        Ok(parsed) => parsed,
        Err(ParseError::BadQuery { transaction, .. } | ParseError::BadReply { transaction }) => {
            assert!((1..=MAX_TRANSACTION_LEN).contains(&transaction.len()));
            return;
        }
        Err(_) => return,
    };
    assert!(is_krpc(datagram));
    assert!(datagram.ends_with(rest));

    // Peers in the old form of one string grow by a third as they are written.
    let mut buf = [0; 1 << 17];
    let len = message.encoded_len();
    assert_eq!(message.emit(&mut buf), (len <= buf.len()).then_some(len));
    let Some((written, _)) = buf.split_at_checked(len) else { return };
    match Message::parse_prefix(written) {
        Ok((again, rest)) => {
            assert_eq!(again, message);
            assert!(rest.is_empty());
        }
        Err(error) => assert_eq!(error, Malformed::TooManyTokens.into()),
    }
    // A value that is not ours to judge is passed on as it came.
    let foreign = matches!(message.body, Body::Response(response) if response.value.is_some());
    if !foreign && written.len() < 4000 {
        assert!(is_canonical(written));
    }
    if let Some(short) = len.checked_sub(1) {
        assert_eq!(message.emit(buf.get_mut(..short).unwrap_or_default()), None);
    }
}
