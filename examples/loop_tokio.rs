//! The loop over `tokio`: a task owns the node, other tasks send it lookups and receive the events.
//!
//! Three nodes on loopback: the second announces a peer to the first, where the third finds it.
//!
//! ```text
//! cargo run --example loop_tokio
//! ```

use std::collections::BTreeMap;
use std::error::Error;
use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::LazyLock;
use std::time::Duration;

use dht_proto::{
    AddressPolicy, Announce, BootstrapKind, Config, Event, InfoHash, Instant, Limits, MAX_DATAGRAM, Node,
};
use dht_proto::{Lookup, LookupOptions};
use tokio::net::UdpSocket;
use tokio::sync::mpsc::{self, Receiver, Sender, UnboundedReceiver, UnboundedSender};
use tokio::time::{sleep_until, timeout};

static START: LazyLock<tokio::time::Instant> = LazyLock::new(tokio::time::Instant::now);

fn now() -> Instant {
    Instant::ZERO + START.elapsed()
}

/// A lookup for the node, and the channel for its events.
type Command = (Lookup, UnboundedSender<Event>);

/// Runs the loop until no task is left to send commands, or the socket fails.
async fn run(mut node: Node, socket: UdpSocket, mut commands: Receiver<Command>) {
    let mut users = BTreeMap::new();
    let mut buf = vec![0; 65_535];
    let mut streak = 0; // datagrams since it was time for something
    loop {
        while let Some(transmit) = node.poll_transmit(now(), &mut buf[..MAX_DATAGRAM]) {
            // Waits while the socket is full; other datagrams wait in the node.
            if socket.send_to(&buf[..transmit.size], transmit.destination).await.is_err() {
                node.handle_unsent(now(), transmit.destination); // sent again later
            }
        }
        while let Some(event) = node.poll_event() {
            if let Event::Peer { lookup, .. }
            | Event::Acknowledged { lookup, .. }
            | Event::LookupDone { lookup, .. } = event
                && let Some(user) = users.get(&lookup)
                && UnboundedSender::send(user, event).is_err()
            {
                node.cancel(lookup); // no task waits for it any more
            }
        }
        // Ended lookups report nothing more; their users see the channel close.
        users.retain(|&lookup, _| node.lookup_report(lookup).is_some());
        let due = node.poll_timeout().map(|at| *START + (at - Instant::ZERO));
        tokio::select! {
            biased;
            received = socket.recv_from(&mut buf) => match received {
                Ok((len, from)) => {
                    node.handle_datagram(now(), from, &buf[..len]);
                    streak += 1;
                }
                Err(error) if error.kind() == ErrorKind::ConnectionReset => {} // of an earlier datagram
                Err(_) => return,
            },
            () = sleep_until(due.unwrap_or(*START)), if due.is_some() => streak = 0,
            command = commands.recv() => {
                let Some((lookup, user)) = command else { return };
                // If there is no slot for it, the user's channel closes without an event.
                if let Ok(id) = node.lookup(now(), lookup, &LookupOptions::default()) {
                    users.insert(id, user);
                }
            }
        }
        // Arrived datagrams come first, or waiting answers would count as missing; but a stream of
        // datagrams must not delay timers. Early calls are harmless.
        if streak % 64 == 0 {
            node.handle_timeout(now());
        }
    }
}

/// Starts a node that bootstraps from `known`, and returns its address and its channel of commands.
async fn spawn(known: Option<SocketAddr>) -> Result<(SocketAddr, Sender<Command>), Box<dyn Error>> {
    // For many nodes on loopback; a node of the real DHT keeps the defaults.
    let config = Config::default().address_policy(AddressPolicy::Any).source_limits(false).ipv6(false);
    let mut seed = [0; 32];
    getrandom::fill(&mut seed)?;
    let mut node = Node::new(config, &Limits::default(), seed, now());
    known.map_or(Ok(()), |known| node.add_bootstrap(now(), known, BootstrapKind::Node))?;
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let (addr, (sender, receiver)) = (socket.local_addr()?, mpsc::channel(16));
    tokio::spawn(run(node, socket, receiver));
    Ok((addr, sender))
}

async fn look_up(task: &Sender<Command>, lookup: Lookup) -> Result<UnboundedReceiver<Event>, Box<dyn Error>> {
    let (sender, receiver) = mpsc::unbounded_channel();
    task.send((lookup, sender)).await?;
    Ok(receiver)
}

async fn story() -> Result<(), Box<dyn Error>> {
    let infohash = InfoHash::from_bytes([7; 20]);
    let (known, _first) = spawn(None).await?;
    let (_, announcer) = spawn(Some(known)).await?;
    let (_, seeker) = spawn(Some(known)).await?;
    let mut events = look_up(&announcer, Lookup::Announce(infohash, Announce::port(6881))).await?;
    while let Some(event) = events.recv().await {
        if let Event::Acknowledged { node, .. } = event {
            println!("{node} stores that we have the torrent");
        }
    }
    let mut events = look_up(&seeker, Lookup::GetPeers(infohash)).await?;
    while let Some(event) = events.recv().await {
        if let Event::Peer { peer, .. } = event {
            println!("{peer} has the torrent, found after {:.1?}", START.elapsed());
            return Ok(());
        }
    }
    Err("nobody was found".into())
}

fn main() -> Result<(), Box<dyn Error>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async { timeout(Duration::from_secs(10), story()).await? })
}
