//! The actions of a traversal, and the compact form in which one waits to be sent.

use super::horizon::Window;

/// The next action of a traversal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Query the candidate at this position.
    Query(usize),
    /// Announce to the candidate at this position.
    Announce(usize),
    /// Query the candidate at this position for nodes beyond the horizon or in a cell of the region.
    Probe(usize, Window),
    /// Wait for responses or deadlines.
    Wait,
    /// Nothing more can be gained.
    Finish,
}

/// A step that waits to be sent, in six bytes.
///
/// The tag of the first variant is zero.
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "checkpoint", derive(serde::Serialize, serde::Deserialize))]
pub(crate) enum PlannedStep {
    Query(u16),
    Announce(u16),
    Probe(u16, Window),
    /// Nothing is to be sent.
    Nothing,
}

impl PlannedStep {
    /// Returns the step; `None` if nothing is to be sent.
    pub(crate) const fn step(self) -> Option<Step> {
        match self {
            Self::Query(position) => Some(Step::Query(position as usize)),
            Self::Announce(position) => Some(Step::Announce(position as usize)),
            Self::Probe(position, window) => Some(Step::Probe(position as usize, window)),
            Self::Nothing => None,
        }
    }
}

impl From<Step> for PlannedStep {
    /// Converts a step; positions fit, because candidates are counted in 16 bits.
    fn from(step: Step) -> Self {
        match step {
            Step::Query(position) => Self::Query(position as u16),
            Step::Announce(position) => Self::Announce(position as u16),
            Step::Probe(position, window) => Self::Probe(position as u16, window),
            Step::Wait | Step::Finish => Self::Nothing,
        }
    }
}

impl Step {
    /// Returns the position of the candidate that a datagram is to be sent to.
    pub(crate) const fn position(self) -> Option<usize> {
        match self {
            Self::Query(position) | Self::Announce(position) | Self::Probe(position, _) => Some(position),
            Self::Wait | Self::Finish => None,
        }
    }
}
