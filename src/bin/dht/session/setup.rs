//! The settings of a session, from the arguments of its command.

use std::time::Duration;

use dht_proto::net::BOOTSTRAP_HOSTS;
use dht_proto::{Config, Limits};

use super::Deadline;
use crate::args::groups::{JoinArgs, LookupArgs, NodeArgs};

/// The settings of a session.
pub(crate) struct Setup<'a> {
    pub(crate) node: &'a NodeArgs,
    /// `None` for a node that contacts no other node by itself.
    pub(crate) join: Option<&'a JoinArgs>,
    pub(crate) settle: Option<Duration>,
    pub(crate) read_only: bool,
    /// Whether the node waits for other nodes, which may start later.
    pub(crate) stays: bool,
    /// Whether the address is printed as text, not only as JSON.
    pub(crate) prints_addr: bool,
    /// The new endpoints that the node contacts per second, if more than the default.
    pub(crate) new_endpoints: u32,
    /// The peers that a lookup is to find, if more than the default.
    pub(crate) peers: u16,
    pub(crate) deadline: Deadline,
}

impl<'a> Setup<'a> {
    pub(crate) fn new(node: &'a NodeArgs, deadline: Deadline) -> Self {
        Self {
            node,
            join: None,
            settle: None,
            read_only: true,
            stays: false,
            prints_addr: false,
            new_endpoints: 0,
            peers: 0,
            deadline,
        }
    }

    /// The setup of a command that looks something up and may stay.
    pub(crate) fn for_lookup(args: &'a LookupArgs, stays: bool, deadline: Deadline) -> Self {
        Self {
            join: Some(&args.join),
            settle: args.settle,
            read_only: args.role.is_read_only(stays),
            stays,
            ..Self::new(&args.node, deadline)
        }
    }

    pub(super) fn config(&self) -> Config {
        let mut config = if self.node.allow_private { Config::private() } else { Config::default() };
        config.id = self.node.id;
        config.id_v6 = self.node.id;
        // An id that was chosen by the user is kept.
        config.secure_ids &= self.node.id.is_none();
        config.read_only = self.read_only;
        config.new_endpoints.per_sec = config.new_endpoints.per_sec.max(self.new_endpoints);
        config
    }

    pub(super) fn limits(&self) -> Limits {
        let default = Limits::default();
        let peers = default.peers_per_lookup.max(self.peers.into());
        default.peers_per_lookup(peers)
    }

    /// The hosts to bootstrap from.
    pub(super) fn hosts(&self) -> Vec<String> {
        let Some(join) = self.join else { return Vec::new() };
        let public = if join.no_default_bootstrap { &[][..] } else { &BOOTSTRAP_HOSTS };
        let own = join.bootstrap.iter().map(|host| host.trim().to_owned());
        own.chain(public.iter().copied().map(str::to_owned)).collect()
    }
}
