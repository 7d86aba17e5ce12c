//! Items (BEP 44): what callers on any thread ask of the DHT thread about them.

use super::handle::Dht;
use super::item_calls::item_calls;
use super::keep::Publication;
use super::search::Search;

item_calls!([] []);
