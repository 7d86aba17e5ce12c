//! Peers and items passed on by another node of the same program, so that several addresses share their stores
//! (BEP 45).
//!
//! No event is emitted for them, because two nodes would otherwise pass an entry back and forth forever.

use core::net::SocketAddr;

use crate::base::addr::{Endpoint, Family};
use crate::base::id::InfoHash;
use crate::base::time::Instant;
use crate::base::trace::trace;
use crate::node::api::error::StoreError;
use crate::node::core::Core;
use crate::node::server::memory::PeersMut;
use crate::node::storage::sealed::Memory;
#[cfg(feature = "items")]
use crate::store::items::Item;
use crate::store::peers::{NewPeer, Refusal};
#[cfg(feature = "items")]
use crate::wire::ErrorCode;

impl Core {
    /// Stores a peer that was announced to another node of this program, without a token.
    pub(in crate::node) fn store_shared_peer(
        &mut self,
        m: &mut Memory<'_>,
        now: Instant,
        infohash: InfoHash,
        peer: Endpoint,
        seed: bool,
    ) -> Result<(), StoreError> {
        self.advance(now);
        if !self.is_allowed(peer) {
            return Err(StoreError::AddressRefused);
        }
        self.place_peer(m, infohash, peer, seed).map_err(|_| StoreError::NoRoom)
    }

    /// Stores an item that was put to another node of this program, without a token.
    #[cfg(feature = "items")]
    pub(in crate::node) fn store_shared_item(
        &mut self,
        m: &mut Memory<'_>,
        now: Instant,
        item: &Item,
        from: Endpoint,
    ) -> Result<(), StoreError> {
        self.advance(now);
        // The signature was checked when the item was created.
        let stored = self.place_item(m, from, item.target(), &item.put(None, None), true);
        stored.map_err(|(code, _)| match code {
            ErrorCode::SERVER => StoreError::NoRoom,
            _ => StoreError::Stale,
        })
    }

    /// Stores or refreshes a peer.
    pub(in crate::node) fn place_peer(
        &mut self,
        m: &mut Memory<'_>,
        infohash: InfoHash,
        peer: Endpoint,
        seed: bool,
    ) -> Result<(), Refusal> {
        let ids = Family::ALL.map(|family| self.family(family).id);
        let now = self.now;
        let PeersMut { head, mut slots, rng } = self.peers_mut(m);
        let new = NewPeer { infohash: &infohash, endpoint: peer, seed, ids: &ids };
        let stored = head.announce(&mut slots, new, now, rng);
        if let Err(refusal) = stored {
            trace!("refused to store {}: {refusal:?}", SocketAddr::from(peer));
            return Err(refusal);
        }
        self.schedule_sweep(m);
        Ok(())
    }
}
