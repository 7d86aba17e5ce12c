//! The state of a world, and how the output of a host is drained.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::vec;
use alloc::vec::Vec;
use core::net::SocketAddr;
use core::time::Duration;

use super::records::LookupRecords;
use crate::base::addr::AddressPolicy;
use crate::base::time::Instant;
use crate::node::Node;
use crate::node::api::config::MAX_DATAGRAM;
use crate::node::api::event::Event;
use crate::sim::hosts::{Host, HostId, HostedFactory, Occupant, Presence};
use crate::sim::program::Program;
use crate::sim::schedule::SimEvent;
#[cfg(any(feature = "net", feature = "smol", feature = "tokio"))]
use crate::sim::tasks::WokenHosts;
use crate::sim::transport::{Network, Transport};

/// Start time of a world, late enough that clocks may be set back.
const START: Instant = Instant::from_micros(1_000_000_000);

/// Datagrams of one node, or calls of its program, at one instant after which a livelock is assumed.
const MAX_AT_ONCE: u32 = 100_000;

/// Hosts and the network between them, in virtual time.
///
/// Everything follows from the seed and the calls: two runs send the same bytes at the same times,
/// which [`transcript`](Self::transcript) proves. Time jumps from one event to the next, and a step
/// costs the same however many hosts there are. A world is not `Send`.
///
/// # Panics
///
/// Running it panics, with the address of the host, if time does not advance: when a node asks to be
/// woken in the past, or when hosts exchange datagrams without end at one instant.
pub struct World {
    pub(super) now: Instant,
    pub(super) hosts: Vec<Host>,
    pub(super) transport: Transport,
    pub(super) records: LookupRecords,
    pub(super) programs: BTreeMap<HostId, Box<dyn Program>>,
    /// Factories of programs, by host.
    pub(super) program_factories: BTreeMap<HostId, Box<dyn FnMut() -> Box<dyn Program>>>,
    /// Factories of what hosts run, where that is more than a node.
    pub(super) factories: BTreeMap<HostId, HostedFactory>,
    #[cfg(any(feature = "net", feature = "smol", feature = "tokio"))]
    pub(super) woken: WokenHosts,
    /// Events of the hosts that are watched.
    pub(super) events: BTreeMap<HostId, Vec<(Instant, Event)>>,
    /// Index of the subnet that the next host gets.
    pub(super) next_subnet: u32,
    /// Events since time last advanced.
    pub(super) events_at_once: u64,
    buf: Box<[u8]>,
}

impl World {
    /// Creates a world without hosts.
    pub fn new(seed: u64, network: Network) -> Self {
        Self {
            now: START,
            hosts: Vec::new(),
            transport: Transport::new(seed, network, START),
            records: LookupRecords::default(),
            programs: BTreeMap::new(),
            program_factories: BTreeMap::new(),
            factories: BTreeMap::new(),
            #[cfg(any(feature = "net", feature = "smol", feature = "tokio"))]
            woken: WokenHosts::default(),
            events: BTreeMap::new(),
            next_subnet: 0,
            events_at_once: 0,
            buf: vec![0; MAX_DATAGRAM].into(),
        }
    }

    /// Calls a node, at the time of the host's clock, and sends what it has to send.
    ///
    /// # Panics
    ///
    /// If the host runs no node, or is gone.
    pub fn with_node<T>(&mut self, host: HostId, act: impl FnOnce(&mut Node, Instant) -> T) -> T {
        let at = &mut self.hosts[host.index()];
        let local = at.local(self.now);
        let Occupant::Node(hosted) = &mut at.occupant else { panic!("no node at {host:?}") };
        let result = act(hosted.node_mut(), local);
        self.drain(host.0);
        result
    }

    /// Sends the datagrams of a host, records its events and schedules its next wake-up.
    pub(super) fn drain(&mut self, index: u32) {
        let id = HostId(index);
        let host = &mut self.hosts[index as usize];
        let local = host.local(self.now);
        let policy = host.profile.as_ref().map_or(AddressPolicy::Any, |it| it.config.address_policy);
        let mut program = self.programs.get_mut(&id);
        if let Occupant::Node(hosted) = &mut host.occupant {
            let (link, transport) = (&mut host.link, &mut self.transport);
            let mut count = 0;
            let mut count_one = |addr| {
                count += 1;
                assert!(count < MAX_AT_ONCE, "livelock at {addr}");
            };
            loop {
                let mut send = |to: SocketAddr, bytes: &[u8]| {
                    count_one(link.addr());
                    if !policy.allows(to.into()) {
                        transport.stray.get_or_insert_with(|| (link.addr(), to));
                    }
                    transport.send(self.now, link, to.into(), bytes, Duration::ZERO);
                };
                let mut note = |node: &mut Node, event: &Event| {
                    self.records.note(self.now, id, node, event);
                    if let Some(program) = &mut program {
                        program.handle_event(local, node, event);
                    }
                    if host.is_watched {
                        self.events.entry(id).or_default().push((self.now, *event));
                    }
                };
                hosted.drain(local, &mut self.buf, &mut send, &mut note);
                let Some(program) = &mut program else { break };
                if program.next_wake().is_none_or(|due| due > local) {
                    break;
                }
                count_one(link.addr());
                program.poll(local, hosted.node_mut());
            }
        }
        self.schedule(index);
    }

    /// Schedules the next wake-up of a host, unless an earlier one is scheduled: that one schedules
    /// the next.
    pub(super) fn schedule(&mut self, index: u32) {
        let host = &mut self.hosts[index as usize];
        let due = match &host.occupant {
            _ if host.presence == Presence::Gone => None,
            Occupant::Node(hosted) => {
                let program = self.programs.get(&HostId(index)).and_then(|program| program.next_wake());
                hosted.next_wake().into_iter().chain(program).min().map(|due| host.global(due))
            }
            Occupant::Actor(actor) => actor.next_wake(),
            Occupant::Vacant => None,
        };
        let due = due.map(|due| due.max(self.now));
        if let Some(due) = due.filter(|due| *due < host.wake_at) {
            host.wake_at = due;
            self.transport.schedule.push(due, SimEvent::Wake(index));
        }
    }
}
