//! Why a store came to nothing or to little, as far as the nodes said so.

use dht_proto::wire::ErrorCode;
use dht_proto::{Item, LookupReport, PutObstacle};

use crate::text::{count, share};

/// Why an announce stands at no node; nothing if it stands at one.
pub(crate) fn unannounced(report: &LookupReport) -> Option<String> {
    (report.acknowledged == 0).then(|| refusal(report).unwrap_or_else(|| silence(report)))
}

/// Why an item is not stored, or not for long: one line for each reason.
pub(crate) fn unstored(item: &Item, cas: Option<i64>, report: &LookupReport) -> Vec<String> {
    let mut reasons = Vec::new();
    reasons.extend(report.obstacle.map(|obstacle| match obstacle {
        PutObstacle::Superseded { newest } => {
            format!("a newer version is stored, number {newest}; put a higher one")
        }
        PutObstacle::Conflict { seq } => {
            format!("nodes hold another value as version {seq}; put a higher number")
        }
        PutObstacle::CasMismatch { found } => match cas {
            Some(cas) => format!("nodes hold version {found}, not {cas}"),
            None => format!("nodes hold version {found}, and another was to be replaced"),
        },
        _ => "something else stands in its way".to_owned(),
    }));
    if reasons.is_empty() && report.refused.cas_mismatch > 0 {
        reasons.push(match (report.seq, cas) {
            (Some(newest), Some(cas)) => format!("nodes hold version {newest}, not {cas}"),
            (_, Some(cas)) => format!("nodes hold another version than {cas}"),
            (_, None) => "nodes hold another version than was to be replaced".to_owned(),
        });
    }
    // A put that was sent to nobody, because of what was found, was refused by none of them.
    if report.announced > 0 {
        reasons.extend(refusal(report));
    }
    let is_spared = report.copies > 0 && report.seq == item.seq();
    if reasons.is_empty() && report.acknowledged == 0 && !is_spared {
        reasons.push(silence(report));
    }
    reasons
}

/// Who refused it, and with which code.
fn refusal(report: &LookupReport) -> Option<String> {
    let (refused, asked) = (report.refused.total, report.announced);
    let code = report.refused.last.filter(|_| refused > 0)?;
    let by = match refused {
        1 if asked == 1 => "the only node asked".to_owned(),
        _ if refused >= asked => format!("all {refused}"),
        _ => share(refused, asked, "node"),
    };
    Some(format!("refused by {by}: {}", describe(code)))
}

/// Nobody refused it, and nobody took it.
fn silence(report: &LookupReport) -> String {
    match (report.announced, report.answered) {
        (0, 0) => "no node answered".to_owned(),
        (0, answered) => format!("none of the {} that answered gave a token", count(answered, "node")),
        (asked, _) => format!("none of {} confirmed it", count(asked, "node")),
    }
}

/// A code and what it means (BEP 5, BEP 44).
fn describe(code: ErrorCode) -> String {
    let meaning = match code {
        ErrorCode::GENERIC => "generic error",
        ErrorCode::SERVER => "server error",
        ErrorCode::PROTOCOL => "protocol error, such as a bad token",
        ErrorCode::METHOD_UNKNOWN => "method unknown",
        ErrorCode::VALUE_TOO_BIG => "value too big",
        ErrorCode::BAD_SIGNATURE => "invalid signature",
        ErrorCode::SALT_TOO_BIG => "salt too big",
        ErrorCode::CAS_MISMATCH => "another version is stored than is to be replaced",
        ErrorCode::SEQ_TOO_LOW => "the number of the version is not higher than the stored one",
        ErrorCode::UNKNOWN => return "without a code".to_owned(),
        _ => return format!("code {code}"),
    };
    format!("{code} {meaning}")
}
