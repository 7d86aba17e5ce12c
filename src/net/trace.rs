//! The events of an adapter for `tracing` subscribers; without the feature `tracing` they cost nothing.
//!
//! All events of a node lie in a span named `dht`. Problems that the node cannot solve are warnings; its start, its
//! end and its connection to the DHT are information; lookups, names and files are at the debug level; each datagram is
//! at the trace level.

use core::net::SocketAddr;

use super::engine::events::NetEvent;
use crate::{Event, LookupReport};

/// Emits an event with fields that can be displayed.
macro_rules! event {
    ($level:ident, $message:literal $(, $field:ident = $value:expr)* $(,)?) => {{
        #[cfg(feature = "tracing")]
        tracing::event!(tracing::Level::$level, $($field = %$value,)* $message);
        #[cfg(not(feature = "tracing"))]
        if false {
            let _ = ($(&$value,)*);
        }
    }};
}
pub(crate) use event;

/// Runs the loop of a node, from start to end, within its span.
#[cfg(feature = "net")]
pub(crate) fn in_span<R>(local_addrs: [Option<SocketAddr>; 2], run: impl FnOnce() -> R) -> R {
    let run = || {
        event!(INFO, "started");
        let result = run();
        event!(INFO, "ended");
        result
    };
    #[cfg(feature = "tracing")]
    return span(local_addrs).in_scope(run);
    #[cfg(not(feature = "tracing"))]
    {
        let _ = local_addrs;
        run()
    }
}

/// Runs the loop of a node, from start to end, as a future within its span.
#[cfg(any(feature = "tokio", feature = "smol"))]
pub(crate) fn instrument<F: Future>(
    local_addrs: [Option<SocketAddr>; 2],
    run: F,
) -> impl Future<Output = F::Output> {
    let run = async {
        event!(INFO, "started");
        let output = run.await;
        event!(INFO, "ended");
        output
    };
    #[cfg(feature = "tracing")]
    return tracing::Instrument::instrument(run, span(local_addrs));
    #[cfg(not(feature = "tracing"))]
    {
        let _ = local_addrs;
        run
    }
}

/// Emits what subscribers to the node are notified of, except nodes that enter or leave the table, which the core
/// reports through the feature `log`.
pub(crate) fn net_event(notice: &NetEvent) {
    match notice {
        NetEvent::Node(Event::Ready { family }) => event!(INFO, "ready", family = format_args!("{family:?}")),
        NetEvent::SocketLost { addr, error, retry_in } => {
            event!(
                WARN,
                "lost a socket",
                addr = addr,
                error = error,
                again_in = format_args!("{retry_in:?}")
            );
        }
        NetEvent::Unsent { destination, error } => {
            event!(WARN, "the system does not send", to = destination, error = error);
        }
        NetEvent::Rebound { addr } => event!(INFO, "opened a socket", addr = addr),
        NetEvent::Node(Event::ExternalAddr { addr }) => event!(INFO, "external address", addr = addr),
        NetEvent::Node(Event::IdChanged { old, new, .. }) => event!(INFO, "id changed", old = old, new = new),
        NetEvent::Node(Event::PeerStored { infohash, peer, .. }) => {
            event!(DEBUG, "stored a peer", infohash = infohash, peer = peer);
        }
        #[cfg(feature = "items")]
        NetEvent::Node(Event::ItemStored { target, node, .. }) => {
            event!(DEBUG, "stored an item", target = target, by = node);
        }
        NetEvent::Node(_) => {}
        NetEvent::Resolved { host, addrs } => {
            event!(DEBUG, "resolved", host = host, addrs = format_args!("{addrs:?}"));
        }
        NetEvent::Unresolved { host, error, retry_in } => {
            event!(
                WARN,
                "cannot resolve",
                host = host,
                error = error,
                retry_in = format_args!("{retry_in:?}")
            );
        }
        NetEvent::BootstrapRefused { host, addr, reason, .. } => {
            event!(WARN, "a bootstrap host may not be contacted", host = host, addr = addr, reason = reason);
        }
        NetEvent::Restored { nodes, skipped, announces, items } => {
            event!(INFO, "restored", nodes = nodes, skipped = skipped, announces = announces, items = items);
        }
        NetEvent::StateRefused { error, kept_as } => {
            event!(WARN, "state refused", error = error, kept_as = kept_as.display());
        }
        NetEvent::StateSaved => event!(DEBUG, "saved the state"),
        NetEvent::StateUnsaved { error } => event!(WARN, "cannot save the state", error = error),
    }
}

pub(crate) fn lookup_done(report: &LookupReport) {
    event!(
        DEBUG,
        "lookup ended",
        kind = format_args!("{:?}", report.kind),
        target = report.target,
        peers = report.peers,
        queried = report.queried,
        answered = report.answered,
        failed = report.failed,
        acknowledged = report.acknowledged,
        duration = format_args!("{:?}", report.duration),
    );
}

#[cfg(feature = "tracing")]
fn span(local_addrs: [Option<SocketAddr>; 2]) -> tracing::Span {
    let [v4, v6] = local_addrs.map(|addr| addr.map(tracing::field::display));
    tracing::info_span!("dht", v4, v6)
}
