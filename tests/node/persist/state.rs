//! Saved states: the own format, those of other clients, and invalid files.

use crate::common::items;
use crate::stage;
use crate::stage::{Stage, addr, infohash, secs};

#[cfg(feature = "items")]
use std::net::SocketAddr;
use std::time::Duration;

use dht_proto::state::{SavedAnnounce, SavedNode, State, StateError};
use dht_proto::{Announce, Config, Family, Instant, Limits, Node, NodeId};

/// Returns a small state, saved at 1000, with nodes, announces and items.
fn snapshot() -> Vec<u8> {
    let mut stage = Stage::joined(6);
    for byte in 1..=3 {
        stage.act(|node, now| node.start_announcing(now, infohash(byte), Announce::port(4242)).unwrap());
    }
    #[cfg(feature = "items")]
    for item in [items::signed(7, items::VALUE), dht_proto::items::Item::immutable(items::VALUE).unwrap()] {
        stage.act(|node, now| node.start_publishing(now, &item).unwrap());
    }
    stage.node.snapshot(1000)
}

/// Returns a state with these records of announces.
fn with_announces(records: &[u8]) -> Vec<u8> {
    with("4:kept", records)
}

fn with(key: &str, records: &[u8]) -> Vec<u8> {
    let content = [format!("d{key}{}:", records.len()).as_bytes(), records, b"e"].concat();
    let checksum = sha1_smol::Sha1::from(&content).digest().bytes();
    [b"d9:dht-proto", &content[..], b"4:sha120:", &checksum, b"e"].concat()
}

fn nodes(state: &State<'_>) -> Vec<SavedNode> {
    state.nodes().collect()
}

fn addrs(state: &State<'_>) -> Vec<String> {
    state.nodes().map(|node| node.addr.to_string()).collect()
}

#[test]
fn what_is_saved_is_read_again() {
    let mut stage = Stage::joined(40);
    stage.run(secs(100));
    let bytes = stage.node.snapshot(1_700_000_000);
    let state = State::parse(&bytes).unwrap();
    assert_eq!(state.saved_at(), Some(1_700_000_000));
    for family in Family::ALL {
        assert_eq!(state.id(family), Some(stage.node.id(family)));
    }
    let saved = nodes(&state);
    assert_eq!((saved.len(), state.skipped()), (stage.node.node_count(Family::V4), 0));
    for known in stage.node.nodes(Family::V4) {
        let node = saved.iter().find(|node| node.addr == known.addr).unwrap();
        assert_eq!((node.id, node.rtt), (Some(known.id), known.rtt));
        assert!(node.known >= secs(50) && node.known <= secs(160), "{node:?}");
        assert!(node.silent <= node.known);
    }
}

#[test]
fn announcements_are_saved() {
    let mut stage = Stage::joined(40);
    let mut seed = Announce::implied(4242);
    seed.seed = true;
    stage.act(|node, now| node.start_announcing(now, infohash(1), seed).unwrap());
    stage.run(secs(300));
    stage.hosts.values_mut().for_each(|host| host.refuses_announces = Some(202));
    stage.act(|node, now| node.start_announcing(now, infohash(2), Announce::port(65_535)).unwrap());
    stage.run(secs(30));
    stage.act(|node, now| node.start_announcing(now, infohash(3), Announce::port(1)).unwrap());
    let bytes = stage.node.snapshot(0);
    let state = State::parse(&bytes).unwrap();
    let announces: Vec<SavedAnnounce> = state.announces().collect();
    assert_eq!((announces.len(), state.skipped()), (3, 0));
    assert_eq!((announces[0].infohash, announces[0].announce), (infohash(1), seed));
    assert_eq!(announces[0].acknowledged, 8);
    assert!((secs(325)..=secs(330)).contains(&announces[0].age), "{:?}", announces[0].age);
    for (saved, byte, port) in [(announces[1], 2, 65_535), (announces[2], 3, 1)] {
        assert_eq!((saved.infohash, saved.announce), (infohash(byte), Announce::port(port)));
        assert_eq!((saved.acknowledged, saved.age), (0, Duration::ZERO), "failed, and not tried yet");
    }
    assert_eq!(state.without_announces().announces().count(), 0);
    assert_eq!(nodes(&state.without_announces()), nodes(&state));
    assert_ne!(state.without_announces(), state);
}

#[test]
fn invalid_announcements_are_skipped_and_counted() {
    let record = |port: u16, flags: u8| {
        let [high, low] = port.to_be_bytes();
        [&[port as u8; 20][..], &[high, low, flags, 8, 0, 0, 1, 0]].concat()
    };
    let records = [record(1, 3), record(0, 0), record(2, 4), record(3, 0x80), record(4, 0), vec![1; 27]];
    let bytes = with_announces(&records.concat());
    let state = State::parse(&bytes).unwrap();
    let ports: Vec<u16> = state.announces().map(|saved| saved.announce.port).collect();
    assert_eq!((ports, state.skipped()), (vec![1, 4], 4));
    assert!(state.announces().all(|saved| saved.age == secs(256)));
    let bytes = with_announces(&[record(1, 0), record(1, 1), record(2, 0), record(3, 0)].concat());
    let mut limits = stage::limits();
    limits.publications = 2;
    let mut stage = Stage::with_limits(stage::config(), &limits);
    let restored = stage.act(|node, now| node.restore(now, &State::parse(&bytes).unwrap(), secs(0)));
    assert_eq!((restored.announces, restored.skipped), (2, 2), "the same torrent twice, and one too many");
}

#[cfg(feature = "items")]
#[test]
fn b44_31_publications_are_saved_without_their_secret() {
    use dht_proto::items::{Item, Salt, SecretKey};
    use dht_proto::state::SavedItem;

    let mut stage = Stage::joined(40);
    let (first, second) = (items::signed(i64::MAX, items::VALUE), Item::immutable(b"le").unwrap());
    stage.act(|node, now| node.start_publishing(now, &first).unwrap());
    stage.run(secs(300));
    stage.hosts.values_mut().for_each(|host| host.refuses_announces = Some(202));
    stage.act(|node, now| node.start_publishing(now, &second).unwrap());
    stage.run(secs(30));
    let longest = [&b"996:"[..], &[b'x'; 996]].concat();
    let third =
        Item::sign(&SecretKey::from_bytes(&[7; 32]), Salt::new(&[9; 64]).unwrap(), 0, &longest).unwrap();
    let before = stage.node.snapshot(0).len();
    stage.act(|node, now| node.start_publishing(now, &third).unwrap());
    let bytes = stage.node.snapshot(0);
    assert!(bytes.len() - before <= 1177 + 1, "and a digit more of the length");
    assert!(!bytes.windows(32).any(|window| window == [7; 32]));
    let state = State::parse(&bytes).unwrap();
    let saved: Vec<SavedItem> = state.items().collect();
    assert_eq!(saved.iter().map(|saved| &saved.item).collect::<Vec<_>>(), [&first, &second, &third]);
    assert_eq!((saved[0].acknowledged, state.skipped()), (8, 0));
    assert!((secs(325)..=secs(330)).contains(&saved[0].age), "{:?}", saved[0].age);
    for saved in &saved[1..] {
        assert_eq!((saved.acknowledged, saved.age), (0, Duration::ZERO), "failed, and not tried yet");
    }
    assert_eq!(state.without_items().items().count(), 0);
    assert_ne!(state.without_items(), state);
}

#[cfg(feature = "items")]
#[test]
fn b44_12_invalid_items_are_skipped_and_counted() {
    use dht_proto::items::Item;

    let record = |item: &Item| {
        let signed = item.key().map(|key| {
            let seq = item.seq().unwrap().to_be_bytes();
            let salt = item.salt();
            let salt = [&[salt.as_bytes().len() as u8], salt.as_bytes()].concat();
            [key.as_bytes(), &seq[..], item.signature().unwrap(), &salt].concat()
        });
        let flags = u8::from(signed.is_some());
        let rest = [&[flags, 8, 0, 0, 1, 0], &signed.unwrap_or_default()[..], item.value()].concat();
        [&(rest.len() as u16).to_be_bytes()[..], &rest].concat()
    };
    let (signed, plain) = (record(&items::signed(7, items::VALUE)), record(&Item::immutable(b"le").unwrap()));
    let changed = |record: &[u8], at: usize, to: u8| {
        let mut record = record.to_vec();
        record[at] = to;
        record
    };
    let end = signed.len() - 1;
    let records = [
        signed.clone(),
        changed(&signed, end, b'?'),
        changed(&signed, 2, 2),
        changed(&signed, 8, signed[8] ^ 1),
        changed(&signed, 2 + 6 + 32 + 8 + 64, 200),
        changed(&plain, 2, 1),
        changed(&plain, 8, b'x'),
        vec![0, 0],
        plain.clone(),
        plain.clone(),
        // Its length is greater than the rest of the file.
        changed(&plain, 1, 9),
    ];
    let bytes = with("5:items", &records.concat());
    let state = State::parse(&bytes).unwrap();
    assert_eq!((state.items().count(), state.skipped()), (3, 8));
    assert!(state.items().all(|saved| saved.age == secs(256) && saved.acknowledged == 8));
    let mut stage = Stage::new(stage::config());
    let restored = stage.act(|node, now| node.restore(now, &state, secs(0)));
    assert_eq!((restored.items, restored.skipped), (2, 9), "the same item twice");
    // Their memory bounds how many are restored.
    let many: Vec<u8> =
        (0..200).flat_map(|at| record(&Item::immutable(format!("i{at}e").as_bytes()).unwrap())).collect();
    let bytes = with("5:items", &many);
    let restored = Stage::new(stage::config())
        .act(|node, now| node.restore(now, &State::parse(&bytes).unwrap(), secs(0)));
    assert_eq!((restored.items, restored.skipped), (12, 188));
}

#[test]
fn a_state_of_the_version_without_announcements_is_read() {
    let content = b"d2:id20:abcdefghij01234567893:id620:ABCDEFGHIJ01234567895:nodes0:6:nodes60:4:timei7ee";
    let checksum = sha1_smol::Sha1::from(content).digest().bytes();
    let bytes = [b"d9:dht-proto", &content[..], b"4:sha120:", &checksum, b"e"].concat();
    let state = State::parse(&bytes).unwrap();
    assert_eq!((state.saved_at(), state.announces().count(), state.skipped()), (Some(7), 0, 0));
    // And one of a later version, which contains more.
    let content = b"d2:id20:abcdefghij01234567894:kept0:5:laterd1:ai1ee4:timei7ee";
    let checksum = sha1_smol::Sha1::from(content).digest().bytes();
    let bytes = [b"d9:dht-proto", &content[..], b"4:sha120:", &checksum, b"e"].concat();
    assert_eq!(State::parse(&bytes).unwrap().id(Family::V4), state.id(Family::V4));
}

#[test]
fn both_families_are_saved() {
    let now = Instant::from_micros(0);
    let mut node = Node::new(Config::default(), &Limits::default(), [7; 32], now);
    let hosts: [SocketAddr; 2] = ["60.0.1.1:1".parse().unwrap(), "[2a00::1]:1".parse().unwrap()];
    let text = b"d5:nodes6:\x3c\x00\x01\x01\x00\x016:nodes618:\x2a\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x01\x00\x01e";
    assert_eq!(node.restore(now, &State::parse(text).unwrap(), Duration::ZERO).nodes, 2);
    let bytes = node.snapshot(5);
    let state = State::parse(&bytes).unwrap();
    assert_eq!(state.nodes().map(|node| node.addr).collect::<Vec<_>>(), hosts);
    assert_ne!(state.id(Family::V4), state.id(Family::V6));
}

#[test]
fn a_snapshot_needs_no_allocator_and_reports_the_size_it_needs() {
    let stage = Stage::joined(6);
    let whole = stage.node.snapshot(1000);
    let mut buf = vec![0; 4096];
    let needed = stage.node.snapshot_into(1000, &mut []).unwrap_err().needed;
    assert_eq!(needed, whole.len());
    assert!(stage.node.snapshot_into(1000, &mut buf[..needed - 1]).is_err());
    assert_eq!(stage.node.snapshot_into(1000, &mut buf[..needed]), Ok(needed));
    assert_eq!(buf[..needed], whole);
    assert!(needed <= 200 + 6 * 36);
    assert_eq!(stage.node.snapshot(u64::MAX).len(), whole.len() + 15, "any time is accepted");
}

#[test]
fn the_best_nodes_are_saved_first() {
    let mut stage = Stage::joined(20);
    stage.run(secs(3600));
    for index in 21..=25 {
        stage.host(index);
        stage.act(|node, now| node.add_node(now, addr(index)).unwrap());
    }
    stage.run(secs(20));
    stage.at(3).is_dead = true;
    stage.run(secs(1000));
    let bytes = stage.node.snapshot(0);
    let state = State::parse(&bytes).unwrap();
    let place = |index| state.nodes().position(|node| node.addr == addr(index));
    assert!((1..=20).filter(|index| *index != 3).all(|old| place(old) < place(21)));
    assert!(place(3).is_none_or(|at| Some(at) > place(25)));
}

#[test]
fn c_14_every_truncation_and_every_flipped_bit_is_refused() {
    let whole = snapshot();
    assert!(State::parse(&whole).is_ok());
    for len in 0..whole.len() {
        assert_eq!(State::parse(&whole[..len]), Err(StateError::Malformed), "{len}");
    }
    for bit in 0..whole.len() * 8 {
        let mut flipped = whole.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        assert!(State::parse(&flipped).is_err(), "bit {bit}");
    }
    for tail in [&b"e"[..], b"\0", &whole] {
        assert_eq!(State::parse(&[&whole, tail].concat()), Err(StateError::Malformed));
    }
}

#[test]
fn damage_to_the_states_of_others_never_panics() {
    for whole in [LIBTORRENT, TRANSMISSION] {
        for len in 0..whole.len() {
            assert_eq!(State::parse(&whole[..len]), Err(StateError::Malformed), "{len}");
        }
        for bit in 0..whole.len() * 8 {
            let mut flipped = whole.to_vec();
            flipped[bit / 8] ^= 1 << (bit % 8);
            if let Ok(state) = State::parse(&flipped) {
                assert!(state.nodes().count() + state.skipped() <= 8);
            }
        }
    }
}

#[test]
fn foreign_files_are_refused() {
    for foreign in
        ["", "de", "i1e", "le", "9:dht-proto", "d9:dht-protoi1e4:sha120:aaaaaaaaaaaaaaaaaaaae", "d1:ai1ee"]
    {
        assert!(State::parse(foreign.as_bytes()).is_err(), "{foreign}");
    }
    for text in ["# a text file\n", "{\"id\": 1}", "\0\0\0\0", "d8:announce3:urle"] {
        assert!(State::parse(text.as_bytes()).is_err(), "{text}");
    }
    let nested = "l".repeat(100_000);
    assert_eq!(State::parse(nested.as_bytes()), Err(StateError::Malformed));
}

#[test]
fn unknown_keys_are_ignored() {
    let whole = snapshot();
    let state = State::parse(&whole).unwrap();
    // Beside the state; inside, it would change the checksum.
    let mut more = whole[..whole.len() - 1].to_vec();
    more.extend(b"7:strangeli1e2:abee");
    assert_eq!(State::parse(&more), Ok(state));
}

const LIBTORRENT: &[u8] =
    b"d9:dht stated7:node-idl24:abcdefghij0123456789\x01\x02\x03\x0436:ABCDEFGHIJ01234567890123456789abcdefe\
    5:nodesl6:\x3c\x00\x01\x01\x1a\xe15:short6:\x3c\x00\x02\x01\x00\x00i7e6:\x3c\x00\x03\x01\x1a\xe1e\
    6:nodes6l18:\x2a\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x01\x1a\xe1ee8:settingsd10:user_agent4:testee";

const TRANSMISSION: &[u8] = b"d2:id20:abcdefghij012345678912:id_timestampi1700000000e\
    5:nodes20:\x3c\x00\x01\x01\x1a\xe1\xe0\x00\x00\x01\x00\x01\x3c\x00\x03\x01\x1a\xe1ab\
    6:nodes636:\x2a\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x01\x1a\xe1\0\0\0\0\0\0\0\0\0\0\xff\xff\x01\x02\x03\x04\x1a\xe1e";

#[test]
fn c_14_a_state_of_libtorrent_is_read() {
    let state = State::parse(LIBTORRENT).unwrap();
    assert_eq!(state.id(Family::V4), Some(NodeId::from_bytes(*b"abcdefghij0123456789")));
    assert_eq!(state.id(Family::V6), Some(NodeId::from_bytes(*b"ABCDEFGHIJ0123456789")));
    assert_eq!(addrs(&state), ["60.0.1.1:6881", "60.0.3.1:6881", "[2a00::1]:6881"]);
    assert_eq!((state.skipped(), state.saved_at()), (3, None), "too short, port 0, not a string");
    assert!(state.nodes().all(|node| node.id.is_none() && node.rtt.is_none()));
    // Alone, as older programs write it, with a single id.
    let old = b"d7:node-id20:abcdefghij01234567895:nodesl6:\x3c\x00\x01\x01\x1a\xe1ee";
    let state = State::parse(old).unwrap();
    assert_eq!(state.id(Family::V4), Some(NodeId::from_bytes(*b"abcdefghij0123456789")));
    assert_eq!((state.id(Family::V6), addrs(&state)), (None, vec!["60.0.1.1:6881".to_owned()]));
}

/// Written by libtorrent 2.0 with a node beside it on loopback.
const SESSION: &[u8] = include_bytes!("../../data/libtorrent.session_params");

#[test]
fn session_parameters_that_libtorrent_wrote_are_read() {
    let state = State::parse(SESSION).unwrap();
    assert!(state.id(Family::V4).is_some() && state.id(Family::V6).is_none());
    assert_eq!((addrs(&state), state.skipped()), (vec!["127.0.0.1:26882".to_owned()], 0));
    for len in 0..SESSION.len() {
        assert!(State::parse(&SESSION[..len]).is_err());
    }
}

#[test]
fn a_state_of_libtorrent_with_many_nodes_is_read() {
    let mut bytes = b"d9:dht stated5:nodesl".to_vec();
    for index in 0..5000_u16 {
        bytes.extend(b"6:\x3c");
        bytes.extend(index.to_be_bytes());
        bytes.extend(b"\x01\x1a\xe1");
    }
    bytes.extend(b"eee");
    assert_eq!(State::parse(&bytes).unwrap().nodes().count(), 5000);
}

#[test]
fn c_14_a_state_of_transmission_is_read() {
    let state = State::parse(TRANSMISSION).unwrap();
    for family in Family::ALL {
        assert_eq!(state.id(family), Some(NodeId::from_bytes(*b"abcdefghij0123456789")));
    }
    assert_eq!(addrs(&state), ["60.0.1.1:6881", "60.0.3.1:6881", "[2a00::1]:6881"]);
    assert_eq!(state.skipped(), 3, "multicast, incomplete, IPv4-mapped");
    let bare = State::parse(b"d5:nodes6:\x3c\x00\x01\x01\x1a\xe1e").unwrap();
    assert_eq!((bare.id(Family::V4), bare.nodes().count()), (None, 1));
    let zero = State::parse(b"d2:id20:\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0e").unwrap();
    assert_eq!(zero.id(Family::V4), None, "the zero id is invalid");
}

#[test]
fn r_13_nodes_with_refused_addresses_are_filtered_out() {
    let bytes = b"d5:nodes30:\x3c\x00\x01\x01\x1a\xe1\x7f\x00\x00\x01\x1a\xe1\x0a\x00\x00\x01\x1a\xe1\x3c\x00\x01\x01\x1a\xe1\x00\x00\x00\x00\x1a\xe1e";
    let state = State::parse(bytes).unwrap();
    assert_eq!((state.nodes().count(), state.skipped()), (4, 1), "private networks have states too");
    let mut stage = Stage::new(stage::config());
    let restored = stage.act(|node, now| node.restore(now, &state, Duration::ZERO));
    assert_eq!((restored.nodes, restored.skipped), (1, 4), "loopback, private, and the same twice");
    stage.run(secs(1));
    assert!(stage.sent.iter().all(|sent| sent.to == "60.0.1.1:6881".parse().unwrap()));
}

proptest::proptest! {
    /// Damage that the checksum of the own format detects is tried on the formats without one.
    #[test]
    fn parsing_arbitrary_bytes_never_panics(splice: Vec<u8>, at in 0..200_usize, len in 0..20_usize, which in 0..3_usize) {
        let mut bytes = [LIBTORRENT, TRANSMISSION, b"d9:dht-protod2:idle5:nodesi1ee4:sha10:e"][which].to_vec();
        let at = at.min(bytes.len());
        let end = (at + len).min(bytes.len());
        bytes.splice(at..end, splice);
        if let Ok(state) = State::parse(&bytes) {
            let mut stage = Stage::new(stage::config());
            let restored = stage.act(|node, now| node.restore(now, &state, Duration::ZERO));
            let all = state.nodes().count() + state.announces().count() + state.skipped();
            proptest::prop_assert_eq!(restored.nodes + restored.announces + restored.skipped, all);
        }
    }
}
