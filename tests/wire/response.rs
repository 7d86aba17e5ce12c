//! Parsing of responses.

use std::net::SocketAddr;

use dht_proto::NodeId;
use dht_proto::wire::Response;

use super::{datagram, response};

/// Returns a response with these fields around the id, which sorts in the middle.
fn returned(before: &[&[u8]], after: &[&[u8]]) -> Response<'static> {
    let (before, after) = (before.concat(), after.concat());
    let pieces: [&[u8]; 5] = [b"d1:rd", &before, b"2:id20:abcdefghij0123456789", &after, b"e1:t2:aa1:y1:re"];
    response(datagram(&pieces).leak())
}

fn peers(values: &[&[u8]]) -> Vec<SocketAddr> {
    returned(&[], values).values.unwrap().iter().collect()
}

fn addr(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

const PEER4: &[u8] = b"axje.u";
const PEER6: &[u8] = b"\x2a\x00\0\0\0\0\0\0\0\0\0\0\0\0\0\x01\x1a\xe1";

#[test]
fn b5_04_v5_the_peers_of_bep_5_decode() {
    let text = b"d1:rd2:id20:abcdefghij01234567895:token8:aoeusnth6:valuesl6:axje.u6:idhtnmee1:t2:aa1:y1:re";
    let response = response(text);
    assert_eq!(response.token, Some(b"aoeusnth".as_slice()));
    let values: Vec<_> = response.values.unwrap().iter().collect();
    assert_eq!(values, [addr("97.120.106.101:11893"), addr("105.100.104.116:28269")]);
}

#[test]
fn b5_05_b32_03_nodes_decode_in_both_families() {
    let (id, other) = ([7; 20], [8; 20]);
    let response = returned(&[], &[b"5:nodes52:", &id, PEER4, &other, PEER4, b"6:nodes638:", &id, PEER6]);
    let (id, other) = (NodeId::from_bytes(id), NodeId::from_bytes(other));
    let v4 = addr("97.120.106.101:11893");
    let nodes = response.nodes.unwrap();
    assert_eq!(nodes.iter().collect::<Vec<_>>(), [(id, v4), (other, v4)]);
    assert_eq!((nodes.len(), nodes.iter().len(), nodes.is_empty()), (2, 2, false));
    assert_eq!(response.nodes6.unwrap().iter().collect::<Vec<_>>(), [(id, addr("[2a00::1]:6881"))]);
}

#[test]
fn b5_06_the_tail_of_a_node_list_is_ignored() {
    for (text, count) in [
        (&b"5:nodes0:"[..], 0),
        (b"5:nodes9:def456...", 0),
        (b"5:nodes25:abcdefghijklmnopqrstuvwxy", 0),
        (b"5:nodes30:abcdefghijklmnopqrstuvwxyz1234", 1),
    ] {
        let nodes = returned(&[], &[text]).nodes.unwrap();
        assert_eq!((nodes.len(), nodes.iter().count(), nodes.is_empty()), (count, count, count == 0));
    }
    assert_eq!(returned(&[], &[b"5:nodesle6:nodes6i1e"]), returned(&[], &[]));
}

#[test]
fn b5_08_b5_09_addresses_are_returned_unchanged() {
    let mapped = b"\0\0\0\0\0\0\0\0\0\0\xff\xff\x01\x02\x03\x04\0\0";
    let nodes = returned(&[], &[b"6:nodes638:", &[7; 20], mapped]).nodes6.unwrap();
    assert_eq!(nodes.iter().next().unwrap().1, addr("[::ffff:1.2.3.4]:0"));
    assert_eq!(peers(&[b"6:valuesl6:\x7f\0\0\x01\0\0e"]), [addr("127.0.0.1:0")]);
}

#[test]
fn q_05_q_06_values_and_nodes_may_come_in_any_combination() {
    let (token, nodes, values) =
        (&b"5:token1:x"[..], &b"5:nodes26:abcdefghijklmnopqrstuvwxyz"[..], &b"6:valuesl6:axje.ue"[..]);
    for combination in 0..8_usize {
        let field = |bit: usize, field| if combination & bit != 0 { field } else { &b""[..] };
        let response = returned(&[], &[field(1, nodes), field(2, token), field(4, values)]);
        assert_eq!(response.nodes.is_some(), combination & 1 != 0);
        assert_eq!(response.token.is_some(), combination & 2 != 0);
        assert_eq!(response.values.is_some(), combination & 4 != 0);
    }
}

#[test]
fn q_07_an_empty_list_of_values_is_legal() {
    assert_eq!(peers(&[b"6:valuesle"]), []);
}

#[test]
fn q_08_the_old_form_of_values_is_read() {
    let (first, second) = (addr("97.120.106.101:11893"), addr("105.100.104.116:28269"));
    assert_eq!(peers(&[b"6:valuesl12:axje.uidhtnme"]), [first, second]);
    assert_eq!(peers(&[b"6:values12:axje.uidhtnm"]), [first, second]);
    assert_eq!(peers(&[b"6:valuesl24:axje.uidhtnmaxje.uidhtnme"]), [first, second, first, second]);
    // A single string of 18 bytes is one IPv6 peer.
    assert_eq!(peers(&[b"6:valuesl18:", PEER6, b"e"]), [addr("[2a00::1]:6881")]);
    // More than one string is not the old form.
    assert_eq!(peers(&[b"6:valuesl12:axje.uidhtnm6:axje.ue"]), [first]);
}

#[test]
fn q_09_members_that_are_not_peers_are_skipped() {
    let mixed = b"6:valuesl0:5:axje.6:axje.u7:axje.uui5el6:axje.ued1:xi1ee6:idhtnme";
    assert_eq!(peers(&[mixed]), [addr("97.120.106.101:11893"), addr("105.100.104.116:28269")]);
    assert_eq!(returned(&[], &[b"6:valuesi1e"]).values, None);
    assert_eq!(returned(&[], &[b"6:valuesde"]).values, None);
}

#[test]
fn b32_13_values_of_both_families_may_be_mixed() {
    let mixed = peers(&[b"6:valuesl18:", PEER6, b"6:", PEER4, b"18:", PEER6, b"e"]);
    assert_eq!(mixed, [addr("[2a00::1]:6881"), addr("97.120.106.101:11893"), addr("[2a00::1]:6881")]);
}

#[test]
fn q_23_q_24_the_name_and_the_port_of_libtorrent_are_read() {
    let response = returned(&[], &[b"1:n5:linux1:pi6881e"]);
    assert_eq!((response.name, response.port), (Some(b"linux".as_slice()), Some(6881)));
    for bad in ["1:pi0e", "1:pi65536e", "1:p4:6881", "1:pi-1e"] {
        assert_eq!(returned(&[], &[bad.as_bytes()]).port, None);
    }
}

#[test]
fn t_06_a_token_is_a_string_of_at_least_one_byte() {
    assert_eq!(returned(&[], &[b"5:token1:x"]).token, Some(b"x".as_slice()));
    assert_eq!(returned(&[], &[b"5:token0:"]).token, None);
    assert_eq!(returned(&[], &[b"5:tokeni1e"]).token, None);
}

#[test]
fn b33_08_b33_09_b33_12_filters_are_read_under_both_names_if_they_have_256_bytes() {
    let (seeds, others) = (&[1; 256], &[2; 256]);
    let by_the_book = returned(&[b"4:BFpe256:", others, b"4:BFsd256:", seeds], &[]);
    assert_eq!((by_the_book.seeds, by_the_book.peers), (Some(seeds), Some(others)));
    let of_mldht = returned(&[b"4:BFpe256:", others, b"4:BFse256:", seeds], &[]);
    assert_eq!(of_mldht, by_the_book);
    let short = returned(&[b"4:BFpe255:", &others[1..], b"4:BFsd0:"], &[]);
    assert_eq!((short.seeds, short.peers), (None, None));
}

#[test]
fn b44_01_b44_06_items_come_with_the_raw_bytes_of_their_value() {
    let (key, signature) = (&[3; 32], &[4; 64]);
    let response =
        returned(&[], &[b"1:k32:", key, b"3:seqi4e3:sig64:", signature, b"5:token1:x1:vd1:bi1e1:ai02ee"]);
    assert_eq!((response.key, response.seq, response.signature), (Some(key), Some(4), Some(signature)));
    assert_eq!(response.value, Some(b"d1:bi1e1:ai02ee".as_slice()));
    let short = returned(&[], &[b"1:k31:", &key[1..], b"3:sig63:", &signature[1..], b"1:v0:"]);
    assert_eq!((short.key, short.signature, short.value), (None, None, Some(b"0:".as_slice())));
}

#[test]
fn b51_02_an_empty_sample_is_a_sample() {
    let text = b"d1:rd2:id20:hellohellohellohello8:intervali420e7:samples0:e1:t5:hello1:y1:re";
    let response = response(text);
    assert_eq!((response.interval, response.num), (Some(420), None));
    assert_eq!(response.samples, Some([].as_slice()));
}

#[test]
fn b51_08_samples_of_an_invalid_length_are_ignored_and_the_nodes_used() {
    let sample = [[5; 20], [6; 20]];
    let response = returned(&[], &[b"3:numi9e7:samples40:", sample.as_flattened()]);
    assert_eq!((response.num, response.samples), (Some(9), Some(sample.as_slice())));
    let broken = returned(&[], &[b"5:nodes0:7:samples41:x", sample.as_flattened()]);
    assert!(broken.samples.is_none() && broken.nodes.is_some());
    assert_eq!(returned(&[], &[b"7:samplesle"]).samples, None);
}
