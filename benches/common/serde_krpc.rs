//! KRPC messages for serde, with the fields that the messages of these benches have.

use serde::Deserialize;
use serde_bytes::ByteBuf;

#[derive(Debug, Deserialize)]
#[allow(dead_code, reason = "only decoded")]
pub(crate) struct SerdeMessage {
    t: ByteBuf,
    y: String,
    q: Option<String>,
    a: Option<SerdeArguments>,
    r: Option<SerdeReturns>,
    v: Option<ByteBuf>,
    ip: Option<ByteBuf>,
    ro: Option<i64>,
}

#[derive(Debug, Deserialize)]
#[allow(dead_code, reason = "only decoded")]
struct SerdeArguments {
    id: ByteBuf,
    target: Option<ByteBuf>,
    info_hash: Option<ByteBuf>,
    want: Option<Vec<String>>,
}

#[derive(Debug, Deserialize)]
#[allow(dead_code, reason = "only decoded")]
struct SerdeReturns {
    id: ByteBuf,
    nodes: Option<ByteBuf>,
    token: Option<ByteBuf>,
    values: Option<Vec<ByteBuf>>,
}
