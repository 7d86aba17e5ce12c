//! Items (BEP 44): what tasks ask of the node's task about them.

use super::handle::Dht;
use super::keep::Publication;
use super::search::Search;
use crate::net::item_calls::item_calls;

item_calls!([async] [.await]);
