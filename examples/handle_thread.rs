//! A node in a thread of its own: one announces a torrent, and another finds the peer.
//!
//! It runs on a private network on loopback; in the public DHT the nodes would be `Dht::builder().spawn()`.
//!
//! ```text
//! cargo run --example handle_thread
//! ```

use std::error::Error;
use std::thread;

use dht_proto::net::Testnet;
use dht_proto::{Announce, InfoHash};

fn main() -> Result<(), Box<dyn Error>> {
    let testnet = Testnet::new(10)?;
    let (seeder, leecher) = (testnet.builder().spawn()?, testnet.builder().spawn()?);
    let infohash = InfoHash::from([7; 20]);

    let stored = seeder.announce(infohash, Announce::port(6881)).wait()?.stored()?;
    println!("{stored:?}");

    // A handle can be given to any thread. No call blocks; what it returns is iterated or waited for.
    let handle = leecher.handle();
    let found = thread::spawn(move || handle.get_peers(infohash).into_iter().next());
    let peer = found.join().map_err(|_| "the thread has panicked")?;
    println!("{peer:?}");
    assert_eq!(peer, Some(([127, 0, 0, 1], 6881).into()));

    // Republished every 15 minutes, until it is dropped.
    let announcement = seeder.start_announcing(infohash, Announce::port(6881));
    drop(announcement);
    Ok(())
}
