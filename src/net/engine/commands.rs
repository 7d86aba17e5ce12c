//! What the engine does with each command.

use super::Engine;
use super::crawls::ActiveCrawl;
use super::feed::Reply;
use super::mailbox::{Change, Command};
use super::publications::Holder;
use super::queue::Call;
use crate::net::error::CallError;
use crate::net::state::file::StateFile;
use crate::net::state::unclaimed::Saved;

impl Engine {
    /// Does what it is asked, apart from what is to be done with the sockets: that it returns.
    pub(crate) fn obey(&mut self, command: Command) -> Option<(Change, Reply<()>)> {
        self.busy = true;
        let now = self.clock.now();
        match command {
            Command::With(call) => call(&mut self.node, now),
            Command::Ready(reply) => {
                self.waiting_ready.retain(|reply| !reply.is_gone());
                self.waiting_ready.push(reply);
                self.note_ready();
            }
            Command::Lookup { number, key, wants } => self.lookup(number, key, wants),
            Command::Report { number, end, reply } => {
                let report = self.report(number).map(Ok);
                let ended = || end().map(|outcome| outcome.map(|outcome| outcome.report));
                reply.end(report.or_else(ended).unwrap_or(Err(CallError::Closed)));
            }
            #[cfg(feature = "items")]
            Command::Newest { number, within, end, reply } => {
                self.limit_wait(number, now + within, &end, reply)
            }
            Command::Announce { number, infohash, announce, rounds } => {
                match self.saved.start_announcing(&mut self.node, now, infohash, announce) {
                    Ok(id) => {
                        let announce = Some((infohash, announce));
                        self.hold(number, id, Holder { announce, rounds });
                    }
                    Err(error) => rounds.end(Err(error.into())),
                }
            }
            #[cfg(feature = "items")]
            Command::Publish { number, item, rounds } => self.ask(number, Call::Publish { item, rounds }),
            #[cfg(feature = "items")]
            Command::SavedItems(reply) => reply.end(Ok(self.saved.items())),
            Command::AddNode { addr, reply } => {
                let number = self.shared.next_number();
                reply.end(self.call(number, Call::AddNode(addr)).map_err(|(_, error)| error));
            }
            Command::Ping { number, addr, reply } => self.ask(number, Call::Ping { addr, reply }),
            Command::Sample { number, addr, target, reply } => {
                self.ask(number, Call::Sample { addr, target, reply });
            }
            Command::Crawl { number, options, finds, report } => {
                self.crawls.insert(number, ActiveCrawl::new(options, finds, report));
            }
            Command::Subscribe(subscriber) => self.subscribers.add(subscriber),
            Command::Save(reply) => match &mut self.saver {
                Some(saver) => {
                    saver.save(&|| StateFile::snapshot_with(&self.node, &self.saved, now), reply);
                }
                None => reply.end(Ok(false)),
            },
            Command::Clear(reply) => {
                self.node.clear_nodes(now);
                self.note_ready();
                self.saved = Saved::default();
                match &mut self.saver {
                    Some(saver) => {
                        saver.clear(&|| StateFile::snapshot_with(&self.node, &self.saved, now), reply);
                    }
                    None => reply.end(Ok(())),
                }
            }
            Command::Change(change, reply) => return Some((change, reply)),
            Command::Release(resource) => self.release(resource),
        }
        None
    }

    /// Does what was asked before the end, but for the sockets: those are about to be closed.
    pub(crate) fn obey_rest(&mut self) {
        while let Some(command) = self.shared.next_command() {
            drop(self.obey(command));
        }
    }
}
