//! Items (BEP 44): what callers on any thread ask of the DHT thread about them.

use alloc::boxed::Box;
use alloc::vec::Vec;

use super::desk::Command;
use super::error::CallError;
use super::handle::Dht;
use super::keep::Publication;
use super::progress::{Findings, Key};
use super::publishing::{put_next, torrent};
use super::search::Search;
use crate::{InfoHash, Item, KeptItem, Lookup, NodeId, PublicKey, Salt, SecretKey, UpdatableTorrent};

/// Items (BEP 44). Those that others put to this node are kept without anybody's doing.
impl Dht {
    /// Finds the immutable item at a target. The [`Search`] yields it, and ends with the first copy.
    ///
    /// # Errors
    ///
    /// [`CallError::Start`] if too many lookups are under way, [`CallError::Closed`].
    pub fn get_immutable(&self, target: NodeId) -> Result<Search<Item>, CallError> {
        self.get(Lookup::GetImmutable(target))
    }

    /// Finds the mutable item of a key and a salt. The [`Search`] yields what valid versions it meets, each
    /// newer than the one before; which is the newest is known at its end, and is in the
    /// [`Outcome`](super::Outcome).
    ///
    /// # Errors
    ///
    /// [`CallError::Start`] if too many lookups are under way, [`CallError::Closed`].
    pub fn get_mutable(&self, key: PublicKey, salt: Salt) -> Result<Search<Item>, CallError> {
        self.get(Lookup::GetMutable(key, salt))
    }

    /// Stores an item, once; nodes keep it for two hours, and [`keep_stored`](Self::keep_stored) repeats it.
    /// [`Search::wait`] tells who took it, and by [`LookupReport`](crate::LookupReport) how many refused it and
    /// whether there is a newer one. A signature that was made elsewhere comes in by [`Item::signed`].
    ///
    /// With `cas` ("compare and swap") nodes that hold another version than that number refuse it
    /// ([`Refusals::cas_mismatch`](crate::Refusals::cas_mismatch)).
    ///
    /// # Errors
    ///
    /// [`CallError::Start`] if too many lookups are under way, [`CallError::Closed`].
    pub fn put(&self, item: &Item, cas: Option<i64>) -> Result<Search, CallError> {
        let key = Key::Put(Box::new(item.clone()), cas, self.board().lookup_options);
        self.search(key, Findings::next_peer)
    }

    /// Stores a bencoded value under its hash: [`Item::target`] of the item in the
    /// [`Outcome`](super::Outcome).
    ///
    /// # Errors
    ///
    /// [`CallError::Item`] if the value cannot be stored, and those of [`put`](Self::put).
    pub fn put_immutable(&self, value: &[u8]) -> Result<Search, CallError> {
        self.put(&Item::immutable(value)?, None)
    }

    /// Stores a bencoded value as the next version of the mutable item of a key and a salt: looks up the
    /// newest one and waits for it, then puts the value under the number that follows, in place of that very
    /// version. To choose the number: [`Item::sign`] and [`put`](Self::put).
    ///
    /// If somebody else replaces it in the meantime, nodes refuse this one
    /// ([`Refusals::cas_mismatch`](crate::Refusals::cas_mismatch)): look what it is now, and try again.
    ///
    /// # Errors
    ///
    /// [`CallError::Item`] if the value cannot be stored, and those of [`put`](Self::put).
    pub fn put_mutable(&self, secret: &SecretKey, salt: Salt, value: &[u8]) -> Result<Search, CallError> {
        // What cannot be stored needs no lookup.
        Item::immutable(value)?;
        let found = self.get_mutable(secret.public(), salt)?.wait()?;
        let key = put_next(&found, secret, salt, value, self.board().lookup_options)?;
        self.search(key, Findings::next_peer)
    }

    /// Stores an item as long as the [`Publication`] lives: soon, and again every hour, as
    /// [`Node::keep_stored`](crate::Node::keep_stored) does. Thousands of them are spread evenly, and rounds
    /// are spared where nodes enough hold the item.
    ///
    /// A target has one item: callers with the same target share it, and a newer version takes the place
    /// of an older one. Unlike announces, items do not go on by themselves from a saved state: give them
    /// again.
    ///
    /// # Errors
    ///
    /// [`CallError::Start`] if too many are kept up, or a newer version is; [`CallError::Closed`].
    pub fn keep_stored(&self, item: &Item) -> Result<Publication, CallError> {
        let (target, item) = (item.target(), Box::new(item.clone()));
        let kept = self.ask(|reply| Command::KeepStored { item, reply })??;
        Ok(Publication::new(self.clone(), target, kept))
    }

    /// Finds what torrent a link leads to at present (BEP 46), waiting until that is known, and starts to find its
    /// peers. The torrent may be another one later: ask again from time to time.
    ///
    /// # Errors
    ///
    /// [`CallError::NoItem`] or [`CallError::NoPointer`] if the link leads to no torrent,
    /// [`CallError::Start`] if too many lookups are under way, [`CallError::Closed`].
    pub fn follow(&self, link: UpdatableTorrent) -> Result<(InfoHash, Search), CallError> {
        let infohash = torrent(&self.get_mutable(link.key, link.salt)?.wait()?)?;
        Ok((infohash, self.get_peers(infohash)?))
    }

    /// The items that are kept up, and how they fare.
    ///
    /// # Errors
    ///
    /// [`CallError::Closed`].
    pub fn kept_items(&self) -> Result<Vec<KeptItem>, CallError> {
        self.with_node(|node, _| node.kept_items().collect())
    }

    /// What others put to us at a target.
    ///
    /// # Errors
    ///
    /// [`CallError::Closed`].
    pub fn stored_item(&self, target: NodeId) -> Result<Option<Item>, CallError> {
        self.with_node(move |node, _| node.stored_item(target))
    }

    /// Forgets all items that others put to us.
    ///
    /// # Errors
    ///
    /// [`CallError::Closed`].
    pub fn clear_items(&self) -> Result<(), CallError> {
        self.with_node(|node, _| node.clear_items())
    }

    fn get(&self, lookup: Lookup) -> Result<Search<Item>, CallError> {
        self.search(Key::Lookup(lookup, self.board().lookup_options), Findings::next_version)
    }
}
