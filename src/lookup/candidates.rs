//! The state kept for each node that a traversal knows.

use core::time::Duration;

use crate::base::addr::Endpoint;
use crate::base::id::NodeId;
use crate::guard::secure_id::is_secure;

/// Maximum length of a stored token; the longest seen is 32 bytes.
const MAX_TOKEN: usize = 128;

/// Delay before a third or later try, so that it does not fall into the same burst of losses.
const PAUSE: Duration = Duration::from_secs(1);

/// Maximum number of times that a datagram near the target is sent.
pub(super) const TRIES: u8 = 2;

/// Maximum number of times that a datagram is sent in all, after completion.
///
/// With 10 % loss one announce in 10,000 then misses one of its 8 nodes.
pub(super) const LATE_TRIES: u8 = 5;

/// A node that a traversal has queried or may query.
#[derive(Clone, Copy, Debug)]
#[cfg_attr(feature = "checkpoint", derive(serde::Serialize, serde::Deserialize))]
pub(crate) struct Candidate {
    /// `None` for a bootstrap host until it responds.
    pub(crate) id: Option<NodeId>,
    pub(crate) endpoint: Endpoint,
    pub(super) state: State,
    pub(super) placement: Placement,
    /// Datagrams sent: queries until the response, announces afterwards.
    pub(super) tries: u8,
    /// The index of the token plus one; 0 if there is none.
    pub(super) token: u8,
    /// Until the response, the speed of earlier ones; afterwards, the cells that the node was queried for.
    ///
    /// The speed (more is faster) is known of nodes of the routing table only, and 0 for others. Each cell of the
    /// region is a bit.
    pub(super) speed_or_cells: u8,
    /// Hash of the node that listed this one first; 0 if none did.
    pub(super) lister: u8,
    #[cfg(feature = "items")]
    pub(super) holding: Holding,
    /// Whether the node refused a put without `seq` and is to be sent one with it.
    #[cfg(feature = "items")]
    pub(crate) needs_seq: bool,
}

impl Candidate {
    pub(crate) const EMPTY: Self = Self {
        id: None,
        endpoint: Endpoint::ZERO,
        state: State::Fresh,
        placement: Placement::None,
        tries: 0,
        token: 0,
        speed_or_cells: 0,
        lister: 0,
        #[cfg(feature = "items")]
        holding: Holding::Nothing,
        #[cfg(feature = "items")]
        needs_seq: false,
    };

    pub(crate) const fn has_token(&self) -> bool {
        self.token != 0
    }

    /// Returns the token of the node, given the tokens of the traversal.
    pub(crate) fn token_of(&self, tokens: &[Token]) -> Option<Token> {
        usize::from(self.token).checked_sub(1).map(|place| tokens[place])
    }

    /// Marks a duplicate listing as dead without counting a failure.
    pub(super) const fn drop_duplicate(&mut self) {
        (self.state, self.tries) = (State::Dead, 0);
    }

    /// Whether a node that responded holds the announce or may still receive it.
    pub(super) fn can_hold(&self, tries: u8) -> bool {
        let is_lost = self.placement == Placement::Lost && self.tries >= tries;
        self.has_token() && !matches!(self.placement, Placement::Refused) && !is_lost
    }

    pub(super) const fn has_responded(&self) -> bool {
        matches!(self.state, State::Responded | State::NodesOnly)
    }

    /// Whether the node responded to another query, but not to the actual one.
    pub(super) const fn responded_otherwise(&self) -> bool {
        matches!(self.state, State::Alive | State::AliveRetried | State::NodesOnly)
    }

    /// Whether nothing has been sent to the node.
    pub(super) const fn is_unqueried(&self) -> bool {
        matches!(self.state, State::Fresh | State::Doubted | State::Suspect)
    }

    /// Whether the node comes from the routing table; false after its response.
    pub(super) const fn is_from_table(&self) -> bool {
        self.speed_or_cells > 0
    }

    /// Whether the id matches the address (BEP 42).
    pub(super) fn has_secure_id(&self) -> bool {
        self.id.is_some_and(|id| is_secure(&id, self.endpoint))
    }

    /// Whether this is a duplicate listing that was never queried.
    pub(super) const fn is_duplicate(&self) -> bool {
        matches!(self.state, State::Dead) && self.tries == 0
    }

    /// Whether a response may still arrive.
    pub(super) const fn may_respond(&self) -> bool {
        matches!(self.state, State::Queried | State::Stalled | State::Retried | State::AliveRetried)
    }

    /// Whether the lookup waits for a response of the node.
    pub(super) const fn is_awaited(&self) -> bool {
        matches!(self.state, State::Queried | State::Retried | State::AliveRetried)
    }

    /// Returns the delay before the next datagram to the node.
    pub(crate) fn pause(&self) -> Duration {
        if self.tries < TRIES { Duration::ZERO } else { PAUSE }
    }
}

/// The progress of the query to a candidate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "checkpoint", derive(serde::Serialize, serde::Deserialize))]
pub(super) enum State {
    Fresh,
    /// Not queried, and listed by a node whose other listed nodes do not seem to exist; queried last.
    Doubted,
    /// Failed recently; queried only when no responses are pending.
    Suspect,
    /// Queried; the response is pending.
    Queried,
    /// The response is late; the lookup no longer waits for it.
    Stalled,
    /// Queried again.
    Retried,
    /// Did not respond to the query for an item, but did to a query for neighbours.
    Alive,
    /// Queried for the item again after it proved alive.
    AliveRetried,
    Responded,
    /// Responded, and counts only for the nodes it listed ([`Weight::NodesOnly`](super::Weight)).
    NodesOnly,
    /// Silent, unreachable, or a duplicate listing.
    Dead,
    /// Responded with an id other than the listed one; the candidate has the id of the response.
    WrongId,
}

/// The progress of the announce to a node that responded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "checkpoint", derive(serde::Serialize, serde::Deserialize))]
pub(super) enum Placement {
    None,
    Sent,
    /// Not confirmed in time.
    Lost,
    Stored,
    Refused,
    /// Refused in favour of another version; no farther node is sent the announce instead.
    Declined,
}

/// The version of the item that a responding node stores.
#[cfg(feature = "items")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "checkpoint", derive(serde::Serialize, serde::Deserialize))]
pub(crate) enum Holding {
    /// No usable version.
    Nothing,
    /// An older version, or one that conflicts with the item that is published.
    Other,
    /// The newest version found.
    Newest,
}

/// A write token of another node, echoed unmodified (BEP 5).
#[derive(Clone, Copy, Debug)]
#[cfg_attr(feature = "checkpoint", derive(serde::Serialize, serde::Deserialize))]
pub(crate) struct Token {
    len: u8,
    #[cfg_attr(feature = "checkpoint", serde(with = "serde_big_array::BigArray"))]
    bytes: [u8; MAX_TOKEN],
}

impl Token {
    pub(crate) const EMPTY: Self = Self { len: 0, bytes: [0; MAX_TOKEN] };

    /// Copies a token; `None` if it is empty or too long.
    ///
    /// A node whose token is not stored still counts in the lookup, but cannot be announced to.
    pub(crate) fn new(token: &[u8]) -> Option<Self> {
        let mut bytes = [0; MAX_TOKEN];
        bytes.get_mut(..token.len())?.copy_from_slice(token);
        (!token.is_empty()).then_some(Self { len: token.len() as u8, bytes })
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }
}
