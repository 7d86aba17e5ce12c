//! Announcements over real sockets on loopback: replaced ones, and callers that share one.

use std::net::{SocketAddr, UdpSocket};

use dht_proto::Announce;

use crate::common::net::blocking::{announces, builder};
use crate::common::net::{HASH, LOOPBACK, PATIENCE};
use crate::common::raw::{ID, Packet, join, value_list};

/// A node whose answers are written by hand.
struct Neighbour {
    socket: UdpSocket,
    addr: SocketAddr,
}

impl Neighbour {
    fn new() -> Self {
        let socket = UdpSocket::bind(LOOPBACK).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        let addr = socket.local_addr().unwrap();
        Self { socket, addr }
    }

    /// Returns the next query of this method, and answers others until then.
    fn query(&self, method: &str) -> (Packet, SocketAddr) {
        let mut buffer = [0; 1500];
        loop {
            let (len, from) = self.socket.recv_from(&mut buffer).expect("it is asked");
            let query = Packet::checked(self.addr, &buffer[..len]);
            if query.method() == method {
                return (query, from);
            }
            self.answer(&(query, from), b"");
        }
    }

    fn answer(&self, (query, from): &(Packet, SocketAddr), fields: &[u8]) {
        self.socket.send_to(&query.answer(&ID, fields), from).unwrap();
    }

    /// Returns a peer to the node, and returns the announce that follows.
    fn announced(&self, peer: SocketAddr) -> (Packet, SocketAddr) {
        let query = self.query("get_peers");
        self.answer(&query, &join(&[b"5:token1:x", &value_list(&[peer])]));
        self.query("announce_peer")
    }
}

#[test]
fn a_republish_reports_only_its_own_acknowledgements() {
    let (neighbour, peer) = (Neighbour::new(), "127.0.0.1:4321".parse().unwrap());
    let dht = builder().spawn().unwrap();
    dht.add_node(neighbour.addr).wait().unwrap();
    let _first = dht.start_announcing(HASH, Announce::port(1001));
    assert_eq!(neighbour.announced(peer).0.int("a.port"), Some(1001));

    // The announce is running and has found the peer when another replaces it.
    let mut announcement = dht.start_announcing(HASH, Announce::port(1002));
    let announced = neighbour.announced(peer);
    assert_eq!(announced.0.int("a.port"), Some(1002));
    neighbour.answer(&announced, b"");
    let round = announcement.recv_timeout(PATIENCE).unwrap();
    assert_eq!((round.peers, round.acknowledged), (vec![peer], vec![neighbour.addr]));
}

#[test]
fn an_earlier_announcement_takes_effect_when_the_newest_is_dropped() {
    let dht = builder().spawn().unwrap();
    let start = |port| dht.start_announcing(HASH, Announce::port(port));
    let port = || announces(&dht)[0].announce.port;
    let (first, second, third) = (start(1001), start(1002), start(1003));
    assert_eq!(port(), 1003);
    drop(second);
    assert_eq!(port(), 1003, "the newest is still there");
    drop(third);
    assert_eq!(port(), 1001);
    drop(first);
    assert_eq!(announces(&dht), []);
}
