//! Starts and departures of hosts, churn, outages, sleep, clock jumps.

use alloc::boxed::Box;
use alloc::sync::Arc;
use core::mem;
use core::net::SocketAddr;
use core::time::Duration;

use super::core::World;
use crate::BootstrapKind;
use crate::base::addr::Family;
use crate::base::id::NodeId;
use crate::base::time::Instant;
use crate::node::Node;
use crate::node::api::config::Config;
use crate::sim::actors::Actor;
use crate::sim::hosts::{Churn, HostId, Occupant, Presence, Profile, Returns};
use crate::sim::rng::SimRng;
use crate::sim::schedule::SimEvent;
use crate::sim::transport::Link;

/// Lifecycle of hosts.
impl World {
    /// Removes a host for good. Others list it until they notice.
    pub fn kill(&mut self, host: HostId) {
        self.hosts[host.index()].leave_at = Instant::NEVER;
        self.shut_down(host);
    }

    /// Removes each host with a node with this probability, and returns how many were removed.
    pub fn kill_share(&mut self, share: f64) -> usize {
        let mut killed = 0;
        for host in self.hosts() {
            if self.node(host).is_some() && self.transport.rng.chance(share) {
                self.kill(host);
                killed += 1;
            }
        }
        killed
    }

    /// Starts a new node at the address of a host, whether that was up or not.
    ///
    /// The node knows [`Profile::bootstraps`] hosts only, and has a new id unless its [`Config`] sets one.
    ///
    /// # Panics
    ///
    /// If the host never had a node.
    pub fn restart(&mut self, host: HostId) {
        let at = &mut self.hosts[host.index()];
        let profile = at.profile.clone().expect("only nodes restart");
        at.leave_at = Instant::NEVER;
        self.shut_down(host);
        self.start_node(host, &profile, profile.config.clone());
        self.bootstrap(host);
    }

    /// Clears the state of the NAT before a host, as a power failure would.
    ///
    /// Does nothing if there is none.
    pub fn reset_nat(&mut self, host: HostId) {
        self.transport.reset_nat(&self.hosts[host.index()].link);
    }

    /// Moves a host to another address without notifying its node, as when a lease expires.
    ///
    /// If it was behind a NAT, it is behind another of the same kind. What is in flight to the old
    /// address is lost.
    ///
    /// # Panics
    ///
    /// If the host never had a node.
    pub fn readdress(&mut self, host: HostId) {
        let profile = self.hosts[host.index()].profile.clone().expect("only nodes move");
        let mut link = Link::new(host.0);
        self.assign_addresses(&mut link, &profile);
        let old = mem::replace(&mut self.hosts[host.index()].link, link);
        self.transport.detach(&old);
    }

    /// Replaces the node of a host by a script, at the same address and behind the same NAT.
    ///
    /// # Panics
    ///
    /// If the host is gone.
    pub fn replace(&mut self, host: HostId, actor: impl Actor) {
        let at = &mut self.hosts[host.index()];
        assert!(at.presence != Presence::Gone, "{host:?} is gone");
        (at.occupant, at.wake_at) = (Occupant::Actor(Box::new(actor)), Instant::NEVER);
        (at.profile, at.leave_at) = (None, Instant::NEVER);
        self.records.abandon(host);
        self.program_factories.remove(&host);
        self.factories.remove(&host);
        self.programs.remove(&host);
        self.drain(host.0);
    }

    /// Takes the link of a host down for a while, in both directions, without notifying its node.
    pub fn cut(&mut self, host: HostId, outage: Duration) {
        self.interrupt(host, outage, Presence::Offline);
    }

    /// Suspends a host for a while.
    ///
    /// Nothing arrives and its clock stands still; afterwards its node is notified by
    /// [`handle_resume`](Node::handle_resume).
    pub fn sleep(&mut self, host: HostId, time: Duration) {
        self.interrupt(host, time, Presence::Asleep);
    }

    /// Sets the clock of a host ahead, without notifying its node.
    pub fn set_clock_ahead(&mut self, host: HostId, jump: Duration) {
        let at = &mut self.hosts[host.index()];
        at.clock += jump.as_micros() as i64;
        let local = at.local(self.now);
        if let Occupant::Node(hosted) = &mut at.occupant {
            hosted.handle_timeout(local);
        }
        self.drain(host.0);
    }

    /// Sets the clock of a host back by at most 1000 s, though monotonic clocks should not do that.
    pub fn set_clock_back(&mut self, host: HostId, jump: Duration) {
        self.hosts[host.index()].clock -= jump.as_micros() as i64;
        self.drain(host.0);
    }

    /// Delays all that a host sends from now on by so much.
    pub fn slow_down(&mut self, host: HostId, extra: Duration) {
        self.hosts[host.index()].link.extra = extra;
    }

    /// Sets or ends the churn of a host; its current session starts now.
    ///
    /// # Panics
    ///
    /// If the host never had a node.
    pub fn set_churn(&mut self, host: HostId, churn: Option<Churn>) {
        let at = &mut self.hosts[host.index()];
        let profile = at.profile.as_ref().expect("only nodes have churn");
        at.profile = Some(Arc::new(Profile { churn, ..Profile::clone(profile) }));
        at.leave_at = Instant::NEVER;
        if at.presence != Presence::Gone {
            self.begin_session(host, churn);
        }
    }

    /// Adds bootstrap hosts to a node, drawn from the nodes that are up.
    pub(super) fn bootstrap(&mut self, host: HostId) {
        let count = self.hosts[host.index()].profile.as_ref().map_or(0, |profile| profile.bootstraps);
        for _ in 0..count {
            for family in Family::ALL {
                let is_wanted = self.addr_in(host, family).is_some();
                let addr = is_wanted.then(|| self.draw_bootstrap_host(host, family)).flatten();
                let at = &mut self.hosts[host.index()];
                let local = at.local(self.now);
                if let (Some(addr), Occupant::Node(hosted)) = (addr, &mut at.occupant) {
                    // If there is no room for more, it knows enough.
                    let _ = hosted.node_mut().add_bootstrap(local, addr, BootstrapKind::Router);
                }
            }
        }
        self.drain(host.0);
    }

    /// Draws a node that is up and that any host can reach.
    fn draw_bootstrap_host(&mut self, but: HostId, family: Family) -> Option<SocketAddr> {
        // If few can be reached, some nodes get fewer bootstrap hosts.
        for _ in 0..64 {
            let host = HostId(self.transport.rng.below(self.hosts.len()) as u32);
            let at = &self.hosts[host.index()];
            let is_open = at.presence == Presence::Up && (at.link.device == 0 || family == Family::V6);
            if host != but && is_open && matches!(at.occupant, Occupant::Node(_)) {
                let answers = at.profile.as_ref().is_some_and(|profile| !profile.config.read_only);
                if let Some(addr) = self.addr_in(host, family).filter(|_| answers) {
                    return Some(addr);
                }
            }
        }
        None
    }

    /// Starts a new node on a host.
    pub(super) fn start_node(&mut self, host: HostId, profile: &Profile, mut config: Config) {
        let seed = self.transport.rng.seed();
        if config.secure_ids && !profile.is_new {
            let fitting = |family: Family| {
                let addr = self.addr_in(host, family)?;
                seed.first_chunk().map(|random| NodeId::secure_for(addr.ip(), *random))
            };
            config.id = config.id.or_else(|| fitting(Family::V4));
            config.id_v6 = config.id_v6.or_else(|| fitting(Family::V6));
        }
        let at = &mut self.hosts[host.index()];
        let now = at.local(self.now);
        let node = Node::new(config, &profile.limits, seed, now);
        let addrs = at.link.endpoints.map(|endpoint| (endpoint.port() != 0).then(|| endpoint.into()));
        let hosted = match self.factories.get_mut(&host) {
            Some(factories) => factories(node, now, addrs),
            None => Box::new(node),
        };
        at.occupant = Occupant::Node(hosted);
        (at.presence, at.link.is_cut) = (Presence::Up, false);
        self.start_program(host);
        self.begin_session(host, profile.churn);
        // A node with a program or a task is drained only once it has its bootstrap hosts.
        if !self.program_factories.contains_key(&host) && !self.factories.contains_key(&host) {
            self.drain(host.0);
        }
    }

    fn begin_session(&mut self, host: HostId, churn: Option<Churn>) {
        if let Some(churn) = churn {
            let at = self.now + self.transport.rng.exponential(churn.session) + Duration::from_micros(1);
            self.hosts[host.index()].leave_at = at;
            self.transport.schedule.push(at, SimEvent::Leave(host.0));
        }
    }

    /// Ends a session.
    pub(super) fn leave(&mut self, host: HostId) {
        let churn = self.hosts[host.index()].profile.as_ref().and_then(|profile| profile.churn);
        let id = self.node(host).map(|node| Family::ALL.map(|family| node.id(family)));
        self.shut_down(host);
        let Some(churn) = churn.filter(|churn| churn.returns != Returns::Never) else { return };
        if churn.returns == Returns::Same
            && let (Some([v4, v6]), Some(profile)) = (id, &mut self.hosts[host.index()].profile)
            && profile.config.id.is_none()
        {
            let mut own = Profile::clone(profile);
            (own.config.id, own.config.id_v6) = (Some(v4), Some(v6));
            *profile = Arc::new(own);
        }
        self.return_after(host, |rng| rng.exponential(churn.absence));
    }

    /// Ends an outage, a sleep or an absence.
    pub(super) fn recover(&mut self, index: u32) {
        let host = HostId(index);
        let at = &mut self.hosts[host.index()];
        at.return_at = Instant::NEVER;
        match at.presence {
            Presence::Up => {}
            Presence::Offline => (at.presence, at.link.is_cut) = (Presence::Up, false),
            Presence::Asleep => {
                (at.presence, at.link.is_cut) = (Presence::Up, false);
                let slept = self.now - at.asleep_since;
                at.clock -= slept.as_micros() as i64;
                let local = at.local(self.now);
                if let Occupant::Node(hosted) = &mut at.occupant {
                    hosted.handle_resume(local, slept);
                }
                at.wake_at = Instant::NEVER;
                self.drain(index);
            }
            Presence::Gone => self.rejoin(host),
        }
    }

    fn rejoin(&mut self, host: HostId) {
        let Some(profile) = self.hosts[host.index()].profile.clone() else { return };
        if profile.churn.is_some_and(|churn| churn.returns == Returns::Renewed) {
            self.readdress(host);
        }
        self.start_node(host, &profile, profile.config.clone());
        self.bootstrap(host);
    }

    fn shut_down(&mut self, host: HostId) {
        let at = &mut self.hosts[host.index()];
        (at.presence, at.link.is_cut, at.wake_at, at.return_at) =
            (Presence::Gone, true, Instant::NEVER, Instant::NEVER);
        if matches!(at.occupant, Occupant::Node(_)) {
            at.occupant = Occupant::Vacant;
        }
        self.records.abandon(host);
    }

    fn interrupt(&mut self, host: HostId, time: Duration, presence: Presence) {
        let now = self.now;
        let at = &mut self.hosts[host.index()];
        if at.presence == Presence::Up {
            (at.presence, at.link.is_cut, at.asleep_since) = (presence, true, now);
            self.return_after(host, |_| time);
        }
    }

    fn return_after(&mut self, host: HostId, time: impl FnOnce(&mut SimRng) -> Duration) {
        let at = self.now + time(&mut self.transport.rng) + Duration::from_micros(1);
        self.hosts[host.index()].return_at = at;
        self.transport.schedule.push(at, SimEvent::Return(host.0));
    }
}
