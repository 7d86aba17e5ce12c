//! Stores an item once or repeatedly.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use dht_proto::PutError;
use dht_proto::items::{Item, ItemError};
use dht_proto::wire::MAX_VALUE_LEN;

use crate::output::{Failure, count};
use crate::session::lookups::{has_answer, is_refusal, look_up};
use crate::session::{Deadline, Session, read_in_time};

/// Stores an item. With `cas`, it replaces only the version with that sequence number.
pub(super) fn store(session: &Session<'_>, item: &Item, cas: Option<i64>, keep: bool) -> Result<(), Failure> {
    if keep {
        return start_publishing(session, item);
    }
    let lookups = look_up(session, "peer", |dht| vec![dht.put(item, cas)], |_, _| Ok(()))?;
    // There are no reports after a signal.
    lookups.reports().iter().try_for_each(|report| session.output.stored(item, cas, report))?;
    if let Some(reason) = lookups.cut_short {
        session.output.message(&format!("the put was {reason}"));
    }
    Ok(())
}

/// Stores an item repeatedly, until a signal, the deadline, or a newer version by the same key.
fn start_publishing(session: &Session<'_>, item: &Item) -> Result<(), Failure> {
    let mut publication = session.dht.start_publishing(item);
    session.output.progress("storing".to_owned());
    loop {
        let round = match publication.recv_timeout(session.left()) {
            Ok(round) => round,
            Err(error) if is_refusal(&error) => return Err(Failure::Start(error.to_string())),
            Err(_) => break,
        };
        if !has_answer(&round.report) && !session.has_joined() {
            session.report_waiting();
            continue;
        }
        session.output.stored(item, None, &round.report)?;
        if let Err(PutError::Superseded { .. }) = round.stored() {
            return Ok(());
        }
        let copies = round.report.acknowledged.max(round.report.item.copies);
        session.output.progress(format!("stored at {}", count(copies, "node")));
    }
    if session.is_interrupted() || session.has_joined() { Ok(()) } else { Err(session.unanswered()) }
}

/// Reads the bencoded value in a file, or its bytes as a byte string.
pub(super) fn read_value(file: &Path, bencoded: bool, deadline: Deadline) -> Result<Vec<u8>, Failure> {
    // One byte more than allowed, so that a value that is too long is noticed.
    let most = MAX_VALUE_LEN as u64 + 1;
    let content = if file == Path::new("-") {
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
    let item = Item::string(&content).map_err(invalid_item)?;
    Ok(item.value().to_vec())
}

pub(super) fn invalid_item(error: ItemError) -> Failure {
    Failure::Start(error.to_string())
}
