//! Programs on the hosts of a world, crawls among them.

use alloc::boxed::Box;
use alloc::sync::Arc;
use core::any::Any;
use core::time::Duration;

use super::core::World;
use super::crawl::Crawl;
use crate::base::id::InfoHash;
use crate::base::time::Instant;
use crate::crawl::{CrawlOptions, CrawlReport};
use crate::node::Node;
use crate::sim::hosts::{HostId, Occupant, Profile};
use crate::sim::program::Program;

/// Programs.
impl World {
    /// Adds a host with a node and a program that uses it.
    ///
    /// The node joins like [any other](Self::add), with the NAT and the churn of the profile. `start` makes the
    /// program, and makes another one whenever the host starts again: the state of a program is lost with its
    /// session, as in a process that ends. State that has to survive is captured by `start`.
    pub fn add_program<P: Program>(
        &mut self,
        profile: impl Into<Arc<Profile>>,
        mut start: impl FnMut() -> P + 'static,
    ) -> HostId {
        let host = HostId(self.hosts.len() as u32);
        self.program_factories.insert(host, Box::new(move || Box::new(start())));
        self.add(profile)
    }

    /// Runs a program on the node of a host until the host leaves, instead of an earlier program.
    ///
    /// # Panics
    ///
    /// If the host runs no node, or is gone.
    pub fn run_program(&mut self, host: HostId, program: impl Program) {
        assert!(self.node(host).is_some(), "no node at {host:?}");
        self.programs.insert(host, Box::new(program));
        self.drain(host.0);
    }

    /// The program of a host, if it is of this type; after the host has left, in its last state.
    pub fn program<P: Program>(&self, host: HostId) -> Option<&P> {
        (&**self.programs.get(&host)? as &dyn Any).downcast_ref()
    }

    /// Calls a program with its node, at the time of the host's clock, then sends the datagrams of the node.
    ///
    /// # Panics
    ///
    /// If the host has no program of this type, or is gone.
    pub fn with_program<P: Program, T>(
        &mut self,
        host: HostId,
        act: impl FnOnce(&mut P, &mut Node, Instant) -> T,
    ) -> T {
        let at = &mut self.hosts[host.index()];
        let local = at.local(self.now);
        let program = self.programs.get_mut(&host).and_then(|it| (&mut **it as &mut dyn Any).downcast_mut());
        let (Occupant::Node(hosted), Some(program)) = (&mut at.occupant, program) else {
            panic!("no such program at {host:?}")
        };
        let result = act(program, hosted.node_mut(), local);
        self.drain(host.0);
        result
    }

    /// Starts the program of a host that has started.
    pub(super) fn start_program(&mut self, host: HostId) {
        match self.program_factories.get_mut(&host) {
            Some(start) => drop(self.programs.insert(host, start())),
            None => drop(self.programs.remove(&host)),
        }
    }
}

/// Crawls.
impl World {
    /// Starts a crawl, a [program](Self::run_program) that runs until the host leaves.
    ///
    /// # Panics
    ///
    /// If the host runs no node, or is gone.
    pub fn crawl(&mut self, at: HostId, options: CrawlOptions) {
        let local = self.hosts[at.index()].local(self.now);
        self.run_program(at, Crawl::new(options, local));
    }

    /// The infohashes that a crawl has found, each with the time since the crawl started.
    pub fn crawled(&self, at: HostId) -> &[(Duration, InfoHash)] {
        self.program::<Crawl>(at).map_or(&[], Crawl::found)
    }

    /// The report of a host's crawl so far.
    pub fn crawl_report(&self, at: HostId) -> Option<CrawlReport> {
        self.program::<Crawl>(at).map(Crawl::report)
    }
}
