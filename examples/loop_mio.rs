//! The loop over `mio`: one thread, one `Poll`, as many nodes and sockets as wanted.
//!
//! Three nodes on loopback: the second announces a peer to the first, where the third finds it.
//!
//! ```text
//! cargo run --example loop_mio
//! ```

use std::error::Error;
use std::io::{self, ErrorKind};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::LazyLock;

use dht_proto::{
    AddressPolicy, Announce, BootstrapKind, Config, Event, InfoHash, Instant, Limits, MAX_DATAGRAM, Node,
};
use mio::net::UdpSocket;
use mio::{Events, Interest, Poll, Token};

static START: LazyLock<std::time::Instant> = LazyLock::new(std::time::Instant::now);
const END: Instant = Instant::from_micros(10_000_000);

fn now() -> Instant {
    Instant::ZERO + START.elapsed()
}

struct Host {
    node: Node,
    socket: UdpSocket,
}

impl Host {
    fn new(poll: &Poll, token: Token) -> Result<Self, Box<dyn Error>> {
        // For many nodes on loopback; a node of the real DHT keeps the defaults.
        let config = Config::default().address_policy(AddressPolicy::Any).source_limits(false).ipv6(false);
        let mut seed = [0; 32];
        getrandom::fill(&mut seed)?;
        let node = Node::new(config, &Limits::default(), seed, now());
        let mut socket = UdpSocket::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))?;
        poll.registry().register(&mut socket, token, Interest::READABLE)?;
        Ok(Self { node, socket })
    }

    /// Sends what the node has to send. Call it after every input, so that a burst of queries does not
    /// overflow the ring of answers.
    fn transmit(&mut self) {
        let mut buf = [0; MAX_DATAGRAM];
        while let Some(transmit) = self.node.poll_transmit(now(), &mut buf) {
            match self.socket.send_to(&buf[..transmit.size], transmit.destination) {
                // The socket is full. UDP may lose datagrams, so this one is lost; a busy node
                // would keep it, stop polling and wait for `Interest::WRITABLE`.
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(_) => self.node.handle_unsent(now(), transmit.destination), // sent again later
                Ok(_) => {}
            }
        }
    }

    /// Reads until the socket is empty: `mio` does not report unread datagrams again.
    fn receive(&mut self) -> io::Result<()> {
        let mut buf = [0; 65_535];
        loop {
            match self.socket.recv_from(&mut buf) {
                Ok((len, from)) => self.node.handle_datagram(now(), from, &buf[..len]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == ErrorKind::ConnectionReset => {} // of an earlier datagram
                Err(error) => return Err(error),
            }
            self.transmit();
        }
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let infohash = InfoHash::from_bytes([7; 20]);
    let mut poll = Poll::new()?;
    let mut hosts = Vec::new();
    for index in 0..3 {
        hosts.push(Host::new(&poll, Token(index))?);
    }
    let known = hosts[0].socket.local_addr()?;
    let [_, announcer, seeker] = hosts.as_mut_slice() else { unreachable!("there are three") };
    announcer.node.add_bootstrap(now(), known, BootstrapKind::Node)?;
    seeker.node.add_bootstrap(now(), known, BootstrapKind::Node)?;
    announcer.node.announce(now(), infohash, Announce::port(6881))?;

    let mut happened = Events::with_capacity(16);
    while now() < END {
        let mut stored = false;
        for host in &mut hosts {
            host.node.handle_timeout(now()); // early calls are harmless
            host.transmit();
            while let Some(event) = host.node.poll_event() {
                match event {
                    Event::Acknowledged { node, .. } => {
                        println!("{node} stores that we have the torrent");
                        stored = true;
                    }
                    Event::Peer { peer, .. } => {
                        println!("{peer} has the torrent, found after {:.1?}", START.elapsed());
                        return Ok(());
                    }
                    _ => {}
                }
            }
        }
        if stored {
            hosts[2].node.get_peers(now(), infohash)?; // its deadline is "now", so nothing waits
        }
        let deadline = hosts.iter().filter_map(|host| host.node.poll_timeout()).chain([END]).min();
        match poll.poll(&mut happened, deadline.map(|at| at - now())) {
            // Without events something may still have arrived, which must be handled before the deadlines.
            Err(error) if error.kind() == ErrorKind::Interrupted => {
                hosts.iter_mut().try_for_each(Host::receive)?
            }
            Err(error) => return Err(error.into()),
            Ok(()) => happened.iter().try_for_each(|event| hosts[event.token().0].receive())?,
        }
    }
    Err("nobody was found in time".into())
}
