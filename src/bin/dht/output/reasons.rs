//! Reasons why no node stored an announce or a put, or why an item will not last.

use dht_proto::wire::ErrorCode;
use dht_proto::{Item, LookupReport, PutObstacle};

use super::words::{count, share};

/// The reason why no node stored an announce; `None` if one did.
pub(super) fn unannounced(report: &LookupReport) -> Option<String> {
    (report.acknowledged == 0).then(|| refusal(report).unwrap_or_else(|| silence(report)))
}

/// The reasons why an item is not stored, or will not last: one line for each.
pub(super) fn unstored(item: &Item, cas: Option<i64>, report: &LookupReport) -> Vec<String> {
    let mut reasons = Vec::new();
    reasons.extend(report.item.obstacle.map(|obstacle| match obstacle {
        PutObstacle::Superseded { newest } => {
            format!("nodes hold a newer version, {newest}; choose a higher --seq")
        }
        PutObstacle::Conflict { seq } => {
            format!("nodes hold another value as version {seq}; choose a higher --seq")
        }
        PutObstacle::CasMismatch { found } => match cas {
            Some(cas) => format!("nodes hold version {found}, not {cas}"),
            None => format!("nodes hold version {found}, which is not the version to be replaced"),
        },
        _ => "nodes hold something that this item cannot replace".to_owned(),
    }));
    if reasons.is_empty() && report.refused.cas_mismatch > 0 {
        reasons.push(match (report.item.seq, cas) {
            (Some(newest), Some(cas)) => format!("nodes hold version {newest}, not {cas}"),
            (_, Some(cas)) => format!("nodes hold a version other than {cas}"),
            (_, None) => "nodes hold a version other than the one to be replaced".to_owned(),
        });
    }
    // A put that was not sent because of what was found cannot have been refused.
    if report.sent > 0 {
        reasons.extend(refusal(report));
    }
    let is_stored_already = report.item.copies > 0 && report.item.seq == item.seq();
    if reasons.is_empty() && report.acknowledged == 0 && !is_stored_already {
        reasons.push(silence(report));
    }
    reasons
}

/// How many nodes refused a store, and the last error code.
fn refusal(report: &LookupReport) -> Option<String> {
    let (refused, asked) = (report.refused.total, report.sent);
    let code = report.refused.last.filter(|_| refused > 0)?;
    let by = match refused {
        1 if asked == 1 => "the only node that was asked".to_owned(),
        _ if refused >= asked => format!("all {refused}"),
        _ => share(refused, asked, "node"),
    };
    Some(format!("refused by {by}: {}", describe(code)))
}

/// The reason if no node refused a store and none confirmed it.
fn silence(report: &LookupReport) -> String {
    match (report.sent, report.answered) {
        (0, 0) => "no node answered".to_owned(),
        (0, answered) => format!("none of the {} that answered gave a token", count(answered, "node")),
        (asked, _) => format!("none of {} confirmed it", count(asked, "node")),
    }
}

/// Formats an error code and its meaning (BEP 5, BEP 44).
fn describe(code: ErrorCode) -> String {
    let meaning = match code {
        ErrorCode::GENERIC => "generic error",
        ErrorCode::SERVER => "server error",
        ErrorCode::PROTOCOL => "protocol error, such as a bad token",
        ErrorCode::METHOD_UNKNOWN => "method unknown",
        ErrorCode::VALUE_TOO_BIG => "value too big",
        ErrorCode::BAD_SIGNATURE => "invalid signature",
        ErrorCode::SALT_TOO_BIG => "salt too big",
        ErrorCode::CAS_MISMATCH => "the stored version is not the one to be replaced",
        ErrorCode::SEQ_TOO_LOW => "the sequence number is not higher than the stored one",
        ErrorCode::UNKNOWN => return "without a code".to_owned(),
        _ => return format!("code {code}"),
    };
    format!("{code} {meaning}")
}
