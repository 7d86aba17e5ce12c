//! The methods of a handle that concern items (BEP 44).

use alloc::borrow::ToOwned as _;
use alloc::boxed::Box;
use alloc::vec::Vec;
use core::net::SocketAddr;

use super::call::Call;
use super::dht::DhtHandle;
use super::lookup::LookupHandle;
use super::recurring::{Publication, Recurring};
use crate::items::{Item, PublicKey, Salt, SecretKey, UpdatableTorrent};
use crate::net::engine::lookups::{Consumer, Key, Successor};
use crate::net::engine::mailbox::Command;
use crate::{InfoHash, Lookup, NodeId};

/// Items (BEP 44). Items that others put to this node are stored without any of these calls.
impl DhtHandle {
    /// Looks up the immutable item at a target. The lookup yields it, and ends with the first copy.
    pub fn get_immutable(&self, target: NodeId) -> LookupHandle<Item> {
        self.get(Lookup::GetImmutable(target))
    }

    /// Looks up the mutable item of a key and a salt.
    ///
    /// The lookup yields valid versions as they are found, each newer than the one before. The newest is known at the
    /// end: it is in the [`Outcome`](crate::net::Outcome). Use [`newest_within`](LookupHandle::newest_within) to bound
    /// the wait for the slowest nodes.
    pub fn get_mutable(&self, key: PublicKey, salt: Salt) -> LookupHandle<Item> {
        self.get(Lookup::GetMutable(key, salt))
    }

    /// Stores an item, once.
    ///
    /// Other nodes keep it for two hours; [`start_publishing`](Self::start_publishing) repeats the put.
    /// [`Outcome::stored`](crate::net::Outcome::stored) says whether it is stored: it is not if no node accepted it, or
    /// nodes hold a newer version or another one with the same number. [`Item::signed`] makes an item of a signature
    /// that was made elsewhere.
    ///
    /// With `cas` ("compare and swap") the item replaces the version of that number and no other, as in
    /// [`Node::put`](crate::Node::put): if the newest version found has another number, nothing is stored
    /// ([`PutError::CasMismatch`](crate::PutError::CasMismatch)).
    pub fn put(&self, item: &Item, cas: Option<i64>) -> LookupHandle {
        let key = Key::Put(Box::new(item.clone()), cas, self.shared.lookup_options);
        LookupHandle::start(&self.shared, key, Consumer::Peers)
    }

    /// Stores a byte string of up to [`Item::MAX_STRING_LEN`] bytes under its hash, once; see
    /// [`put_immutable`](Self::put_immutable) for other bencoded values.
    pub fn put_string(&self, bytes: &[u8]) -> LookupHandle {
        match Item::string(bytes) {
            Ok(item) => self.put(&item, None),
            Err(error) => LookupHandle::refused(&self.shared, error.into()),
        }
    }

    /// Stores a bencoded value under its hash, once. The target is [`Item::target`] of the item in the
    /// [`Outcome`](crate::net::Outcome).
    ///
    /// [`CallError::Item`](crate::net::CallError::Item) if the value cannot be an item.
    pub fn put_immutable(&self, value: &[u8]) -> LookupHandle {
        match Item::immutable(value) {
            Ok(item) => self.put(&item, None),
            Err(error) => LookupHandle::refused(&self.shared, error.into()),
        }
    }

    /// Stores a bencoded value as the next version of the mutable item of a key and a salt, once.
    ///
    /// The newest version is looked up, and replaced by the value under the number that follows, but only if no other
    /// publisher has replaced it in the meantime: then [`Outcome::stored`](crate::net::Outcome::stored) returns an
    /// error that [says so](crate::PutError::is_other_version); get the new version, and try again. To choose the
    /// number, use [`Item::sign`] and [`put`](Self::put).
    ///
    /// [`CallError::Item`](crate::net::CallError::Item) if the value cannot be an item, or the newest version has the
    /// highest possible number.
    pub fn put_mutable(&self, secret: &SecretKey, salt: Salt, value: &[u8]) -> LookupHandle {
        // A value that cannot be an item needs no lookup.
        if let Err(error) = Item::immutable(value) {
            return LookupHandle::refused(&self.shared, error.into());
        }
        let options = self.shared.lookup_options;
        let key = Key::Lookup(Lookup::GetMutable(secret.public(), salt), options);
        LookupHandle::start(&self.shared, key, |put| {
            let (secret, value) = (secret.duplicate(), value.to_owned());
            Consumer::Successor(Box::new(Successor { secret, salt, value, options, put }))
        })
    }

    /// Stores a byte string of up to [`Item::MAX_STRING_LEN`] bytes as the next version, once; see
    /// [`put_mutable`](Self::put_mutable) for other bencoded values.
    pub fn put_mutable_string(&self, secret: &SecretKey, salt: Salt, bytes: &[u8]) -> LookupHandle {
        match Item::string(bytes) {
            Ok(item) => self.put_mutable(secret, salt, item.value()),
            Err(error) => LookupHandle::refused(&self.shared, error.into()),
        }
    }

    /// Stores an item, and republishes it until the [`Publication`] is dropped.
    ///
    /// It is put soon, and again every hour, as by [`Node::start_publishing`](crate::Node::start_publishing).
    /// Republishes are spread evenly, and put nothing if enough nodes hold the item;
    /// [`Republished::stored`](crate::net::Republished::stored) says whether it is stored. By default up to 192 items
    /// may be published ([`Limits::publications`](field@crate::Limits::publications)).
    ///
    /// A target has one item: callers with the same target share it, and a newer version replaces an older one even
    /// after the caller with the newer one has dropped it, because nodes would refuse the older.
    ///
    /// With a [`Builder::state`](crate::net::Builder::state) file, an item that was saved keeps its place in the
    /// interval once a caller publishes it again, like an announce ([`start_announcing`](Self::start_announcing));
    /// [`saved_items`](Self::saved_items) returns those that no caller has published again.
    ///
    /// A [`PublishError`](crate::errors::PublishError) if there are too many publications, or a newer version is
    /// published.
    pub fn start_publishing(&self, item: &Item) -> Publication {
        let (target, item) = (item.target(), Box::new(item.clone()));
        Recurring::start(&self.shared, target, |number, republishes| Command::Publish {
            number,
            item,
            republishes,
        })
    }

    /// Returns the items of the restored state that [`start_publishing`](Self::start_publishing) has not published
    /// since. They stay in the state file.
    pub fn saved_items(&self) -> Call<Vec<Item>> {
        Call::request(&self.shared, Command::SavedItems)
    }

    /// Looks up the torrent that a link leads to at present (BEP 46), for [`get_peers`](Self::get_peers).
    ///
    /// The publisher may change the torrent: follow the link again from time to time.
    ///
    /// [`CallError::NoItem`](crate::net::CallError::NoItem) or
    /// [`CallError::NoPointer`](crate::net::CallError::NoPointer) if the link leads to no torrent.
    pub fn follow(&self, link: UpdatableTorrent) -> Call<InfoHash> {
        let key = Key::Lookup(Lookup::GetMutable(link.key, link.salt), self.shared.lookup_options);
        Call::lookup(&self.shared, |number, reply| Command::Lookup {
            number,
            key,
            consumer: Consumer::Torrent(reply),
        })
    }

    /// Stores an item that was put to another node of this program ([`Node::store_item`](crate::Node::store_item)).
    ///
    /// [`CallError::Store`](crate::net::CallError::Store) if there is no room for it or a newer one is stored.
    pub fn store_item(&self, item: &Item, from: SocketAddr) -> Call<()> {
        let item = Box::new(item.clone());
        Call::request(&self.shared, |reply| {
            Command::With(Box::new(move |node, now| {
                reply.end(node.store_item(now, &item, from).map_err(Into::into));
            }))
        })
    }

    /// Returns the item at a target that others put to this node.
    pub fn stored_item(&self, target: NodeId) -> Call<Option<Item>> {
        self.with(move |node, _| node.stored_item(target))
    }

    fn get(&self, lookup: Lookup) -> LookupHandle<Item> {
        let key = Key::Lookup(lookup, self.shared.lookup_options);
        LookupHandle::start(&self.shared, key, Consumer::Versions)
    }
}
