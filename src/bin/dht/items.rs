//! The commands about items (BEP 44).

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use dht_proto::net::{DhtHandle, LookupHandle};
use dht_proto::wire::MAX_VALUE_LEN;
use dht_proto::{InfoHash, Item, ItemError, PublicKey, Salt, TorrentPointer, UpdatableTorrent};

use crate::deadline::Deadline;
use crate::keys;
use crate::lookups::{Sought, is_refusal, seek, was_heard};
use crate::options::{GetMutableOptions, GetOptions, PutMutableOptions, PutOptions};
use crate::output::{Failure, Output};
use crate::session::{Session, Setup};
use crate::text::count;

pub(crate) fn get(options: &GetOptions, output: &Output) -> Result<(), Failure> {
    let deadline = Deadline::new(options.lookup.limit.timeout, false);
    let session = Session::start(&Setup::of(&options.lookup, false, deadline), output)?;
    session.settle();
    hand_out(&session, |dht| vec![dht.get_immutable(options.target)], options.bencoded)
}

pub(crate) fn get_mutable(options: &GetMutableOptions, output: &Output) -> Result<(), Failure> {
    let deadline = Deadline::new(options.lookup.limit.timeout, false);
    let session = Session::start(&Setup::of(&options.lookup, false, deadline), output)?;
    session.settle();
    let (key, salt) = options.key_and_salt();
    hand_out(&session, |dht| vec![dht.get_mutable(key, salt)], options.bencoded)
}

/// The torrent that a link leads to at present (BEP 46).
pub(crate) fn pointed_to(session: &Session<'_>, link: UpdatableTorrent) -> Result<Option<InfoHash>, Failure> {
    let Some((item, sought)) = newest(session, |dht| find(dht, link.key, link.salt))? else {
        return Ok(None);
    };
    let pointer = item.as_ref().and_then(|item| TorrentPointer::from_value(item.value()));
    if pointer.is_none() {
        let complaint = item.map_or(
            "no item was found for the key of the link",
            |_| "the item of the key does not point to a torrent",
        );
        let cut = sought.cut_short.map_or_else(String::new, |reason| format!("; the search was {reason}"));
        session.output.complain(&format!("{complaint}{cut}"));
    }
    Ok(pointer.map(|pointer| pointer.infohash()))
}

pub(crate) fn put(options: &PutOptions, output: &Output) -> Result<(), Failure> {
    let deadline = Deadline::new(options.lookup.limit.timeout, options.keep);
    let value = read_value(&options.file, options.bencoded, deadline)?;
    let item = Item::immutable(&value).map_err(no_item)?;
    let session = Session::start(&Setup::of(&options.lookup, options.keep, deadline), output)?;
    session.settle();
    store(&session, &item, None, options.keep)
}

pub(crate) fn put_mutable(options: &PutMutableOptions, output: &Output) -> Result<(), Failure> {
    let PutOptions { file, bencoded, keep, lookup } = &options.put;
    let deadline = Deadline::new(lookup.limit.timeout, *keep);
    let secret = keys::read(&options.key, deadline, output)?;
    let value = read_value(file, *bencoded, deadline)?;
    let sign = |seq| Item::sign(&secret, options.salt.as_bytes(), seq, &value).map_err(no_item);
    // What cannot be stored at all needs no node.
    let mut item = sign(options.seq.unwrap_or_default())?;
    let mut cas = options.cas;
    let session = Session::start(&Setup::of(lookup, *keep, deadline), output)?;
    session.settle();
    if options.seq.is_none() {
        let found = newest(&session, |dht| find(dht, secret.public(), options.salt))?;
        let Some((old, sought)) = found else { return Ok(()) };
        if let Some(reason) = sought.cut_short {
            let complaint = format!("the search for the newest version was {reason}; nothing was stored");
            return Err(Failure::Nothing(complaint));
        }
        let old = old.and_then(|old| old.seq());
        let Some(next) = Item::next_seq(old) else {
            return Err(Failure::Start("there is no number after that of the newest version".to_owned()));
        };
        item = sign(next)?;
        cas = cas.or(old);
    }
    store(&session, &item, cas, *keep)
}

fn hand_out(
    session: &Session<'_>,
    start: impl Fn(&DhtHandle) -> Vec<LookupHandle<Item>>,
    bencoded: bool,
) -> Result<(), Failure> {
    let Some((item, sought)) = newest(session, start)? else { return Ok(()) };
    if let Some(item) = &item {
        session.output.item(item, bencoded)?;
    }
    session.output.done(&sought.done("item", item.iter().len()))
}

fn store(session: &Session<'_>, item: &Item, cas: Option<i64>, keep: bool) -> Result<(), Failure> {
    if keep {
        return keep_stored(session, item);
    }
    let sought = seek(session, "peer", |dht| vec![dht.put(item, cas)], |_, _| Ok(()))?;
    let Some(sought) = sought else { return Ok(()) };
    // None after a signal.
    sought.reports().iter().try_for_each(|report| session.output.stored(item, cas, report))?;
    if let Some(reason) = sought.cut_short {
        session.output.complain(&format!("the put was {reason}"));
    }
    Ok(())
}

/// Stores it again and again, until a signal comes, the time is over that was asked for, or somebody
/// with the same key has stored a newer version.
fn keep_stored(session: &Session<'_>, item: &Item) -> Result<(), Failure> {
    let mut rounds = session.dht.keep_stored(item);
    session.output.progress("storing".to_owned());
    loop {
        let round = match rounds.recv_timeout(session.left()) {
            Ok(round) => round,
            Err(error) if is_refusal(&error) => return Err(Failure::Start(error.to_string())),
            Err(_) => break,
        };
        if !was_heard(&round.report) && !session.has_joined() {
            session.tell_waiting();
            continue;
        }
        session.output.stored(item, None, &round.report)?;
        if round.report.seq > item.seq() {
            return Ok(());
        }
        let held = round.report.acknowledged.max(round.report.copies);
        session.output.progress(format!("stored at {}", count(held, "node")));
    }
    if session.is_interrupted() || session.has_joined() { Ok(()) } else { Err(session.unanswered()) }
}

fn find(dht: &DhtHandle, key: PublicKey, salt: Salt) -> Vec<LookupHandle<Item>> {
    vec![dht.get_mutable(key, salt)]
}

/// The newest version that was found in time, and how the search for it went.
type Newest = (Option<Item>, Sought<Item>);

/// `None` if a signal ended the node.
fn newest(
    session: &Session<'_>,
    start: impl Fn(&DhtHandle) -> Vec<LookupHandle<Item>>,
) -> Result<Option<Newest>, Failure> {
    let mut item = None;
    let sought = seek(session, "version", start, |_, version| {
        item = Some(version);
        Ok(())
    })?;
    Ok(sought.map(|sought| (item, sought)))
}

/// The bencoded value in a file, or its bytes as a byte string.
fn read_value(file: &Path, bencoded: bool, deadline: Deadline) -> Result<Vec<u8>, Failure> {
    // One more than there may be, so that too much is noticed.
    let most = MAX_VALUE_LEN as u64 + 1;
    let mut content = if file == Path::new("-") {
        read_in_time("stdin", deadline, move || {
            let mut content = Vec::new();
            io::stdin().lock().take(most).read_to_end(&mut content).map(|_| content)
        })
    } else {
        let path = file.to_owned();
        read_in_time(&file.display().to_string(), deadline, move || {
            let mut content = Vec::new();
            File::open(path)?.take(most).read_to_end(&mut content).map(|_| content)
        })
    }?;
    if bencoded {
        return Ok(content);
    }
    let mut value = format!("{}:", content.len()).into_bytes();
    value.append(&mut content);
    Ok(value)
}

/// What is read from a file, which may be a pipe that nobody writes to.
pub(crate) fn read_in_time<T: Send + 'static>(
    name: &str,
    deadline: Deadline,
    read: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> Result<T, Failure> {
    match deadline.bound(read) {
        Some(read) => read.map_err(|error| Failure::Start(format!("cannot read {name}: {error}"))),
        None => {
            Err(Failure::Start(format!("cannot read {name}: it has not come to its end within {deadline}")))
        }
    }
}

fn no_item(error: ItemError) -> Failure {
    Failure::Start(error.to_string())
}
