//! Reasons why no node stored an announce or a put, or why an item will not last.

use dht_proto::wire::ErrorCode;
use dht_proto::{LookupReport, PutError};

use super::words::{count, share};

/// The reason why no node stored an announce; `None` if one did.
pub(super) fn unannounced(report: &LookupReport) -> Option<String> {
    report.stored().err().map(|error| reason(error, None, report))
}

/// The reasons why an item is not stored, or not at all nodes: one line for each.
pub(super) fn unstored(cas: Option<i64>, report: &LookupReport) -> Vec<String> {
    let mut reasons = Vec::from_iter(report.stored().err().map(|error| reason(error, cas, report)));
    // A put that was not sent because of what was found cannot have been refused.
    let refusal = refusal(report).filter(|refusal| report.sent > 0 && !reasons.contains(refusal));
    reasons.extend(refusal);
    reasons
}

/// The reason why nothing is stored, with what the report says beside the error.
fn reason(error: PutError, cas: Option<i64>, report: &LookupReport) -> String {
    match error {
        PutError::NoNodes => "no node answered".to_owned(),
        PutError::NoTokens { answered } => {
            format!("none of the {} that answered gave a token", count(answered, "node"))
        }
        PutError::Unconfirmed { sent } => format!("none of {} confirmed it", count(sent, "node")),
        PutError::Superseded { newest } => {
            format!("nodes hold a newer version, {newest}; choose a higher --seq")
        }
        PutError::Conflict { seq } => {
            format!("nodes hold another value as version {seq}; choose a higher --seq")
        }
        PutError::CasMismatch { found } => match cas {
            Some(cas) => format!("nodes hold version {found}, not {cas}"),
            None => format!("nodes hold version {found}, which is not the version to be replaced"),
        },
        PutError::Refused(ErrorCode::CAS_MISMATCH) => match (report.item.seq, cas) {
            (Some(newest), Some(cas)) => format!("nodes hold version {newest}, not {cas}"),
            (_, Some(cas)) => format!("nodes hold a version other than {cas}"),
            (_, None) => "nodes hold a version other than the one to be replaced".to_owned(),
        },
        PutError::Refused(_) => refusal(report).unwrap_or_else(|| error.to_string()),
        _ => error.to_string(),
    }
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
