//! The interface between a program and the node that it uses.

use core::any::Any;

use crate::base::time::Instant;
use crate::node::Node;
use crate::node::api::event::Event;

/// A program that uses the node of its host, as a loop around a [`Node`] would.
///
/// It uses the time of the host's clock. It ends when its host leaves; if the host returns, a new program starts
/// ([`World::add_program`](super::World::add_program)).
///
/// ```
/// use dht_proto::sim::{Network, Profile, Program, World};
/// use dht_proto::{Event, Instant, Lookup, LookupOptions, Node};
/// use std::time::Duration;
///
/// /// Counts the peers of a torrent every minute.
/// #[derive(Default)]
/// struct Monitor {
///     next: Instant,
///     found: Vec<u32>,
/// }
///
/// impl Program for Monitor {
///     fn poll(&mut self, now: Instant, node: &mut Node) {
///         self.next = now + Duration::from_secs(60);
///         let lookup = Lookup::GetPeers([7; 20].into());
///         // A lookup that cannot start is tried again in a minute.
///         let _ = node.lookup(now, lookup, &LookupOptions::default());
///     }
///
///     fn handle_event(&mut self, _: Instant, _: &mut Node, event: &Event) {
///         if let Event::LookupDone { report, .. } = event {
///             self.found.push(report.peers);
///         }
///     }
///
///     fn next_wake(&self) -> Option<Instant> {
///         Some(self.next)
///     }
/// }
///
/// let mut world = World::new(1, Network::internet());
/// (0..10).for_each(|_| drop(world.add(Profile::default())));
/// let host = world.add_program(Profile::default(), Monitor::default);
/// world.run_for(Duration::from_secs(600));
/// assert!(world.program::<Monitor>(host).unwrap().found.len() >= 9);
/// ```
pub trait Program: Any {
    /// Continues the program; called at the time that [`next_wake`](Self::next_wake) returned.
    fn poll(&mut self, now: Instant, node: &mut Node);

    /// Handles an event of the node. Datagrams that the node has to send then leave at once.
    fn handle_event(&mut self, now: Instant, node: &mut Node, event: &Event) {
        let _ = (now, node, event);
    }

    /// Returns when to call [`poll`](Self::poll).
    ///
    /// Called when the host has started, and after each call of the other methods. A time in the past is due at once,
    /// so [`Instant::ZERO`] starts a program with its host; but time must advance in the end.
    fn next_wake(&self) -> Option<Instant>;
}
