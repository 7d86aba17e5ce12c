//! The commands that ask a single node.

use std::net::SocketAddr;

use dht_proto::net::{CallError, DhtHandle, resolve};
use dht_proto::{Family, StartError};

use crate::deadline::Deadline;
use crate::options::HostOptions;
use crate::output::{Failure, Output};
use crate::session::{Session, Setup};

pub(crate) fn ping(options: &HostOptions, output: &Output) -> Result<(), Failure> {
    let pong = ask(options, output, |dht, addr| dht.ping(addr).wait())?;
    pong.map_or(Ok(()), |(_, pong)| output.pong(&pong))
}

pub(crate) fn sample(options: &HostOptions, output: &Output) -> Result<(), Failure> {
    let sampled = ask(options, output, |dht, addr| {
        // Any target will do: it is the infohashes that are wanted.
        dht.sample_infohashes(addr, dht.id(Family::of(&addr)).wait()?).wait()
    })?;
    let Some((addr, sampled)) = sampled else { return Ok(()) };
    output.sample(addr, &sampled.sample)?;
    sampled.infohashes.iter().try_for_each(|infohash| output.infohash(*infohash, addr))
}

/// Asks the addresses of a host one by one, and returns the first that answers and its answer.
fn ask<T: Send + 'static>(
    options: &HostOptions,
    output: &Output,
    ask: fn(&DhtHandle, SocketAddr) -> Result<T, CallError>,
) -> Result<Option<(SocketAddr, T)>, Failure> {
    let deadline = Deadline::new(options.ask.limit.timeout, false);
    let host = options.host.trim();
    let addrs = look_up(host, deadline)?;
    let mut setup = Setup::new(&options.ask.own, deadline);
    setup.read_only = options.ask.role.is_read_only(false);
    let session = Session::start(&setup, output)?;
    let bound: Vec<_> =
        addrs.iter().filter(|addr| session.dht.local_addr(Family::of(addr)).is_some()).copied().collect();
    if bound.is_empty() {
        return Err(Failure::Start(format!("{host} has no address of a family that is bound; see --bind")));
    }
    let mut refused = 0;
    for addr in &bound {
        output.progress(format!("asking {addr}"));
        let (dht, addr) = (session.dht.clone(), *addr);
        match deadline.bound(move || ask(&dht, addr)).unwrap_or(Err(CallError::TimedOut)) {
            Ok(answer) => return Ok(Some((addr, answer))),
            Err(CallError::Closed) => return Ok(None),
            Err(CallError::Start(StartError::AddressRefused)) => {
                refused += 1;
                output.complain(&refusal(addr, options.ask.own.allow_private));
            }
            // The message is of the search for an answer, not of the deadline.
            Err(CallError::TimedOut) => output.complain(&format!("{addr}: no answer within {deadline}")),
            Err(error) => output.complain(&format!("{addr}: {error}")),
        }
    }
    if refused == bound.len() {
        return Err(Failure::Start(format!("{host} was not asked")));
    }
    match session.dht.last_send_error() {
        Some(error) => {
            Err(Failure::Start(format!("cannot send to {host}: {error}; check the network and the firewall")))
        }
        None => Ok(None),
    }
}

/// The addresses of a host, if they are known in time.
fn look_up(host: &str, deadline: Deadline) -> Result<Vec<SocketAddr>, Failure> {
    let name = host.to_owned();
    match deadline.bound(move || resolve(&name)) {
        Some(Ok(addrs)) => Ok(addrs),
        Some(Err(error)) => Err(Failure::Start(format!("cannot resolve {host}: {error}"))),
        None => Err(Failure::Start(format!(
            "cannot resolve {host}: no answer from the name servers within {deadline}; check the network, or \
             give its address"
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
