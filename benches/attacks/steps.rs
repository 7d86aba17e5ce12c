//! The longest single call into a node that is full, in real time.

use std::net::SocketAddr;
use std::time::{Duration, Instant as Clock};

use dht_proto::wire::{Method, Want};
use dht_proto::{InfoHash, Item, Limits, NodeId};

use crate::target::{Target, query};

pub(crate) fn print(counts: &[usize]) {
    println!("\nthe longest single call, in milliseconds of this machine");
    for &count in counts {
        let mut limits = Limits::default();
        (limits.swarms, limits.peers_v4) = (count, 4 * count);
        (limits.items, limits.item_chunks) = (count, count);
        let mut target = Target::new(50, &limits, |_| ());
        for at in 0..count {
            let infohash = InfoHash::from(target.dice.id());
            let _ = target.node.store_peer(target.now, infohash, host(at), false);
            let text = format!("16:{:016x}", target.dice.bits());
            let item = Item::immutable(text.as_bytes()).expect("it is sound");
            let _ = target.node.store_item(target.now, &item, host(at));
        }
        let sample =
            query(Method::SampleInfohashes { target: NodeId::from_bytes([5; 20]), want: Want::NONE });
        let begun = Clock::now();
        target.ask(host(count), &sample);
        println!("{:<54}{:>9.2}", format!("{count} torrents: a sample"), millis(begun.elapsed()));

        let (mut longest, mut calls) = (Duration::ZERO, 0);
        let end = target.now + Duration::from_secs(3 * 60 * 60);
        while let Some(due) = target.node.poll_timeout().filter(|due| *due <= end) {
            target.now = target.now.max(due);
            let begun = Clock::now();
            target.node.handle_timeout(target.now);
            longest = longest.max(begun.elapsed());
            target.pass(Duration::ZERO);
            calls += 1;
        }
        println!(
            "{:<54}{:>9.2}",
            format!("{count} peers and items expire, {calls} calls: one"),
            millis(longest)
        );
    }
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

/// Each in a network of its own.
fn host(index: usize) -> SocketAddr {
    let [a, b, c, d] = (index as u32).to_be_bytes();
    ([20 + a, b, c, d], 6881).into()
}
