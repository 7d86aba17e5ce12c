//! Why an announce or a put was stored at no node, or will not stay, as far as the nodes said so.

use dht_proto::wire::ErrorCode;
use dht_proto::{Item, LookupReport, PutObstacle};

use super::words::{count, share};

/// Why no node stored an announce; `None` if one did.
pub(super) fn unannounced(report: &LookupReport) -> Option<String> {
    (report.acknowledged == 0).then(|| refusal(report).unwrap_or_else(|| silence(report)))
}

/// Why an item is not stored, or will not stay: one line for each reason.
pub(super) fn unstored(item: &Item, cas: Option<i64>, report: &LookupReport) -> Vec<String> {
    let mut reasons = Vec::new();
    reasons.extend(report.obstacle.map(|obstacle| match obstacle {
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
        reasons.push(match (report.seq, cas) {
            (Some(newest), Some(cas)) => format!("nodes hold version {newest}, not {cas}"),
            (_, Some(cas)) => format!("nodes hold a version other than {cas}"),
            (_, None) => "nodes hold a version other than the one to be replaced".to_owned(),
        });
    }
    // If what was found kept the put from being sent, no node can have refused it.
    if report.announced > 0 {
        reasons.extend(refusal(report));
    }
    let is_stored_already = report.copies > 0 && report.seq == item.seq();
    if reasons.is_empty() && report.acknowledged == 0 && !is_stored_already {
        reasons.push(silence(report));
    }
    reasons
}

/// How many nodes refused it, and the last error code.
fn refusal(report: &LookupReport) -> Option<String> {
    let (refused, asked) = (report.refused.total, report.announced);
    let code = report.refused.last.filter(|_| refused > 0)?;
    let by = match refused {
        1 if asked == 1 => "the only node that was asked".to_owned(),
        _ if refused >= asked => format!("all {refused}"),
        _ => share(refused, asked, "node"),
    };
    Some(format!("refused by {by}: {}", describe(code)))
}

/// What is missing if no node refused it and none stored it.
fn silence(report: &LookupReport) -> String {
    match (report.announced, report.answered) {
        (0, 0) => "no node answered".to_owned(),
        (0, answered) => format!("none of the {} that answered gave a token", count(answered, "node")),
        (asked, _) => format!("none of {} confirmed it", count(asked, "node")),
    }
}

/// An error code and what it means (BEP 5, BEP 44).
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
