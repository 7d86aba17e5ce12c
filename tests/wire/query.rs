//! Parsing of queries.

use dht_proto::wire::{ErrorCode, Message, Method, ParseError, PutItem, Want};
use dht_proto::{InfoHash, NodeId};

use super::{datagram, query};

const ID: NodeId = NodeId::from_bytes(*b"abcdefghij0123456789");
const TARGET: NodeId = NodeId::from_bytes(*b"mnopqrstuvwxyz123456");

/// Returns a query with these arguments after the id.
fn asked(name: &str, arguments: &[&[u8]]) -> Vec<u8> {
    let arguments = arguments.concat();
    let name = format!("e1:q{}:{name}1:t2:aa1:y1:qe", name.len());
    datagram(&[b"d1:ad2:id20:abcdefghij0123456789", &arguments, name.as_bytes()])
}

fn method(name: &str, arguments: &str) -> Result<Method<'static>, (ErrorCode, &'static str)> {
    let text: &'static [u8] = asked(name, &[arguments.as_bytes()]).leak();
    accepted(text)
}

fn accepted(text: &[u8]) -> Result<Method<'_>, (ErrorCode, &'static str)> {
    match query(text) {
        Ok(query) => {
            assert_eq!(query.id, ID);
            Ok(query.method)
        }
        Err(ParseError::BadQuery {
            transaction: b"aa",
            read_only: false,
            id: Some(ID),
            code,
            reason,
            ..
        }) => Err((code, reason)),
        Err(other) => panic!("{other:?} for {}", text.escape_ascii()),
    }
}

fn refusal(name: &str, arguments: &str) -> ErrorCode {
    method(name, arguments).expect_err(arguments).0
}

#[test]
fn q_01_q_02_a_ping_has_no_arguments_and_a_find_node_its_target() {
    assert_eq!(method("ping", ""), Ok(Method::Ping));
    let target = "6:target20:mnopqrstuvwxyz123456";
    assert_eq!(method("find_node", target), Ok(Method::FindNode { target: TARGET, want: Want::NONE }));
}

#[test]
fn q_03_a_get_peers_has_an_infohash_and_nothing_else_by_default() {
    let expected =
        Method::GetPeers { infohash: InfoHash::from(TARGET), want: Want::NONE, noseed: false, scrape: false };
    assert_eq!(method("get_peers", "9:info_hash20:mnopqrstuvwxyz123456"), Ok(expected));
}

#[test]
fn q_04_an_announce_has_infohash_port_and_token() {
    let expected = Method::AnnouncePeer {
        infohash: InfoHash::from(TARGET),
        port: 6881,
        implied_port: false,
        seed: false,
        token: b"aoeusnth",
        name: None,
    };
    let arguments = "9:info_hash20:mnopqrstuvwxyz1234564:porti6881e5:token8:aoeusnth";
    assert_eq!(method("announce_peer", arguments), Ok(expected));
}

fn announced_port(arguments: &str) -> Result<(u16, bool), ErrorCode> {
    let all = format!("{arguments}9:info_hash20:mnopqrstuvwxyz1234565:token8:aoeusnth");
    match method("announce_peer", &all) {
        Ok(Method::AnnouncePeer { port, implied_port, .. }) => Ok((port, implied_port)),
        Ok(other) => panic!("{other:?}"),
        Err((code, _)) => Err(code),
    }
}

#[test]
fn q_10_a_port_must_be_in_range() {
    assert_eq!(announced_port("4:porti1e"), Ok((1, false)));
    assert_eq!(announced_port("4:porti65535e"), Ok((65535, false)));
    for bad in ["", "4:porti0e", "4:porti65536e", "4:porti-1e", "4:port4:6881", "4:porti72417e"] {
        assert_eq!(announced_port(bad), Err(ErrorCode::PROTOCOL), "{bad}");
    }
}

#[test]
fn q_11_q_12_an_implied_port_is_any_integer_but_0_and_makes_the_port_optional() {
    assert_eq!(announced_port("12:implied_porti1e4:porti6881e"), Ok((6881, true)));
    assert_eq!(announced_port("12:implied_porti2e"), Ok((0, true)));
    assert_eq!(announced_port("12:implied_porti1e4:porti0e"), Ok((0, true)));
    assert_eq!(announced_port("12:implied_porti1e4:porti99999e"), Ok((0, true)));
    assert_eq!(announced_port("12:implied_porti0e4:porti6881e"), Ok((6881, false)));
    assert_eq!(announced_port("12:implied_porti0e"), Err(ErrorCode::PROTOCOL));
    assert_eq!(announced_port("12:implied_port1:1"), Err(ErrorCode::PROTOCOL));
}

#[test]
fn q_17_b5_01_missing_or_short_arguments_are_refused() {
    for (name, arguments) in [
        ("find_node", ""),
        ("find_node", "6:target19:mnopqrstuvwxyz12345"),
        ("find_node", "6:target21:mnopqrstuvwxyz1234567"),
        ("find_node", "6:targeti20e"),
        ("get_peers", ""),
        ("get_peers", "9:info_hash3:abc"),
        ("get", ""),
        ("sample_infohashes", ""),
        ("announce_peer", "4:porti1e5:token1:x"),
        ("announce_peer", "9:info_hash20:mnopqrstuvwxyz1234564:porti1e"),
        ("announce_peer", "9:info_hash20:mnopqrstuvwxyz1234564:porti1e5:token0:"),
        ("announce_peer", "9:info_hash20:mnopqrstuvwxyz1234564:porti1e5:tokeni1e"),
        ("put", "1:v1:x"),
        ("put", "5:token1:x"),
    ] {
        assert_eq!(refusal(name, arguments), ErrorCode::PROTOCOL, "{name} {arguments}");
    }
}

#[test]
fn e_31_q_18_a_bad_id_is_refused_with_the_transaction_of_the_query() {
    for a in ["1:ade", "1:ad2:id19:abcdefghij012345678e", "1:ad2:idi1ee", "", "1:ai1e", "1:ale"] {
        let text = format!("d{a}1:q4:ping2:roi1e1:t3:\0xy1:y1:qe");
        let Err(ParseError::BadQuery { transaction, read_only, id, code, .. }) =
            Message::parse(text.as_bytes())
        else {
            panic!("{a}");
        };
        assert_eq!((transaction, read_only, id), (b"\0xy".as_slice(), true, None));
        assert_eq!(code, ErrorCode::PROTOCOL, "{a}");
    }
}

#[test]
fn q_21_q_22_unknown_methods_keep_their_target() {
    let unknown = |target| Ok(Method::Unknown { name: b"vote", target, want: Want::NONE });
    assert_eq!(method("vote", ""), unknown(None));
    assert_eq!(method("vote", "6:target3:abc"), unknown(None));
    assert_eq!(method("vote", "6:target20:mnopqrstuvwxyz123456"), unknown(Some(TARGET)));
    assert_eq!(method("vote", "9:info_hash20:mnopqrstuvwxyz123456"), unknown(Some(TARGET)));
    let code = |text| match Message::parse(text) {
        Err(ParseError::BadQuery { code, .. }) => code,
        other => panic!("{other:?}"),
    };
    assert_eq!(code(b"d1:q4:vote1:t2:aa1:y1:qe"), ErrorCode::METHOD_UNKNOWN);
    assert_eq!(code(b"d1:ad6:target20:mnopqrstuvwxyz123456e1:q4:vote1:t2:aa1:y1:qe"), ErrorCode::PROTOCOL);
}

#[test]
fn q_23_a_torrent_name_may_come_under_either_key() {
    for (key, expected) in
        [("1:n5:linux", Some(b"linux".as_slice())), ("4:name5:linux", Some(b"linux")), ("1:ni1e", None)]
    {
        let arguments = format!("9:info_hash20:mnopqrstuvwxyz123456{key}4:porti1e5:token1:x");
        let Ok(Method::AnnouncePeer { name, .. }) = method("announce_peer", &arguments) else {
            panic!("{key}")
        };
        assert_eq!(name, expected);
    }
}

#[test]
fn b32_05_b32_08_b32_09_want_lists_families_and_anything_else_is_ignored() {
    for (want, v4, v6) in [
        ("", false, false),
        ("4:wantl2:n4e", true, false),
        ("4:wantl2:n6e", false, true),
        ("4:wantl2:n62:n4e", true, true),
        ("4:wantle", false, false),
        ("4:wantl2:n53:n44e", false, false),
        ("4:wantli4el2:n4ed1:xi1ee2:n6e", false, true),
        ("4:want2:n4", false, false),
        ("4:wanti4e", false, false),
        ("4:wantd2:n4i1ee", false, false),
    ] {
        for (name, key) in [
            ("find_node", "6:target"),
            ("get_peers", "9:info_hash"),
            ("get", "6:target"),
            ("sample_infohashes", "6:target"),
            ("vote", "6:target"),
        ] {
            let arguments = format!("{key}20:mnopqrstuvwxyz123456{want}");
            let (Method::FindNode { want: found, .. }
            | Method::GetPeers { want: found, .. }
            | Method::Get { want: found, .. }
            | Method::SampleInfohashes { want: found, .. }
            | Method::Unknown { want: found, .. }) = method(name, &arguments).unwrap()
            else {
                panic!("{name}");
            };
            assert_eq!(found, Want { v4, v6 }, "{name} {want}");
        }
    }
}

#[test]
fn b33_05_only_seed_1_makes_a_seed() {
    for (argument, expected) in [("", false), ("4:seedi0e", false), ("4:seedi1e", true), ("4:seedi2e", false)]
    {
        let arguments = format!("9:info_hash20:mnopqrstuvwxyz1234564:porti1e{argument}5:token1:x");
        let Ok(Method::AnnouncePeer { seed, .. }) = method("announce_peer", &arguments) else { panic!() };
        assert_eq!(seed, expected, "{argument}");
    }
}

#[test]
fn b33_18_scrape_and_noseed_are_any_integer_but_0() {
    for (arguments, expected) in [
        ("6:noseedi1e6:scrapei1e", (true, true)),
        ("6:noseedi0e6:scrapei7e", (false, true)),
        ("6:noseedi-1e6:scrape1:1", (true, false)),
    ] {
        let arguments = format!("9:info_hash20:mnopqrstuvwxyz123456{arguments}");
        let Ok(Method::GetPeers { noseed, scrape, .. }) = method("get_peers", &arguments) else { panic!() };
        assert_eq!((noseed, scrape), expected, "{arguments}");
    }
}

#[test]
fn b44_01_the_seq_of_a_get_is_any_integer_or_none() {
    for (argument, seq) in [("", None), ("3:seqi0e", Some(0)), ("3:seqi-4e", Some(-4)), ("3:seq1:4", None)] {
        let arguments = format!("{argument}6:target20:mnopqrstuvwxyz123456");
        assert_eq!(method("get", &arguments), Ok(Method::Get { target: TARGET, seq, want: Want::NONE }));
    }
}

#[test]
fn b51_01_a_query_for_samples_has_a_target_and_the_families_it_wants() {
    let arguments = "6:target20:mnopqrstuvwxyz1234564:wantl2:n42:n6e";
    let expected = Method::SampleInfohashes { target: TARGET, want: Want::BOTH };
    assert_eq!(method("sample_infohashes", arguments), Ok(expected));
}

const KEY: &[u8; 32] = &[0xee; 32];
const SIGNATURE: &[u8; 64] = &[0xdd; 64];

fn immutable(value: &'static [u8]) -> Result<Method<'static>, ErrorCode> {
    put(&[b"5:token1:x1:v", value])
}

fn put(arguments: &[&[u8]]) -> Result<Method<'static>, ErrorCode> {
    accepted(asked("put", arguments).leak()).map_err(|(code, _)| code)
}

/// Returns a mutable put of `i7e`, with `arguments` after the signature and others in their places.
fn mutable(before: &str, salt: &[u8], seq: &str) -> Result<PutItem<'static>, ErrorCode> {
    let text = datagram(&[
        b"d1:ad",
        before.as_bytes(),
        b"2:id20:abcdefghij01234567891:k32:",
        KEY,
        salt,
        seq.as_bytes(),
        b"3:sig64:",
        SIGNATURE,
        b"5:token1:x1:vi7ee1:q3:put1:t2:aa1:y1:qe",
    ]);
    match accepted(text.leak()) {
        Ok(Method::Put { token: b"x", target: None, item }) => Ok(item),
        Ok(other) => panic!("{other:?}"),
        Err((code, _)) => Err(code),
    }
}

#[test]
fn b44_02_b44_06_an_immutable_put_keeps_the_bytes_of_its_value() {
    for value in
        [&b"i42e"[..], b"0:", b"le", b"d1:ali1e1:xe1:bdee", b"12:Hello World!", b"i99999999999999999999e"]
    {
        let item = PutItem::Immutable { value, seq: None };
        assert_eq!(immutable(value), Ok(Method::Put { token: b"x", target: None, item }));
    }
}

#[test]
fn b44_03_a_mutable_put_is_parsed_with_all_and_with_only_required_fields() {
    let all = PutItem::Mutable {
        value: b"i7e",
        key: KEY,
        seq: 4,
        signature: SIGNATURE,
        salt: b"foo",
        cas: Some(3),
    };
    assert_eq!(mutable("3:casi3e", b"4:salt3:foo", "3:seqi4e"), Ok(all));
    let least =
        PutItem::Mutable { value: b"i7e", key: KEY, seq: 0, signature: SIGNATURE, salt: b"", cas: None };
    assert_eq!(mutable("", b"", "3:seqi0e"), Ok(least));
}

#[test]
fn b44_04_a_target_in_a_put_is_optional_but_must_be_valid() {
    let target = |argument: &[u8]| match put(&[argument, b"5:token1:x1:vi1e"]) {
        Ok(Method::Put { target, .. }) => Ok(target),
        Ok(other) => panic!("{other:?}"),
        Err(code) => Err(code),
    };
    assert_eq!(target(b""), Ok(None));
    assert_eq!(target(b"6:target20:mnopqrstuvwxyz123456"), Ok(Some(TARGET)));
    assert_eq!(target(b"6:target3:abc"), Err(ErrorCode::PROTOCOL));
}

#[test]
fn b44_07_e_06_e_07_e_08_values_that_are_not_canonical_are_refused() {
    for value in [
        &b"d1:bi1e1:ai1ee"[..],
        b"d1:ai1e1:ai1ee",
        b"d2:aai1e1:ai1ee",
        b"i01e",
        b"i-0e",
        b"i00e",
        b"01:a",
        b"00:",
        b"ld1:bi1e1:ai1eee",
        b"d1:ad1:ci1e1:bi1eee",
        b"l03:abce",
    ] {
        assert_eq!(immutable(value), Err(ErrorCode::PROTOCOL), "{}", value.escape_ascii());
    }
    for arguments in [&b"1:vi1e5:token1:x"[..], b"5:token01:x1:vi1e", b"5:token1:x1:vi1e1:vi1e"] {
        assert_eq!(put(&[arguments]), Err(ErrorCode::PROTOCOL), "{}", arguments.escape_ascii());
    }
    // Each level has an order of its own.
    assert!(immutable(b"d1:bd1:ai1e1:bi1ee1:cd1:ai1eee").is_ok());
}

#[test]
fn b44_09_values_of_up_to_1000_bytes_are_accepted() {
    let string = |length: usize| format!("{length}:{}", "x".repeat(length)).leak().as_bytes();
    assert_eq!(string(996).len(), 1000);
    assert!(immutable(string(996)).is_ok());
    assert_eq!(immutable(string(997)), Err(ErrorCode::VALUE_TOO_BIG));
}

#[test]
fn b44_10_salts_of_up_to_64_bytes_are_accepted_and_an_empty_one_counts_as_absent() {
    let salt = |length: usize| format!("4:salt{length}:{}", "s".repeat(length)).into_bytes();
    assert!(mutable("", &salt(64), "3:seqi1e").is_ok());
    assert_eq!(mutable("", &salt(65), "3:seqi1e"), Err(ErrorCode::SALT_TOO_BIG));
    assert_eq!(mutable("", &salt(0), "3:seqi1e"), mutable("", b"", "3:seqi1e"));
    assert_eq!(mutable("", b"4:salti1e", "3:seqi1e"), Err(ErrorCode::PROTOCOL));
}

#[test]
fn b44_15_b44_16_cas_may_be_0_and_is_ignored_without_a_key() {
    assert!(matches!(mutable("3:casi0e", b"", "3:seqi1e"), Ok(PutItem::Mutable { cas: Some(0), .. })));
    assert_eq!(mutable("3:cas1:0", b"", "3:seqi1e"), Err(ErrorCode::PROTOCOL));
    assert_eq!(mutable("3:casi9223372036854775808e", b"", "3:seqi1e"), Err(ErrorCode::PROTOCOL));
    let text = b"d1:ad3:casi1e2:id20:abcdefghij01234567895:token1:x1:vi1ee1:q3:put1:t2:aa1:y1:qe";
    let item = PutItem::Immutable { value: b"i1e", seq: None };
    assert_eq!(accepted(text), Ok(Method::Put { token: b"x", target: None, item }));
}

#[test]
fn b44_17_b44_18_seq_is_0_to_the_largest_i64() {
    assert!(matches!(
        mutable("", b"", "3:seqi9223372036854775807e"),
        Ok(PutItem::Mutable { seq: i64::MAX, .. })
    ));
    for seq in ["3:seqi9223372036854775808e", "3:seqi-1e", "3:seq1:1", ""] {
        assert_eq!(mutable("", b"", seq), Err(ErrorCode::PROTOCOL), "{seq}");
    }
}

#[test]
fn b44_19_a_put_with_only_some_fields_of_a_mutable_item_is_refused() {
    let (key, signature) =
        (&[b"1:k32:".as_slice(), KEY].concat()[..], &[b"3:sig64:".as_slice(), SIGNATURE].concat()[..]);
    let (seq, rest) = (&b"3:seqi1e"[..], &b"5:token1:x1:vi1e"[..]);
    assert!(put(&[key, seq, signature, rest]).is_ok());
    for partial in [
        &[key, rest][..],
        &[key, seq, rest],
        &[key, signature, rest],
        &[signature, rest],
        &[seq, signature, rest],
        &[b"1:k31:", &KEY[1..], seq, signature, rest],
        &[key, seq, b"3:sig63:", &SIGNATURE[1..], rest],
        &[b"1:ki1e", seq, b"3:sigi1e", rest],
    ] {
        assert_eq!(put(partial), Err(ErrorCode::PROTOCOL), "{}", partial.concat().escape_ascii());
    }
}

#[test]
fn b44_20_a_stray_seq_does_not_make_an_item_mutable() {
    let item = PutItem::Immutable { value: b"i1e", seq: Some(1) };
    assert_eq!(put(&[b"3:seqi1e5:token1:x1:vi1e"]), Ok(Method::Put { token: b"x", target: None, item }));
}

#[test]
fn b44_23_structure_is_checked_before_size_and_size_before_salt() {
    let big = format!("1:v1001:{}", "x".repeat(1001));
    let salt = format!("4:salt65:{}", "s".repeat(65));
    let code = |seq: &str, value: &str| {
        put(&[
            b"1:k32:",
            KEY,
            salt.as_bytes(),
            seq.as_bytes(),
            b"3:sig64:",
            SIGNATURE,
            b"5:token1:x",
            value.as_bytes(),
        ])
    };
    assert_eq!(code("", &big), Err(ErrorCode::PROTOCOL));
    assert_eq!(code("3:seqi-1e", &big), Err(ErrorCode::VALUE_TOO_BIG));
    assert_eq!(code("3:seqi-1e", "1:vi1e"), Err(ErrorCode::SALT_TOO_BIG));
}
