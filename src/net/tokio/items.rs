//! Items (BEP 44): what tasks ask of the node's task about them.

use super::handle::DhtHandle;
use super::keep::Publication;
use super::search::LookupHandle;
use crate::net::handle::item_calls::item_calls;

item_calls!([async] [.await]);
