//! Emitted messages: canonical, and the same to an independent decoder.

use std::collections::BTreeMap;

use bencode_rs::{Value, parse_all};
use dht_proto::wire::{
    Body, ErrorCode, ErrorReply, Message, Method, NodeWriter, PeerWriter, PutItem, Query, Response, Values,
    Want, is_canonical,
};
use dht_proto::{Family, InfoHash, NodeId};
use proptest::prelude::*;

use super::encode;

/// The packets of BEP 5, in its order.
const BEP_5: [&[u8]; 9] = [
    b"d1:eli201e23:A Generic Error Ocurrede1:t2:aa1:y1:ee",
    b"d1:ad2:id20:abcdefghij0123456789e1:q4:ping1:t2:aa1:y1:qe",
    b"d1:rd2:id20:mnopqrstuvwxyz123456e1:t2:aa1:y1:re",
    b"d1:ad2:id20:abcdefghij01234567896:target20:mnopqrstuvwxyz123456e1:q9:find_node1:t2:aa1:y1:qe",
    b"d1:rd2:id20:0123456789abcdefghij5:nodes9:def456...e1:t2:aa1:y1:re",
    b"d1:ad2:id20:abcdefghij01234567899:info_hash20:mnopqrstuvwxyz123456e1:q9:get_peers1:t2:aa1:y1:qe",
    b"d1:rd2:id20:abcdefghij01234567895:token8:aoeusnth6:valuesl6:axje.u6:idhtnmee1:t2:aa1:y1:re",
    b"d1:rd2:id20:abcdefghij01234567895:nodes9:def456...5:token8:aoeusnthe1:t2:aa1:y1:re",
    b"d1:ad2:id20:abcdefghij012345678912:implied_porti1e9:info_hash20:mnopqrstuvwxyz123456\
        4:porti6881e5:token8:aoeusnthe1:q13:announce_peer1:t2:aa1:y1:qe",
];

#[test]
fn v5_every_packet_of_bep_5_encodes_to_itself() {
    for (packet, len) in BEP_5.into_iter().zip([51, 56, 47, 92, 65, 95, 90, 82, 147]) {
        assert_eq!(packet.len(), len);
        assert_eq!(encode(&Message::parse(packet).unwrap()), packet);
    }
}

#[test]
fn b51_02_an_empty_sample_encodes_to_itself() {
    let packet = b"d1:rd2:id20:hellohellohellohello8:intervali420e7:samples0:e1:t5:hello1:y1:re";
    assert_eq!(encode(&Message::parse(packet).unwrap()), packet);
}

#[test]
fn b43_02_ro_is_written_between_the_body_and_the_transaction() {
    let ping = Query { id: NodeId::from_bytes(*b"abcdefghij0123456789"), method: Method::Ping };
    let message =
        Message { read_only: true, version: Some(b"dp01"), ..Message::new(b"aa", Body::Query(ping)) };
    let expected = b"d1:ad2:id20:abcdefghij0123456789e1:q4:ping2:roi1e1:t2:aa1:v4:dp011:y1:qe";
    assert_eq!(encode(&message), expected);
}

#[test]
fn b42_06_e_18_ip_is_written_in_replies_and_errors() {
    let requester = Some("1.2.3.4:6881".parse().unwrap());
    let response = Body::Response(Response::new(NodeId::from_bytes(*b"abcdefghij0123456789")));
    let message = Message { requester, ..Message::new(b"aa", response) };
    assert_eq!(
        encode(&message),
        b"d2:ip6:\x01\x02\x03\x04\x1a\xe11:rd2:id20:abcdefghij0123456789e1:t2:aa1:y1:re"
    );
    let error = Body::Error(ErrorReply { code: ErrorCode::PROTOCOL, message: b"no" });
    let message = Message { requester, ..Message::new(b"aa", error) };
    assert_eq!(encode(&message), b"d1:eli203e2:noe2:ip6:\x01\x02\x03\x04\x1a\xe11:t2:aa1:y1:ee");
}

#[test]
fn q_07_an_empty_list_of_values_is_written() {
    let response = Response { values: Some(Values::packed(Family::V4, &[])), ..Response::new(NodeId::ZERO) };
    let written = encode(&Message::new(b"aa", Body::Response(response)));
    assert!(written.windows(10).any(|window| window == b"6:valuesle"));
}

#[test]
fn e_28_fields_are_where_a_search_for_substrings_finds_them() {
    let announce = |implied_port| Method::AnnouncePeer {
        infohash: InfoHash::ZERO,
        port: 6881,
        implied_port,
        seed: true,
        token: b"aoeusnth",
        name: None,
    };
    let want = Method::FindNode { target: NodeId::ZERO, want: Want::BOTH };
    for (method, tokens) in [
        (
            announce(true),
            &[
                "2:id20:",
                "9:info_hash20:",
                "4:porti6881e",
                "12:implied_porti1e",
                "5:token8:",
                "1:q13:announce_peer",
            ][..],
        ),
        // The key is written also if it is not set: some nodes ignore an announce without it.
        (announce(false), &["12:implied_porti0e9:info_hash20:", "4:porti6881e"]),
        (want, &["6:target20:", "4:wantl2:n42:n6e", "1:q9:find_node", "1:y1:q"]),
    ] {
        let written = encode(&Message::new(b"aa", Body::Query(Query { id: NodeId::ZERO, method })));
        for token in tokens {
            assert!(written.windows(token.len()).any(|window| window == token.as_bytes()), "{token}");
        }
    }
}

#[test]
fn a_message_that_does_not_fit_is_not_written() {
    for packet in BEP_5 {
        let message = Message::parse(packet).unwrap();
        for len in 0..packet.len() {
            assert_eq!(message.emit(&mut vec![0; len]), None);
        }
        assert_eq!(message.emit(&mut vec![0; packet.len() + 7]), Some(packet.len()));
    }
}

/// The parts of messages, of which [`Material::messages`] makes one of every kind.
#[derive(Clone, Debug)]
struct Material {
    transaction: Vec<u8>,
    text: Vec<u8>,
    value: Vec<u8>,
    id: [u8; 20],
    target: [u8; 20],
    peers: Vec<([u8; 16], u16)>,
    filter: Vec<u8>,
    number: i64,
    port: u16,
    flags: u32,
}

const VALUES: &[&[u8]] = &[b"i-3e", b"0:", b"le", b"12:Hello World!", b"d1:ali1e1:xe1:bdee"];

prop_compose! {
    fn material()(
        transaction in prop::collection::vec(any::<u8>(), 1..=32),
        text in prop::collection::vec(any::<u8>(), 1..=64),
        value in prop::sample::select(VALUES),
        id: [u8; 20],
        target: [u8; 20],
        peers in prop::collection::vec(any::<([u8; 16], u16)>(), 0..20),
        filter in prop::collection::vec(any::<u8>(), 256),
        // The decoder cannot negate the smallest integer.
        number in i64::MIN + 1..=i64::MAX,
        port in 1..=u16::MAX,
        flags: u32,
    ) -> Material {
        Material { transaction, text, value: value.to_vec(), id, target, peers, filter, number, port, flags }
    }
}

impl Material {
    fn flag(&self, bit: u32) -> bool {
        self.flags & 1 << bit != 0
    }

    fn some<T>(&self, bit: u32, value: T) -> Option<T> {
        self.flag(bit).then_some(value)
    }

    /// Generates packed nodes and peers of one family.
    fn packed(&self, family: Family) -> (Vec<u8>, Vec<u8>) {
        let (mut nodes, mut peers) = (vec![0; 38 * 20], vec![0; 18 * 20]);
        let mut node_writer = NodeWriter::new(family, &mut nodes);
        let mut peer_writer = PeerWriter::new(family, &mut peers);
        for &(ip, port) in &self.peers {
            let addr = match family {
                Family::V4 => ([ip[0], ip[1], ip[2], ip[3]], port).into(),
                Family::V6 => (ip, port).into(),
            };
            assert!(node_writer.push(&NodeId::from_bytes(self.id), addr));
            assert!(peer_writer.push(addr));
        }
        let (nodes_len, peers_len) = match family {
            Family::V4 => (26, 6),
            Family::V6 => (38, 18),
        };
        assert!(node_writer.finish().iter().eq(node_iter(&self.peers, family, self.id)));
        assert!(
            peer_writer.finish().iter().eq(node_iter(&self.peers, family, self.id).map(|(_, addr)| addr))
        );
        nodes.truncate(nodes_len * self.peers.len());
        peers.truncate(peers_len * self.peers.len());
        (nodes, peers)
    }

    /// Checks one message of every kind against the dictionary to which it must decode.
    fn check(&self, check: &mut dyn FnMut(&Message<'_>, Value)) {
        let (id, target) = (NodeId::from_bytes(self.id), NodeId::from_bytes(self.target));
        let infohash = InfoHash::from(target);
        let want = Want { v4: self.flag(0), v6: self.flag(1) };
        let wanted = (want != Want::NONE).then(|| {
            let families = [self.some(0, string(b"n4")), self.some(1, string(b"n6"))];
            Value::List(families.into_iter().flatten().collect())
        });
        let flag = |bit| self.some(bit, int(1));
        let seq = self.number & i64::MAX;
        let (key, signature): (&[u8; 32], &[u8; 64]) =
            (self.filter.first_chunk().unwrap(), self.filter.first_chunk().unwrap());
        let own_id = ("id", Some(string(&self.id)));
        let at_target = ("target", Some(string(&self.target)));
        let at_infohash = ("info_hash", Some(string(&self.target)));
        let token = ("token", Some(string(&self.text)));
        let value = ("v", Some(parse_all(&self.value).unwrap().remove(0)));

        let queries = [
            (Method::Ping, "ping", vec![]),
            (
                Method::FindNode { target, want },
                "find_node",
                vec![at_target.clone(), ("want", wanted.clone())],
            ),
            (
                Method::GetPeers { infohash, want, noseed: self.flag(2), scrape: self.flag(3) },
                "get_peers",
                vec![at_infohash.clone(), ("noseed", flag(2)), ("scrape", flag(3)), ("want", wanted.clone())],
            ),
            (
                Method::AnnouncePeer {
                    infohash,
                    port: self.port,
                    implied_port: self.flag(4),
                    seed: self.flag(5),
                    token: &self.text,
                    name: self.some(6, &self.text),
                },
                "announce_peer",
                vec![
                    at_infohash,
                    ("port", Some(int(self.port.into()))),
                    ("implied_port", Some(int(self.flag(4).into()))),
                    ("seed", flag(5)),
                    ("n", self.some(6, string(&self.text))),
                    token.clone(),
                ],
            ),
            (
                Method::Get { target, seq: self.some(7, self.number), want },
                "get",
                vec![at_target.clone(), ("seq", self.some(7, int(self.number))), ("want", wanted.clone())],
            ),
            (
                Method::Put {
                    token: &self.text,
                    target: self.some(8, target),
                    item: PutItem::Immutable { value: &self.value, seq: self.some(9, self.number) },
                },
                "put",
                vec![
                    ("seq", self.some(9, int(self.number))),
                    ("target", self.some(8, string(&self.target))),
                    token.clone(),
                    value.clone(),
                ],
            ),
            (
                Method::Put {
                    token: &self.text,
                    target: Some(target),
                    item: PutItem::Mutable {
                        value: &self.value,
                        key,
                        seq,
                        signature,
                        salt: self.some(9, self.text.as_slice()).unwrap_or_default(),
                        cas: self.some(10, self.number),
                    },
                },
                "put",
                vec![
                    at_target.clone(),
                    token.clone(),
                    value.clone(),
                    ("k", Some(string(key))),
                    ("seq", Some(int(seq))),
                    ("sig", Some(string(signature))),
                    ("salt", self.some(9, string(&self.text))),
                    ("cas", self.some(10, int(self.number))),
                ],
            ),
            (
                Method::SampleInfohashes { target, want },
                "sample_infohashes",
                vec![at_target.clone(), ("want", wanted.clone())],
            ),
            (
                Method::Unknown { name: b"vote", target: self.some(8, target), want },
                "vote",
                vec![("target", self.some(8, string(&self.target))), ("want", wanted)],
            ),
        ];
        for (method, name, mut arguments) in queries {
            arguments.push(own_id.clone());
            let body = [
                ("a", Some(dictionary(arguments))),
                ("q", Some(string(name.as_bytes()))),
                ("y", Some(string(b"q"))),
            ];
            self.check_body(Body::Query(Query { id, method }), body.into(), check);
        }

        let ((nodes, peers), (nodes6, peers6)) = (self.packed(Family::V4), self.packed(Family::V6));
        let filter: &[u8; 256] = self.filter.as_slice().try_into().unwrap();
        let samples = self.filter.as_chunks().0;
        let (values, size) = if self.flag(11) { (&peers, 6) } else { (&peers6, 18) };
        let family = if self.flag(11) { Family::V4 } else { Family::V6 };
        let response = Response {
            id,
            nodes: self.some(12, dht_proto::wire::CompactNodes::new(Family::V4, &nodes)),
            nodes6: self.some(13, dht_proto::wire::CompactNodes::new(Family::V6, &nodes6)),
            token: self.some(14, &self.text),
            values: self.some(15, Values::packed(family, values)),
            seeds: self.some(16, filter),
            peers: self.some(17, filter),
            samples: self.some(18, samples),
            interval: self.some(19, self.number),
            num: self.some(20, self.number),
            value: self.some(21, &self.value),
            key: self.some(22, key),
            seq: self.some(23, self.number),
            signature: self.some(24, signature),
            port: self.some(25, self.port),
            name: self.some(26, &self.text),
        };
        let returns = vec![
            own_id,
            ("nodes", self.some(12, string(&nodes))),
            ("nodes6", self.some(13, string(&nodes6))),
            ("token", self.some(14, string(&self.text))),
            ("values", self.some(15, Value::List(values.chunks(size).map(string).collect()))),
            ("BFsd", self.some(16, string(filter))),
            ("BFpe", self.some(17, string(filter))),
            ("samples", self.some(18, string(samples.as_flattened()))),
            ("interval", self.some(19, int(self.number))),
            ("num", self.some(20, int(self.number))),
            ("v", value.1.filter(|_| self.flag(21))),
            ("k", self.some(22, string(key))),
            ("seq", self.some(23, int(self.number))),
            ("sig", self.some(24, string(signature))),
            ("p", self.some(25, int(self.port.into()))),
            ("n", self.some(26, string(&self.text))),
        ];
        let body = vec![("r", Some(dictionary(returns))), ("y", Some(string(b"r")))];
        self.check_body(Body::Response(response), body, check);

        let error = ErrorReply { code: ErrorCode(self.number), message: &self.text };
        let list = Value::List(vec![int(self.number), string(&self.text)]);
        self.check_body(Body::Error(error), vec![("e", Some(list)), ("y", Some(string(b"e")))], check);
    }

    fn check_body(
        &self,
        body: Body<'_>,
        mut fields: Vec<(&str, Option<Value>)>,
        check: &mut dyn FnMut(&Message<'_>, Value),
    ) {
        let ip = [self.id[0], self.id[1], self.id[2], self.id[3]];
        let message = Message {
            transaction: &self.transaction,
            version: self.some(27, &self.text),
            read_only: self.flag(28),
            requester: self.some(29, (ip, self.port).into()),
            body,
        };
        fields.push(("t", Some(string(&self.transaction))));
        fields.push(("v", self.some(27, string(&self.text))));
        fields.push(("ro", self.some(28, int(1))));
        fields.push(("ip", self.some(29, string(&[&ip[..], &self.port.to_be_bytes()].concat()))));
        check(&message, dictionary(fields));
    }
}

fn node_iter(
    peers: &[([u8; 16], u16)],
    family: Family,
    id: [u8; 20],
) -> impl Iterator<Item = (NodeId, std::net::SocketAddr)> {
    peers.iter().map(move |&(ip, port)| match family {
        Family::V4 => (NodeId::from_bytes(id), ([ip[0], ip[1], ip[2], ip[3]], port).into()),
        Family::V6 => (NodeId::from_bytes(id), (ip, port).into()),
    })
}

fn string(bytes: &[u8]) -> Value {
    Value::ByteString(bytes.to_vec())
}

fn int(value: i64) -> Value {
    Value::Integer(value)
}

/// Returns the present fields, in the order that bencode requires.
fn dictionary(fields: Vec<(&str, Option<Value>)>) -> Value {
    let sorted: BTreeMap<_, _> = fields.into_iter().filter_map(|(key, value)| Some((key, value?))).collect();
    Value::Dictionary(sorted.into_iter().map(|(key, value)| (string(key.as_bytes()), value)).collect())
}

proptest! {
    #[test]
    fn e_01_b33_08_b44_01_b44_02_b44_03_b51_01_every_kind_of_message_is_canonical_and_decoded_alike_by_another_decoder(material in material()) {
        material.check(&mut |message, expected| {
            let written = encode(message);
            assert!(is_canonical(&written), "{}", written.escape_ascii());
            assert_eq!(parse_all(&written), Ok(vec![expected]), "{}", written.escape_ascii());
        });
    }

    #[test]
    fn e_32_every_kind_of_message_is_parsed_back_unchanged(material in material()) {
        material.check(&mut |message, _| {
            let written = encode(message);
            assert_eq!(Message::parse_prefix(&written), Ok((*message, &[][..])), "{}", written.escape_ascii());
            crate::roundtrip::message(&written);
        });
    }

    #[test]
    fn e_32_parsing_arbitrary_bytes_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        crate::roundtrip::message(&bytes);
    }

    #[test]
    fn e_32_parsing_random_bencode_never_panics(text in "d[0-9:eildaqrtyv-]{9,60}") {
        crate::roundtrip::message(text.as_bytes());
    }

    #[test]
    fn e_32_parsing_a_damaged_message_never_panics(
        material in material(),
        damage in prop::collection::vec(any::<(prop::sample::Index, u8)>(), 1..4),
    ) {
        material.check(&mut |message, _| {
            let mut written = encode(message);
            for (index, byte) in &damage {
                let index = index.index(written.len());
                written[index] = *byte;
            }
            crate::roundtrip::message(&written);
        });
    }
}
