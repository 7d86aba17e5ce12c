//! The optional parts of a node, which a program leaves out if its memory has no room for them.

use crate::node::client::sample::SAMPLER;
use crate::node::client::scrape::SCRAPER;
use crate::node::core::Parts;
use crate::node::server::part::SERVER;
use crate::node::storage::Lengths;
use crate::node::storage::sealed::Sealed;

impl Parts {
    /// Returns the parts that memory of this type may have room for.
    pub(in crate::node) const fn of<S: Sealed>() -> &'static Self {
        const {
            &match S::LENGTHS {
                None => Self { server: Some(SERVER), scraper: Some(SCRAPER), sampler: Some(SAMPLER) },
                Some(Lengths { replies, swarms, items, scrapes, samplings, .. }) => Self {
                    server: if replies + swarms + items > 0 { Some(SERVER) } else { None },
                    scraper: if scrapes > 0 { Some(SCRAPER) } else { None },
                    sampler: if samplings > 0 { Some(SAMPLER) } else { None },
                },
            }
        }
    }
}
