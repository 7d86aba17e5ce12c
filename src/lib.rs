#![no_std]
#![forbid(unsafe_code)]
#[cfg(feature = "alloc")]
extern crate alloc;
#[cfg(any(feature = "std", test))]
extern crate std;
mod addr;
mod id;
mod pool;
mod rng;
mod time;
mod trace;
pub use addr::{AddressPolicy, Family};
pub use id::{Distance, ID_LEN, InfoHash, NodeId, ParseIdError};
pub use time::Instant;
