//! The wire format as its users see it: the vectors of the BEPs, and what deployed nodes send.

use dht_proto::wire::Message;

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
    b"d1:ad2:id20:abcdefghij012345678912:implied_porti1e9:info_hash20:mnopqrstuvwxyz1234564:porti6881e5:token8:aoeusnthe1:q13:announce_peer1:t2:aa1:y1:qe",
];

#[test]
fn v5_every_packet_of_bep_5_encodes_to_itself() {
    for packet in BEP_5 {
        let message = Message::parse(packet).unwrap();
        let mut buf = [0; 200];
        let len = message.emit(&mut buf).unwrap();
        assert_eq!(&buf[..len], packet);
        assert_eq!(message.encoded_len(), packet.len());
    }
}
