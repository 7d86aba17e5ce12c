//! Items (BEP 44): what can be asked of a node about them.

use alloc::borrow::ToOwned as _;
use alloc::boxed::Box;
use alloc::vec::Vec;
use core::net::SocketAddr;

use super::call::Call;
use super::dht::DhtHandle;
use super::lookup::LookupHandle;
use super::recurring::{Publication, Recurring};
use crate::items::{Item, PublicKey, Salt, SecretKey, UpdatableTorrent};
use crate::net::engine::lookups::{Key, Successor, Wants};
use crate::net::engine::mailbox::Command;
use crate::{InfoHash, Lookup, NodeId};

/// Items (BEP 44). Those that others put to this node are kept without anybody's doing.
impl DhtHandle {
    /// Finds the immutable item at a target. The lookup yields it, and ends with the first copy.
    pub fn get_immutable(&self, target: NodeId) -> LookupHandle<Item> {
        self.get(Lookup::GetImmutable(target))
    }

    /// Finds the mutable item of a key and a salt. The lookup yields what valid versions it
    /// meets, each newer than the one before; which is the newest is known at its end, and is in the
    /// [`Outcome`](crate::net::Outcome). Who does not want to wait for the slowest nodes asks for
    /// [`newest_within`](LookupHandle::newest_within) some time.
    pub fn get_mutable(&self, key: PublicKey, salt: Salt) -> LookupHandle<Item> {
        self.get(Lookup::GetMutable(key, salt))
    }

    /// Stores an item, once; nodes keep it for two hours, and [`start_publishing`](Self::start_publishing)
    /// repeats it. [`Outcome::stored`](crate::net::Outcome::stored) says whether it is stored; it is not if no node
    /// took it, or nodes hold a newer version or another one of the same number. A signature that was made
    /// elsewhere comes in by [`Item::signed`].
    ///
    /// With `cas` ("compare and swap") it replaces the version of that number and no other, as in
    /// [`Node::put`](crate::Node::put): if the newest one found has another number, nothing is stored
    /// ([`PutError::CasMismatch`](crate::PutError::CasMismatch)).
    pub fn put(&self, item: &Item, cas: Option<i64>) -> LookupHandle {
        let key = Key::Put(Box::new(item.clone()), cas, self.shared.lookup_options);
        LookupHandle::start(&self.shared, key, Wants::Peers)
    }

    /// Stores a byte string of up to [`Item::MAX_STRING_LEN`] bytes under its hash, as
    /// [`put_immutable`](Self::put_immutable) does with a bencoded value.
    pub fn put_string(&self, bytes: &[u8]) -> LookupHandle {
        match Item::string(bytes) {
            Ok(item) => self.put(&item, None),
            Err(error) => LookupHandle::refused(&self.shared, error.into()),
        }
    }

    /// Stores a bencoded value under its hash: [`Item::target`] of the item in the
    /// [`Outcome`](crate::net::Outcome).
    ///
    /// [`CallError::Item`](crate::net::CallError::Item) if the value cannot be stored.
    pub fn put_immutable(&self, value: &[u8]) -> LookupHandle {
        match Item::immutable(value) {
            Ok(item) => self.put(&item, None),
            Err(error) => LookupHandle::refused(&self.shared, error.into()),
        }
    }

    /// Stores a bencoded value as the next version of the mutable item of a key and a salt: looks up
    /// the newest one, then puts the value under the number that follows, in place
    /// of that very version. To choose the number: [`Item::sign`] and [`put`](Self::put).
    ///
    /// If somebody else replaces it in the meantime, [`Outcome::stored`](crate::net::Outcome::stored) is an error
    /// that [says so](crate::PutError::is_other_version): look what it is now, and try again.
    ///
    /// [`CallError::Item`](crate::net::CallError::Item) if the value cannot be stored or the newest version has the
    /// last of all numbers.
    pub fn put_mutable(&self, secret: &SecretKey, salt: Salt, value: &[u8]) -> LookupHandle {
        // What cannot be stored needs no lookup.
        if let Err(error) = Item::immutable(value) {
            return LookupHandle::refused(&self.shared, error.into());
        }
        let options = self.shared.lookup_options;
        let key = Key::Lookup(Lookup::GetMutable(secret.public(), salt), options);
        LookupHandle::start(&self.shared, key, |put| {
            let (secret, value) = (secret.duplicate(), value.to_owned());
            Wants::Successor(Box::new(Successor { secret, salt, value, options, put }))
        })
    }

    /// Stores a byte string of up to [`Item::MAX_STRING_LEN`] bytes as the next version, as
    /// [`put_mutable`](Self::put_mutable) does with a bencoded value.
    pub fn put_mutable_string(&self, secret: &SecretKey, salt: Salt, bytes: &[u8]) -> LookupHandle {
        match Item::string(bytes) {
            Ok(item) => self.put_mutable(secret, salt, item.value()),
            Err(error) => LookupHandle::refused(&self.shared, error.into()),
        }
    }

    /// Stores an item as long as the [`Publication`] lives: soon, and again every hour, as
    /// [`Node::start_publishing`](crate::Node::start_publishing) does. Their rounds are spread evenly, and are
    /// spared where nodes enough hold the item; [`Republished::stored`](crate::net::Republished::stored) says whether
    /// it is stored. By default up to 192 are kept up ([`Limits::publications`](field@crate::Limits::publications)).
    ///
    /// A target has one item: callers with the same target share it, and a newer version takes the
    /// place of an older one, also after whoever gave it has gone: nodes would refuse the older.
    ///
    /// With a [`Builder::state`](crate::net::Builder::state) file, an item that was kept up when the state was saved
    /// goes on from where it was once it is given again, as [`start_announcing`](Self::start_announcing) has it;
    /// [`saved_items`](Self::saved_items) still has those that were not.
    ///
    /// A [`PublishError`](crate::errors::PublishError) if too many are kept up, or a newer version is.
    pub fn start_publishing(&self, item: &Item) -> Publication {
        let (target, item) = (item.target(), Box::new(item.clone()));
        Recurring::start(&self.shared, target, |number, rounds| Command::Publish { number, item, rounds })
    }

    /// The items that were kept up when the state was saved that the node began with, and that
    /// [`start_publishing`](Self::start_publishing) has not been given since. They stay saved.
    pub fn saved_items(&self) -> Call<Vec<Item>> {
        Call::ask(&self.shared, Command::SavedItems)
    }

    /// Finds what torrent a link leads to at present (BEP 46); [`get_peers`](Self::get_peers) then finds its peers.
    /// The torrent may be another one later: ask again from time to time.
    ///
    /// [`CallError::NoItem`](crate::net::CallError::NoItem) or
    /// [`CallError::NoPointer`](crate::net::CallError::NoPointer) if the link leads to no torrent.
    pub fn follow(&self, link: UpdatableTorrent) -> Call<InfoHash> {
        let key = Key::Lookup(Lookup::GetMutable(link.key, link.salt), self.shared.lookup_options);
        Call::lookup(&self.shared, |number, reply| Command::Lookup {
            number,
            key,
            wants: Wants::Torrent(reply),
        })
    }

    /// Stores an item that the node of another address was told of ([`Node::store_item`](crate::Node::store_item)).
    ///
    /// [`CallError::Store`](crate::net::CallError::Store) if there is no room for it or a newer one is stored.
    pub fn store_item(&self, item: &Item, from: SocketAddr) -> Call<()> {
        let item = Box::new(item.clone());
        Call::ask(&self.shared, |reply| {
            Command::With(Box::new(move |node, now| {
                reply.end(node.store_item(now, &item, from).map_err(Into::into));
            }))
        })
    }

    /// What others put to us at a target.
    pub fn stored_item(&self, target: NodeId) -> Call<Option<Item>> {
        self.with(move |node, _| node.stored_item(target))
    }

    fn get(&self, lookup: Lookup) -> LookupHandle<Item> {
        let key = Key::Lookup(lookup, self.shared.lookup_options);
        LookupHandle::start(&self.shared, key, Wants::Versions)
    }
}
