//! Running a node as one task of a tokio runtime.
//!
//! It is what [`net::Dht`](super) is to threads: the names and meanings are the same, calls are
//! futures, and a [`LookupHandle`] is a [`Stream`](futures_core::Stream) of peers. Dropping a future or a
//! stream cancels what it stands for.
//!
//! ```no_run
//! # async fn run() -> Result<(), Box<dyn core::error::Error>> {
//! use dht_proto::net::tokio::Dht;
//!
//! let owner = Dht::builder().spawn()?;
//! let dht = owner.handle(); // to be cloned and given to whoever needs it
//! dht.wait_ready(core::time::Duration::from_secs(20)).await?;
//! let mut search = dht.get_peers("5fbfbff10c5d6a4ec8a88e4c6ab4c28b95eee401".parse()?).await?;
//! while let Some(peer) = search.recv().await? {
//!     println!("{peer}"); // as soon as it is found
//! }
//! owner.shutdown().await;
//! # Ok(())
//! # }
//! ```
//!
//! # Dht and borrowers
//!
//! The [`Dht`] alone decides how long the node lives. A [`DhtHandle`] is borrowed: it neither keeps the
//! node running nor ends it. A borrower that stops ends its own announces, and its own share of
//! lookups; its calls fail with [`CallError::Closed`](super::CallError::Closed) once the node is gone.
//!
//! # A socket of your own
//!
//! Where the DHT shares its socket with uTP, the program keeps the socket and the node has none
//! ([`Builder::external`]):
//!
//! ```no_run
//! # async fn run() -> Result<(), Box<dyn core::error::Error>> {
//! use dht_proto::net::tokio::Dht;
//!
//! let socket = tokio::net::UdpSocket::bind("0.0.0.0:6881").await?;
//! let (owner, external) = Dht::builder().external()?;
//! let receiving = async {
//!     let mut buffer = [0; 65_535];
//!     while let Ok((len, from)) = socket.recv_from(&mut buffer).await {
//!         if !external.feed(from, &buffer[..len]) {
//!             // It is uTP's.
//!         }
//!     }
//! };
//! let sending = async {
//!     while let Some(next) = external.next_outgoing().await {
//!         if socket.send_to(&next.datagram, next.destination).await.is_err() {
//!             external.unreachable(next.destination);
//!         }
//!     }
//! };
//! # let _ = (owner, receiving, sending);
//! # Ok(())
//! # }
//! ```

mod builder;
mod crawl;
mod driver;
mod events;
mod external;
mod handle;
#[cfg(feature = "items")]
mod items;
mod keep;
mod search;

pub use builder::Builder;
pub use crawl::Crawl;
pub use events::NetEvents;
#[cfg(all(test, feature = "net"))]
pub(super) use events::subscription;
pub use external::{External, Outgoing};
pub use handle::{Dht, DhtHandle};
#[cfg(feature = "items")]
pub use keep::Publication;
pub use keep::{Announcement, Recurring};
pub use search::LookupHandle;
