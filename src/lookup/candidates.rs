//! What a walk knows of each node in its sight.

use core::time::Duration;

use crate::base::addr::Endpoint;
use crate::base::id::NodeId;
use crate::guard::secure_id::is_secure;

/// Longest token that is kept; the longest seen is 32 bytes.
const MAX_TOKEN: usize = 128;

/// What is sent a third time, or more often, follows after so long.
const PAUSE: Duration = Duration::from_secs(1);

/// A datagram near the target is sent this often before the node is given up.
pub(super) const TRIES: u8 = 2;

/// And this often in all, once nobody waits for it any more: where one datagram in ten is lost, one
/// announce in 10,000 then misses one of its 8 nodes.
pub(super) const LINGERING_TRIES: u8 = 5;

/// A node that a walk may ask, or has asked.
#[derive(Clone, Copy, Debug)]
#[cfg_attr(feature = "checkpoint", derive(serde::Serialize, serde::Deserialize))]
pub(crate) struct Candidate {
    /// `None` until a bootstrap host has answered.
    pub(crate) id: Option<NodeId>,
    pub(crate) endpoint: Endpoint,
    pub(super) state: State,
    pub(super) placing: Placing,
    /// Datagrams sent: queries until it has answered, announces afterwards.
    pub(super) tries: u8,
    /// The place of its token, counted from 1; 0 is none.
    pub(super) token: u8,
    /// How fast it answered before, more being faster; 0 if that is unknown. It is known of nodes of our
    /// own table. From its answer here on: the cells of the region that it was asked for, a bit each.
    pub(super) speed_or_cells: u8,
    /// Who listed it first, as a hash; 0 where nobody did.
    pub(super) lister: u8,
    #[cfg(feature = "items")]
    pub(super) holding: Holding,
    /// It refused a put for want of a `seq`, and gets one with it.
    #[cfg(feature = "items")]
    pub(crate) wants_seq: bool,
}

impl Candidate {
    pub(crate) const EMPTY: Self = Self {
        id: None,
        endpoint: Endpoint::ZERO,
        state: State::Fresh,
        placing: Placing::None,
        tries: 0,
        token: 0,
        speed_or_cells: 0,
        lister: 0,
        #[cfg(feature = "items")]
        holding: Holding::Nothing,
        #[cfg(feature = "items")]
        wants_seq: false,
    };

    pub(crate) const fn has_token(&self) -> bool {
        self.token != 0
    }

    /// Its token, among the tokens of its walk.
    pub(crate) fn token_of(&self, tokens: &[Token]) -> Option<Token> {
        usize::from(self.token).checked_sub(1).map(|place| tokens[place])
    }

    /// It is the same as another listing, and no failure of its own.
    pub(super) const fn drop_twin(&mut self) {
        (self.state, self.tries) = (State::Dead, 0);
    }

    /// Whether a node that answered holds the announce or may come to hold it.
    pub(super) fn can_hold(&self, tries: u8) -> bool {
        let is_lost = self.placing == Placing::Lost && self.tries >= tries;
        self.has_token() && !matches!(self.placing, Placing::Refused) && !is_lost
    }

    pub(super) const fn has_answered(&self) -> bool {
        matches!(self.state, State::Answered | State::Shunned)
    }

    /// Whether it counts as one that answered, though not what it is asked for.
    pub(super) const fn was_reached(&self) -> bool {
        matches!(self.state, State::Reached | State::Pressed | State::Shunned)
    }

    /// Whether nothing was sent to it so far.
    pub(super) const fn is_unasked(&self) -> bool {
        matches!(self.state, State::Fresh | State::Doubted | State::Suspect)
    }

    /// Whether it stands in our own table; known until it answers.
    pub(super) const fn is_own(&self) -> bool {
        self.speed_or_cells > 0
    }

    /// Whether its id fits its address (BEP 42).
    pub(super) fn is_fit(&self) -> bool {
        self.id.is_some_and(|id| is_secure(&id, self.endpoint))
    }

    /// Whether it is only another listing of somebody else, and was never asked.
    pub(super) const fn is_twin(&self) -> bool {
        matches!(self.state, State::Dead) && self.tries == 0
    }

    /// Whether an answer is still possible.
    pub(super) const fn is_open(&self) -> bool {
        matches!(self.state, State::Asked | State::Stalled | State::Retried | State::Pressed)
    }

    /// Whether the lookup waits for an answer.
    pub(super) const fn is_awaited(&self) -> bool {
        matches!(self.state, State::Asked | State::Retried | State::Pressed)
    }

    /// How long to wait before something is sent to it again.
    pub(crate) fn pause(&self) -> Duration {
        if self.tries < TRIES { Duration::ZERO } else { PAUSE }
    }
}

/// How far the query to a candidate has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "checkpoint", derive(serde::Serialize, serde::Deserialize))]
pub(super) enum State {
    Fresh,
    /// Not asked, and listed by one of whose other nodes none seems to exist: asked after everybody else.
    Doubted,
    /// It failed not long ago: asked only when nobody waits any more.
    Suspect,
    /// Asked, and in time.
    Asked,
    /// Asked, and late: it no longer holds anything up.
    Stalled,
    /// Asked once more.
    Retried,
    /// It was silent to the query for an item, and has answered one for its neighbours.
    Reached,
    /// Asked for the item once more after that.
    Pressed,
    Answered,
    /// It answered, but leads on to others and no more: its id does not fit its address, where such are
    /// not to count (BEP 42), or it does not know the query for an item.
    Shunned,
    /// Silent, unreachable, or listed a second time.
    Dead,
    /// It was listed under another id than it answered with, which is now its id here.
    Denied,
}

/// How far the announce to a node that answered has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "checkpoint", derive(serde::Serialize, serde::Deserialize))]
pub(super) enum Placing {
    None,
    Sent,
    /// No confirmation in time.
    Lost,
    Stored,
    Refused,
    /// Refused because it holds another version: nobody farther gets it instead.
    Declined,
}

/// What a node that answered stores at the target.
#[cfg(feature = "items")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "checkpoint", derive(serde::Serialize, serde::Deserialize))]
pub(crate) enum Holding {
    /// Nothing of use.
    Nothing,
    /// A version that another node has a newer one of, or one in conflict with what is published.
    Other,
    /// The newest version found.
    Newest,
}

/// A write token of another node, echoed as it came (BEP 5).
#[derive(Clone, Copy, Debug)]
#[cfg_attr(feature = "checkpoint", derive(serde::Serialize, serde::Deserialize))]
pub(crate) struct Token {
    len: u8,
    #[cfg_attr(feature = "checkpoint", serde(with = "serde_big_array::BigArray"))]
    bytes: [u8; MAX_TOKEN],
}

impl Token {
    pub(crate) const EMPTY: Self = Self { len: 0, bytes: [0; MAX_TOKEN] };

    /// `None` where it is empty or too long to be kept: the node then serves the lookup, but
    /// cannot be announced to.
    pub(crate) fn new(token: &[u8]) -> Option<Self> {
        let mut bytes = [0; MAX_TOKEN];
        bytes.get_mut(..token.len())?.copy_from_slice(token);
        (!token.is_empty()).then_some(Self { len: token.len() as u8, bytes })
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }
}
