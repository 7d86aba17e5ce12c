//! The top level of a datagram, and input that is not a message.

use dht_proto::NodeId;
use dht_proto::wire::{
    Body, ErrorCode, MAX_DEPTH, MAX_TOKENS, Malformed, Message, Method, ParseError, is_krpc,
};

use super::{datagram, error, query, response};

const PING: &[u8] = b"d1:ad2:id20:abcdefghij0123456789e1:q4:ping1:t2:aa1:y1:qe";

fn malformed(datagram: &[u8]) -> Malformed {
    match Message::parse(datagram) {
        Err(ParseError::Malformed(reason)) => reason,
        other => panic!("{other:?} for {}", datagram.escape_ascii()),
    }
}

#[test]
fn e_02_a_datagram_that_is_not_a_dictionary_is_dropped() {
    assert_eq!(malformed(b"l4:spam4:eggse"), Malformed::NotADictionary);
    assert_eq!(malformed(b"\x41\x00\x12\x34\0\0\0\0\0\0\0\0\0\x10\0\0\0\0\0\0"), Malformed::NotADictionary);
}

#[test]
fn e_03_datagrams_under_ten_bytes_are_dropped() {
    assert_eq!(malformed(b""), Malformed::TooShort);
    assert_eq!(malformed(b"d1:y1:qee"), Malformed::TooShort);
    assert_eq!(malformed(b"d1:y1:q1:e"), Malformed::Syntax);
}

#[test]
fn e_02_krpc_is_distinguished_from_utp_by_its_first_bytes() {
    assert!(is_krpc(PING));
    assert!(!is_krpc(b"d1:y1:qe"));
    assert!(!is_krpc(b"dddddddddddddddddddd"));
    for kind in 0..5 {
        let mut utp = [b'1'; 20];
        utp[0] = kind << 4 | 1;
        assert!(!is_krpc(&utp));
    }
}

#[test]
fn e_05_bytes_after_the_message_are_tolerated_and_reported() {
    let long = datagram(&[PING, b"\r\n"]);
    let (message, rest) = Message::parse_prefix(&long).unwrap();
    assert_eq!(rest, b"\r\n");
    assert_eq!(Ok(message), Message::parse(PING));
    assert_eq!(Message::parse(&long), Message::parse(PING));
}

#[test]
fn e_06_keys_may_come_in_any_order() {
    let shuffled = b"d1:y1:q1:q4:ping1:ad2:id20:abcdefghij0123456789e1:t2:aae";
    assert_eq!(Message::parse(shuffled), Message::parse(PING));
    let inner =
        b"d1:ad6:target20:mnopqrstuvwxyz1234562:id20:abcdefghij0123456789e1:q9:find_node1:t2:aa1:y1:qe";
    assert!(matches!(query(inner).unwrap().method, Method::FindNode { .. }));
}

#[test]
fn e_07_the_first_of_two_equal_keys_wins() {
    let twice = b"d1:ad2:id20:abcdefghij01234567892:id20:01234567890123456789e1:ad2:id2:xxe\
        1:q4:ping1:q3:foo1:t2:aa1:t2:bb1:y1:q1:y1:re";
    assert_eq!(Message::parse(twice), Message::parse(PING));
    let r = b"d1:rd2:id20:abcdefghij01234567895:token1:a5:token1:b1:vi1e1:vi2ee1:rd4:porti1e3:numi1ee1:t2:aa1:y1:re";
    let response = response(r);
    assert_eq!((response.token, response.value), (Some(&b"a"[..]), Some(&b"i1e"[..])));
    assert_eq!(response.num, None, "two dictionaries are not merged");
    let split =
        b"d1:ad2:id20:abcdefghij0123456789e1:ad6:target20:mnopqrstuvwxyz123456e1:q9:find_node1:t2:aa1:y1:qe";
    assert!(matches!(query(split), Err(ParseError::BadQuery { .. })));
}

#[test]
fn e_08_numbers_in_non_minimal_form_are_accepted() {
    let loose = b"d1:ad2:id020:abcdefghij0123456789e1:q04:ping2:roi01e1:t0000000000000000000000002:aa1:y1:qe";
    let message = Message::parse(loose).unwrap();
    assert!(message.read_only);
    assert_eq!(message.transaction, b"aa");
    let zero = b"d1:ad2:id20:abcdefghij0123456789e1:q4:ping2:roi-0e1:t2:aa1:y1:qe";
    assert!(!Message::parse(zero).unwrap().read_only);
}

#[test]
fn e_09_depth_is_bounded_and_nothing_recurses() {
    for bracket in ["l", "d1:a"] {
        let open = bracket.repeat(10_000);
        let bomb = format!("d1:x{open}");
        assert_eq!(malformed(bomb.as_bytes()), Malformed::TooDeep);
        let closed = format!("d1:x{}{}e", open, "e".repeat(10_000));
        assert_eq!(malformed(closed.as_bytes()), Malformed::TooDeep);
    }
    let nested = |levels| format!("d1:x{}{}1:t2:aae", "l".repeat(levels), "e".repeat(levels));
    let allowed = MAX_DEPTH as usize - 1;
    assert_eq!(malformed(nested(allowed).as_bytes()), Malformed::NoKind);
    assert_eq!(malformed(nested(allowed + 1).as_bytes()), Malformed::TooDeep);
    let within = |levels| format!("d1:ad1:x{}{}e1:t2:aae", "l".repeat(levels), "e".repeat(levels));
    assert_eq!(malformed(within(allowed - 1).as_bytes()), Malformed::NoKind);
    assert_eq!(malformed(within(allowed).as_bytes()), Malformed::TooDeep);
}

#[test]
fn e_09_tokens_are_bounded() {
    let many = |count| format!("d1:xl{}e1:t2:aa1:y1:ee", "0:".repeat(count));
    // The dictionary, its three keys, the list and two values.
    let allowed = MAX_TOKENS as usize - 7;
    assert!(Message::parse(many(allowed).as_bytes()).is_ok());
    assert_eq!(malformed(many(allowed + 1).as_bytes()), Malformed::TooManyTokens);
}

#[test]
fn e_11_integers_beyond_64_bits_count_as_absent() {
    let huge = b"d1:ad2:id20:abcdefghij01234567893:seqi9223372036854775808e6:target20:mnopqrstuvwxyz123456e\
        1:q3:get2:roi99999999999999999999e1:t2:aa1:y1:qe";
    let message = Message::parse(huge).unwrap();
    assert!(!message.read_only);
    assert!(
        matches!(message.body, Body::Query(query) if matches!(query.method, Method::Get { seq: None, .. }))
    );
    for (digits, seq) in [
        ("9223372036854775807", Some(i64::MAX)),
        ("-9223372036854775808", Some(i64::MIN)),
        ("-9223372036854775809", None),
    ] {
        let r = format!("d1:rd2:id20:abcdefghij01234567893:seqi{digits}ee1:t2:aa1:y1:re");
        assert_eq!(response(r.as_bytes()).seq, seq, "{digits}");
    }
}

#[test]
fn e_12_unknown_keys_are_ignored_whatever_their_values() {
    let extra =
        b"d1:ad0:0:2:id20:abcdefghij01234567891:xd1:yl1:zi1eeee1:cle1:q4:ping1:t2:aa1:y1:q1:zd1:ai1eee";
    assert_eq!(Message::parse(extra), Message::parse(PING));
}

#[test]
fn e_13_e_14_without_a_known_kind_a_datagram_is_dropped() {
    for kind in ["", "1:y1:x", "1:y0:", "1:y2:qq", "1:yi1e", "1:yl1:qe"] {
        let text = format!("d1:ad2:id20:abcdefghij0123456789e1:q4:ping1:t2:aa{kind}e");
        assert_eq!(malformed(text.as_bytes()), Malformed::NoKind, "{kind}");
    }
}

#[test]
fn e_15_e_16_transaction_ids_of_1_to_32_bytes_are_kept_byte_for_byte() {
    for length in [1, 2, 4, 6, 10, 32] {
        let transaction = vec![0_u8; length];
        let text = datagram(&[
            b"d1:ad2:id20:abcdefghij0123456789e1:q4:ping1:t",
            format!("{length}:").as_bytes(),
            &transaction,
            b"1:y1:qe",
        ]);
        assert_eq!(Message::parse(&text).unwrap().transaction, transaction);
    }
    let long = format!("d1:ad2:id20:abcdefghij0123456789e1:q4:ping1:t33:{}1:y1:qe", "x".repeat(33));
    assert_eq!(malformed(long.as_bytes()), Malformed::TransactionTooLong);
}

#[test]
fn e_19_without_a_transaction_id_a_datagram_is_dropped() {
    for t in ["", "1:t0:", "1:ti7e", "1:tl2:aae"] {
        let text = format!("d1:ad2:id20:abcdefghij0123456789e1:q4:ping{t}1:y1:qe");
        assert_eq!(malformed(text.as_bytes()), Malformed::NoTransaction, "{t}");
    }
}

#[test]
fn a_query_without_a_method_is_dropped() {
    for q in ["", "1:qi1e", "1:ql4:pinge"] {
        let text = format!("d1:ad2:id20:abcdefghij0123456789e{q}1:t2:aa1:y1:qe");
        assert_eq!(malformed(text.as_bytes()), Malformed::NoMethod, "{q}");
    }
}

#[test]
fn e_22_e_23_anything_is_an_error_and_any_code_is_carried() {
    for (e, code, message) in [
        ("1:eli201e23:A Generic Error Ocurrede", 201, "A Generic Error Ocurred"),
        ("1:eli400e3:bade", 400, "bad"),
        ("1:eli-7e0:e", -7, ""),
        ("1:eli202ee", 202, ""),
        ("1:el5:helloe", 0, "hello"),
        ("1:el5:helloi201ee", 0, "hello"),
        ("1:e15:Malformed Error", 0, "Malformed Error"),
        ("1:ei201e", 0, ""),
        ("1:ele", 0, ""),
        ("1:elli201eee", 0, ""),
        ("1:eli99999999999999999999e1:xe", 0, "x"),
        ("1:ed1:xi1ee", 0, ""),
        ("", 0, ""),
    ] {
        let text = format!("d{e}1:t2:aa1:y1:ee");
        let reply = error(text.as_bytes());
        assert_eq!((reply.code, reply.message), (ErrorCode(code), message.as_bytes()), "{e}");
    }
}

#[test]
fn e_24_a_reply_that_contains_an_error_is_an_error() {
    let reply = error(b"d1:eli204e14:Method Unknowne1:t2:aa1:y1:re");
    assert_eq!(reply.code, ErrorCode::METHOD_UNKNOWN);
    let both = b"d1:eli204e1:xe1:rd2:id20:abcdefghij0123456789e1:t2:aa1:y1:re";
    assert_eq!(response(both).id, NodeId::from_bytes(*b"abcdefghij0123456789"));
    let neither = b"d1:eli204e1:xe1:rde1:t2:aa1:y1:re";
    assert_eq!(Message::parse(neither), Err(ParseError::BadReply { transaction: b"aa" }));
}

#[test]
fn e_25_b5_01_a_reply_without_an_id_of_20_bytes_fails_its_query() {
    for r in ["", "1:rde", "1:rd2:id19:abcdefghij012345678e", "1:rd2:idi5ee", "1:rle", "1:r2:xx"] {
        let text = format!("d{r}1:t2:aa1:y1:re");
        assert_eq!(Message::parse(text.as_bytes()), Err(ParseError::BadReply { transaction: b"aa" }), "{r}");
    }
}

#[test]
fn e_26_b20_02_a_version_of_any_length_or_type_is_accepted() {
    let versions: [(&str, Option<&[u8]>); 5] =
        [("1:v3:1.0", Some(b"1.0")), ("1:v0:", Some(b"")), ("1:vi3e", None), ("1:vle", None), ("", None)];
    for (v, version) in versions {
        let text = format!("d1:rd2:id20:abcdefghij0123456789e1:t2:aa{v}1:y1:re");
        assert_eq!(Message::parse(text.as_bytes()).unwrap().version, version, "{v}");
    }
}

#[test]
fn e_29_b32_15_the_largest_possible_datagram_is_parsed() {
    let filler = "x".repeat(65_507 - 65);
    let text =
        format!("d1:ad2:id20:abcdefghij01234567891:x{}:{filler}e1:q4:ping1:t2:aa1:y1:qe", filler.len());
    assert_eq!(text.len(), 65_507);
    assert_eq!(Message::parse(text.as_bytes()), Message::parse(PING));
}

#[test]
fn e_32_every_prefix_of_a_message_is_refused() {
    for length in 0..PING.len() {
        assert!(matches!(malformed(&PING[..length]), Malformed::TooShort | Malformed::Syntax));
    }
}

#[test]
fn e_32_length_prefixes_that_overflow_or_overrun_are_refused() {
    for string in
        ["99999999999999999999:", "18446744073709551615:x", "4294967296:x", "100:x", "-1:x", ":x", "1"]
    {
        let text = format!("d1:t{string}1:y1:ee");
        assert_eq!(malformed(text.as_bytes()), Malformed::Syntax, "{string}");
    }
    assert_eq!(malformed("9".repeat(60_000).replacen('9', "d", 1).as_bytes()), Malformed::Syntax);
    assert_eq!(malformed(format!("d1:xi{}", "9".repeat(60_000)).as_bytes()), Malformed::Syntax);
}

#[test]
fn input_that_is_not_bencode_is_refused() {
    for bad in [
        "ie",
        "i-e",
        "i1.5e",
        "i+1e",
        "i--1e",
        "i1",
        "le1",
        "di1ei1ee",
        "d1:ae",
        "d1:a",
        "l",
        "x",
        "d1:a1:b",
        "lx",
        "d1:ai1e1:be",
    ] {
        let text = format!("d1:x{bad}1:t2:aa1:y1:ee");
        assert_eq!(malformed(text.as_bytes()), Malformed::Syntax, "{bad}");
    }
}

#[test]
fn b42_07_ip_of_6_18_4_or_16_bytes_is_read_and_any_other_ignored() {
    for (ip, expected) in [
        (&b"\x01\x02\x03\x04\x1a\xe1"[..], Some("1.2.3.4:6881")),
        (b"\x2a\x00\0\0\0\0\0\0\0\0\0\0\0\0\0\x01\x1a\xe1", Some("[2a00::1]:6881")),
        (b"\x01\x02\x03\x04", Some("1.2.3.4:0")),
        (b"\x2a\x00\0\0\0\0\0\0\0\0\0\0\0\0\0\x01", Some("[2a00::1]:0")),
        (b"", None),
        (b"\x01\x02\x03\x04\x05", None),
        (b"1.2.3.4:6881", None),
    ] {
        let text = datagram(&[
            b"d2:ip",
            format!("{}:", ip.len()).as_bytes(),
            ip,
            b"1:rd2:id20:abcdefghij0123456789e1:t2:aa1:y1:re",
        ]);
        let message = Message::parse(&text).unwrap();
        assert_eq!(message.requester, expected.map(|addr| addr.parse().unwrap()));
    }
    let text = b"d2:ipi7e1:rd2:id20:abcdefghij0123456789e1:t2:aa1:y1:re";
    assert_eq!(Message::parse(text).unwrap().requester, None);
}

#[test]
fn b43_04_read_only_is_any_integer_but_0_in_any_message() {
    for (ro, expected) in [
        ("2:roi1e", true),
        ("2:roi7e", true),
        ("2:roi-1e", true),
        ("2:roi0e", false),
        ("2:ro1:1", false),
        ("", false),
    ] {
        for (body, kind) in
            [("1:ad2:id20:abcdefghij0123456789e1:q4:ping", "q"), ("1:rd2:id20:abcdefghij0123456789e", "r")]
        {
            let text = format!("d{body}{ro}1:t2:aa1:y1:{kind}e");
            assert_eq!(Message::parse(text.as_bytes()).unwrap().read_only, expected, "{text}");
        }
    }
}
