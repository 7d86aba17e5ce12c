//! Items that others put to a node and get from it (BEP 44).

use std::net::SocketAddr;
use std::time::Duration;

use dht_proto::items::{Item, Salt, SecretKey};
use dht_proto::wire::{Body, Message, Method, PutItem, Query, Want};
use dht_proto::{Event, Family, Limits, NodeId};

use crate::common::items::{VALUE, secret, signed};
use crate::common::raw::{
    ID, Lone, Packet, TARGET, addr6, config, crowd, join, limits, query, spread, stingy, unhurried,
};
use crate::common::{addr, stranger};

fn immutable(value: &[u8]) -> Item {
    Item::immutable(value).unwrap()
}

fn bytes(method: Method<'_>) -> Vec<u8> {
    let mut buf = [0; 2000];
    let query = Query { id: NodeId::from_bytes(ID), method };
    let size = Message::new(b"aa", Body::Query(query)).emit(&mut buf).unwrap();
    buf[..size].to_vec()
}

fn get(target: NodeId, seq: Option<i64>) -> Vec<u8> {
    bytes(Method::Get { target, seq, want: Want::NONE })
}

fn token(lone: &mut Lone, from: SocketAddr, target: NodeId) -> Vec<u8> {
    lone.accepted(from, &get(target, None)).string("r.token").expect("B44-08: a token in any case").to_vec()
}

/// The deviations of a put from a valid one.
#[derive(Default)]
struct Twist {
    token: Option<Vec<u8>>,
    signature: Option<[u8; 64]>,
    target: Option<NodeId>,
    cas: Option<i64>,
}

fn put_bytes(item: &Item, token: &[u8], twist: &Twist) -> Vec<u8> {
    let (value, key, salt) = (item.value(), item.key().map(|key| *key.as_bytes()), item.salt());
    let put = match &key {
        None => PutItem::Immutable { value, seq: None },
        Some(key) => {
            let (seq, salt, cas) = (item.seq().unwrap(), salt.as_bytes(), twist.cas);
            let signature = twist.signature.as_ref().or_else(|| item.signature()).unwrap();
            PutItem::Mutable { value, key, seq, signature, salt, cas }
        }
    };
    let token = twist.token.as_deref().unwrap_or(token);
    bytes(Method::Put { token, target: twist.target, item: put })
}

/// Puts an item with a valid token and a twist, and returns the code of the refusal.
#[track_caller]
fn put_with(lone: &mut Lone, from: SocketAddr, item: &Item, twist: &Twist) -> Result<(), i64> {
    let token = token(lone, from, item.target());
    let reply = lone.ask(from, &put_bytes(item, &token, twist));
    match reply.kind() {
        b'r' => Ok(()),
        _ => Err(code(&reply)),
    }
}

#[track_caller]
fn put(lone: &mut Lone, from: SocketAddr, item: &Item) -> Result<(), i64> {
    put_with(lone, from, item, &Twist::default())
}

fn code(reply: &Packet) -> i64 {
    let Ok(Message { body: Body::Error(error), .. }) = Message::parse(&reply.bytes) else {
        panic!("no error")
    };
    error.code.0
}

/// Returns the value and the sequence number that a get returns.
fn found(lone: &mut Lone, target: NodeId, newer_than: Option<i64>) -> (Option<Vec<u8>>, Option<i64>) {
    let reply = lone.accepted(stranger(99), &get(target, newer_than));
    let Ok(Message { body: Body::Response(response), .. }) = Message::parse(&reply.bytes) else { panic!() };
    (response.value.map(<[u8]>::to_vec), response.seq)
}

#[test]
fn b44_01_b44_08_a_get_is_answered_with_token_nodes_and_the_item() {
    let mut lone = Lone::new(unhurried());
    lone.meet(crowd(Family::V4, 20));
    let item = signed(3, VALUE);
    let empty = lone.accepted(stranger(1), &get(item.target(), None));
    assert_eq!((empty.nodes().len(), empty.at("r.v"), empty.at("r.seq")), (8, None, None));
    put(&mut lone, stranger(1), &item).unwrap();
    let reply = lone.accepted(stranger(2), &get(item.target(), None));
    assert_eq!(reply.nodes().len(), 8);
    assert_eq!(reply.string("r.token").map(<[u8]>::len), Some(8));
    assert_eq!(reply.string("r.k"), Some(&item.key().unwrap().as_bytes()[..]));
    assert_eq!(reply.string("r.sig"), Some(&item.signature().unwrap()[..]));
    assert_eq!((reply.int("r.seq"), reply.string("r.v")), (Some(3), Some(&b"Hello World!"[..])));
    assert_eq!(reply.at("r.salt"), None, "it is never returned");
}

#[test]
fn b44_02_b44_06_an_immutable_item_is_stored_under_its_hash_byte_for_byte() {
    let mut lone = Lone::new(unhurried());
    for value in [VALUE, b"d1:ai-5e1:bl0:dee1:z9:\x00\xff\x80:e:i1ee", b"i-9e", b"le"] {
        let item = immutable(value);
        put(&mut lone, stranger(1), &item).unwrap();
        assert_eq!(found(&mut lone, item.target(), None), (Some(value.to_vec()), None));
        assert_eq!(lone.node.stored_item(item.target()), Some(item.clone()));
        let stored = Event::ItemStored { target: item.target(), node: stranger(1), seq: None };
        assert!(lone.events.contains(&stored));
    }
    assert_eq!((lone.node.item_count(), lone.node.stored_items().count()), (4, 4));
    lone.node.clear_items();
    assert_eq!((lone.node.item_count(), found(&mut lone, immutable(VALUE).target(), None).0), (0, None));
}

#[test]
fn b44_03_b44_11_b44_10_v44_the_items_of_the_bep_are_stored_and_returned() {
    let key = "77ff84905a91936367c01360803104f92432fcd904a43511876df5cdf3e7e548".parse().unwrap();
    let hex = |text: &str| -> [u8; 64] {
        std::array::from_fn(|at| u8::from_str_radix(&text[2 * at..2 * at + 2], 16).unwrap())
    };
    let plain = hex("305ac8aeb6c9c151fa120f120ea2cfb923564e11552d06a5d856091e5e853cff\
        1260d3f39e4999684aa92eb73ffd136e6f4f3ecbfda0ce53a1608ecd7ae21f01");
    let salted = hex("6834284b6b24c3204eb2fea824d82f88883a3d95e8b4a21b8c0ded553d17d17d\
        df9a8a7104b1258f30bed3787e6cb896fca78c58f8e03b5f18f14951a87d9a08");
    let mut lone = Lone::new(unhurried());
    for (salt, signature, target) in [
        (&b""[..], plain, "4a533d47ec9c7d95b1ad75f576cffc641853b750"),
        (b"foobar", salted, "411eba73b6f087ca51a3795d9c8c938d365e32c1"),
    ] {
        let item = Item::signed(key, Salt::new(salt).unwrap(), 1, VALUE, signature).unwrap();
        assert_eq!(item.target().to_string(), target);
        put(&mut lone, stranger(1), &item).unwrap();
        assert_eq!(lone.node.stored_item(item.target()), Some(item), "its salt too");
    }
    let item = immutable(VALUE);
    assert_eq!(item.target().to_string(), "e5f96f6f38320f0f33959cb4d3d656452117aadb");
    put(&mut lone, stranger(1), &item).unwrap();
    assert_eq!(lone.node.item_count(), 3);
}

#[test]
fn b44_04_a_target_in_a_put_must_match_the_item() {
    let mut lone = Lone::new(unhurried());
    for item in [signed(1, VALUE), immutable(VALUE)] {
        let wrong = Twist { target: Some(NodeId::from_bytes(TARGET)), ..Twist::default() };
        assert_eq!(put_with(&mut lone, stranger(1), &item, &wrong), Err(203));
        let right = Twist { target: Some(item.target()), ..Twist::default() };
        assert_eq!(put_with(&mut lone, stranger(1), &item, &right), Ok(()));
    }
}

#[test]
fn b44_05_values_of_every_type_are_stored() {
    let mut lone = Lone::new(unhurried());
    for value in [&b"i1e"[..], b"d2:ih20:abcdefghij0123456789e", b"l1:ae", b"1:a"] {
        assert_eq!(put(&mut lone, stranger(1), &signed(1, value)), Ok(()));
        lone.node.clear_items();
    }
}

#[test]
fn b44_07_b44_09_b44_10_b44_18_b44_19_b44_17_malformed_puts_are_refused_and_nothing_is_stored() {
    let mut lone = Lone::new(unhurried());
    let item = signed(1, VALUE);
    let (key, signature) = (*item.key().unwrap().as_bytes(), *item.signature().unwrap());
    let token = token(&mut lone, stranger(1), item.target());
    let of = |more: &[&[u8]]| query("put", &more.concat());
    let (k, sig) = (join(&[b"1:k32:", &key]), join(&[b"3:sig64:", &signature]));
    let tail = join(&[b"5:token8:", &token, b"1:v", VALUE]);
    let long_salt = join(&[b"4:salt65:", &[b's'; 65]]);
    let big = join(&[b"5:token8:", &token, b"1:v1001:", &[b'x'; 1001]]);
    for (expected, put) in [
        (203, of(&[&k, b"3:seqi1e", &tail])),
        (203, of(&[&k, &sig, &tail])),
        (203, of(&[b"3:seqi1e", &sig, &tail])),
        (203, of(&[&k, &tail])),
        (203, of(&[&sig, &tail])),
        (203, of(&[b"1:k31:", &key[1..], b"3:seqi1e", &sig, &tail])),
        (203, of(&[&k, b"3:seqi-1e", &sig, &tail])),
        (203, of(&[&k, b"3:seqi9223372036854775808e", &sig, &tail])),
        (203, of(&[&join(&[b"5:token8:", &token, b"1:vd1:b0:1:a0:e"])])),
        (203, of(&[&join(&[b"5:token8:", &token])])),
        (205, of(&[&big])),
        (207, of(&[&k, &long_salt, b"3:seqi1e", &sig, &tail])),
    ] {
        assert_eq!(lone.refused(stranger(1), &put), expected, "{}", put.escape_ascii());
    }
    assert_eq!((lone.node.item_count(), lone.stats().items.checked), (0, 0));
}

#[test]
fn b44_12_a_wrong_signature_is_206_and_stores_nothing() {
    let mut lone = Lone::new(unhurried());
    let item = signed(1, VALUE);
    let mut signature = *item.signature().unwrap();
    signature[40] ^= 1;
    let twist = Twist { signature: Some(signature), ..Twist::default() };
    assert_eq!(put_with(&mut lone, stranger(1), &item, &twist), Err(206));
    let of_other = *Item::sign(&secret(), Salt::NONE, 1, VALUE).unwrap().signature().unwrap();
    let twist = Twist { signature: Some(of_other), ..Twist::default() };
    assert_eq!(put_with(&mut lone, stranger(1), &item, &twist), Err(206), "the salt is signed");
    assert_eq!((lone.node.item_count(), lone.stats().items.bad_signature), (0, 2));
}

#[test]
fn b44_13_b44_17_seq_never_decreases_and_the_first_of_two_values_with_one_seq_stays() {
    let mut lone = Lone::new(unhurried());
    let target = signed(5, VALUE).target();
    put(&mut lone, stranger(1), &signed(5, VALUE)).unwrap();
    for (item, expected) in [
        (signed(4, VALUE), Err(302)),
        (signed(5, b"5:other"), Err(302)),
        (signed(5, VALUE), Ok(())),
        (signed(0, VALUE), Err(302)),
    ] {
        assert_eq!(put(&mut lone, stranger(2), &item), expected);
        assert_eq!(found(&mut lone, target, None), (Some(VALUE.to_vec()), Some(5)));
    }
    put(&mut lone, stranger(2), &signed(i64::MAX, b"4:last")).unwrap();
    assert_eq!(found(&mut lone, target, None), (Some(b"4:last".to_vec()), Some(i64::MAX)));
    assert_eq!(lone.node.item_count(), 1);
}

#[test]
fn b44_14_b44_15_b44_16_cas_is_checked_before_seq_if_an_item_is_stored() {
    let mut lone = Lone::new(unhurried());
    let mut put_cas = |seq, cas| {
        let twist = Twist { cas: Some(cas), ..Twist::default() };
        put_with(&mut lone, stranger(1), &signed(seq, format!("i{seq}e").as_bytes()), &twist)
    };
    assert_eq!(put_cas(0, 9), Ok(()), "nothing is stored");
    assert_eq!(put_cas(1, 1), Err(301));
    assert_eq!(put_cas(1, 0), Ok(()), "zero is a valid number");
    assert_eq!(put_cas(0, 5), Err(301), "not 302");
    assert_eq!(put_cas(1, 1), Ok(()), "the same item again");
    assert_eq!(put_cas(1, 0), Err(301));
    assert_eq!(put_cas(0, 1), Err(302));
}

#[test]
fn b44_20_an_immutable_put_with_a_stray_seq_is_stored_as_immutable() {
    let mut lone = Lone::new(unhurried());
    let item = immutable(VALUE);
    let token = token(&mut lone, stranger(1), item.target());
    lone.accepted(stranger(1), &query("put", &join(&[b"3:seqi1e5:token8:", &token, b"1:v", VALUE])));
    assert_eq!(found(&mut lone, item.target(), None), (Some(VALUE.to_vec()), None));
}

#[test]
fn b44_22_an_unsigned_put_never_replaces_a_signed_item() {
    let mut lone = Lone::new(unhurried());
    let item = signed(1, VALUE);
    put(&mut lone, stranger(1), &item).unwrap();
    let token = token(&mut lone, stranger(2), item.target());
    // An immutable item at the target of the key, as libtorrent once stored it.
    let key = *item.key().unwrap().as_bytes();
    let unsigned = join(&[b"1:k32:", &key, b"4:salt4:salt5:token8:", &token, b"1:v4:evil"]);
    assert_eq!(lone.refused(stranger(2), &query("put", &unsigned)), 203);
    let plain = join(&[b"6:target20:", item.target().as_bytes(), b"5:token8:", &token, b"1:v4:evil"]);
    assert_eq!(lone.refused(stranger(2), &query("put", &plain)), 203);
    assert_eq!(found(&mut lone, item.target(), None), (Some(VALUE.to_vec()), Some(1)));
}

#[test]
fn b44_23_of_several_faults_the_first_in_order_is_reported() {
    let mut lone = Lone::new(unhurried());
    put(&mut lone, stranger(1), &signed(5, VALUE)).unwrap();
    let old = signed(3, b"3:old");
    let broken = |token: Option<Vec<u8>>, signature, cas| Twist { token, signature, cas, ..Twist::default() };
    let bad_token = Some(b"no token".to_vec());
    let bad_signature = Some([9; 64]);
    for (expected, twist) in [
        (203, broken(bad_token, bad_signature, Some(1))),
        (206, broken(None, bad_signature, Some(1))),
        (206, broken(None, bad_signature, None)),
        (301, broken(None, None, Some(1))),
        (302, broken(None, None, Some(5))),
        (302, broken(None, None, None)),
    ] {
        assert_eq!(put_with(&mut lone, stranger(2), &old, &twist), Err(expected));
    }
}

#[test]
fn b44_24_b44_34_a_token_is_valid_for_its_address_and_target_only() {
    let mut lone = Lone::new(unhurried());
    let (item, other) = (signed(1, VALUE), immutable(VALUE));
    let mut put_under = |from, token: Vec<u8>| {
        let twist = Twist { token: Some(token), ..Twist::default() };
        put_with(&mut lone, from, &item, &twist)
    };
    assert_eq!(put_under(stranger(1), b"no token".to_vec()), Err(203));
    let of_other_target = token(&mut Lone::new(unhurried()), stranger(1), other.target());
    assert_eq!(put_under(stranger(1), of_other_target), Err(203));
    let of_other_address = token(&mut lone, stranger(2), item.target());
    let twist = Twist { token: Some(of_other_address), ..Twist::default() };
    assert_eq!(put_with(&mut lone, stranger(1), &item, &twist), Err(203));
    assert_eq!((lone.node.item_count(), lone.stats().items.checked), (0, 0), "no signature was checked");
}

#[test]
fn b44_25_b44_26_a_get_with_seq_returns_only_newer_mutable_items() {
    let mut lone = Lone::new(unhurried());
    let (item, plain) = (signed(5, VALUE), immutable(VALUE));
    put(&mut lone, stranger(1), &item).unwrap();
    put(&mut lone, stranger(1), &plain).unwrap();
    assert_eq!(found(&mut lone, item.target(), Some(4)), (Some(VALUE.to_vec()), Some(5)));
    for known in [5, 6, i64::MAX] {
        let reply = lone.accepted(stranger(2), &get(item.target(), Some(known)));
        assert_eq!((reply.at("r.v"), reply.at("r.k"), reply.at("r.sig")), (None, None, None));
        assert_eq!(reply.int("r.seq"), Some(5));
    }
    assert_eq!(found(&mut lone, plain.target(), Some(0)), (None, None));
}

#[test]
fn b44_31_an_item_expires_two_hours_after_its_last_put() {
    let mut lone = Lone::new(unhurried());
    let (mutable, plain) = (signed(1, VALUE), immutable(VALUE));
    put(&mut lone, stranger(1), &mutable).unwrap();
    put(&mut lone, stranger(1), &plain).unwrap();
    lone.wait(Duration::from_secs(7190));
    put(&mut lone, stranger(2), &mutable).unwrap();
    assert_eq!(lone.stats().items.refreshed, 1);
    assert!(found(&mut lone, plain.target(), None).0.is_some());
    lone.wait(Duration::from_secs(20));
    assert_eq!(found(&mut lone, plain.target(), None).0, None);
    assert_eq!(lone.node.item_count(), 1, "its memory is freed");
    assert!(found(&mut lone, mutable.target(), None).0.is_some());
    lone.wait(Duration::from_secs(7200));
    assert_eq!(lone.node.item_count(), 0);
}

#[test]
fn b44_36_the_store_is_bounded_and_works_when_it_is_full() {
    let mut limits = limits();
    (limits.items.stored, limits.items.chunks) = (16, 40);
    let mut lone = Lone::with_limits(unhurried(), &limits);
    let mut stored = 0;
    for index in 0..300_u16 {
        let value = [format!("{}:", 3 * index).into_bytes(), vec![b'x'; 3 * usize::from(index)]].concat();
        let from = SocketAddr::from(([60, (index >> 8) as u8, index as u8, 1], 6881));
        match put(&mut lone, from, &immutable(&value)) {
            Ok(()) => stored += 1,
            Err(code) => assert_eq!(code, 202),
        }
        assert!(lone.node.item_count() <= 16);
    }
    let counts = lone.stats().items;
    assert_eq!((counts.stored, counts.stored + counts.no_room), (stored, 300));
    assert!(counts.evicted > 20 && counts.no_room > 20, "{counts:?}");
}

#[test]
fn b44_36_one_subnet_cannot_evict_the_items_of_others() {
    let mut limits = limits();
    (limits.items.stored, limits.items.chunks) = (24, 200);
    let mut lone = Lone::with_limits(unhurried(), &limits);
    let honest: Vec<Item> = (0..12).map(|index| immutable(format!("i{index}e").as_bytes())).collect();
    for (index, item) in honest.iter().enumerate() {
        put(&mut lone, stranger(index), item).unwrap();
    }
    for index in 0..1000_u16 {
        let from = SocketAddr::from(([66, 6, 6, index as u8], 6881));
        let _ = put(&mut lone, from, &immutable(format!("l1:xi{index}ee").as_bytes()));
    }
    let left = honest.iter().filter(|item| lone.node.stored_item(item.target()).is_some()).count();
    assert_eq!(left, 12);
}

#[test]
fn a_repeated_put_needs_no_second_signature_check() {
    let mut config = unhurried();
    config.items.signature_checks = 1;
    let mut lone = Lone::new(config);
    let item = signed(1, VALUE);
    put(&mut lone, stranger(1), &item).unwrap();
    (2..40).for_each(|index| put(&mut lone, stranger(index), &item).unwrap());
    let counts = lone.stats().items;
    assert_eq!((counts.checked, counts.refreshed, counts.unchecked), (1, 38, 0));
}

#[test]
fn signatures_are_checked_at_the_configured_rate_and_other_puts_get_a_server_error() {
    let mut config = unhurried();
    (config.items.signature_checks, config.items.bad_signature_cost) = (10, 0);
    let mut lone = Lone::new(config);
    let codes = |lone: &mut Lone, at: usize| -> Vec<i64> {
        let twist = Twist { signature: Some([9; 64]), ..Twist::default() };
        (0..50).map(|n| put_with(lone, stranger(at + n), &signed(1, VALUE), &twist).unwrap_err()).collect()
    };
    let first = codes(&mut lone, 0);
    assert_eq!(first.iter().filter(|code| **code == 206).count(), 20, "a burst of two seconds");
    assert!(first[20..].iter().all(|code| *code == 202));
    lone.wait(Duration::from_secs(1));
    let second = codes(&mut lone, 50);
    assert_eq!(second.iter().filter(|code| **code == 206).count(), 10);
    let counts = lone.stats().items;
    assert_eq!((counts.checked, counts.bad_signature, counts.unchecked), (30, 30, 70));
}

#[test]
fn a_source_of_wrong_signatures_is_soon_refused() {
    let mut lone = Lone::new(config());
    let item = signed(1, VALUE);
    let token = token(&mut lone, stranger(1), item.target());
    let twist = Twist { signature: Some([9; 64]), ..Twist::default() };
    let bad = put_bytes(&item, &token, &twist);
    assert_eq!(lone.refused(stranger(1), &bad), 206);
    assert_eq!(lone.refused(stranger(1), &bad), 206);
    for _ in 0..1000 {
        lone.ignored(stranger(1), &bad);
    }
    assert_eq!(lone.stats().items.checked, 2);
    put(&mut lone, stranger(2), &item).unwrap();
    lone.wait(Duration::from_secs(30));
    assert_eq!(lone.refused(stranger(1), &bad), 206, "its puts are checked again");
}

#[test]
fn h_27_wrong_signatures_of_one_address_are_checked_no_more_than_14_times_a_minute() {
    let mut lone = Lone::new(config());
    let item = signed(1, VALUE);
    let token = token(&mut lone, stranger(1), item.target());
    let bad = put_bytes(&item, &token, &Twist { signature: Some([9; 64]), ..Twist::default() });
    for _ in 0..60 * 100 {
        lone.receive(stranger(1), &bad);
        lone.wait(Duration::from_millis(10));
    }
    let checked = lone.stats().items.checked;
    assert!((2..=14).contains(&checked), "{checked}");
}

#[test]
fn h_27_puts_of_many_addresses_or_of_one_ipv6_56_leave_signature_checks_to_others() {
    let crowds: [fn(u16) -> SocketAddr; 2] = [
        |at| SocketAddr::from(([97, 1, at as u8, 1], 6881)),
        |at| SocketAddr::from(([0x2a01, 0x100, 1, 0x100 + at, 0, 0, 0, 1], 6881)),
    ];
    for (attacker, is_good) in crowds.into_iter().flat_map(|crowd| [(crowd, true), (crowd, false)]) {
        let mut lone = Lone::with_limits(config(), &Limits::default());
        let keys: Vec<_> = (0..60).map(|at| SecretKey::from_bytes(&[100 + at; 32])).collect();
        let item = |at: usize, seq| Item::sign(&keys[at], Salt::NONE, seq, b"4:text").unwrap();
        let twist = Twist { signature: (!is_good).then_some([9; 64]), ..Twist::default() };
        let tokens: Vec<_> =
            (0..60).map(|at| token(&mut lone, attacker(at as u16), item(at, 1).target())).collect();
        let mut stored = 0;
        for honest in 0..20_usize {
            for number in 0..500 {
                let at = number % 60;
                let put = put_bytes(&item(at, (500 * honest + number) as i64), &tokens[at], &twist);
                lone.receive(attacker(at as u16), &put);
                lone.wait(Duration::from_millis(2));
            }
            let item = Item::sign(&secret(), Salt::new(&[honest as u8]).unwrap(), 1, VALUE).unwrap();
            stored += usize::from(put(&mut lone, stranger(50_000 + honest), &item).is_ok());
        }
        assert!(stored >= 19, "{stored} of 20, {is_good}");
    }
}

#[test]
fn e_30_b44_08_the_longest_item_is_returned_whole_and_nodes_are_left_out_for_it() {
    let mut lone = Lone::new(unhurried());
    lone.meet(crowd(Family::V4, 20));
    lone.meet(crowd(Family::V6, 20));
    let value = join(&[b"996:", &[b'x'; 996]]);
    let item = Item::sign(&secret(), Salt::new(&[b's'; 64]).unwrap(), i64::MAX, &value).unwrap();
    put(&mut lone, stranger(1), &item).unwrap();
    let both = bytes(Method::Get { target: item.target(), seq: None, want: Want::BOTH });
    let reply = lone.accepted(stranger(1), &both);
    assert_eq!(reply.string("r.v").map(<[u8]>::len), Some(996));
    assert!(reply.bytes.len() <= 1472 && reply.bytes.len() > 1472 - 38, "{} bytes", reply.bytes.len());
    assert!(reply.string("r.token").is_some());
    let v6 = SocketAddr::from(([0x2a00, 1, 2, 0, 0, 0, 0, 1], 6881));
    let reply = lone.accepted(v6, &both);
    assert!(reply.string("r.v").is_some() && reply.bytes.len() <= 1452, "{} bytes", reply.bytes.len());
}

#[test]
fn an_unverified_source_gets_no_item_that_would_amplify_its_query() {
    let mut lone = Lone::new(stingy());
    let item = immutable(&join(&[b"900:", &[b'x'; 900]]));
    put(&mut lone, stranger(1), &item).unwrap();
    let get = get(item.target(), None);
    let reply = lone.accepted(stranger(2), &get);
    assert!(reply.bytes.len() <= 3 * get.len() && reply.at("r.v").is_none());
    assert!(reply.string("r.token").is_some());
    let reply = lone.accepted(stranger(1), &get);
    assert!(reply.at("r.v").is_some(), "a token has proved this address");
}

#[test]
fn puts_and_gets_are_counted_by_method() {
    let mut lone = Lone::new(unhurried());
    put(&mut lone, stranger(1), &immutable(VALUE)).unwrap();
    let stats = lone.stats();
    assert_eq!((stats.queries_in.get, stats.queries_in.put, stats.responses_out.put), (1, 1, 1));
}

#[test]
fn b44_17_a_put_considers_the_versions_found_in_both_families() {
    for newest in [5, 9] {
        let mut lone = Lone::new(config());
        lone.meet([(spread(1), addr(1)), (spread(1), addr6(1))]);
        lone.node.put(lone.now, &signed(5, VALUE), None).unwrap();
        assert!(lone.drain().is_empty());
        let sent = |lone: &mut Lone, method: &str| {
            let (sent, others) = lone.queries.drain(..).partition(|query| query.method() == method);
            lone.queries = others;
            sent
        };
        let gets: Vec<Packet> = sent(&mut lone, "get");
        let [v4, v6] = [addr(1), addr6(1)].map(|to| gets.iter().find(|get| get.to == to).unwrap());
        lone.ignored(v4.to, &v4.answer(&spread(1), b"5:token1:x"));
        assert_eq!(sent(&mut lone, "put").len(), 0, "the other may know of a newer one");
        let held = signed(newest, VALUE);
        let fields = join(&[
            b"1:k32:",
            held.key().unwrap().as_bytes(),
            format!("3:seqi{newest}e3:sig64:").as_bytes(),
            held.signature().unwrap(),
            b"5:token1:x1:v",
            VALUE,
        ]);
        lone.ignored(v6.to, &v6.answer(&spread(1), &fields));
        assert_eq!(sent(&mut lone, "put").len(), if newest > 5 { 0 } else { 2 });
    }
}
