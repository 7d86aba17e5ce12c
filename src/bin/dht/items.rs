//! The commands about items (BEP 44).

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use dht_proto::net::Search;
use dht_proto::wire::MAX_VALUE_LEN;
use dht_proto::{InfoHash, Item, ItemError, PublicKey, Salt, TorrentPointer, UpdatableTorrent};

use crate::commands::{done, follow, unless_interrupted};
use crate::keys;
use crate::options::{Common, FOREVER, GetMutableOptions, GetOptions, PutMutableOptions, PutOptions};
use crate::output::{Failure, Output};
use crate::session::Session;

pub(crate) fn get(options: &GetOptions, common: &Common, output: &Output) -> Result<(), Failure> {
    let session = Session::start(common, output, false)?;
    session.settle();
    let search = unless_interrupted(session.dht.get_immutable(options.target))?;
    search.map_or(Ok(()), |search| hand_out(&session, search, options.bencoded))
}

pub(crate) fn get_mutable(
    options: &GetMutableOptions,
    common: &Common,
    output: &Output,
) -> Result<(), Failure> {
    let session = Session::start(common, output, false)?;
    session.settle();
    let (key, salt) = options.key_and_salt();
    let search = unless_interrupted(session.dht.get_mutable(key, salt))?;
    search.map_or(Ok(()), |search| hand_out(&session, search, options.bencoded))
}

/// The torrent that a link leads to at present (BEP 46).
pub(crate) fn pointed_to(session: &Session<'_>, link: UpdatableTorrent) -> Result<Option<InfoHash>, Failure> {
    let item = find(session, link.key, link.salt)?;
    let pointer = item.as_ref().and_then(|item| TorrentPointer::from_value(item.value()));
    if pointer.is_none() {
        let complaint = item.map_or("no item was found", |_| "the item does not point to a torrent");
        session.output.complain(complaint);
    }
    Ok(pointer.map(|pointer| pointer.infohash()))
}

pub(crate) fn put(options: &PutOptions, common: &Common, output: &Output) -> Result<(), Failure> {
    let value = read_value(&options.file, options.bencoded)?;
    let item = Item::immutable(&value).map_err(no_item)?;
    let session = Session::start(common, output, false)?;
    session.settle();
    store(&session, &item, None, options.keep, common)
}

pub(crate) fn put_mutable(
    options: &PutMutableOptions,
    common: &Common,
    output: &Output,
) -> Result<(), Failure> {
    let secret = keys::read(&options.key, output)?;
    let value = read_value(&options.put.file, options.put.bencoded)?;
    let sign = |seq| Item::sign(&secret, options.salt.as_bytes(), seq, &value).map_err(no_item);
    // What cannot be stored at all needs no node.
    let mut item = sign(options.seq.unwrap_or_default())?;
    let mut cas = options.cas;
    let session = Session::start(common, output, false)?;
    session.settle();
    if options.seq.is_none() {
        let old = find(&session, secret.public(), options.salt)?.and_then(|old| old.seq());
        let Some(next) = Item::next_seq(old) else {
            return Err(Failure::Start("there is no number after that of the newest version".to_owned()));
        };
        item = sign(next)?;
        cas = cas.or(old);
    }
    store(&session, &item, cas, options.put.keep, common)
}

fn hand_out(session: &Session<'_>, mut search: Search<Item>, bencoded: bool) -> Result<(), Failure> {
    let item = newest(session, &mut search)?;
    if let Some(item) = &item {
        session.output.item(item, bencoded)?;
    }
    session.output.done(&done("items", item.iter().len(), &search))
}

fn store(
    session: &Session<'_>,
    item: &Item,
    cas: Option<i64>,
    keep: bool,
    common: &Common,
) -> Result<(), Failure> {
    if keep {
        return keep_stored(session, item, common);
    }
    let Some(mut search) = unless_interrupted(session.dht.put(item, cas))? else {
        return Ok(());
    };
    follow(session, &mut search, "peers", |_| Ok(()))?;
    // None after a signal.
    search.report().map_or(Ok(()), |report| session.output.stored(item, &report))
}

/// Stores it again and again, until a signal comes, the time is over that was asked for, or somebody
/// with the same key has stored a newer version.
fn keep_stored(session: &Session<'_>, item: &Item, common: &Common) -> Result<(), Failure> {
    let Some(mut rounds) = unless_interrupted(session.dht.keep_stored(item))? else {
        return Ok(());
    };
    session.output.progress("storing".to_owned());
    while let Ok(Some(round)) = rounds.recv_timeout(common.timeout.map_or(FOREVER, |_| session.left())) {
        session.output.stored(item, &round.report)?;
        if round.report.seq > item.seq() {
            return Ok(());
        }
        let held = round.report.acknowledged.max(round.report.copies);
        session.output.progress(format!("stored at {held} nodes"));
    }
    Ok(())
}

fn find(session: &Session<'_>, key: PublicKey, salt: Salt) -> Result<Option<Item>, Failure> {
    match unless_interrupted(session.dht.get_mutable(key, salt))? {
        Some(mut search) => newest(session, &mut search),
        None => Ok(None),
    }
}

/// The newest version that is found in time.
fn newest(session: &Session<'_>, search: &mut Search<Item>) -> Result<Option<Item>, Failure> {
    let mut item = None;
    follow(session, search, "versions", |version| {
        item = Some(version);
        Ok(())
    })?;
    Ok(item)
}

/// The bencoded value in a file, or its bytes as a byte string.
fn read_value(file: &Path, bencoded: bool) -> Result<Vec<u8>, Failure> {
    let failed = |error: io::Error| Failure::Start(format!("cannot read {}: {error}", file.display()));
    let mut content = Vec::new();
    // One more than there may be, so that too much is noticed.
    let most = MAX_VALUE_LEN as u64 + 1;
    if file == Path::new("-") {
        io::stdin().lock().take(most).read_to_end(&mut content)
    } else {
        File::open(file).and_then(|file| file.take(most).read_to_end(&mut content))
    }
    .map_err(failed)?;
    if bencoded {
        return Ok(content);
    }
    let mut value = format!("{}:", content.len()).into_bytes();
    value.append(&mut content);
    Ok(value)
}

fn no_item(error: ItemError) -> Failure {
    Failure::Start(error.to_string())
}
