//! Queries to a single host, which may have several addresses.

use std::net::SocketAddr;

use dht_proto::Family;
use dht_proto::errors::ContactError;
use dht_proto::net::{CallError, DhtHandle, resolve};

use crate::args::groups::HostArgs;
use crate::output::{Failure, Output};
use crate::session::{Deadline, Session, Setup};

/// Queries the addresses of a host one by one, and returns the first address that answers, with its answer.
pub(super) fn query<T: Send + 'static>(
    args: &HostArgs,
    output: &Output,
    query: fn(&DhtHandle, SocketAddr) -> Result<T, CallError>,
) -> Result<Option<(SocketAddr, T)>, Failure> {
    let deadline = Deadline::new(args.limit.timeout, false);
    let host = args.host.trim();
    let addrs = resolve_in_time(host, deadline)?;
    let mut setup = Setup::new(&args.node, deadline);
    setup.read_only = args.role.is_read_only(false);
    let session = Session::start(&setup, output)?;
    let bound: Vec<_> =
        addrs.iter().filter(|addr| session.dht.local_addr(Family::of(addr)).is_some()).copied().collect();
    if bound.is_empty() {
        return Err(Failure::Start(format!("{host} has no address in a bound address family; see --bind")));
    }
    let mut refused = 0;
    for addr in &bound {
        output.progress(format!("querying {addr}"));
        let (dht, addr) = (session.dht.clone(), *addr);
        match deadline.bound(move || query(&dht, addr)).unwrap_or(Err(CallError::TimedOut)) {
            Ok(answer) => return Ok(Some((addr, answer))),
            Err(CallError::Closed) => return Ok(None),
            Err(CallError::Contact(ContactError::AddressRefused)) => {
                refused += 1;
                output.message(&refusal(addr, args.node.allow_private));
            }
            Err(CallError::TimedOut) => output.message(&format!("{addr}: no answer within {deadline}")),
            Err(error) => output.message(&format!("{addr}: {error}")),
        }
    }
    if refused == bound.len() {
        return Err(Failure::Start(format!("{host} was not queried: it has no usable address")));
    }
    match session.dht.last_send_error() {
        Some(error) => {
            Err(Failure::Start(format!("cannot send to {host}: {error}; check the network and the firewall")))
        }
        None => Ok(None),
    }
}

fn resolve_in_time(host: &str, deadline: Deadline) -> Result<Vec<SocketAddr>, Failure> {
    let name = host.to_owned();
    match deadline.bound(move || resolve(&name)) {
        Some(Ok(addrs)) => Ok(addrs),
        Some(Err(error)) => Err(Failure::Start(format!("cannot resolve {host}: {error}"))),
        None => Err(Failure::Start(format!(
            "cannot resolve {host}: no answer from the name servers within {deadline}; check the network, or \
             give an IP address"
        ))),
    }
}

fn refusal(addr: SocketAddr, allows_private: bool) -> String {
    if allows_private || addr.port() == 0 || addr.ip().is_multicast() {
        format!("{addr} cannot be the address of a node")
    } else {
        format!("{addr} is not a public address; see --allow-private")
    }
}
