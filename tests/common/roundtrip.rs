//! Checks that whatever can be parsed is unchanged after being written and parsed again: any datagram, any
//! state.
//!
//! The fuzz target `message` and ordinary tests share this file.
#![allow(dead_code, unreachable_pub, reason = "every user takes a part of it")]

use std::time::Duration;

use dht_proto::state::{SavedAnnounce, State};
use dht_proto::wire::{Body, MAX_TRANSACTION_LEN, Malformed, Message, ParseError, is_canonical, is_krpc};
use dht_proto::{AddressPolicy, Config, Fixed, Instant, Node};
use sha1_smol::Sha1;

/// Parses a datagram; the message must be unchanged after being written and parsed again.
///
/// # Panics
///
/// If it is changed, which is a bug of this crate.
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

    // Peers in the old form of one string grow by a third when they are written.
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
    // A value that this crate does not validate is passed on unchanged.
    let foreign = matches!(message.body, Body::Response(response) if response.value.is_some());
    if !foreign && written.len() < 4000 {
        assert!(is_canonical(written));
    }
    if let Some(short) = len.checked_sub(1) {
        assert_eq!(message.emit(buf.get_mut(..short).unwrap_or_default()), None);
    }
}

/// Parses a saved state, as it is and as the content of one with a valid checksum; what a node restores
/// from it must be unchanged after being saved and parsed again.
///
/// # Panics
///
/// If it is changed, which is a bug of this crate.
pub fn state(bytes: &[u8]) {
    restore(bytes);
    let checksum = Sha1::from(bytes).digest().bytes();
    restore(&[b"d9:dht-proto", bytes, b"4:sha120:", &checksum, b"e"].concat());
}

fn restore(bytes: &[u8]) {
    let Ok(state) = State::parse(bytes) else { return };
    let mut config = Config::default();
    config.address_policy = AddressPolicy::Any;
    let mut memory = <Fixed>::new();
    let mut node = Node::with_storage(config, &mut memory, [7; 32], Instant::ZERO);
    let restored = node.restore(Instant::ZERO, &state, Duration::from_secs(60));
    let all = state.nodes().count() + state.announces().count() + state.skipped();
    #[cfg(feature = "items")]
    let all = all + state.items().count();
    let publications = restored.announces + restored.items;
    assert_eq!(restored.nodes + publications + restored.skipped, all);
    assert_eq!(node.publication_count(), publications);
    node.handle_timeout(Instant::ZERO);

    let mut buf = [0; 1 << 13];
    let Ok(len) = node.snapshot_into(0, &mut buf) else { unreachable!("so little fits into any buffer") };
    let again = State::parse(buf.get(..len).unwrap_or_default());
    let again = again.unwrap_or_else(|error| unreachable!("{error}"));
    assert_eq!((again.nodes().count(), again.skipped()), (restored.nodes, 0));
    for saved in again.announces() {
        let is_same = |old: &SavedAnnounce| {
            (old.infohash, old.announce, old.acknowledged)
                == (saved.infohash, saved.announce, saved.acknowledged)
        };
        assert!(state.announces().any(|old| is_same(&old)));
    }
}
