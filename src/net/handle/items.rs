//! Items (BEP 44): what callers on any thread ask of the DHT thread about them.

use super::dht::DhtHandle;
use super::item_calls::item_calls;
use super::lookup::LookupHandle;
use super::recurring::Publication;

item_calls!([] []);
