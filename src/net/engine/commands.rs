//! The execution of commands.

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
    /// Executes a command, but returns one that changes the sockets, which the loop has to do.
    pub(crate) fn execute(&mut self, command: Command) -> Option<(Change, Reply<()>)> {
        self.busy = true;
        let now = self.clock.now();
        match command {
            Command::With(call) => call(&mut self.node, now),
            Command::Ready(reply) => {
                self.waiting_ready.retain(|reply| !reply.is_gone());
                self.waiting_ready.push(reply);
                self.note_ready();
            }
            Command::Lookup { number, key, consumer } => self.lookup(number, key, consumer),
            Command::Report { number, end, reply } => {
                let report = self.report(number).map(Ok);
                let ended = || end().map(|outcome| outcome.map(|outcome| outcome.report));
                reply.end(report.or_else(ended).unwrap_or(Err(CallError::Closed)));
            }
            #[cfg(feature = "items")]
            Command::Newest { number, within, end, reply } => {
                self.limit_wait(number, now + within, &end, reply)
            }
            Command::Announce { number, infohash, announce, republishes } => {
                match self.saved.start_announcing(&mut self.node, now, infohash, announce) {
                    Ok(id) => {
                        let announce = Some((infohash, announce));
                        self.add_holder(number, id, Holder { announce, republishes });
                    }
                    Err(error) => republishes.end(Err(error.into())),
                }
            }
            #[cfg(feature = "items")]
            Command::Publish { number, item, republishes } => {
                self.submit(number, Call::Publish { item, republishes })
            }
            #[cfg(feature = "items")]
            Command::SavedItems(reply) => reply.end(Ok(self.saved.items())),
            Command::AddNode { addr, reply } => {
                let number = self.shared.next_number();
                reply.end(self.try_submit(number, Call::AddNode(addr)).map_err(|(_, error)| error));
            }
            Command::Ping { number, addr, reply } => self.submit(number, Call::Ping { addr, reply }),
            Command::Sample { number, addr, target, reply } => {
                self.submit(number, Call::Sample { addr, target, reply });
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

    /// Executes the remaining commands before the end, except changes of the sockets, which are about to be closed.
    pub(crate) fn execute_remaining(&mut self) {
        while let Some(command) = self.shared.next_command() {
            drop(self.execute(command));
        }
    }
}
