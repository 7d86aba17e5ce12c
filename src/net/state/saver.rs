//! When a loop saves the node's state: at intervals, on demand and at the end, always on a thread beside
//! it, because a disk may take seconds.

use alloc::borrow::ToOwned as _;
use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::string::ToString as _;
use alloc::vec::Vec;
use core::task::Waker;
use core::time::Duration;
use std::io;
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, sync_channel};
use std::thread;

use super::file::{StateFile, StateFileError};
use super::lock::StateLock;
use crate::Instant;
use crate::net::engine::events::NetEvent;
use crate::net::engine::feed::Reply;

/// More often the disk need not be troubled.
const SHORTEST: Duration = Duration::from_secs(1);

/// Calls that may wait for the disk; a caller that has given up may come again and again.
const WAITING: usize = 256;

/// What to save now, if anything.
pub(crate) type Snapshot<'a> = &'a dyn Fn() -> Option<Vec<u8>>;

pub(crate) struct Saver {
    file: StateFile,
    /// For as long as it saves.
    _lock: Option<StateLock>,
    interval: Duration,
    next: Instant,
    /// Wakes the loop when the disk has done something.
    waker: Waker,
    waiting: VecDeque<Task>,
    under_way: Option<UnderWay>,
    is_ending: bool,
}

/// What the disk is to do, one after the other: what is older must not come last.
enum Task {
    /// At an interval or the end, if nobody waits for it; then all subscribers are told.
    Save(Option<Reply<bool>>),
    Clear(Reply<()>),
}

struct UnderWay {
    task: Task,
    done: Receiver<Result<(), StateFileError>>,
}

impl Saver {
    pub(crate) fn new(
        file: StateFile,
        lock: Option<StateLock>,
        interval: Duration,
        now: Instant,
        waker: Waker,
    ) -> Self {
        let interval = interval.max(SHORTEST);
        let next = now + interval;
        let waiting = VecDeque::new();
        Self { file, _lock: lock, interval, next, waker, waiting, under_way: None, is_ending: false }
    }

    /// When to call [`Self::tend`] next, if the waker does not say so before.
    pub(crate) const fn due(&self) -> Instant {
        self.next
    }

    /// Takes what the disk has done, and begins what is next.
    pub(crate) fn tend(&mut self, snapshot: Snapshot<'_>, now: Instant) -> Option<NetEvent> {
        let notice = self.take_done();
        if now >= self.next && !self.is_ending {
            self.next = now + self.interval;
            if !self.is_busy() {
                self.waiting.push_back(Task::Save(None));
            }
        }
        self.begin_next(snapshot);
        notice
    }

    /// Saves, and replies whether there was anything to save.
    pub(crate) fn save(&mut self, snapshot: Snapshot<'_>, reply: Reply<bool>) {
        if self.waiting.len() < WAITING {
            self.waiting.push_back(Task::Save(Some(reply)));
            self.begin_next(snapshot);
        } else {
            reply.end(Err(self.file.failed("save", io::ErrorKind::ResourceBusy.into()).into()));
        }
    }

    pub(crate) fn clear(&mut self, snapshot: Snapshot<'_>, reply: Reply<()>) {
        if self.waiting.len() < WAITING {
            self.waiting.push_back(Task::Clear(reply));
            self.begin_next(snapshot);
        } else {
            reply.end(Err(self.file.failed("remove", io::ErrorKind::ResourceBusy.into()).into()));
        }
    }

    /// Begins to save for the last time. It is done once nothing is [under way](Self::is_busy).
    pub(crate) fn end(&mut self, snapshot: Snapshot<'_>) {
        if !self.is_ending {
            self.is_ending = true;
            self.waiting.push_back(Task::Save(None));
            self.begin_next(snapshot);
        }
    }

    /// Whether something waits for the disk.
    pub(crate) fn is_busy(&self) -> bool {
        self.under_way.is_some() || !self.waiting.is_empty()
    }

    /// Blocks until the disk has done what is under way, and goes on as [`Self::tend`] does.
    pub(crate) fn wait(&mut self, snapshot: Snapshot<'_>) -> Option<NetEvent> {
        let under_way = self.under_way.take();
        let notice = under_way.and_then(|UnderWay { task, done }| self.finish(task, done.recv().ok()));
        self.begin_next(snapshot);
        notice
    }

    fn take_done(&mut self) -> Option<NetEvent> {
        let result = match self.under_way.as_ref()?.done.try_recv() {
            Ok(result) => Some(result),
            Err(TryRecvError::Disconnected) => None,
            Err(TryRecvError::Empty) => return None,
        };
        let UnderWay { task, .. } = self.under_way.take()?;
        self.finish(task, result)
    }

    /// There is no result if there was no thread, or it panicked.
    fn finish(&self, task: Task, result: Option<Result<(), StateFileError>>) -> Option<NetEvent> {
        let no_thread = |action| self.file.failed(action, io::Error::other("there was no thread for it"));
        match task {
            Task::Save(reply) => {
                let result = result.unwrap_or_else(|| Err(no_thread("save")));
                match reply {
                    Some(reply) => reply.end(result.map(|()| true).map_err(Into::into)),
                    None => return Some(notice(result)),
                }
            }
            Task::Clear(reply) => {
                reply.end(result.unwrap_or_else(|| Err(no_thread("remove"))).map_err(Into::into));
            }
        }
        None
    }

    fn begin_next(&mut self, snapshot: Snapshot<'_>) {
        while self.under_way.is_none()
            && let Some(task) = self.waiting.pop_front()
        {
            let file = self.file.clone();
            let work: Box<dyn FnOnce() -> _ + Send> = match &task {
                Task::Clear(_) => Box::new(move || file.clear()),
                Task::Save(_) => match snapshot() {
                    Some(snapshot) => Box::new(move || file.save(&snapshot)),
                    None => {
                        if let Task::Save(Some(reply)) = task {
                            reply.end(Ok(false));
                        }
                        continue;
                    }
                },
            };
            self.under_way = Some(UnderWay { task, done: self.spawn(work) });
        }
    }

    /// If there is no thread to be had, the loop is woken all the same, and receives nothing.
    fn spawn(
        &self,
        work: impl FnOnce() -> Result<(), StateFileError> + Send + 'static,
    ) -> Receiver<Result<(), StateFileError>> {
        let (sender, done) = sync_channel(1);
        let teller = Teller { sender: Some(sender), waker: self.waker.clone() };
        let thread = thread::Builder::new().name("dht-save".to_owned());
        let _ = thread.spawn(move || teller.tell(work()));
        done
    }
}

/// Reports to the loop what has been done, or by its drop that nothing will be.
struct Teller {
    sender: Option<SyncSender<Result<(), StateFileError>>>,
    waker: Waker,
}

impl Teller {
    fn tell(self, result: Result<(), StateFileError>) {
        // It has room for the one.
        let _ = self.sender.as_ref().map(|sender| sender.send(result));
    }
}

impl Drop for Teller {
    fn drop(&mut self) {
        // Before the loop looks.
        self.sender = None;
        self.waker.wake_by_ref();
    }
}

fn notice(result: Result<(), StateFileError>) -> NetEvent {
    match result {
        Ok(()) => NetEvent::StateSaved,
        Err(error) => NetEvent::StateUnsaved { error: error.to_string() },
    }
}

#[cfg(test)]
mod tests {
    use alloc::format;
    use alloc::sync::Arc;
    use alloc::task::Wake;
    use std::path::PathBuf;
    use std::sync::mpsc::{Sender, channel};

    use super::*;
    use crate::net::engine::feed::{Feed, FeedReader, feed};
    use crate::net::engine::tests::answers_of;
    use crate::{Config, Limits, Node};

    const INTERVAL: Duration = Duration::from_secs(300);

    struct Bell(Sender<()>);

    impl Wake for Bell {
        fn wake(self: Arc<Self>) {
            let _ = self.0.send(());
        }
    }

    fn path(name: &str) -> PathBuf {
        std::env::temp_dir().join(format!("dht-proto-{name}-{}.state", std::process::id()))
    }

    /// One that knows another.
    fn node(now: Instant) -> Node {
        let mut node = Node::new(Config::default(), &Limits::default(), [7; 32], now);
        for (from, answer) in answers_of(&mut node, now, 1) {
            node.handle_datagram(now, from, &answer);
        }
        node
    }

    #[test]
    fn what_the_disk_has_done_is_told_as_soon_as_it_is_done() {
        let path = path("saver-told");
        let (sender, woken) = channel();
        let (start, waker) = (Instant::ZERO, Arc::new(Bell(sender)).into());
        let node = node(start);
        let snapshot = || StateFile::snapshot(&node);
        let mut saver = Saver::new(StateFile::new(&path), None, INTERVAL, start, waker);
        assert_eq!(saver.tend(&snapshot, start), None);
        assert!(!saver.is_busy());
        let due = saver.due();
        assert_eq!(due, start + INTERVAL);
        assert_eq!(saver.tend(&snapshot, due), None);
        woken.recv_timeout(Duration::from_secs(30)).expect("the loop is woken");
        assert_eq!(saver.tend(&snapshot, due), Some(NetEvent::StateSaved));
        assert!(!saver.is_busy());
        assert_eq!(saver.due(), due + INTERVAL);
        std::fs::remove_file(path).unwrap();
    }

    #[test]
    fn what_waits_for_the_disk_is_bounded_and_done_in_order() {
        let path = path("saver-order");
        let node = node(Instant::ZERO);
        let snapshot = || StateFile::snapshot(&node);
        let waker = Waker::noop().clone();
        let mut saver = Saver::new(StateFile::new(&path), None, INTERVAL, Instant::ZERO, waker);
        // Nobody looks after the one under way.
        let replies: Vec<FeedReader<(), ()>> = (0..WAITING + 2)
            .map(|_| {
                let (reply, result) = feed();
                saver.clear(&snapshot, reply);
                result
            })
            .collect();
        let done = |result: &FeedReader<(), ()>| result.with(Feed::take_end).map(|result| result.is_ok());
        let known: Vec<_> =
            replies.iter().enumerate().filter_map(|(at, result)| Some((at, done(result)?))).collect();
        assert_eq!(known, [(WAITING + 1, false)]);
        saver.end(&snapshot);
        let mut notices = Vec::new();
        while saver.is_busy() {
            notices.extend(saver.wait(&snapshot));
        }
        assert!(replies[..=WAITING].iter().all(|result| done(result) == Some(true)));
        assert_eq!(notices, [NetEvent::StateSaved]);
        assert!(path.exists(), "the last comes last");
        std::fs::remove_file(path).unwrap();
    }

    #[test]
    fn an_interval_of_nothing_is_a_second() {
        let snapshot = || None;
        let waker = Waker::noop().clone();
        let mut saver =
            Saver::new(StateFile::new(path("saver-second")), None, Duration::ZERO, Instant::ZERO, waker);
        for at in 1..4 {
            assert_eq!(saver.due(), Instant::ZERO + Duration::from_secs(at));
            saver.tend(&snapshot, saver.due());
        }
    }
}
