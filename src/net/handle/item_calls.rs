//! Items (BEP 44): what callers of either adapter ask about them.

use alloc::boxed::Box;

use crate::net::engine::lookups::{Key, Outcome};
use crate::net::error::CallError;
use crate::{InfoHash, Item, ItemError, LookupOptions, Salt, SecretKey, TorrentPointer};

/// The calls of a handle about items. Both handles have the same; where one blocks the other is `async`, and
/// has to `.await`.
macro_rules! item_calls {
    ([$($async:tt)?] [$($wait:tt)*]) => {
        use alloc::boxed::Box;
        use alloc::vec::Vec;
        use core::net::SocketAddr;

        use $crate::net::engine::Command;
        use $crate::net::error::CallError;
        use $crate::net::handle::item_calls::{put_next, torrent};
        use $crate::net::engine::lookups::{LookupState, Key};
        use $crate::{InfoHash, Item, KeptItem, Lookup, NodeId, PublicKey, Salt, SecretKey, UpdatableTorrent};

        /// Items (BEP 44). Those that others put to this node are kept without anybody's doing.
        impl DhtHandle {
            /// Finds the immutable item at a target. The [`LookupHandle`] yields it, and ends with the first copy.
            ///
            /// # Errors
            ///
            /// [`CallError::QueueFull`] if too many calls wait for a slot, [`CallError::Closed`].
            pub $($async)? fn get_immutable(&self, target: NodeId) -> Result<LookupHandle<Item>, CallError> {
                self.get(Lookup::GetImmutable(target))$($wait)*
            }

            /// Finds the mutable item of a key and a salt. The [`LookupHandle`] yields what valid versions it
            /// meets, each newer than the one before; which is the newest is known at its end, and is in the
            /// [`Outcome`](crate::net::Outcome).
            ///
            /// # Errors
            ///
            /// [`CallError::QueueFull`] if too many calls wait for a slot, [`CallError::Closed`].
            pub $($async)? fn get_mutable(
                &self,
                key: PublicKey,
                salt: Salt,
            ) -> Result<LookupHandle<Item>, CallError> {
                self.get(Lookup::GetMutable(key, salt))$($wait)*
            }

            /// Stores an item, once; nodes keep it for two hours, and [`keep_stored`](Self::keep_stored)
            /// repeats it. [`LookupHandle::wait`] tells who took it, and by [`LookupReport`](crate::LookupReport)
            /// how many refused it and [what stood in its way](crate::LookupReport::obstacle): a newer
            /// version, or another one of the same number; then nobody got it. A signature that was made
            /// elsewhere comes in by [`Item::signed`].
            ///
            /// With `cas` ("compare and swap") it replaces the version of that number and no other, as in
            /// [`Node::put`](crate::Node::put): if the newest one found has another number, nothing is stored
            /// ([`PutObstacle::CasMismatch`](crate::PutObstacle::CasMismatch)).
            ///
            /// # Errors
            ///
            /// [`CallError::QueueFull`] if too many calls wait for a slot, [`CallError::Closed`].
            pub $($async)? fn put(&self, item: &Item, cas: Option<i64>) -> Result<LookupHandle, CallError> {
                let key = Key::Put(Box::new(item.clone()), cas, self.lookup_options());
                self.search(key, LookupState::next_peer)$($wait)*
            }

            /// Stores a bencoded value under its hash: [`Item::target`] of the item in the
            /// [`Outcome`](crate::net::Outcome).
            ///
            /// # Errors
            ///
            /// [`CallError::Item`] if the value cannot be stored, and those of [`put`](Self::put).
            pub $($async)? fn put_immutable(&self, value: &[u8]) -> Result<LookupHandle, CallError> {
                self.put(&Item::immutable(value)?, None)$($wait)*
            }

            /// Stores a bencoded value as the next version of the mutable item of a key and a salt: looks up
            /// the newest one and waits for it, then puts the value under the number that follows, in place
            /// of that very version. To choose the number: [`Item::sign`] and [`put`](Self::put).
            ///
            /// If somebody else replaces it in the meantime, nothing is stored
            /// ([`LookupReport::obstacle`](crate::LookupReport::obstacle)), or nodes refuse this one
            /// ([`Refusals`](crate::Refusals)): look what it is now, and try again.
            ///
            /// # Errors
            ///
            /// [`CallError::Item`] if the value cannot be stored or the newest version has the last of all
            /// numbers, and those of [`put`](Self::put).
            pub $($async)? fn put_mutable(
                &self,
                secret: &SecretKey,
                salt: Salt,
                value: &[u8],
            ) -> Result<LookupHandle, CallError> {
                // What cannot be stored needs no lookup.
                Item::immutable(value)?;
                let found = self.get_mutable(secret.public(), salt)$($wait)*?.wait()$($wait)*?;
                let key = put_next(&found, secret, salt, value, self.lookup_options())?;
                self.search(key, LookupState::next_peer)$($wait)*
            }

            /// Stores an item as long as the [`Publication`] lives: soon, and again every hour, as
            /// [`Node::keep_stored`](crate::Node::keep_stored) does. Their rounds are spread evenly, and are
            /// spared where nodes enough hold the item. By default up to 192 are kept up
            /// ([`Limits::own_items`](crate::Limits::own_items)).
            ///
            /// A target has one item: callers with the same target share it, and a newer version takes the
            /// place of an older one, also after whoever gave it has gone: nodes would refuse the older.
            ///
            /// With a `Builder::state` file, an item that was kept up when the state was saved goes on from
            /// where it was once it is given again, as [`keep_announced`](Self::keep_announced) has it;
            /// [`saved_items`](Self::saved_items) still has those that were not.
            ///
            /// # Errors
            ///
            /// [`CallError::Start`] if too many are kept up, or a newer version is; [`CallError::QueueFull`] if
            /// lookups hold the memory and too many calls wait for it; [`CallError::Closed`].
            pub $($async)? fn keep_stored(&self, item: &Item) -> Result<Publication, CallError> {
                let (target, item) = (item.target(), Box::new(item.clone()));
                let kept = self.ask(|reply| Command::KeepStored { item, reply })$($wait)*??;
                Ok(Publication::new(target, kept))
            }

            /// The items that were kept up when the state was saved that the node began with, and that
            /// [`keep_stored`](Self::keep_stored) has not been given since. They stay saved.
            ///
            /// # Errors
            ///
            /// [`CallError::Closed`].
            pub $($async)? fn saved_items(&self) -> Result<Vec<Item>, CallError> {
                self.ask(Command::SavedItems)$($wait)*
            }

            /// Finds what torrent a link leads to at present (BEP 46), waiting until that is known, and
            /// starts to find its peers. The torrent may be another one later: ask again from time to time.
            ///
            /// # Errors
            ///
            /// [`CallError::NoItem`] or [`CallError::NoPointer`] if the link leads to no torrent,
            /// [`CallError::QueueFull`] if too many calls wait for a slot, [`CallError::Closed`].
            pub $($async)? fn follow(&self, link: UpdatableTorrent) -> Result<(InfoHash, LookupHandle), CallError> {
                let infohash = torrent(&self.get_mutable(link.key, link.salt)$($wait)*?.wait()$($wait)*?)?;
                Ok((infohash, self.get_peers(infohash)$($wait)*?))
            }

            /// The items that are kept up, and how they fare.
            ///
            /// # Errors
            ///
            /// [`CallError::Closed`].
            pub $($async)? fn kept_items(&self) -> Result<Vec<KeptItem>, CallError> {
                self.with_node(|node, _| node.kept_items().collect())$($wait)*
            }

            /// Stores an item that the [`DhtHandle`] of another address was told of
            /// ([`Node::store_item`](crate::Node::store_item)).
            ///
            /// # Errors
            ///
            /// [`CallError::Store`] if there is no room for it or a newer one is stored,
            /// [`CallError::Closed`].
            pub $($async)? fn store_item(&self, item: &Item, from: SocketAddr) -> Result<(), CallError> {
                let item = Box::new(item.clone());
                Ok(self.with_node(move |node, now| node.store_item(now, &item, from))$($wait)*??)
            }

            /// What others put to us at a target.
            ///
            /// # Errors
            ///
            /// [`CallError::Closed`].
            pub $($async)? fn stored_item(&self, target: NodeId) -> Result<Option<Item>, CallError> {
                self.with_node(move |node, _| node.stored_item(target))$($wait)*
            }

            /// Forgets all items that others put to us.
            ///
            /// # Errors
            ///
            /// [`CallError::Closed`].
            pub $($async)? fn clear_items(&self) -> Result<(), CallError> {
                self.with_node(|node, _| node.clear_items())$($wait)*
            }

            $($async)? fn get(&self, lookup: Lookup) -> Result<LookupHandle<Item>, CallError> {
                self.search(Key::Lookup(lookup, self.lookup_options()), LookupState::next_version)$($wait)*
            }
        }
    };
}
pub(crate) use item_calls;

/// The put of the version after the one that was found.
pub(crate) fn put_next(
    found: &Outcome,
    secret: &SecretKey,
    salt: Salt,
    value: &[u8],
    options: LookupOptions,
) -> Result<Key, CallError> {
    let old = found.item.as_ref().and_then(Item::seq);
    let seq = Item::next_seq(old).ok_or(ItemError::NoNextSeq)?;
    let item = Item::sign(secret, salt.as_bytes(), seq, value)?;
    Ok(Key::Put(Box::new(item), old, options))
}

/// The torrent that the item points to.
pub(crate) fn torrent(found: &Outcome) -> Result<InfoHash, CallError> {
    let item = found.item.as_ref().ok_or(CallError::NoItem)?;
    TorrentPointer::from_value(item.value()).map(|pointer| pointer.infohash()).ok_or(CallError::NoPointer)
}
